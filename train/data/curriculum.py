"""Easy first: by a column of difficulty, by the length of sequences, or both.

By difficulty (Platanios et al. 2019): the competence c grows from its start to 1 over a share of the run, and a sample is
drawn from the easiest share c of the examples, with replacement; then come ordinary epochs. By length: windows are cut
into shorter ones, as many as make up the same tokens, in stages of equal numbers of steps over the same share of the run
(as OLMo's variable sequence length; no token is left out).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from curate.train.data.batch import Arrays
from curate.train.data.order import Order, samples_of, uniforms
from curate.train.settings.methods import CurriculumSettings

__all__ = ["CurriculumOrder", "length_at", "shortened"]

Integers = NDArray[np.int64]


class CurriculumOrder:
    """Which examples a step trains on: at first the easy ones.

    Args:
        difficulty: (examples,): how hard each is; equal ones keep their order.
        sequences: Samples in a step, over all processes.
        seed: Of the order.
        steps: Of the whole run.
        settings: How fast it goes.
    """

    def __init__(
        self,
        difficulty: NDArray[np.float64],
        *,
        sequences: int,
        seed: int,
        steps: int,
        settings: CurriculumSettings,
    ) -> None:
        self.easiest = np.argsort(difficulty, kind="stable")
        self.sequences, self.seed, self.settings = sequences, seed, settings
        self.paced = math.ceil(settings.share * steps) * sequences
        self.usual = Order(len(difficulty), sequences=sequences, seed=seed)

    def step(self, number: int, *, rank: int = 0, size: int = 1) -> tuple[Integers, Integers]:
        """Numbers of the samples of step `number` (from 0) for one process of `size`, and of their examples."""
        samples = samples_of(number, self.sequences, rank, size)
        return samples, self.examples_of(samples)

    def examples_of(self, samples: Integers) -> Integers:
        """The examples of these samples, counted over the whole run."""
        early = samples < self.paced
        found = np.empty_like(samples)
        found[~early] = self.usual.examples_of(samples[~early] - self.paced)
        drawn = uniforms(self.seed, "curriculum", samples[early], 1)[:, 0]
        found[early] = self.easiest[(drawn * self.eligible(samples[early])).astype(np.int64)]
        return found

    def eligible(self, samples: Integers) -> Integers:
        """From how many of the easiest examples each sample is drawn."""
        done, start = samples // self.sequences * self.sequences / max(self.paced, 1), self.settings.start
        if self.settings.pacing == "sqrt":
            competence = np.sqrt(done * (1 - start**2) + start**2)
        else:
            competence = start + done * (1 - start)
        return np.clip(np.ceil(competence * len(self.easiest)), 1, len(self.easiest)).astype(np.int64)


def length_at(step: int, *, length: int, steps: int, settings: CurriculumSettings) -> int:
    """Length of the sequences of a step (from 0) of a run of `steps`, whose last ones have `length`."""
    paced = math.ceil(settings.share * steps)
    if not settings.lengths or step >= paced:
        return length
    return settings.lengths[step * len(settings.lengths) // paced]


def shortened(batch: Arrays, length: int) -> Arrays:
    """Windows cut into shorter ones of `length`, which divides theirs: (rows, L) become (rows * L / length, length).

    Each has its own number in `samples`, and its window's in `numbers`; documents and positions begin anew in each.
    """
    rows, whole = batch["tokens"].shape
    pieces = whole // length
    found: Arrays = {}
    for name, values in batch.items():
        wide = values.ndim > 1
        found[name] = values.reshape(rows * pieces, length) if wide else np.repeat(values, pieces)
    if "samples" in found:
        found["samples"] = found["samples"] * pieces + np.tile(np.arange(pieces), rows)
    if "documents" in found:
        documents = found["documents"]
        found["documents"] = np.where(documents < 0, -1, documents - np.maximum(documents[:, :1], 0))
        found["positions"] = np.minimum(found["positions"], np.arange(length))
    return found
