"""What each annotator does, which items divide them, and which labels are taken for each other.

Answers are three arrays of one length, as in `agreement.py`; annotators are numbered from 0. Who has no answer to judge by has
None. Intervals on gold are Wilson's (1927), for answers of one person are independent; those of agreement with others are a
bootstrap over items.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curate.audit.bias.statistics import Estimate, wilson
from curate.labeling.agreement import bootstrap, label_counts

__all__ = ["accuracy_on_gold", "agreement_with_others", "confused_labels", "confusion", "most_disputed"]

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]


def accuracy_on_gold(workers: Integers, labels: Integers, gold: Integers, annotators: int) -> list[Estimate | None]:
    """The share of each annotator's answers to gold items that are right; `gold` is the truth for each answer."""
    answers = np.bincount(workers, minlength=annotators)
    right = np.bincount(workers, labels == gold, minlength=annotators)
    return [wilson(int(hits), int(of)) if of else None for hits, of in zip(right, answers, strict=True)]


def agreement_with_others(
    items: Integers, workers: Integers, labels: Integers, classes: int, annotators: int, *, seed: int
) -> list[Estimate | None]:
    """The share of other people's answers to the same items that are like each annotator's own; chance is not taken off."""
    if not len(items):
        return [None] * annotators
    counts = label_counts(items, labels, classes)
    _, rows = np.unique(items, return_inverse=True)
    alike = np.asarray(counts[rows, labels], np.float64).ravel() - 1
    others = np.asarray(counts.sum(axis=1), np.float64)[rows] - 1
    found: list[Estimate | None] = []
    for annotator in range(annotators):
        own = np.flatnonzero((workers == annotator) & (others > 0))
        sums = np.column_stack([alike[own], others[own]])
        found.append(bootstrap(sums, lambda drawn: drawn[:, 0] / drawn[:, 1], seed=seed + annotator))
    return found


def most_disputed(items: Integers, labels: Integers, classes: int, limit: int) -> tuple[Integers, Numbers]:
    """Items whose answers differ most, and the share of pairs of answers that differ.

    Of equal shares the item with more answers comes first, then the lower number. Items that nobody disputes
    are not among them.
    """
    if not len(items):
        return np.zeros(0, np.int64), np.zeros(0)
    counts = label_counts(items, labels, classes)
    answers = np.asarray(counts.sum(axis=1), np.float64)
    same = np.asarray(counts.multiply(counts).sum(axis=1), np.float64) - answers
    differing = 1 - same / np.maximum(answers * (answers - 1), 1)
    differing[answers < 2] = 0
    order = np.lexsort([-answers, -differing])
    order = order[differing[order] > 0][:limit]
    return np.unique(items)[order], differing[order]


def confused_labels(items: Integers, labels: Integers, classes: int) -> Integers:
    """How many pairs of answers to one item have these two labels (classes by classes, symmetric).

    On the diagonal stands twice the number of pairs that agree, so that a row's sum is how many comparisons the label was in.
    """
    counts = label_counts(items, labels, classes)
    pairs = (counts.T @ counts).toarray()
    return (pairs - np.diag(np.bincount(labels, minlength=classes))).astype(np.int64)


def confusion(gold: Integers, labels: Integers, classes: int) -> Integers:
    """How many answers have this label (columns) where that is the truth (rows)."""
    return np.bincount(gold * classes + labels, minlength=classes**2).reshape(classes, classes)
