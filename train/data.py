"""Which tokens a step sees: a pure function of the seed and the step's number.

A split is one stream of tokens, documents after each other, each followed by the end-of-text token. It is cut into
windows of `length` targets; the inputs are the tokens one before, and before the first token stands an end of text.
So every token of the split is a target exactly once in an epoch, the first token of a document is predicted from the
end of the one before, and attention may look across documents (as in GPT-2). The last window is filled up with targets
that do not count.

Sample number p, counted over the whole run, is window `permuted(p % windows)` under the epoch's permutation, a keyed
Feistel network (Black and Rogaway 2002), which needs no memory and no library's random generator. Step s takes the
samples from s * sequences on, and process r of W every W-th of them from r: the same global batches for any number of
processes, and nothing to save but the step. A step costs about 0.1 ms a sequence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.tokenize.pack import Pack
from curate.train.loss import IGNORED

__all__ = ["Order", "Windows", "permuted"]

Integers = NDArray[np.int64]
ROUNDS = 4


class Windows:
    """A split's tokens, cut into windows; the shards are mapped into memory, not read.

    Args:
        pack: The token shards.
        split: Which split.
        length: Targets in a window.

    Raises:
        CurateError: The split is not there or has no tokens.
    """

    def __init__(self, pack: Pack, split: str, length: int) -> None:
        facts = pack.manifest["splits"].get(split)
        if not facts or not facts["tokens"]:
            raise CurateError(
                f"the packed dataset has no tokens in a split `{split}`",
                str(pack.folder),
                f"its splits: {', '.join(pack.manifest['splits']) or 'none'}",
            )
        dtype = np.dtype(pack.manifest["dtype"]).newbyteorder("<")
        self.length, self.tokens, self.end_of_text = length, int(facts["tokens"]), pack.end_of_text
        self.shards = [
            np.memmap(pack.folder / shard["file"], dtype=dtype, mode="r", shape=(shard["tokens"],))
            for shard in facts["shards"]
        ]
        self.starts = np.cumsum([0, *(len(shard) for shard in self.shards)])

    def __len__(self) -> int:
        return -(-self.tokens // self.length)

    def read(self, numbers: Integers) -> tuple[Integers, Integers]:
        """Inputs and targets, (len(numbers), length) each, of these windows; -1 is a window without any target."""
        inputs = np.full((len(numbers), self.length), self.end_of_text, dtype=np.int64)
        targets = np.full_like(inputs, IGNORED)
        for row, number in enumerate(numbers.tolist()):
            if number < 0:
                continue
            start = number * self.length
            window = self._stream(start, min(start + self.length, self.tokens))
            targets[row, : len(window)] = window
            inputs[row, 1 : len(window)] = window[:-1]
            if start:
                inputs[row, 0] = self._stream(start - 1, start)[0]
        return inputs, targets

    def _stream(self, start: int, stop: int) -> Integers:
        """Tokens from `start` to `stop` of the whole stream, over the borders of shards."""
        pieces: list[Integers] = []
        shard = int(np.searchsorted(self.starts, start, side="right")) - 1
        while start < stop:
            offset, end = start - self.starts[shard], min(stop, self.starts[shard + 1])
            pieces.append(self.shards[shard][offset : end - self.starts[shard]].astype(np.int64))
            start, shard = int(end), shard + 1
        return np.concatenate(pieces)


class Order:
    """Which windows a step trains on.

    Args:
        windows: How many there are.
        sequences: Samples in a step, over all processes.
        seed: Of the order.
    """

    def __init__(self, windows: int, *, sequences: int, seed: int) -> None:
        self.windows, self.sequences, self.seed = windows, sequences, seed

    def step(self, number: int, *, rank: int = 0, size: int = 1) -> Integers:
        """Numbers of the windows of step `number` (from 0) for one process of `size`."""
        samples = number * self.sequences + np.arange(rank, self.sequences, size, dtype=np.int64)
        epochs, positions = np.divmod(samples, self.windows)
        chosen = np.empty_like(samples)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            chosen[here] = permuted(positions[here], self.windows, seed=self.seed, epoch=int(epoch))
        return chosen


def permuted(positions: Integers, count: int, *, seed: int, epoch: int) -> Integers:
    """Where a permutation of 0 ... count - 1, named by seed and epoch, takes these positions.

    Args:
        positions: Any positions below `count`, in any number.
        count: Size of the permuted set.
        seed: Names the permutation.
        epoch: Names the permutation.
    """
    half = np.uint64(max(1, (max(count - 1, 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    with np.errstate(over="ignore"):
        key = _mixed(_mixed(np.array(seed, dtype=np.uint64)) + np.uint64(epoch))
        values = positions.astype(np.uint64)
        outside = np.ones(len(values), dtype=bool)
        while (
            outside.any()
        ):  # a value that falls outside the set walks on until it is inside: under 4 rounds on average
            values[outside] = _feistel(values[outside], key, half, mask)
            outside &= values >= np.uint64(count)
    return values.astype(np.int64)


def _feistel(
    values: NDArray[np.uint64], key: NDArray[np.uint64], half: np.uint64, mask: np.uint64
) -> NDArray[np.uint64]:
    left, right = values >> half, values & mask
    for turn in range(ROUNDS):
        left, right = right, left ^ (_mixed(right + key + np.uint64(turn << 32)) & mask)
    return (left << half) | right


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele et al. 2014): every bit of the input changes about half of the output's."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
