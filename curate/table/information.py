"""How much a column tells of the label: mutual information, in nats (Shannon 1948), from counts.

Numbers are cut into bins of equal counts. Counts of few rows tell of more than there is: what is expected of columns that tell
nothing, whose rows are drawn anew with the same counts (Vinh, Epps and Bailey 2010), is taken off; what is left below 0 is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["BINS", "binned", "mutual_information"]

BINS = 10


def binned(values: np.ndarray, bins: int = BINS) -> np.ndarray:
    """(rows,) int64: numbers by bins of about equal counts; empty ones (NaN) have one of their own."""
    import numpy as np

    there = values[~np.isnan(values)]
    edges = np.unique(np.quantile(there, np.linspace(0, 1, bins + 1)[1:-1])) if len(there) else np.zeros(0)
    return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="left"))


def mutual_information(left: np.ndarray, right: np.ndarray, *, corrected: bool = True) -> float:
    """Nats that one of two codings (integers from 0) tells of the other.

    Args:
        left: (rows,) codes.
        right: (rows,) codes.
        corrected: Take off what is expected of codings that tell nothing.
    """
    import numpy as np

    count = len(left)
    if not count:
        return 0.0
    _, left = np.unique(left, return_inverse=True)
    _, right = np.unique(right, return_inverse=True)
    shape = int(left.max()) + 1, int(right.max()) + 1
    both = np.bincount(left * shape[1] + right, minlength=shape[0] * shape[1]).reshape(shape) / count
    alone = both.sum(1, keepdims=True) @ both.sum(0, keepdims=True)
    there = both > 0
    found = float((both[there] * np.log(both[there] / alone[there])).sum())
    return max(found - (_by_chance(np.bincount(left), np.bincount(right)) if corrected else 0.0), 0.0)


def _by_chance(left: np.ndarray, right: np.ndarray) -> float:
    """Nats that codings with these counts tell of each other on average, where one is drawn without regard to the other."""
    import numpy as np

    count, told = int(left.sum()), 0.0
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])  # of factorials
    for one, times in zip(*np.unique(left, return_counts=True), strict=True):
        for other, as_often in zip(*np.unique(right, return_counts=True), strict=True):
            both = np.arange(max(1, one + other - count), min(one, other) + 1)
            fixed = logs[one] + logs[other] + logs[count - one] + logs[count - other] - logs[count]
            free = logs[both] + logs[one - both] + logs[other - both] + logs[count - one - other + both]
            nats = both / count * np.log(count * both / (one * other)) * np.exp(fixed - free)
            told += float(times * as_often * nats.sum())
    return told
