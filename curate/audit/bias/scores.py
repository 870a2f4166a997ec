"""Scores and labels by group: differences, ranks, agreement, with intervals over clusters.

    cliffs_delta         Cliff (1993): P(x > y) - P(x < y); variance by placements (DeLong et al. 1988)
    auc                  area under the ROC curve, the same placements
    difference           difference of means
    power_mean           Borkan et al. (2019), of the AUCs of subgroups, p = -5
    krippendorff         Krippendorff (2011): alpha of nominal labels with missing ones

Every variance is a sum over clusters of squared sums of influences: ten sentences of one document are one observation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from curate.audit.bias.statistics import POWER, Estimate, Z, normal_p

__all__ = [
    "auc",
    "cliffs_delta",
    "detectable_delta",
    "difference",
    "krippendorff",
    "placements",
    "power_mean",
    "spread",
]

Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]


def spread(influence: Numbers, clusters: Integers | None) -> float:
    """Variance of a sum of influences; those of a cluster are one observation."""
    if clusters is None:
        return float((influence**2).sum())
    _, of = np.unique(clusters, return_inverse=True)
    sums = np.bincount(of, influence)
    return float((sums**2).sum()) * len(sums) / max(len(sums) - 1, 1)


def placements(
    x: Numbers, y: Numbers, weights_x: Numbers | None = None, weights_y: Numbers | None = None
) -> tuple[Numbers, Numbers]:
    """By value of `x` the (weighted) share of `y` below it less that above it, and the reverse of each of `y`."""
    return _standing(x, y, weights_y), -_standing(y, x, weights_x)


def _standing(values: Numbers, among: Numbers, weights: Numbers | None) -> Numbers:
    order = np.argsort(among, kind="stable")
    sums = np.arange(len(among) + 1.0) if weights is None else np.concatenate([[0.0], np.cumsum(weights[order])])
    below, upto = (sums[np.searchsorted(among[order], values, side=side)] for side in ("left", "right"))
    return (below + upto - sums[-1]) / sums[-1]


def cliffs_delta(
    x: Numbers, y: Numbers, clusters_x: Integers | None = None, clusters_y: Integers | None = None,
    weights_x: Numbers | None = None, weights_y: Numbers | None = None,
) -> Estimate:  # fmt: skip
    """How much more often a value of `x` is above one of `y` than below it: from -1 to 1.

    The interval is made on the scale of the inverse hyperbolic tangent, so that it stays inside. Where all of `x` are above
    all of `y`, or below, it is that of as many pairs of one each as can be made, of which every one says so (Clopper and
    Pearson 1934).
    """
    of_x, of_y = placements(x, y, weights_x, weights_y)
    delta = float(np.average(of_x, weights=weights_x))
    influence = np.concatenate([_influence(of_x - delta, weights_x, 1.0), _influence(of_y - delta, weights_y, 1.0)])
    variance = spread(
        influence, None if clusters_x is None or clusters_y is None else np.concatenate([clusters_x, clusters_y])
    )
    if abs(delta) >= 1:
        pairs = min(_independent(len(x), clusters_x, weights_x), _independent(len(y), clusters_y, weights_y))
        bound = 2 * 0.025 ** (1 / pairs) - 1
        return Estimate(delta, *((bound, 1.0) if delta > 0 else (-1.0, -bound)), None)
    if not variance:
        return Estimate(delta, delta, delta, None)
    deviation = math.sqrt(variance) / (1 - delta**2)
    low, high = math.tanh(math.atanh(delta) - Z * deviation), math.tanh(math.atanh(delta) + Z * deviation)
    return Estimate(delta, low, high, normal_p(delta / math.sqrt(variance)))


def _independent(count: int, clusters: Integers | None, weights: Numbers | None) -> float:
    """How many independent observations there are; of weighted ones as Kish counts (1965)."""
    if clusters is not None:
        return len(np.unique(clusters))
    return count if weights is None else float(weights.sum() ** 2 / (weights**2).sum())


def _influence(apart: Numbers, weights: Numbers | None, less: float) -> Numbers:
    """What each observation adds to a (weighted) mean; `less` is the degrees of freedom that it costs."""
    shares = np.full(len(apart), 1 / len(apart)) if weights is None else weights / weights.sum()
    return apart * shares * (len(apart) / max(len(apart) - less, 1))


def auc(positive: Numbers, negative: Numbers) -> Estimate:
    """How often a positive's score is above a negative's."""
    delta = cliffs_delta(positive, negative)
    return Estimate((delta.value + 1) / 2, (delta.low + 1) / 2, (delta.high + 1) / 2)


def difference(
    x: Numbers, y: Numbers, clusters_x: Integers | None = None, clusters_y: Integers | None = None,
    weights_x: Numbers | None = None, weights_y: Numbers | None = None,
) -> Estimate:  # fmt: skip
    """Mean of `x` less mean of `y`."""
    mean_x, mean_y = float(np.average(x, weights=weights_x)), float(np.average(y, weights=weights_y))
    value = mean_x - mean_y
    influence = np.concatenate([_influence(x - mean_x, weights_x, 0.5), _influence(mean_y - y, weights_y, 0.5)])
    both = None if clusters_x is None or clusters_y is None else np.concatenate([clusters_x, clusters_y])
    deviation = math.sqrt(spread(influence, both))
    p = normal_p(value / deviation) if deviation else None
    return Estimate(value, value - Z * deviation, value + Z * deviation, p)


def detectable_delta(of: int, of_other: int) -> float:
    """The least Cliff's delta that is found with 80 % power, of scores without ties."""
    if not of or not of_other:
        return math.inf
    return min(1.0, (Z + POWER) * math.sqrt((of + of_other + 1) / (3 * of * of_other)))


def power_mean(values: Sequence[float], power: float = -5.0) -> float:
    """The generalized mean: at -5 the worst values count most."""
    found = np.asarray(values, np.float64)
    return float((found**power).mean() ** (1 / power)) if len(found) and (found > 0).all() else math.nan


def krippendorff(units: Iterable[Sequence[object]]) -> float:
    """Agreement on nominal labels: 1 is perfect, 0 is chance; nan where nothing can be compared.

    Args:
        units: The labels that each thing was given; things with fewer than two do not count.
    """
    names: dict[object, int] = {}
    rows: list[tuple[list[int], int]] = []
    for labels in units:
        if len(labels) > 1:
            rows.append(([names.setdefault(label, len(names)) for label in labels], len(labels)))
    if not rows:
        return math.nan
    counts = np.array([np.bincount(row, minlength=len(names)) for row, _ in rows], np.float64)
    sizes = counts.sum(axis=1)
    observed = float(((sizes**2 - (counts**2).sum(axis=1)) / (sizes - 1)).sum())
    whole, total = counts.sum(axis=0), float(sizes.sum())
    expected = (total**2 - float((whole**2).sum())) / (total - 1)
    return 1 - observed / expected if expected else math.nan
