"""Several sources in one run: mixed within each step, or a task a step.

Both are handed out by Webster's method (Sainte-Lague 1910): the k-th place of a source with share s comes at
(k + 1/2) / s, so every beginning of the run holds the shares as nearly as whole numbers can, and which source a place
belongs to is a function of the shares and the place alone: nothing is counted from the beginning, and nothing saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.train.data.batch import PADDING, Arrays, widened
from curate.train.data.order import Order, samples_of
from curate.train.data.source import Source

__all__ = ["Mixture", "Schedule", "apportioned", "tempered"]

Integers = NDArray[np.int64]
_LEFT = ("tokens", "documents")


class _Examples(Protocol):
    def examples_of(self, samples: Integers) -> Integers: ...


class Mixture:
    """A source made of sources, and its order: each step's samples are split by shares.

    Each source is gone through in its own epochs: a small one with a large share comes round more often. Numbers count
    through the sources one after the other.

    Args:
        sources: By name; of one class.
        shares: Of the samples, by the same names; only their proportions count.
        sequences: Samples in a step, over all processes.
        seed: Of the orders.
        orders: Of each source's examples, in place of permutations.

    Raises:
        CurateError: The sources have different labels.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        shares: Mapping[str, float],
        *,
        sequences: int,
        seed: int,
        orders: Mapping[str, _Examples] | None = None,
    ) -> None:
        self.sources, self.sequences = list(sources.values()), sequences
        self.shares = [shares[name] for name in sources]
        self.starts = np.cumsum([0, *map(len, self.sources)])
        self.cut = sum(source.cut for source in self.sources)
        self.left = any(getattr(source, "left", False) for source in self.sources)
        given = orders or {}
        # seeds of runs are below 2^32: no two of these are the same
        self.orders = [
            given[name] if name in given else Order(len(source), sequences=sequences, seed=seed + (number << 32))
            for number, (name, source) in enumerate(sources.items())
        ]
        _check_labels(sources)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def step(self, number: int, *, rank: int = 0, size: int = 1) -> tuple[Integers, Integers]:
        """Numbers of the samples of step `number` (from 0) for one process of `size`, and of their examples."""
        which, nth = apportioned(self.shares, number * self.sequences, (number + 1) * self.sequences)
        which, nth = which[rank::size], nth[rank::size]
        found = np.empty_like(nth)
        for source in np.unique(which).tolist():
            here = which == source
            found[here] = self.orders[source].examples_of(nth[here]) + self.starts[source]
        return samples_of(number, self.sequences, rank, size), found

    def read(self, numbers: Integers) -> Arrays:
        """The examples as their sources give them, filled up to one width."""
        which = np.maximum(np.searchsorted(self.starts, numbers, side="right") - 1, 0)
        places, batches = [], []
        for source in np.unique(which).tolist():
            here = np.flatnonzero(which == source)
            local = np.where(numbers[here] < 0, -1, numbers[here] - self.starts[source])
            places.append(here)
            batches.append(self.sources[source].read(local))
        back = np.argsort(np.concatenate(places))
        keys = dict.fromkeys(name for batch in batches for name in batch)
        made = {name: self._together(name, batches)[back] for name in keys}
        return {**made, "numbers": numbers}

    def difficulty(self) -> NDArray[np.float64]:
        """How hard each example is.

        Raises:
            CurateError: No column says so.
        """
        return np.concatenate([source.difficulty() for source in self.sources])

    def _together(self, name: str, batches: list[Arrays]) -> NDArray:
        value = PADDING.get(name, 0)
        like = next(batch[name] for batch in batches if name in batch)
        parts = []
        for batch in batches:
            shape = (len(batch["numbers"]), *like.shape[1:-1], 1)[: like.ndim]
            parts.append(batch.get(name, np.full(shape, value, dtype=like.dtype)))
        if like.ndim > 1:
            width = max(part.shape[-1] for part in parts)
            left = self.left and name in _LEFT
            parts = [widened(part, width, value=value, left=left) for part in parts]
        return np.concatenate(parts)


def _check_labels(sources: Mapping[str, Source]) -> None:
    labels = {name: getattr(source, "labels", []) for name, source in sources.items()}
    first, *others = labels
    for other in others:
        if labels[other] != labels[first]:
            differing = sorted(map(str, set(labels[first]) ^ set(labels[other])))
            raise CurateError(
                f"the datasets `{first}` and `{other}` have different labels: {', '.join(differing[:20])}",
                "mixture",
                "datasets are mixed only where their train splits have the same labels",
            )


class Schedule:
    """Which task a step belongs to.

    Args:
        weights: Shares of the tasks; only their proportions count.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.weights = list(weights)

    def step(self, number: int) -> tuple[int, int]:
        """The task of step `number` (from 0), and which step of that task it is (from 0)."""
        which, nth = apportioned(self.weights, number, number + 1)
        return int(which[0]), int(nth[0])


def tempered(examples: Sequence[int], temperature: float) -> list[float]:
    """Weights of tasks by their numbers of examples, to the power 1 / temperature (Raffel et al. 2020)."""
    return [count ** (1 / temperature) for count in examples]


def apportioned(shares: Sequence[float], start: int, stop: int) -> tuple[Integers, Integers]:
    """For each place from `start` to `stop`: whose it is, and the how-manieth of theirs (from 0)."""
    parts = np.asarray(shares, dtype=np.float64) / np.sum(shares)
    # no count is ever farther from its share than half of the number of shares, and a half
    slack = len(parts) + 1
    lowest = np.maximum(np.floor(parts * start).astype(np.int64) - slack, 0)
    counts = np.ceil(parts * stop).astype(np.int64) + slack - lowest
    who = np.repeat(np.arange(len(parts)), counts)
    nth = np.arange(len(who)) - np.repeat(np.cumsum(counts) - counts, counts) + lowest[who]
    order = np.lexsort((who, (nth + 0.5) / parts[who]))
    skipped = start - int(lowest.sum())
    chosen = order[skipped : skipped + stop - start]
    return who[chosen], nth[chosen]
