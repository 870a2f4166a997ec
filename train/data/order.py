"""Which examples a step sees: a pure function of the seed and the step's number.

Sample number p, counted over the whole run, is example `permuted(p % examples)` under the epoch's permutation, a keyed
Feistel network (Black and Rogaway 2002), which needs no memory and no library's random generator. Step s takes the
samples from s * sequences on, and process r of W every W-th of them from r: the same global batches for any number of
processes, and nothing to save but the step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Order", "permuted"]

Integers = NDArray[np.int64]
ROUNDS = 4


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
