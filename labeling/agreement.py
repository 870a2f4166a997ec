"""How far annotators agree, beyond what chance gives, with bootstrap intervals.

Answers are three arrays of one length: `items`, `workers` and `labels` (0 to classes - 1). A worker answers an item at most
once.

observed_agreement    share of pairs of answers on an item that agree, mean over items (Fleiss 1971)
cohen_kappa           two annotators (Cohen 1960; `interval` is quadratically weighted, Cohen 1968)
fleiss_kappa          any annotators (Fleiss 1971); an item counts once however many answered it, one with a single answer not
krippendorff_alpha    any annotators, missing answers, any distance (Krippendorff 2011, "Computing Krippendorff's
                      Alpha-Reliability"); an item counts by how many answered it
masi_alpha            alpha of sets of labels, by MASI, which counts a subset as half an agreement (Passonneau 2006)

All are None where the data cannot say: no item with two answers, or one label only, where chance agrees as well.

Intervals are percentiles of a bootstrap over items, or over groups of items (tokens of a document). Each statistic is a
function of sums over items, and items of the same answers are drawn together: a million answers take .3 CPU seconds. An
interval of 95 % holds the truth in 94 to 95 of 100 for 100 items, in 93 for 30 (tests/labeling/test_agreement.py);
where all items are alike it has no width, and says nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from curate.audit.bias.statistics import Estimate

__all__ = [
    "Level",
    "bootstrap",
    "cohen_kappa",
    "fleiss_kappa",
    "krippendorff_alpha",
    "label_counts",
    "masi_alpha",
    "observed_agreement",
]

Level = Literal["nominal", "ordinal", "interval"]
Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
_RESAMPLES = 1000
_CELLS = 1 << 22
"""Most sums that are held at once."""


def bootstrap(
    rows: Numbers | sparse.csr_array,
    statistic: Callable[[Numbers], Numbers],
    *,
    seed: int,
    resamples: int = _RESAMPLES,
    confidence: float = 0.95,
) -> Estimate | None:
    """The percentile bootstrap of a statistic of sums over items (Efron 1979).

    Args:
        rows: What each item adds to the sums, items by sums.
        statistic: Gives for sums (draws by sums) a value each, NaN where it has none.
        seed: Of the draws.
        resamples: How many draws.
        confidence: Of the interval.

    Returns:
        The value and its interval; None where there is no value, or none in half of the draws.
    """
    matrix: Any = sparse.csr_array(rows)
    items, width = matrix.shape
    if items == 0:
        return None
    value = float(statistic(np.asarray(matrix.sum(axis=0), np.float64).reshape(1, -1))[0])
    if np.isnan(value):
        return None
    # equal rows have equal projections: they are drawn as one, with their number
    matrix.sum_duplicates()
    keys = matrix @ np.random.default_rng(0).standard_normal(width)
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    different = matrix[first]
    shares = counts / items
    random, drawn = np.random.default_rng(seed), []
    step = max(1, _CELLS // max(width, len(first)))
    for start in range(0, resamples, step):
        weights = random.multinomial(items, shares, size=min(step, resamples - start)).astype(np.float64)
        drawn.append(statistic(weights @ different))
    values = np.concatenate(drawn)
    values = values[~np.isnan(values)]
    if len(values) < resamples / 2:
        return None
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high))


def label_counts(items: Integers, labels: Integers, classes: int) -> sparse.csr_array:
    """How often each label was given to each item that has answers, in order of the items (items by classes)."""
    _, rows = np.unique(items, return_inverse=True)
    shape = (int(rows.max(initial=-1)) + 1, classes)
    return sparse.csr_array((np.ones(len(rows)), (rows, labels)), shape=shape)


def _compared(items: Integers, labels: Integers, classes: int) -> tuple[sparse.csr_array, Numbers]:
    """Counts of the items with two answers and more, and how many answers each has."""
    counts = label_counts(items, labels, classes)
    answers = np.asarray(counts.sum(axis=1), np.float64)
    return counts[np.flatnonzero(answers > 1)], answers[answers > 1]


def _agreeing(counts: sparse.csr_array, answers: Numbers) -> Numbers:
    """The share of pairs of answers that agree, by item."""
    same = np.asarray(counts.multiply(counts).sum(axis=1), np.float64) - answers
    return same / (answers * (answers - 1))


def observed_agreement(
    items: Integers, labels: Integers, classes: int, *, seed: int, resamples: int = _RESAMPLES
) -> Estimate | None:
    """The share of pairs of answers that agree, in the mean over items with two and more; chance is not taken off."""
    counts, answers = _compared(items, labels, classes)
    rows = np.column_stack([_agreeing(counts, answers), np.ones(len(answers))])
    return bootstrap(rows, lambda sums: _ratio(sums[:, 0], sums[:, 1]), seed=seed, resamples=resamples)


def cohen_kappa(
    first: Integers, second: Integers, classes: int, *,
    level: Literal["nominal", "interval"] = "nominal", seed: int, resamples: int = _RESAMPLES,
) -> Estimate | None:  # fmt: skip
    """Cohen's kappa of two annotators' labels of the same items; `interval` weighs a difference by its square."""
    cells, places = len(first), np.arange(len(first))
    rows = sparse.csr_array((np.ones(cells), (places, first * classes + second)), shape=(cells, classes**2))
    distance = _distances(level, classes)

    def kappa(sums: Numbers) -> Numbers:
        tables = sums.reshape(-1, classes, classes)
        expected = np.einsum("bi,ij,bj->b", tables.sum(2), distance, tables.sum(1))
        return _beyond_chance(np.einsum("bij,ij->b", tables, distance) * tables.sum((1, 2)), expected)

    return bootstrap(rows, kappa, seed=seed, resamples=resamples)


def fleiss_kappa(
    items: Integers, labels: Integers, classes: int, *, seed: int, resamples: int = _RESAMPLES
) -> Estimate | None:
    """Fleiss's kappa; the numbers of answers may differ, and each item has the same weight in the agreement observed."""
    counts, answers = _compared(items, labels, classes)
    rows = sparse.hstack(
        [sparse.csr_array(np.column_stack([_agreeing(counts, answers), np.ones(len(answers))])), counts]
    )

    def kappa(sums: Numbers) -> Numbers:
        shares = sums[:, 2:] / np.maximum(sums[:, 2:].sum(1, keepdims=True), 1)
        return _beyond_chance(1 - _ratio(sums[:, 0], sums[:, 1]), 1 - (shares**2).sum(1))

    return bootstrap(sparse.csr_array(rows), kappa, seed=seed, resamples=resamples)


def krippendorff_alpha(
    items: Integers, labels: Integers, classes: int, *,
    level: Level | Numbers = "nominal", groups: Integers | None = None, seed: int, resamples: int = _RESAMPLES,
) -> Estimate | None:  # fmt: skip
    """Krippendorff's alpha.

    Args:
        items: The item of each answer.
        labels: Its label; for `ordinal` and `interval` in order, at equal steps for `interval`.
        classes: How many labels there are.
        level: What a difference of labels means, or the distances themselves (classes by classes).
        groups: What the bootstrap draws: the group of each answer, the same for all of one item; items unless given.
        seed: Of the bootstrap.
        resamples: Its draws.

    Returns:
        Alpha: 1 for full agreement, 0 for chance, below 0 for less than that. None where no item has two answers, or there
        is one label only.
    """
    rows = _coincidences(items, labels, classes, groups)
    fixed = _distances(level, classes) if isinstance(level, str) else level

    def alpha(sums: Numbers) -> Numbers:
        tables = sums.reshape(-1, classes, classes)
        of = tables.sum(2)
        distance = _ordinal(of) if isinstance(level, str) and level == "ordinal" else fixed[None]
        expected = ((of[:, None] @ distance)[:, 0] * of).sum(1)
        return _beyond_chance((tables * distance).sum((1, 2)) * (of.sum(1) - 1), expected)

    return bootstrap(rows, alpha, seed=seed, resamples=resamples)


def masi_alpha(items: Integers, sets: NDArray[np.bool_], *, seed: int, resamples: int = _RESAMPLES) -> Estimate | None:
    """Krippendorff's alpha of sets of labels (answers by classes), a difference being 1 - MASI.

    MASI is Jaccard's index times 1 for equal sets, 2/3 for a subset, 1/3 for sets that overlap, 0 for others; two empty
    sets are equal.
    Memory: the square of the number of different sets.
    """
    if not len(sets):
        return None
    different, labels = np.unique(sets, axis=0, return_inverse=True)
    members = different.astype(np.float64)
    both, sizes = members @ members.T, members.sum(1)
    either = sizes[:, None] + sizes - both
    smaller = np.minimum(sizes[:, None], sizes)
    weight = np.where(both == either, 1, np.where(both == smaller, 2 / 3, np.where(both > 0, 1 / 3, 0)))
    distance = 1 - np.where(either > 0, both / np.maximum(either, 1), 1) * weight
    return krippendorff_alpha(items, labels.ravel(), len(different), level=distance, seed=seed, resamples=resamples)


def _coincidences(items: Integers, labels: Integers, classes: int, groups: Integers | None) -> sparse.csr_array:
    """Pairs of labels within items, each by 1 / (answers - 1), summed by group; a row is a table of classes by classes."""
    counts, answers = _compared(items, labels, classes)
    entries = counts.tocoo()
    sizes = np.diff(counts.indptr)
    # every count of an item meets every other of it, and itself
    mates = np.repeat(sizes, sizes)
    left = np.repeat(np.arange(counts.nnz), mates)
    begins = np.repeat(counts.indptr[:-1], sizes)
    right = np.arange(len(left)) + np.repeat(begins - np.cumsum(mates) + mates, mates)
    row, one, other = entries.row[left], entries.col[left].astype(np.int64), entries.col[right].astype(np.int64)
    pairs = counts.data[left] * (counts.data[right] - (one == other)) / (answers[row] - 1)
    if groups is not None:
        _, first, times = np.unique(items, return_index=True, return_counts=True)
        _, of_item = np.unique(groups[first][times > 1], return_inverse=True)
        row = of_item[row]
    shape = (int(row.max(initial=-1)) + 1, classes**2)
    return sparse.csr_array((pairs, (row, one * classes + other)), shape=shape)


def _distances(level: Level, classes: int) -> Numbers:
    places = np.arange(classes, dtype=np.float64)
    return (places[:, None] - places) ** 2 if level == "interval" else 1 - np.eye(classes)


def _ordinal(of: Numbers) -> Numbers:
    """Squares of how many values lie between two labels, half of each end among them (draws by classes by classes)."""
    middle = np.cumsum(of, axis=1) - of / 2
    return (middle[:, :, None] - middle[:, None]) ** 2


def _ratio(part: Numbers, whole: Numbers) -> Numbers:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _beyond_chance(observed: Numbers, expected: Numbers) -> Numbers:
    """1 - observed / expected disagreement; NaN where none is expected."""
    return 1 - _ratio(observed, np.where(expected > 1e-12, expected, 0))
