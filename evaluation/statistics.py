"""Two models on the same items: how far apart, how sure, and what would have been found.

holm                Holm (1979): p-values of several tests, adjusted so that one error in any of them stays as unlikely as named
mcnemar             McNemar (1947), exact: of the items that one model alone has right, is each model's share a half?
matched_difference  Agresti and Min (2005): interval of the difference of two shares of the same items, half an item added to
                    each cell: it has a width even where the two models never differ
exchanged           approximate randomization (Noreen 1989): how often a difference as large comes about when the two models
                    are exchanged, at random, on each item; exact at any number of items for two draws of one model
paired              the percentile bootstrap of the difference over the same items, for any function of sums
unpaired            the percentile bootstrap of the difference of two samples that are drawn apart
wide                Hesterberg (2014, arXiv 1411.5279): the percentiles of a bootstrap whose interval is not too narrow for few
                    items; as Student's t is to the normal
detectable          the least difference that Student's t test finds with 80% power, of its estimated standard error
detectable_share    the same of McNemar's exact test, which finds nothing below 6 items that one model alone has right
least_p             the least p-value that `exchanged` can give

Measured in tests/evaluation/test_statistics.py: intervals hold the truth in 93 to 97 of 100, and two draws of one model are
called different in at most 5 of 100, at 12 items as at 200.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse, stats

from curate.audit.bias.statistics import Estimate, Z
from curate.labeling.agreement import bootstrap

__all__ = [
    "detectable",
    "detectable_share",
    "exchanged",
    "holm",
    "least_p",
    "matched_difference",
    "mcnemar",
    "paired",
    "unpaired",
    "wide",
]

Numbers = NDArray[np.float64]
Rows = Any
"""Items by sums: an array, or a sparse matrix."""
Value = Callable[[Numbers], Numbers]
RESAMPLES, EXCHANGES, POWER = 2000, 5000, 0.8
CELLS = 1 << 22
"""Most numbers that are held at once."""


def holm(values: Sequence[float]) -> list[float]:
    """The p-values, adjusted: reject those below 5%, and with 95% none of them is a false one."""
    order = sorted(range(len(values)), key=lambda number: values[number])
    adjusted, highest = [0.0] * len(values), 0.0
    for place, number in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - place) * values[number]))
        adjusted[number] = highest
    return adjusted


def mcnemar(wins: int, losses: int) -> float:
    """Two-sided p-value of the items that only the one, and only the other, has right; 1 where there are none."""
    return float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def matched_difference(wins: int, losses: int, n: int) -> Estimate:
    """Share of items that the one has right, less that of the other, of `n` items of which they differ in wins + losses."""
    more, fewer, all_of = wins + 0.5, losses + 0.5, n + 2.0
    middle = (more - fewer) / all_of
    half = Z * math.sqrt(max(more + fewer - (more - fewer) ** 2 / all_of, 0.0)) / all_of
    return Estimate((wins - losses) / n, max(-1.0, middle - half), min(1.0, middle + half))


def wide(n: int, confidence: float = 0.95) -> float:
    """The confidence to ask a percentile bootstrap of `n` items for, so that its interval has the one that is named."""
    if n < 2:
        return confidence
    quantile = stats.t.ppf((1 + confidence) / 2, n - 1) * math.sqrt(n / (n - 1))
    return float(1 - 2 * stats.norm.sf(quantile))


def paired(first: Rows, other: Rows, value: Value, *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate | None:
    """`value` of the other model less that of the first, with its 95% interval over the items that both have.

    Args:
        first: What each item adds to the first model's sums (items by sums).
        other: The same of the other model.
        value: From sums (draws by sums) to a value each, NaN where there is none.
        seed: Of the draws.
        resamples: How many draws.

    Returns:
        None for less than two items, or where there is no value.
    """
    width, count = first.shape[1], first.shape[0]
    if count < 2:
        return None
    both: Any = sparse.hstack([sparse.csr_array(first), sparse.csr_array(other)], format="csr")
    return bootstrap(
        both, lambda sums: value(sums[:, width:]) - value(sums[:, :width]),
        seed=seed, resamples=resamples, confidence=wide(count),
    )  # fmt: skip


def unpaired(
    first: Numbers, other: Numbers, value: Value, *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate | None:
    """`value` of the first items less that of the other ones, which are none of the first, with its 95% interval.

    Args:
        first: What each of the first items adds to the sums (items by sums).
        other: The same of the others.
        value: As of `paired`.
        seed: Of the draws.
        resamples: How many draws.

    Returns:
        None for less than two items of either kind, or where there is no value.
    """
    fewest = min(len(first), len(other))
    if fewest < 2:
        return None
    random, drawn = np.random.default_rng(seed), list[Numbers]()
    for rows in (first, other):
        step, sums = max(1, CELLS // len(rows)), list[Numbers]()
        for start in range(0, resamples, step):
            size = min(step, resamples - start)
            weights = random.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=size)
            sums.append(weights.astype(np.float64) @ rows)
        drawn.append(value(np.concatenate(sums)))
    found = value(first.sum(axis=0, keepdims=True)) - value(other.sum(axis=0, keepdims=True))
    differences = drawn[0] - drawn[1]
    if np.isnan(found[0]) or np.isnan(differences).any():
        return None
    tail = (1 - wide(fewest)) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return Estimate(float(found[0]), float(low), float(high))


def exchanged(first: Rows, other: Rows, value: Value, *, seed: int = 0, exchanges: int = EXCHANGES) -> float | None:
    """Two-sided p-value of no difference: the two models are exchanged on each item with probability one half.

    Args:
        first: As of `paired`; both models' sums are of the same things.
        other: The same of the other model.
        value: As of `paired`.
        seed: Of the draws.
        exchanges: How many draws.

    Returns:
        At least 1 / (exchanges + 1); 1 where the two are equal on every item, None where there is no value.
    """
    gained: Any = sparse.csr_array(other) - sparse.csr_array(first)
    sums = [np.asarray(rows.sum(axis=0), np.float64).reshape(1, -1) for rows in (first, other)]
    found = float((value(sums[1]) - value(sums[0]))[0])
    if math.isnan(found):
        return None
    gained.eliminate_zeros()
    gained = gained[np.flatnonzero(np.diff(gained.indptr))]
    if not gained.shape[0]:
        return 1.0
    # items that gain the same are exchanged as one, with their number
    keys = gained @ np.random.default_rng(0).standard_normal(gained.shape[1])
    _, places, counts = np.unique(keys, return_index=True, return_counts=True)
    different, random = gained[places], np.random.default_rng(seed)
    as_far, valid, step = 0, 0, max(1, CELLS // max(gained.shape[1], len(places)))
    for start in range(0, exchanges, step):
        moved = random.binomial(counts, 0.5, size=(min(step, exchanges - start), len(places))).astype(np.float64)
        moved = moved @ different
        drawn = value(sums[1] - moved) - value(sums[0] + moved)
        drawn = drawn[~np.isnan(drawn)]
        valid += len(drawn)
        as_far += int((np.abs(drawn) >= abs(found) * (1 - 1e-9) - 1e-12).sum())
    return (as_far + 1) / (valid + 1) if valid >= exchanges / 2 else None


def least_p(n: int, exchanges: int = EXCHANGES) -> float:
    """The least p-value that exchanging two models on `n` items can give."""
    return max(2.0 ** (1 - n), 1 / (exchanges + 1))


def detectable(error: float, degrees: float, known: float, *, level: float = 0.05) -> float:
    """The least true difference that Student's t test finds in 8 of 10 tries, two-sided.

    Args:
        error: Standard error of the difference, as it was estimated.
        degrees: Of freedom, of the test.
        known: Degrees of freedom of `error`: the 8 of 10 are over the chance that it came out small, too.
        level: Of the test.
    """
    return error * _errors_found(degrees, known, level) if error else 0.0


@cache
def _errors_found(degrees: float, known: float, level: float) -> float:
    """How many standard errors are found in 8 of 10 tries; takes a second."""
    least = stats.t.ppf(1 - level / 2, degrees) * _spreads(degrees)
    errors = _spreads(known)[:, None]

    def missed(factor: float) -> float:
        tails = stats.norm.cdf(factor * errors - least) + stats.norm.cdf(-factor * errors - least)
        return POWER - float(tails.mean())

    return float(optimize.root_scalar(missed, bracket=(0.0, 1e6), rtol=1e-9).root)


def _spreads(degrees: float) -> Numbers:
    """What a standard deviation of 1 is estimated as: 400 equally likely values."""
    return np.sqrt(stats.chi2.ppf((np.arange(400) + 0.5) / 400, degrees) / degrees)


def detectable_share(wins: int, losses: int, n: int, *, level: float = 0.05) -> float | None:
    """The least true difference of two shares that McNemar's exact test finds in 8 of 10 tries.

    Items on which only the worse model is right are taken to be as frequent as half of those on which the two differed,
    with half an item added: the more there are, the more the better one has to win.

    Args:
        wins: Items that only the one has right.
        losses: Items that only the other has right.
        n: All items.
        level: Of the test.

    Returns:
        None where no difference is: for too few items.
    """
    lost = (wins + losses + 1) / (2 * (n + 1))

    def missed(difference: float) -> float:
        both = 2 * lost + difference
        low, high = stats.binom.interval(1 - 1e-9, n, both)
        differing = np.arange(low, high + 1)
        needed = stats.binom.isf(level / 2, differing, 0.5)
        found = stats.binom.sf(needed, differing, (lost + difference) / both)
        return POWER - float(stats.binom.pmf(differing, n, both) @ found)

    most = 1 - 2 * lost - 1e-12
    return float(optimize.root_scalar(missed, bracket=(0.0, most), xtol=1e-9).root) if missed(most) < 0 else None
