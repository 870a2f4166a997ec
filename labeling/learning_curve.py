"""How accuracy grows with labels: whether more of them are worth their price.

At each size a model learns from so many of the labelled texts and is held to others, in folds, so that every text is judged
once. Intervals are a bootstrap of the texts that judge; that other texts would have taught another model is not in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.audit.bias.statistics import Estimate
from curate.labeling.agreement import bootstrap
from curate.labeling.classifier import FOLDS, Inputs, folds, learnable
from curate.labeling.logistic import Problem, rotate, solve

__all__ = ["Point", "learning_curve", "macro_f1", "outcomes"]

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]


class Point(NamedTuple):
    """What a number of labels comes to.

    Attributes:
        labels: How many a model learned from.
        accuracy: The share of texts that are labelled rightly, of sets of labels wholly.
        macro_f1: The mean over labels of F1.
    """

    labels: int
    accuracy: Estimate | None
    macro_f1: Estimate | None


def learning_curve(
    texts: Inputs, labels: Integers, classes: int, *, sizes: Sequence[int], penalty: float, seed: int
) -> list[Point]:
    """Accuracy and macro-F1 at growing numbers of labels.

    Args:
        texts: What is labelled, or what `hashed` made of it.
        labels: Their labels (n,), or for sets of them 0 and 1 (n, classes).
        classes: How many labels there are.
        sizes: Numbers of labels; one that the folds leave no room for (over 4 of 5) is left out.
        penalty: The strength of L2, as `fit` chose it.
        seed: Of the folds, of which labels come first, and of the intervals.
    """
    features, _ = rotate(learnable(texts)[0])
    targets = labels.astype(np.float64) if labels.ndim == 2 else np.eye(classes)[labels]
    problem = Problem(targets, np.ones(classes), labels.ndim == 2)
    held = folds(labels, FOLDS, seed=seed)
    room = len(labels) - max(map(len, held))
    points: list[Point] = []
    for size in (one for one in sorted(set(sizes)) if one <= room):
        predicted = np.zeros_like(labels)
        for number, fold in enumerate(held):
            others = np.random.default_rng([seed, number]).permutation(np.setdiff1d(np.arange(len(labels)), fold))
            theta = solve(features[others[:size]], problem.of(others[:size]), penalty)
            logits = features[fold] @ theta[:-1] + theta[-1]
            predicted[fold] = logits > 0 if labels.ndim == 2 else logits.argmax(1)
        right = (predicted == labels).reshape(len(labels), -1).all(1)
        accuracy = bootstrap(
            np.column_stack([right, np.ones(len(right))]), lambda sums: sums[:, 0] / sums[:, 1], seed=seed
        )
        points.append(Point(size, accuracy, bootstrap(outcomes(labels, predicted, classes), macro_f1, seed=seed)))
    return points


def outcomes(labels: Integers, predicted: Integers, classes: int) -> Numbers:
    """True positives, false positives and misses of each class, by text (texts by 3 * classes)."""
    one, other = (
        given.astype(np.float64) if given.ndim == 2 else np.eye(classes)[given] for given in (labels, predicted)
    )
    return np.concatenate([one * other, other * (1 - one), one * (1 - other)], axis=1)


def macro_f1(sums: Numbers) -> Numbers:
    """The mean of F1 over the classes that are true or predicted of any text, for sums of `outcomes` (draws by sums)."""
    hits, false, missed = sums.reshape(len(sums), 3, -1).transpose(1, 0, 2)
    whole: Numbers = 2 * hits + false + missed
    counted = np.maximum((whole > 0).sum(axis=1), 1).astype(np.float64)
    return (2 * hits / np.maximum(whole, 1.0)).sum(axis=1) / counted
