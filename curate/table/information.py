"""How much a column tells of the label: mutual information, in nats (Shannon 1948), from counts.

Numbers are cut into bins of equal counts. Counts of few rows tell of more than there is: what is expected of columns that tell
nothing, (bins - 1) (labels - 1) / 2n to first order (Miller 1955), is taken off, and what is left below 0 is 0.
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
    bias = (shape[0] - 1) * (shape[1] - 1) / (2 * count) if corrected else 0.0
    return max(found - bias, 0.0)
