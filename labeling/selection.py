"""Which texts to label next.

random       every text alike
margin       those whose two best labels are closest ("breaking ties", Luo et al. 2005), in a random half of the pool, so that
             near-duplicates do not fill a round; for sets of labels the label closest to .5
diverse      k-means++ seeding on features (Arthur and Vassilvitskii 2007): each next text is drawn by its squared distance
             from those chosen, so that it is unlike them, and an outlier is no sure choice as in k-center.
             With margins, by these, too: the default, never worse than random in benchmarks/RESULTS.md, which
             `margin` alone is where classes are many and labels few
mixture      the strategy, and at least a fifth at random, which alone measures how good the model is

All are without replacement, decided by the seed, and in the order in which they were chosen. `diverse` looks at no more than 20
texts for each that it takes (and at 5,000 at least), drawn at random. 500 of a million rows: `margin`
.1 CPU s, `diverse` .7, .4 GB with the features of the pool.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["RANDOM_SHARE", "Chosen", "diverse", "margin", "margins", "mixture", "random"]

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
RANDOM_SHARE = 0.2
_LOOKED_AT, _FEWEST = 20, 5000


class Chosen(NamedTuple):
    """A round: rows of the pool, and which of them were drawn at random."""

    rows: Integers
    at_random: NDArray[np.bool_]


def random(pool: int, count: int, *, seed: int) -> Integers:
    """So many rows of a pool, or all of it."""
    return np.random.default_rng(seed).choice(pool, min(count, pool), replace=False)


def margins(probable: Numbers, *, multilabel: bool = False) -> Numbers:
    """How sure a model is of each row: the distance of the two best labels, of sets that of the least sure label from .5."""
    if multilabel:
        return np.abs(2 * probable - 1).min(axis=1)
    if probable.shape[1] < 2:
        return np.ones(len(probable))
    best = np.partition(probable, -2, axis=1)
    return best[:, -1] - best[:, -2]


def margin(sureness: Numbers, count: int, *, seed: int, thinning: float = 0.5) -> Integers:
    """So many rows that the model is least sure of (`margins`), among a random half of the pool (or what is needed)."""
    kept = random(len(sureness), max(count, int(len(sureness) * thinning)), seed=seed)
    return kept[np.argsort(sureness[kept], kind="stable")[:count]]


def diverse(features: Any, count: int, *, seed: int, sureness: Numbers | None = None) -> Integers:
    """So many rows that are unlike each other.

    Args:
        features: Rows by features, dense or sparse (csr).
        count: How many.
        seed: Of all draws.
        sureness: How sure the model is of each row (`margins`); it is drawn by (1 - sureness)^2 times its distance. All alike
            unless given.
    """
    draw = np.random.default_rng(seed)
    looked_at = random(features.shape[0], max(_LOOKED_AT * count, _FEWEST), seed=seed)
    own = features[looked_at]
    squares = np.asarray(
        own.multiply(own).sum(axis=1) if hasattr(own, "multiply") else (own**2).sum(1), np.float64
    ).ravel()
    welcome = np.ones(len(looked_at)) if sureness is None else (1 - sureness[looked_at]) ** 2
    nearest, taken = np.full(len(looked_at), 1.0), np.zeros(len(looked_at), bool)
    chosen: list[int] = []
    for _ in range(min(count, len(looked_at))):
        chances = np.where(taken, 0, np.maximum(nearest, 1e-12) * np.maximum(welcome, 1e-12))
        place = int(draw.choice(len(chances), p=chances / chances.sum()))
        taken[place] = True
        row = own[[place]]
        products = own @ (row.toarray().ravel() if hasattr(row, "toarray") else row.ravel())
        distances = np.maximum(squares + squares[place] - 2 * products, 0)
        nearest = np.minimum(nearest, distances) if chosen else distances
        chosen.append(place)
    return looked_at[np.array(chosen, np.int64)]


def mixture(chosen: Integers, pool: int, count: int, *, seed: int, random_share: float = RANDOM_SHARE) -> Chosen:
    """A round of `count` rows: at least a share at random, drawn first, the others in the order of a strategy.

    Args:
        chosen: Rows in a strategy's order, `count` of them.
        pool: How many rows there are.
        count: How many to label.
        seed: Of the random ones.
        random_share: At least a fifth.
    """
    assert RANDOM_SHARE <= random_share <= 1
    count = min(count, pool)
    drawn = random(pool, int(np.ceil(count * random_share)), seed=seed)
    others = chosen[~np.isin(chosen, drawn)][: count - len(drawn)]
    if len(drawn) + len(others) < count:
        left = np.setdiff1d(np.arange(pool), np.concatenate([drawn, others]))
        drawn = np.concatenate([drawn, left[random(len(left), count - len(drawn) - len(others), seed=seed + 1)]])
    rows = np.concatenate([drawn, others])
    return Chosen(rows, np.arange(len(rows)) < len(drawn))
