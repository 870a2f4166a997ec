"""Which examples a step sees: a pure function of the seed and the step's number.

Sample number p, counted over the whole run, is example `permuted(p % examples)` under the epoch's permutation, a keyed
Feistel network (Black and Rogaway 2002), which needs no memory and no library's random generator. Step s takes the
samples from s * sequences on, and process r of W every W-th of them from r: the same global batches for any number of
processes, and nothing to save but the step. Everything else that is random (masks, sampled texts, dropped examples) is
a function of (seed, purpose, sample) too: `uniforms`.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["Order", "permuted", "uniforms"]

Integers = NDArray[np.int64]
ROUNDS = 4
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Order:
    """Which examples a step trains on: all of them once, in another order in each epoch.

    Args:
        examples: How many there are.
        sequences: Samples in a step, over all processes.
        seed: Of the order.
    """

    def __init__(self, examples: int, *, sequences: int, seed: int) -> None:
        self.examples, self.sequences, self.seed = examples, sequences, seed

    def step(self, number: int, *, rank: int = 0, size: int = 1) -> tuple[Integers, Integers]:
        """Numbers of the samples of step `number` (from 0) for one process of `size`, and of their examples."""
        samples = samples_of(number, self.sequences, rank, size)
        return samples, self.examples_of(samples)

    def examples_of(self, samples: Integers) -> Integers:
        """The examples of these samples, counted over the whole run."""
        epochs, positions = np.divmod(samples, self.examples)
        chosen = np.empty_like(samples)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            chosen[here] = permuted(positions[here], self.examples, seed=self.seed, epoch=int(epoch))
        return chosen


def samples_of(number: int, sequences: int, rank: int, size: int) -> Integers:
    """Samples of a step for one process."""
    return number * sequences + np.arange(rank, sequences, size, dtype=np.int64)


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
        # a value that falls outside the set walks on until it is inside: under 4 rounds on average
        while outside.any():
            values[outside] = _feistel(values[outside], key, half, mask)
            outside &= values >= np.uint64(count)
    return values.astype(np.int64)


def uniforms(seed: int, purpose: str, samples: Integers, count: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), (len(samples), count); about 5 ns each.

    Each row is SplitMix64 (Steele et al. 2014) begun at a hash of (seed, purpose, sample): a longer row begins as a
    shorter one does, and no row depends on what is asked beside it.

    Args:
        seed: Of the run.
        purpose: What they decide; another purpose has other numbers.
        samples: Any numbers, one for each row.
        count: Numbers in a row.
    """
    key = int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:8], "little")
    with np.errstate(over="ignore"):
        starts = _mixed(samples.astype(np.uint64) ^ np.uint64(key))
        places = np.arange(count, dtype=np.uint64) * _GOLDEN
        drawn = _mixed(starts[:, None] + places)
    return (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _feistel(
    values: NDArray[np.uint64], key: NDArray[np.uint64], half: np.uint64, mask: np.uint64
) -> NDArray[np.uint64]:
    left, right = values >> half, values & mask
    for turn in range(ROUNDS):
        left, right = right, left ^ (_mixed(right + key + np.uint64(turn << 32)) & mask)
    return (left << half) | right


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele et al. 2014): every bit of the input changes about half of the output's."""
    values = values + _GOLDEN
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
