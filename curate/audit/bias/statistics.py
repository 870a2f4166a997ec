"""Shares, ratios and tables with 95 % intervals, and when a difference counts.

wilson               Wilson (1927): share of a count
risk_ratio           Katz et al. (1978): log interval of a ratio of shares; half a case is added where a cell is empty
mantel_haenszel      Mantel and Haenszel (1959): odds ratio over strata; variance of Robins, Breslow and Greenland (1986)
independence         Fisher's exact test, or G2 where every cell is expected at least 5 times
log_odds             Monroe, Colaresi and Quinn (2008): log odds ratio with an informative Dirichlet prior
npmi                 Bouma (2009): normalized pointwise mutual information
adjusted             Benjamini and Hochberg (1995): q-values
detectable_ratio     the least odds ratio found with 80 % power
effective_n          Kish (1965): what a weighted sample is worth
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from curate.audit.bias.tables import Corpus

__all__ = [
    "Estimate",
    "Z",
    "adjusted",
    "by_cluster",
    "clustered_odds",
    "detectable_ratio",
    "effective_n",
    "independence",
    "informative",
    "log_odds",
    "mantel_haenszel",
    "normal_p",
    "npmi",
    "risk_ratio",
    "weighted",
    "wilson",
]  # fmt: skip

Z = 1.959964
POWER = 0.841621
"""The 80 % quantile of the normal distribution."""
EXPECTED = 5
Numbers = NDArray[np.float64]


class Estimate(NamedTuple):
    """A value, its 95 % interval, and the p-value of no effect (None where none is tested)."""

    value: float
    low: float
    high: float
    p: float | None = None


def wilson(hits: float, of: float) -> Estimate:
    """A share; of nothing it may be anything. Weighted hits are of the effective number of observations."""
    if not of:
        return Estimate(math.nan, 0.0, 1.0)
    share, square = hits / of, Z * Z / of
    middle = (share + square / 2) / (1 + square)
    half = Z * math.sqrt(share * (1 - share) / of + square / (4 * of)) / (1 + square) if 0 <= share <= 1 else 0.0
    low = max(0.0, middle - half) if share > 0 else 0.0
    return Estimate(share, low, min(1.0, middle + half) if share < 1 else 1.0)


def normal_p(z: float) -> float:
    """Two-sided p-value of a standard normal number."""
    return math.erfc(abs(z) / math.sqrt(2))


def _log(value: float, deviation: float) -> Estimate:
    """From a logarithm to a ratio."""
    with np.errstate(over="ignore"):
        low, middle, high = np.exp([value - Z * deviation, value, value + Z * deviation]).tolist()
    return Estimate(middle, low, high, normal_p(value / deviation) if deviation else None)


def risk_ratio(hits: int, of: int, hits_other: int, of_other: int) -> Estimate:
    """Share of one sample over the share of another."""
    add = 0.5 if 0 in (hits, hits_other, of - hits, of_other - hits_other) else 0.0
    a, n, b, m = hits + add, of + 2 * add, hits_other + add, of_other + 2 * add
    if not of or not of_other:
        return Estimate(math.nan, 0.0, math.inf)
    return _log(math.log(a / n) - math.log(b / m), math.sqrt(1 / a - 1 / n + 1 / b - 1 / m))


def mantel_haenszel(hits: Numbers, misses: Numbers, hits_other: Numbers, misses_other: Numbers) -> Estimate:
    """Odds ratio over strata, each an entry of the four arrays; nan where no stratum has both samples and both outcomes.

    Where one sample has no hits or no misses in all of these, it is Peto's one-step estimate (Yusuf et al. 1985). The p-value
    is that of Cochran, Mantel and Haenszel, without correction; where hits could not be 5 more and 5 fewer than expected
    (Mantel and Fleiss 1980), the exact conditional one.
    """
    a, b, c, d = strata = informative(hits, misses, hits_other, misses_other)
    if not len(a):
        return Estimate(math.nan, 0.0, math.inf)
    total = a + b + c + d
    spread = float(((a + b) * (c + d) * (a + c) * (b + d) / (total**2 * np.maximum(total - 1, 1))).sum())
    expected = (a + b) * (a + c) / total
    surplus = float((a - expected).sum())
    least = float((expected - np.maximum(0, a - d)).sum())
    most = float((np.minimum(a + b, a + c) - expected).sum())
    p = normal_p(surplus / math.sqrt(spread)) if min(least, most) >= EXPECTED else _exact(*strata)
    r, s = a * d / total, b * c / total
    if not r.sum() or not s.sum():
        return _log(surplus / spread, 1 / math.sqrt(spread))._replace(p=p)
    agree, differ = (a + d) / total, (b + c) / total
    variance = (
        (agree * r).sum() / (2 * r.sum() ** 2)
        + (agree * s + differ * r).sum() / (2 * r.sum() * s.sum())
        + (differ * s).sum() / (2 * s.sum() ** 2)
    )
    return _log(math.log(r.sum() / s.sum()), math.sqrt(variance))._replace(p=p)


def informative(hits: Numbers, misses: Numbers, hits_other: Numbers, misses_other: Numbers) -> tuple[Numbers, ...]:
    """The strata that have both samples and both outcomes: all others say nothing of odds."""
    a, b, c, d = (np.asarray(one, np.float64) for one in (hits, misses, hits_other, misses_other))
    some = (a + b > 0) & (c + d > 0) & (a + c > 0) & (b + d > 0)
    return a[some], b[some], c[some], d[some]


def _exact(a: Numbers, b: Numbers, c: Numbers, d: Numbers) -> float:
    """Two-sided p-value of the sum of hits, given the margins of every stratum: twice the smaller tail."""
    from scipy.stats import hypergeom

    chances, least = np.ones(1), 0
    for one in zip(a, b, c, d, strict=True):
        hits, misses, hits_other, misses_other = (int(cell) for cell in one)
        mine, whole = hits + misses, hits + misses + hits_other + misses_other
        low, high = max(0, hits - misses_other), min(mine, hits + hits_other)
        chances = np.convolve(chances, hypergeom.pmf(np.arange(low, high + 1), whole, hits + hits_other, mine))
        least += low
    at = int(a.sum()) - least
    return min(1.0, 2 * float(min(chances[: at + 1].sum(), chances[at:].sum())))


def independence(hits: int, misses: int, hits_other: int, misses_other: int) -> float:
    """p-value of a table of two by two."""
    from scipy.stats import chi2_contingency, fisher_exact

    table = np.array([[hits, misses], [hits_other, misses_other]])
    if 0 in table.sum(axis=0) or 0 in table.sum(axis=1):
        return 1.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    if expected.min() < EXPECTED:
        return float(fisher_exact(table).pvalue)
    return float(chi2_contingency(table, correction=False, lambda_="log-likelihood").pvalue)


def clustered_odds(table: Numbers) -> Estimate:
    """Odds ratio of counts by cluster: what stands in one document is no independent evidence.

    Args:
        table: (clusters, 4): hits and misses of one sample, hits and misses of the other.

    Woolf's interval where every cluster is one observation; half a case is added to each cell where one is empty.
    """
    whole = table.sum(axis=0)
    cells = whole + (0.5 if (whole == 0).any() else 0.0)
    influence = table @ (np.array([1.0, -1.0, -1.0, 1.0]) / cells)
    clusters = max(int((table.sum(axis=1) > 0).sum()), 2)
    variance = max(float((influence**2).sum()) * clusters / (clusters - 1), 1e-12)
    return _log(float(np.log(cells) @ [1, -1, -1, 1]), math.sqrt(variance))


def by_cluster(table: Numbers, clusters: NDArray[np.int64]) -> Numbers:
    """The sums of rows that are one observation."""
    names, of = np.unique(clusters, return_inverse=True)
    if len(names) == len(table):
        return table
    sums = np.zeros((len(names), table.shape[1]))
    np.add.at(sums, of, table)
    return sums


def weighted(table: Numbers, corpus: Corpus, rows: NDArray[np.int64]) -> Numbers:
    """Counts of measured documents by their weights, as many in all as they are worth (`effective_n`)."""
    if corpus.weights is None:
        return table
    weights = corpus.weights[rows]
    square = float((weights**2).sum())
    return table * (weights * (weights.sum() / square if square else 0.0))[:, None]


def log_odds(hits: float, of: float, hits_other: float, of_other: float, share: float, weight: float) -> Estimate:
    """Log odds ratio, drawn to no difference by `weight` observations that hit as often as `share`."""
    prior, rest = share * weight, (1 - share) * weight
    cells = np.array([hits + prior, of - hits + rest, hits_other + prior, of_other - hits_other + rest])
    value, deviation = float(np.log(cells) @ [1, -1, -1, 1]), math.sqrt((1 / cells).sum())
    return Estimate(value, value - Z * deviation, value + Z * deviation, normal_p(value / deviation))


def npmi(both: float, one: float, other: float, of: float) -> float:
    """From -1 (never together) over 0 (as chance has it) to 1 (always together)."""
    if both <= 0 or of <= 0:
        return -1.0
    joint = both / of
    return 1.0 if joint >= 1 else math.log(joint / (one / of * other / of)) / -math.log(joint)


def adjusted(values: Sequence[float]) -> list[float]:
    """q-values: the false discovery rate at which each p-value counts."""
    from scipy.stats import false_discovery_control

    return false_discovery_control(values).tolist() if len(values) else []


def detectable_ratio(share: float, of: float, of_other: float) -> float:
    """The least odds ratio that is found with 80 % power where the others' share is `share`; infinite where none is."""
    if not 0 < share < 1 or not of or not of_other:
        return math.inf
    deviation = math.sqrt((1 / of + 1 / of_other) / (share * (1 - share)))
    return math.exp((Z + POWER) * deviation) if deviation < 100 else math.inf


def effective_n(weights: Numbers) -> float:
    """How many unweighted observations the weighted ones are worth."""
    square = float((weights**2).sum())
    return float(weights.sum()) ** 2 / square if square else 0.0
