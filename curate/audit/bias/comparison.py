"""Before and after: what a mitigation changed for each group, and what it cost.

    share         of the group among documents that mention its axis, in each version (weighted where there are weights)
    kept          how often the group's documents were kept, over how often all others were: 1 is alike
    label         how often documents of the group have a value of a label, less how often all others of the version have it
    random        the change of the share when as many documents of the version before are dropped at random, 95 % of draws

Documents are paired by id: both versions hold mostly the same ones, so the interval of a difference is that of the sum of each
document's influence on it, which is much narrower than two intervals apart. A document and the copies that a stage made of it
are one observation, and it is kept where one of them is. A group has `changed` where q < 0.05, the change
is at least 0.01 of a share or 5 % of a ratio, and a share's is beyond what random dropping gives.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.audit.bias.corpus import MEASURED, collect
from curate.audit.bias.labels import MOST_VALUES
from curate.audit.bias.lexicon import Lexicon
from curate.audit.bias.measure import LEAST_DOCUMENTS, SIGNIFICANT
from curate.audit.bias.scores import spread
from curate.audit.bias.statistics import Estimate, Z, adjusted, effective_n, normal_p
from curate.audit.bias.tables import Corpus, Wanted
from curate.audit.bias.values import is_missing
from curate.dataset.reader import Dataset
from curate.errors import CurateError, did_you_mean

__all__ = ["Change", "compare", "paired_difference", "random_drops"]

DRAWS, SEED, CHUNK = 400, 1, 20
LEAST_SHARE, LEAST_RATIO = 0.01, 1.05
Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass
class Change:
    """A group before and after; intervals of 95 %.

    Attributes:
        subject: The label and its value, of `label`.
        before: Its value in the first version.
        after: Its value in the second.
        difference: After less before (of ratios: the ratio).
        random: What random dropping gives, from and to; None where nothing was dropped.
    """

    measure: str
    axis: str
    group: str
    n: int
    before: float | None = None
    after: float | None = None
    difference: Estimate | None = None
    random: tuple[float, float] | None = None
    q: float | None = None
    verdict: str = "insufficient"
    subject: str = ""

    def to_json(self) -> dict[str, Any]:
        """Flat."""
        numbers = self.difference._asdict() if self.difference else dict.fromkeys(Estimate._fields)
        return {
            "measure": self.measure, "subject": self.subject, "axis": self.axis, "group": self.group, "n": self.n,
            "before": self.before, "after": self.after,
            **{"difference" if key == "value" else key: one for key, one in numbers.items()},
            "random": self.random, "q": self.q, "verdict": self.verdict,
        }  # fmt: skip


@dataclass
class _Side:
    """The union's documents in one version.

    Attributes:
        read: Those that it began with.
        kept: Those that it has.
        weight: What each counts; 0 where it is not kept.
        label: Their labels.
        stays: Those of `read` that it has, or whose copies it has.
    """

    read: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    weight: Numbers
    label: NDArray[Any]
    stays: NDArray[np.bool_]


def compare(
    before: Dataset,
    after: Dataset,
    lexicon: Lexicon,
    *,
    on: tuple[str, ...] = ("text",),
    weight: str = "weight",
    label: str | None = None,
    cluster: str | None = None,
) -> dict[str, Any]:
    """Compare two versions.

    Args:
        before: The version without the mitigation.
        after: The version with it.
        lexicon: The words.
        on: Selectors of the strings that are looked at.
        weight: Column of weights, where a version has it.
        label: Column of labels of both versions, whose shares are compared.
        cluster: Column whose equal values are one observation.

    Returns:
        `changes` (of each group `share`, `kept` and `label`), and `cost`: documents, bytes of text and effective
        documents of both; `one_in` and `cautions`: what was not looked at.

    Raises:
        CurateError: Weights are no numbers of at least 0, or neither version has a column of weights that was named.
    """
    corpora, one_in = _collected(before, after, lexicon, on, weight, (label, cluster))
    members, sides, clusters = _paired(corpora, label, cluster)
    changes = [*_shares(corpora[0].groups, lexicon, members, sides, clusters)]
    changes += _kept(corpora[0].groups, members, sides, clusters)
    changes += _labels(corpora[0].groups, members, sides, label, clusters) if label else []
    for measure in ("share", "kept", "label"):
        some = [one for one in changes if one.measure == measure and one.difference and one.difference.p is not None]
        for one, q in zip(some, adjusted([one.difference.p or 0.0 for one in some if one.difference]), strict=True):
            one.q = q
            one.verdict = "changed" if q < SIGNIFICANT and _matters(one) else "no change shown"
    return {
        "changes": changes,
        "cost": _cost(before, after, sides),
        "one_in": one_in,
        "cautions": _cautions(corpora, one_in, weight, lexicon),
        "paired": int((sides[0].read & sides[1].read).sum()),
    }


def _collected(
    before: Dataset, after: Dataset, lexicon: Lexicon, on: tuple[str, ...], weight: str, named: tuple[str | None, ...]
) -> tuple[list[Corpus], int]:
    """What is counted of both, and of one in how many documents."""
    if weight != "weight" and not any(weight in one.columns for one in (before, after)):
        known = did_you_mean(weight, (*before.columns, *after.columns))
        raise CurateError(f"neither version has a column `{weight}`", hint=known or "leave out --weight")
    total = max(sum(shard.documents for shard in one.ledger()) for one in (before, after))
    one_in = max(1, -(-total // MEASURED))
    wanted = ("id", *filter(None, named))
    corpora = [
        collect(
            one,
            lexicon,
            Wanted(
                on,
                columns=(*wanted, *(("parent",) if "parent" in one.columns else ())),
                weight=weight if weight in one.columns else None,
                one_in=one_in,
            ),
        )
        for one in (before, after)
    ]
    return corpora, one_in


def _cautions(corpora: list[Corpus], one_in: int, weight: str, lexicon: Lexicon) -> list[str]:
    """What a reader has to know, in sentences."""
    told, english = [], {str(one["language"]) for one in lexicon.files} == {"en"}
    if one_in > 1:
        told.append(
            f"groups were looked at in one of {one_in:,} documents, chosen by a hash of their ids, the same in both"
        )
    for name, corpus in zip(("before", "after"), corpora, strict=True):
        if corpus.weights is not None:
            told.append(f"documents of the version {name} count by the column `{weight}`")
        if corpus.rewritten:
            told.append(
                f"{corpus.rewritten:,} documents of the version {name} were edited; they were looked at as first read"
            )
        if english and corpus.foreign[0] >= LEAST_DOCUMENTS and corpus.foreign[1] > corpus.foreign[0] / 2:
            told.append(f"most texts of the version {name} seem not to be English, and the lexicon is")
    return told


def _matters(one: Change) -> bool:
    """Whether a change is large enough, and no work of chance."""
    assert one.difference
    value = one.difference.value
    if one.measure == "kept":
        return abs(math.log(value)) >= math.log(LEAST_RATIO)
    return abs(value) >= LEAST_SHARE and (one.random is None or not one.random[0] <= value <= one.random[1])


def _paired(
    corpora: list[Corpus], label: str | None, cluster: str | None
) -> tuple[NDArray[np.bool_], list[_Side], Integers]:
    """Groups of all documents of both versions, what each version has of them, and which are one observation."""
    ids = [corpus.labels.get("id", []) for corpus in corpora]
    places = {name: at for at, name in enumerate(dict.fromkeys([*ids[0], *ids[1]]))}
    members, known = np.zeros((len(places), len(corpora[0].groups)), bool), [set(some) for some in ids]
    observation: list[Any] = [None] * len(places)
    sides = []
    for nth in (1, 0):  # the groups are those of the version before, where it has the document
        corpus, rows = corpora[nth], np.array([places[name] for name in ids[nth]], np.int64)
        read, kept, stays = (np.zeros(len(places), bool) for _ in range(3))
        side = _Side(read, kept, np.zeros(len(places)), np.full(len(places), None, object), stays)
        if len(rows):
            members[rows], side.read[rows] = corpus.members, True
            side.kept[rows] = side.stays[rows] = corpus.alive
            side.label[rows] = corpus.labels.get(label or "", [None] * len(rows))
            side.weight[rows] = 1.0 if corpus.weights is None else corpus.weights
        parents = corpus.labels.get("parent", [None] * len(rows))
        owners = corpus.labels.get(cluster or "", [None] * len(rows))
        for name, row, parent, owner in zip(ids[nth], rows.tolist(), parents, owners, strict=True):
            observation[row] = (parent or name) if is_missing(owner) else (owner,)
            if parent in known[nth] and name not in known[1 - nth]:  # a copy that this version alone has
                side.stays[places[parent]] |= side.kept[row]
                side.read[row] = side.stays[row] = False
        side.weight *= side.kept
        sides.append(side)
    numbers = {one: at for at, one in enumerate(dict.fromkeys(observation))}
    return members, sides[::-1], np.array([numbers[one] for one in observation], np.int64)


def paired_difference(
    parts: Numbers, parts_after: Numbers, wholes: Numbers, wholes_after: Numbers, clusters: Integers | None = None
) -> Estimate:
    """A share after less the share before, of documents that stand in both: each adds to both parts and wholes."""
    of, of_after = wholes.sum(), wholes_after.sum()
    share, share_after = parts.sum() / of, parts_after.sum() / of_after
    influence = (parts_after - share_after * wholes_after) / of_after - (parts - share * wholes) / of
    value, deviation = float(share_after - share), math.sqrt(spread(influence, clusters))
    p = normal_p(value / deviation) if deviation else None
    return Estimate(value, value - Z * deviation, value + Z * deviation, p)


def random_drops(members: NDArray[np.bool_], axis: NDArray[np.bool_], left: int) -> tuple[Numbers, Numbers]:
    """From and to which change of each group's share 95 % of random choices of `left` documents lead."""
    generator, documents = np.random.default_rng(SEED), len(members)
    whole = members.sum(axis=0) / max(int(axis.sum()), 1)
    table = np.concatenate([members, axis[:, None]], axis=1).astype(np.float32)
    drawn = []
    for _ in range(0, DRAWS, CHUNK):
        keys = generator.random((CHUNK, documents), np.float32)
        chosen = keys <= np.partition(keys, left - 1, axis=1)[:, left - 1 : left] if left else np.zeros_like(keys, bool)
        sums = chosen.astype(np.float32) @ table
        drawn.append(sums[:, :-1] / np.maximum(sums[:, -1:], 1) - whole)
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975], axis=0)
    return low, high


def _shares(
    groups: list[tuple[str, str]], lexicon: Lexicon, members: NDArray[np.bool_], sides: list[_Side],
    clusters: Integers | None = None,
) -> list[Change]:  # fmt: skip
    before, after = sides
    found: list[Change] = []
    for axis in lexicon.axes:
        numbers = [at for at, (name, _) in enumerate(groups) if name == axis]
        some = np.asarray(members[:, numbers].any(axis=1), bool)
        fewer = int(before.kept.sum()) - int(after.kept.sum())
        ranges = None
        if fewer > 0 and some.any():
            ranges = random_drops(members[before.kept][:, numbers], some[before.kept], int(after.kept.sum()))
        for nth, number in enumerate(numbers):
            mine = members[:, number]
            one = Change("share", axis, groups[number][1], int((mine & before.kept).sum()))
            weights = [side.weight * some for side in sides]
            if min((weight > 0).sum() for weight in weights) >= LEAST_DOCUMENTS and one.n:
                one.before, one.after = (float((weight * mine).sum() / weight.sum()) for weight in weights)
                one.difference = paired_difference(
                    weights[0] * mine, weights[1] * mine, weights[0], weights[1], clusters
                )
                one.random = None if ranges is None else (float(ranges[0][nth]), float(ranges[1][nth]))
            found.append(one)
    return found


def _kept(
    groups: list[tuple[str, str]], members: NDArray[np.bool_], sides: list[_Side], clusters: Integers | None = None
) -> list[Change]:
    """How the ratio of kept shares changed: log ratios, with the influence of every document on both."""
    found = []
    for number, (axis, group) in enumerate(groups):
        mine = members[:, number]
        one = Change("kept", axis, group, int((mine & sides[0].read).sum()))
        values, influence = [], np.zeros(len(members))
        for sign, side in zip((-1, 1), sides, strict=True):
            cells = [(side.read & part, side.stays & part) for part in (mine, ~mine)]
            if min(read.sum() for read, _ in cells) < LEAST_DOCUMENTS or not all(kept.any() for _, kept in cells):
                break
            shares = [kept.sum() / read.sum() for read, kept in cells]
            values.append(float(shares[0] / shares[1]))
            for direction, (read, kept) in zip((1, -1), cells, strict=True):
                influence += sign * direction * (kept / kept.sum() - read / read.sum())
        if len(values) == 2:
            one.before, one.after = values
            change, deviation = math.log(values[1] / values[0]), math.sqrt(spread(influence, clusters))
            low, middle, high = (math.exp(change + z * deviation) for z in (-Z, 0.0, Z))
            p = normal_p(change / deviation) if deviation > 1e-12 else None
            one.difference = Estimate(middle, low, high, p)
            one.verdict = "no change shown"
        found.append(one)
    return found


def _labels(
    groups: list[tuple[str, str]], members: NDArray[np.bool_], sides: list[_Side], label: str,
    clusters: Integers | None = None,
) -> list[Change]:  # fmt: skip
    """How the gap between the share of a value in a group and in all others changed."""
    given = [np.array(["" if is_missing(one) else str(one) for one in side.label], object) for side in sides]
    counts = Counter(one for values, side in zip(given, sides, strict=True) for one in values[side.kept] if one)
    common = [value for value, _ in counts.most_common(MOST_VALUES)]
    found = []
    for value in common[1:] if len(counts) == 2 else common:
        for number, (axis, group) in enumerate(groups):
            mine = members[:, number]
            one = Change("label", axis, group, int((mine & sides[0].kept).sum()), subject=f"{label} = {value}")
            found.append(one)
            gaps = [
                _gap(values == value, side.weight * (values != ""), mine)
                for values, side in zip(given, sides, strict=True)
            ]
            if gaps[0] and gaps[1]:
                one.before, one.after = gaps[0][0], gaps[1][0]
                change, deviation = one.after - one.before, math.sqrt(spread(gaps[1][1] - gaps[0][1], clusters))
                p = normal_p(change / deviation) if deviation > 1e-12 else None
                one.difference = Estimate(change, change - Z * deviation, change + Z * deviation, p)
                one.verdict = "no change shown"
    return found


def _gap(has: NDArray[np.bool_], weight: Numbers, mine: NDArray[np.bool_]) -> tuple[float, Numbers] | None:
    """Share in the group less share in all others, with the influence of every document; None of too few."""
    gap, influence = 0.0, np.zeros(len(has))
    for sign, part in ((1, weight * mine), (-1, weight * ~mine)):
        if (part > 0).sum() < LEAST_DOCUMENTS:
            return None
        share = float((part * has).sum() / part.sum())
        gap += sign * share
        influence += sign * part * (has - share) / part.sum()
    return gap, influence


def _cost(before: Dataset, after: Dataset, sides: list[_Side]) -> dict[str, list[float]]:
    return {
        "documents": [len(before), len(after)],
        "text_bytes": [before.manifest["text_bytes"], after.manifest["text_bytes"]],
        "effective_documents": [round(effective_n(side.weight), 1) for side in sides],
    }
