"""Drift: in which columns the documents of one version are other than those of another, and how many of them.

What is compared is what the ledger has of every document that was read, kept or removed: numbers that stages measured, sources,
languages and other names, and why documents left. No text is read again.

moved   the share of documents that has to be another for the one distribution to become the other, at least: of numbers the
        largest distance of the two distribution functions (Kolmogorov and Smirnov); of names their total variation distance,
        or the largest difference of a single name's share, whichever stands out more: with many names the former is all noise.
        Names beyond the commonest NAMES, and of less than FEWEST documents, are one, but for the documents whose name one side
        alone has, where these are more than chance makes. Documents without a number count as those of a name
noise   what two samples of one distribution differ by, by chance, at most: in 98 of 100 comparisons of two such versions no
        column is beyond it. Of numbers it is Massart's bound (1990) of both samples, whatever the distribution; of names a
        quantile of DRAWS draws of both from what they have together; of names of one side, what comes of dealing the documents
        out anew (of names that stand once nothing can be told: each is of one side)
psi     the population stability index, over deciles of both together or the names; told, and decides nothing: that it is
        above 0.1 or 0.25 depends on how many bins there are, and on how many documents

A column has drifted where `moved` is above the noise and at least LEAST: a p-value finds any difference, however small, once
there are documents enough. Where the noise is above MOST, a tenth of the documents could be others unseen: it cannot be told.

Measured in benchmarks/drift.py. Cost: a sort of each column, 0.3 CPU seconds a million documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from curate.dataset.reader import Dataset
from curate.errors import CurateError

__all__ = ["LEAST", "Columns", "Drift", "Drifted", "Side", "drift", "version_drift"]

LEAST, MOST, LEVEL = 0.05, 0.1, 0.02
DRAWS, BINS, NAMES, FEWEST, SHOWN = 2000, 10, 200, 10, 5
NONE, OTHERS, SOME, GONE, NEW = "(none)", "(others)", "(a number)", "(rare and gone)", "(rare and new)"
NOT_COMPARED = ("verdict", "stage", "file")
"""Facets that `reason` has already, or that differ between any two versions."""
Numbers = NDArray[np.float64]
Rows = NDArray[np.bool_]
Verdict = Literal["drifted", "no drift", "cannot tell"]


class Columns(Protocol):
    """What is known of the documents of a version (curate/browse/columns.py)."""

    @property
    def facets(self) -> Sequence[str]:
        """Names of the columns of names."""
        ...

    @property
    def features(self) -> Sequence[str]:
        """Names of the columns of numbers."""
        ...

    def facet(self, name: str) -> tuple[NDArray[np.int32], Sequence[str]]:
        """For each row the number of its name (-1 for none), and the names."""
        ...

    def feature(self, name: str) -> Numbers:
        """For each row a number, NaN for none."""
        ...


class Side(NamedTuple):
    """Some documents of a version."""

    columns: Columns
    rows: Rows


@dataclass(frozen=True, slots=True)
class Drifted:
    """How a column differs.

    Attributes:
        name: Of the column.
        kind: `names` or `numbers`.
        documents: That were compared, of both sides: of numbers those that have one.
        moved: See above.
        noise: See above.
        psi: See above.
        verdict: What that comes to.
        told: Of names those whose shares differ most, with both; of numbers the value below
            which they differ most, with both shares, and the medians.
    """

    name: str
    kind: Literal["names", "numbers"]
    documents: tuple[int, int]
    moved: float
    noise: float
    psi: float
    verdict: Verdict
    told: list[dict[str, Any]]

    def json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {name: getattr(self, name) for name in self.__slots__} | {"documents": list(self.documents)}


@dataclass(frozen=True, slots=True)
class Drift:
    """How two sets of documents differ.

    Attributes:
        documents: Of both sides.
        columns: What was compared, what moved most first.
        apart: Columns that only one side has; one that both have and one has no value in is compared.
    """

    documents: tuple[int, int]
    columns: tuple[Drifted, ...]
    apart: tuple[str, ...]

    @property
    def drifted(self) -> list[Drifted]:
        """Columns that have drifted."""
        return [one for one in self.columns if one.verdict == "drifted"]

    @property
    def unknown(self) -> list[Drifted]:
        """Columns of which it cannot be told."""
        return [one for one in self.columns if one.verdict == "cannot tell"]


class _Pair(NamedTuple):
    """A column of both sides: how many documents have each name, and the counts of rare names (2, names)."""

    name: str
    first: Numbers
    other: Numbers
    names: tuple[str, ...]
    rare: Numbers


def drift(first: Side, other: Side, *, least: float = LEAST, seed: int = 0) -> Drift:
    """Compare the documents of two sides, column by column.

    Args:
        first: The documents before.
        other: The documents after.
        least: Share of documents that has to have moved, at least, to be drift.
        seed: Of the draws.
    """
    both, apart = list[list[str]](), list[str]()
    for kind in ("facets", "features"):
        there = [[name for name in getattr(side.columns, kind) if name not in NOT_COMPARED] for side in (first, other)]
        filled = {
            name for side, some in zip((first, other), there, strict=True) for name in some if _has(side, kind, name)
        }
        both.append([name for name in there[0] if name in there[1] and name in filled])
        apart += sorted((set(there[0]) ^ set(there[1])) & filled)
    level = LEVEL / max(sum(map(len, both)), 1)
    random = np.random.default_rng(seed)
    found = [_names(_counts(name, first, other), level, least, random) for name in both[0]]
    found += [
        _numbers(name, first, other, level, least, random) for name in both[1]
    ]  # one column at a time is in memory
    sizes = (int(first.rows.sum()), int(other.rows.sum()))
    return Drift(sizes, tuple(sorted(found, key=lambda one: (-one.moved, one.name))), tuple(sorted(apart)))


def version_drift(before: Dataset, after: Dataset, *, new: bool = False, least: float = LEAST) -> Drift:
    """Compare the documents of two versions, kept and removed.

    Args:
        before: The version before.
        after: The version after.
        new: Of the version after only the documents whose ids the one before has not.
        least: As of `drift`.

    Raises:
        CurateError: A side has no documents.
    """
    from curate.browse.cache import Cache
    from curate.browse.columns import Columns as Read

    cache = Cache(before.store)
    first, other = Read(before, cache), Read(after, cache if after.store is before.store else Cache(after.store))
    rows = ~np.isin(other.identity, first.identity) if new else np.ones(other.rows, bool)
    for side, there in ((before, first.rows), (after, int(rows.sum()))):
        if not there:
            none = "no document that the one before has not" if new and side is after else "no documents"
            raise CurateError(
                f"{side.name}@{side.tag or side.version[:12]} has {none}", hint="there is nothing to compare"
            )
    return drift(Side(first, np.ones(first.rows, bool)), Side(other, rows), least=least)


def _has(side: Side, kind: str, name: str) -> bool:
    """Whether any of the documents has a value; a reason all have, as they are kept or not."""
    if kind == "features":
        return bool(np.isfinite(side.columns.feature(name)[side.rows]).any())
    return name == "reason" or bool((side.columns.facet(name)[0][side.rows] >= 0).any())


def _values(side: Side, name: str) -> Numbers:
    """The numbers of a side, sorted."""
    values = side.columns.feature(name)[side.rows]
    return np.sort(values[np.isfinite(values)])


def _verdict(moved: float, noise: float, least: float) -> Verdict:
    if moved > noise and moved >= least:
        return "drifted"
    return "cannot tell" if noise > max(MOST, least) else "no drift"


# ---- numbers


def _numbers(name: str, first: Side, other: Side, level: float, least: float, random: np.random.Generator) -> Drifted:
    """The numbers that there are, or how many documents have none, where that has drifted more."""
    values, sizes = [_values(side, name) for side in (first, other)], [int(side.rows.sum()) for side in (first, other)]
    without = [size - len(some) for size, some in zip(sizes, values, strict=True)]
    if not any(without):
        return _spread(name, values[0], values[1], level, least)
    first_has, other_has = (np.array([len(some), none], np.float64) for some, none in zip(values, without, strict=True))
    gaps = _names(_Pair(name, first_has, other_has, (SOME, NONE), np.zeros((2, 0))), level / 2, least, random)
    noise = max(gaps.noise, _bound(sizes, level / 2))  # to have a number or not is a distribution, too
    gaps = replace(gaps, noise=noise, verdict=_verdict(gaps.moved, noise, least))
    if not all(map(len, values)):
        return gaps
    spread = _spread(name, values[0], values[1], level / 2, least)
    farther = spread.verdict != "drifted" or gaps.moved - gaps.noise > spread.moved - spread.noise
    return gaps if gaps.verdict == "drifted" and farther else spread


def _spread(name: str, first: Numbers, other: Numbers, level: float, least: float) -> Drifted:
    places = np.concatenate([first, other])
    shares = [np.searchsorted(one, places, side="right") / len(one) for one in (first, other)]
    far = int(np.abs(shares[0] - shares[1]).argmax())
    moved = float(abs(shares[0][far] - shares[1][far]))
    noise = _bound((len(first), len(other)), level)
    edges = np.unique(np.quantile(places, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = [np.bincount(np.searchsorted(edges, one, side="left"), minlength=len(edges) + 1) for one in (first, other)]
    told = [
        {"at_most": float(places[far]), "before": float(shares[0][far]), "after": float(shares[1][far])},
        {"quantile": 0.5, "before": float(np.median(first)), "after": float(np.median(other))},
    ]
    return Drifted(
        name, "numbers", (len(first), len(other)), moved, noise, _psi(*counts), _verdict(moved, noise, least), told
    )  # fmt: skip


def _bound(sizes: Sequence[int], level: float) -> float:
    """Massart's of both samples."""
    return float(np.sqrt(np.log(2 / level) / 2 * sum(1 / size for size in sizes)))


def _psi(first: NDArray[Any], other: NDArray[Any]) -> float:
    """Over bins that both have counts of; half a document is added to each."""
    shares = [(one + 0.5) / (one.sum() + 0.5 * len(one)) for one in (first, other)]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


# ---- names


def _counts(name: str, first: Side, other: Side) -> _Pair:
    """How many documents of both sides have each name; rare ones are one, and told apart in `rare`."""
    sides = [side.columns.facet(name) for side in (first, other)]
    names = list(dict.fromkeys([*sides[0][1], *sides[1][1]]))
    places = {one: place for place, one in enumerate(names)}
    counts = np.zeros((2, len(names) + 1))
    for row, (side, (codes, own)) in enumerate(zip((first, other), sides, strict=True)):
        into = np.array([*(places[one] for one in own), len(names)], np.int64)
        counts[row] = np.bincount(into[codes[side.rows]], minlength=len(names) + 1)
    names.append("(kept)" if name == "reason" else NONE)
    together = counts.sum(axis=0)
    order = np.argsort(-together, kind="stable")
    common = min(NAMES, int((together >= FEWEST).sum()))
    rare = counts[:, order[common:]]
    rest = rare.sum(axis=1, keepdims=True)
    counts, told = counts[:, order[:common]], [names[place] for place in order[:common]]
    if rest.any():
        counts, told = np.concatenate([counts, rest], axis=1), [*told, OTHERS]
    there = counts.sum(axis=0) > 0
    return _Pair(name, counts[0][there], counts[1][there], tuple(np.array(told, object)[there]), rare)


def _names(pair: _Pair, level: float, least: float, random: np.random.Generator) -> Drifted:
    sizes = [int(one.sum()) for one in (pair.first, pair.other)]
    shares = [one / size for one, size in zip((pair.first, pair.other), sizes, strict=True)]
    beyond = _distances(shares[0], shares[1])
    chance = _noise((pair.first + pair.other) / sum(sizes), sizes, level / len(beyond), random)
    moved, noise = max(zip(beyond.tolist(), chance.tolist(), strict=True), key=lambda one: one[0] - one[1])
    (gone, new), by_chance = _rare(pair.rare, sizes, level)
    rare_ones = (gone + new) / 2 > by_chance and (gone + new) / 2 - by_chance > moved - noise
    if rare_ones:
        moved, noise = (gone + new) / 2, by_chance
    elif pair.rare.sum() > sum(sizes) / 2 and moved <= noise:
        noise = max(noise, _bound(sizes, level))  # that most names are one hides how few documents there are
    far = np.argsort(-np.abs(shares[1] - shares[0]), kind="stable")[:SHOWN]
    told = [
        {"name": pair.names[place], "before": float(shares[0][place]), "after": float(shares[1][place])}
        for place in far
        if shares[0][place] != shares[1][place]
    ]
    if rare_ones:
        told = [{"name": GONE, "before": gone, "after": 0.0}, {"name": NEW, "before": 0.0, "after": new}, *told]
    psi = _psi(pair.first, pair.other)
    return Drifted(pair.name, "names", (sizes[0], sizes[1]), moved, noise, psi, _verdict(moved, noise, least), told)


def _rare(counts: Numbers, sizes: Sequence[int], level: float) -> tuple[list[float], float]:
    """(2,) shares of the documents of each side whose rare name the other has not, and what chance makes of half their sum.

    Where the documents with a name are dealt to both sides anew, all of n come to one of them with the n-th power of its share.
    """
    from statistics import NormalDist

    together, share = counts.sum(axis=0), np.array(sizes) / sum(sizes)
    alone = np.where(counts[::-1] == 0, counts, 0).sum(axis=1) / sizes
    chances = share[:, None] ** together
    each = together / (2 * np.array(sizes)[:, None])
    means = (chances * each).sum(axis=0)
    spread = (chances * each**2).sum(axis=0) - means**2
    most = means.sum() + NormalDist().inv_cdf(1 - level / 2) * np.sqrt(spread.clip(0).sum())
    return alone.tolist(), max(float(most) + 1e-9, _bound(sizes, level))


def _distances(first: Numbers, other: Numbers) -> Numbers:
    """(..., 2) total variation, and the largest difference of a name, of shares (..., names)."""
    far = np.abs(first - other)
    return np.stack([far.sum(axis=-1) / 2, far.max(axis=-1)], axis=-1)


def _noise(shares: Numbers, sizes: Sequence[int], level: float, random: np.random.Generator) -> Numbers:
    """(2,) what two samples of these shares are apart, at most, but in `level` of all cases.

    Draws are too few for a quantile of so few cases: it is the 99th of 100, stretched as half of a normal distribution is. Of
    two names the distances are that; of more their tails are lighter.
    """
    from statistics import NormalDist

    drawn = [random.multinomial(size, shares / shares.sum(), size=DRAWS) / size for size in sizes]
    stretch = NormalDist().inv_cdf(1 - level / 2) / NormalDist().inv_cdf(1 - 0.01 / 2)
    return np.quantile(_distances(drawn[0], drawn[1]), 0.99, axis=0) * max(stretch, 1.0)
