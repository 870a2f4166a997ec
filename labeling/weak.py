"""Labeling functions: what each covers and is worth, and one label out of their votes.

Votes are items by functions; -1 abstains. `label_model` is Dawid and Skene's model with abstaining as one more answer: a
function that knows one label only is right whenever it votes, and what it tells is where it does not (taken as missing,
abstentions made everything one class: benchmarks/LOG.md). It learns from agreement alone which function errs how (Ratner et
al. 2016, "Data programming"), given the balance of classes or estimating it; `gold` takes labels that people gave.

`weak_majority` is the default: on SMS spam it is as good, and simpler (benchmarks/RESULTS.md).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.audit.bias.statistics import Estimate, wilson
from curate.labeling.aggregation import Aggregated, dawid_skene, majority_vote

__all__ = ["FunctionQuality", "function_quality", "label_model", "weak_majority"]

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
SMOOTHING = 10.0
"""Functions are few and have thousands of votes; what draws them to each other keeps one that errs from being turned over."""


class FunctionQuality(NamedTuple):
    """What a labeling function does.

    Attributes:
        coverage: The share of items that it votes on.
        overlap: The share that another votes on, too.
        conflict: The share that another votes otherwise on.
        labels: The labels that it gives.
        accuracy: On gold, with Wilson's interval; None where it votes on none of it.
        gold: How many votes that rests on.
    """

    coverage: float
    overlap: float
    conflict: float
    labels: tuple[int, ...]
    accuracy: Estimate | None
    gold: int


def function_quality(votes: Integers, *, gold: Integers | None = None) -> list[FunctionQuality]:
    """What each function does; `gold` is the truth of items, -1 where nobody knows it."""
    items = max(len(votes), 1)
    voted = votes >= 0
    truth = np.full(len(votes), -1) if gold is None else gold
    found: list[FunctionQuality] = []
    for number, own in enumerate(votes.T):
        others = np.delete(votes, number, axis=1)
        does = voted[:, number]
        overlap = does & (others >= 0).any(1)
        conflict = does & ((others >= 0) & (others != own[:, None])).any(1)
        judged = does & (truth >= 0)
        of, right = int(judged.sum()), int((own == truth)[judged].sum())
        labels = tuple(int(one) for one in np.unique(own[does]))
        accuracy = wilson(right, of) if of else None
        found.append(
            FunctionQuality(does.sum() / items, overlap.sum() / items, conflict.sum() / items, labels, accuracy, of)
        )
    return found


def _answers(votes: Integers) -> tuple[Integers, Integers, Integers]:
    items, functions = np.nonzero(votes >= 0)
    return items, functions, votes[items, functions]


def weak_majority(votes: Integers, classes: int) -> Aggregated:
    """The label with most votes; -1 where it is tied or all abstain."""
    return majority_vote(*_answers(votes), classes, count=len(votes))


def label_model(
    votes: Integers,
    classes: int,
    *,
    balance: Numbers | None = None,
    gold: Integers | None = None,
    smoothing: float = SMOOTHING,
) -> Aggregated:
    """The posterior of each item's label; -1 and the balance of classes where all abstain.

    Args:
        votes: Items by functions, -1 abstains.
        classes: How many labels there are.
        balance: Their shares, if known; estimated otherwise.
        gold: Labels that are known, -1 where none is.
        smoothing: How many votes everybody's errors weigh in those of one function.
    """
    items, functions = np.indices(votes.shape).reshape(2, -1)
    return dawid_skene(
        items, functions, np.where(votes < 0, classes, votes).ravel(), classes, answers=classes + 1,
        count=len(votes), annotators=votes.shape[1], balance=balance, gold=gold, smoothing=smoothing,
    )  # fmt: skip
