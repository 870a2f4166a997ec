"""What items add to the sums of metrics, and what comes of the sums: the table in metrics.py says which is whose."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import rankdata

from curate.train.objectives.texts import corpus_counts, sacrebleu

__all__ = [
    "ambiguous_bias",
    "beside_one",
    "bias",
    "bins",
    "bits",
    "calibration",
    "columns",
    "confusion",
    "correlation",
    "distance_from_half",
    "f1",
    "gap",
    "macro_f1",
    "matthews",
    "moments",
    "ngrams",
    "of_context",
    "perplexity",
    "rank_moments",
    "ratio",
    "score",
]

Numbers = NDArray[np.float64]
Rows = Any
"""Items by sums: an array, or a sparse matrix."""
BINS = 15


# ---- rows


def columns(*names: str) -> Callable[[pa.Table], Rows]:
    """Some columns as they are."""

    def rows(items: pa.Table) -> Rows:
        return np.column_stack([_numbers(items, name) for name in names])

    return rows


def _numbers(items: pa.Table, name: str) -> Numbers:
    return items[name].cast(pa.float64()).to_numpy(zero_copy_only=False)


def beside_one(*names: str) -> Callable[[pa.Table], Rows]:
    """Some columns, and 1: sums whose ratio is a mean."""

    def rows(items: pa.Table) -> Rows:
        return np.column_stack([*(_numbers(items, name) for name in names), np.ones(items.num_rows)])

    return rows


def confusion(items: pa.Table) -> Rows:
    """The matrix of labels, flat, for each item: one cell of one label, several of a list."""
    gold, predicted = items["gold"].combine_chunks(), items["predicted"].combine_chunks()
    places = np.arange(len(gold))
    if pa.types.is_list(gold.type):
        places = np.repeat(places, np.diff(gold.offsets.to_numpy()))
        gold, predicted = gold.flatten(), predicted.flatten()
    ones, others = (some.cast(pa.string()).fill_null("(none)").to_pylist() for some in (gold, predicted))
    known = {name: number for number, name in enumerate(sorted({*ones, *others}))}
    cells = [known[one] * len(known) + known[other] for one, other in zip(ones, others, strict=True)]
    return sparse.csr_array((np.ones(len(cells)), (places, cells)), shape=(items.num_rows, len(known) ** 2))


def moments(items: pa.Table) -> Rows:
    """Moments of two numbers."""
    return _products(_numbers(items, "gold_value"), _numbers(items, "predicted_value"))


def rank_moments(items: pa.Table) -> Rows:
    """Moments of the ranks of two numbers, among all items."""
    return _products(rankdata(_numbers(items, "gold_value")), rankdata(_numbers(items, "predicted_value")))


def _products(x: Numbers, y: Numbers) -> Rows:
    # else the squares of large numbers take the digits, and those of small ones vanish
    x, y = ((one - one.mean()) / (np.ptp(one) or 1.0) for one in (x, y))
    return np.column_stack([np.ones_like(x), x, y, x * x, y * y, x * y])


def bins(items: pa.Table) -> Rows:
    """Items, confidence and right ones in bins of confidence."""
    confidence, right = _numbers(items, "confidence"), _numbers(items, "accuracy")
    places = np.clip((np.nan_to_num(confidence, posinf=1.0, neginf=0.0) * BINS).astype(int), 0, BINS - 1)
    found = np.zeros((len(confidence), 3 * BINS))
    here = np.arange(len(confidence))
    found[here, places], found[here, BINS + places], found[here, 2 * BINS + places] = 1.0, confidence, right
    return found


def ngrams(metric: str) -> Callable[[pa.Table], Rows]:
    """Sacrebleu's counts of each answer."""

    def rows(items: pa.Table) -> Rows:
        return corpus_counts(metric, items["hypothesis"].to_pylist(), items["references"].to_pylist())

    return rows


def of_context(*, ambiguous: bool) -> Callable[[pa.Table], Rows]:
    """Right ones, items, biased answers and answers that name somebody, of the items whose text (does not) say whom."""

    def rows(items: pa.Table) -> Rows:
        here = _numbers(items, "ambiguous") == float(ambiguous)
        counted = [_numbers(items, name) for name in ("accuracy", "biased", "answered")]
        return np.column_stack([counted[0], np.ones(len(here)), counted[1], counted[2]]) * here[:, None]

    return rows


# ---- values


def ratio(s: Numbers) -> Numbers:
    """The first sum over the second."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(s[:, 1] > 0, s[:, 0] / s[:, 1], np.nan)


def bits(s: Numbers) -> Numbers:
    """Nats over bytes, in bits."""
    return ratio(s) / math.log(2)


def perplexity(s: Numbers) -> Numbers:
    """E to the ratio."""
    with np.errstate(over="ignore"):
        return np.exp(ratio(s))


def _matrices(s: Numbers) -> Numbers:
    classes = math.isqrt(s.shape[1])
    return s.reshape(len(s), classes, classes)


def macro_f1(s: Numbers) -> Numbers:
    """Mean over the classes that are there, in gold or predictions, as scikit-learn has it."""
    matrices = _matrices(s)
    right = np.diagonal(matrices, axis1=1, axis2=2)
    size = matrices.sum(1) + matrices.sum(2)
    with np.errstate(invalid="ignore"):
        return np.nanmean(np.where(size > 0, 2 * right / size, np.nan), axis=1)


def matthews(s: Numbers) -> Numbers:
    """Gorodkin (2004); 0 where all have one label, as scikit-learn has it."""
    matrices = _matrices(s)
    gold, predicted, n = matrices.sum(2), matrices.sum(1), s.sum(1)
    top = np.trace(matrices, axis1=1, axis2=2) * n - (gold * predicted).sum(1)
    below = np.sqrt((n**2 - (predicted**2).sum(1)) * (n**2 - (gold**2).sum(1)))
    return np.where(below > 0, top / np.where(below > 0, below, 1), 0.0)


def correlation(s: Numbers) -> Numbers:
    """Pearson's, of moments."""
    n, x, y, xx, yy, xy = s.T
    below = np.sqrt(np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0))
    return np.where(below > 1e-12, (n * xy - x * y) / np.where(below > 1e-12, below, 1), np.nan)


def calibration(s: Numbers) -> Numbers:
    """Gap of confidence and accuracy, over bins."""
    counts, confidence, right = np.split(s, 3, axis=1)
    return np.abs(confidence - right).sum(1) / counts.sum(1)


def f1(s: Numbers) -> Numbers:
    """F1 of found, right and gold ones."""
    found, right, gold = s.T
    return np.where(found + gold > 0, 2 * right / np.maximum(found + gold, 1), np.nan)


def distance_from_half(s: Numbers) -> Numbers:
    """How far a share is from a half."""
    return np.abs(ratio(s) - 0.5)


def gap(s: Numbers) -> Numbers:
    """The first less the second, over the third."""
    return (s[:, 0] - s[:, 1]) / s[:, 2]


def bias(s: Numbers) -> Numbers:
    """Parrish et al. (2022): 2 x (biased ones of the answers that name somebody) - 1."""
    return 2 * ratio(s[:, 2:]) - 1


def ambiguous_bias(s: Numbers) -> Numbers:
    """The same, times the share of wrong answers: 0 where the model always declines."""
    accuracy = ratio(s)
    return np.where(accuracy == 1, 0.0, (1 - accuracy) * bias(s))


def score(metric: str) -> Callable[[Numbers], Numbers]:
    """Sacrebleu's score of its counts."""

    def value(s: Numbers) -> Numbers:
        scorer = sacrebleu(metric)
        return np.array([scorer._compute_score_from_stats([round(one) for one in row]).score for row in s])

    return value
