"""Labels that are probably wrong, by confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068).

A text counts as one of a class when the class's held-out probability is at least what texts of that label have on average; the
table of given labels by such classes, scaled to the number of labels given, estimates how many labels are wrong. Suspects
are texts whose probable class is not the label, ranked by the label's probability (with more than two classes that finds
more than the margin does: benchmarks/RESULTS.md). Flagged is not wrong: people confirmed about half of what it flagged in
ten test sets (Northcutt, Athalye and Mueller 2021, arXiv:2103.14749). Tests compare with cleanlab.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Suspects", "confident_joint", "label_quality", "suspects"]

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
Ranking = Literal["normalized_margin", "self_confidence"]


class Suspects(NamedTuple):
    """Labels to look at again, the worst first.

    Attributes:
        texts: Which they are.
        quality: Of their labels, from 0 (bad) to 1.
        proposed: The label that the model would give.
        expected: How many labels of all are estimated to be wrong.
    """

    texts: Integers
    quality: Numbers
    proposed: Integers
    expected: float


def confident_joint(labels: Integers, probable: Numbers) -> Numbers:
    """How many texts have this label (rows) and are of this class (columns); rows sum to the number of labels given.

    A class without a label has no threshold, and no text is of it.
    """
    classes = probable.shape[1]
    given = np.bincount(labels, minlength=classes)
    own = np.bincount(labels, probable[np.arange(len(labels)), labels], classes)
    thresholds = np.where(given > 0, own / np.maximum(given, 1), np.inf)
    passing = probable >= thresholds - 1e-6
    counted = passing.any(axis=1)
    classed = np.where(passing, probable, -1).argmax(axis=1)
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[counted], classed[counted]), 1)
    # whoever has a label and passes nowhere has it rightly, so that no row is empty
    empty = (joint.sum(axis=1) == 0) & (given > 0)
    joint[empty, empty] = 1
    return joint / np.maximum(joint.sum(axis=1, keepdims=True), 1) * given[:, None]


def label_quality(labels: Integers, probable: Numbers, *, ranking: Ranking = "self_confidence") -> Numbers:
    """How good each label is, from 0 to 1: its probability, or how far that is ahead of the best other (0.5: as good)."""
    rows = np.arange(len(labels))
    own = probable[rows, labels]
    if ranking == "self_confidence":
        return own
    others = probable.copy()
    others[rows, labels] = -np.inf
    return (own - others.max(axis=1) + 1) / 2


def suspects(labels: Integers, probable: Numbers, *, ranking: Ranking = "self_confidence") -> Suspects:
    """Labels that are probably wrong.

    Args:
        labels: As given.
        probable: Probabilities by a model that did not learn from the text (`Fitted.out_of_fold`), texts by classes.
        ranking: What decides the order.
    """
    if len(labels) == 0 or probable.shape[1] < 2:
        none = np.zeros(0, np.int64)
        return Suspects(none, np.zeros(0), none, 0.0)
    joint = confident_joint(labels, probable)
    proposed, quality = probable.argmax(axis=1), label_quality(labels, probable, ranking=ranking)
    wrong = np.flatnonzero(proposed != labels)
    wrong = wrong[np.argsort(quality[wrong], kind="stable")]
    return Suspects(wrong, quality[wrong], proposed[wrong], float(joint.sum() - np.trace(joint)))
