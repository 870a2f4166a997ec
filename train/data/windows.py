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

__all__ = ["Windows"]

Integers = NDArray[np.int64]


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
