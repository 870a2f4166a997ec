"""Made answers of people of different skill, whose truth is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Crowd", "crowd"]


class Crowd(NamedTuple):
    """The truth of items, and answers: item, annotator, label."""

    truth: np.ndarray
    items: np.ndarray
    workers: np.ndarray
    labels: np.ndarray


def crowd(seed: int, *, items: int = 300, annotators: int = 8, each: int = 4, classes: int = 4) -> Crowd:
    """Annotators who are right in .5 to .95 of their answers and have errors of their own; every fifth draws blindly."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, items)
    of = np.repeat(np.arange(items), each)
    workers = np.concatenate([random.permutation(annotators)[:each] for _ in range(items)])
    accuracy = random.choice([0.95, 0.85, 0.7, 0.5], annotators)[:, None, None]
    errors = random.dirichlet(np.full(classes, 0.7), (annotators, classes))
    confusion = accuracy * np.eye(classes) + (1 - accuracy) * errors
    confusion[4::5] = random.dirichlet(np.full(classes, 0.5), len(confusion[4::5]))[:, None]
    drawn = random.random((len(of), 1)) > confusion.cumsum(2)[workers, truth[of]]
    return Crowd(truth, of, workers, drawn.sum(1).clip(0, classes - 1))
