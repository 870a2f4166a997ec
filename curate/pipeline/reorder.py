"""A cheaper order of filters, from what runs measured, and why it keeps the same documents.

Filters that stand beside each other commute: each decides about a document by this document alone, none of them edits, so
a document is kept where all of them keep it, whatever the order. What does not commute stays where it is: a stage that edits
(a filter that cuts, too), adds columns, makes documents or compares them; an audit, which would measure other documents. Two
filters of which one writes a column that the other reads or writes keep their order, whichever comes first. Only who is
dropped by which of them changes.

The order is by cost / share that is dropped, the cheapest first, which is the best where what one filter drops says nothing
about the next (Hellerstein and Stonebraker 1993); the seconds that are told assume the same. A cost is what the latest run,
finished or not, spent in a filter on a document that it measured: without loading, without reading texts, and without cutting
them into words, which whichever comes first does for all (curate/stages/preparation.py). So the order in which they were
measured makes no difference. Measured again they differ by some percent all the same: an order is proposed where it saves more
than a tenth and more than a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from curate.config.pipeline import ConfiguredStage, Pipeline
from curate.dataset.reader import Dataset
from curate.dataset.runs import records
from curate.errors import CurateError
from curate.stages.contract import Filter
from curate.stages.selectors import EVERYTHING, root

__all__ = ["Measured", "best_order", "reordered", "segments", "worthwhile"]

LEAST_SHARE, LEAST_SECONDS = 0.1, 1.0
"""What an order saves that is proposed, at least."""


class Measured(NamedTuple):
    """What is known of a filter.

    Attributes:
        seconds: For a document.
        dropped: The share of those that it saw that did not go on, 0 to 1.
    """

    seconds: float
    dropped: float


def reordered(dataset: Dataset, pipeline: Pipeline) -> list[dict[str, Any]]:
    """For every two or more filters beside each other: how they stand, how they could, and what that saves.

    Returns:
        `stages` (`id`, `seconds` for 1,000 documents, `dropped`, a share), `proposed` (ids), `documents` that come to the
        first, `before` and `after`: seconds that they take.

    Raises:
        CurateError: No run has measured some of them, or the newest version has other stages, or these with other settings.
    """
    rows = {row["id"]: row for row in dataset.manifest["stages"]}
    costs = _costs(dataset)
    found, there = [], list(segments(pipeline.stages))
    _check_known([entry for segment in there for entry in segment], rows, costs, pipeline)
    for segment in there:
        known = {entry.id: _measured(rows[entry.id], costs[entry.id]) for entry in segment}
        names, first = [entry.id for entry in segment], rows[segment[0].id]["in"]
        order, before, after = worthwhile(segment, known, first)
        found.append({
            "stages": [{"id": one, "seconds": 1000 * known[one].seconds, "dropped": known[one].dropped} for one in names],
            "proposed": order, "documents": first, "before": before, "after": after,
        })  # fmt: skip
    return found


def worthwhile(
    segment: Sequence[ConfiguredStage], known: Mapping[str, Measured], documents: int
) -> tuple[list[str], float, float]:
    """The order to propose, and the seconds before and after: the cheapest, or the one there is where that saves too little."""
    names, order = [entry.id for entry in segment], best_order(segment, known)
    before, after = documents * _cost(names, known), documents * _cost(order, known)
    saves = before - after
    return (order, before, after) if saves > max(LEAST_SECONDS, LEAST_SHARE * before) else (names, before, before)


def segments(stages: Sequence[ConfiguredStage]) -> Iterator[list[ConfiguredStage]]:
    """Two or more filters beside each other that do not edit, of which each says which columns it is given."""
    some: list[ConfiguredStage] = []
    for entry in (*stages, None):
        stage = entry.stage if entry is not None else None
        known = isinstance(stage, Filter) and stage.columns() is not None and not stage.edits()
        if (
            entry is not None and known and not entry.documents
        ):  # else what it drops of all is not what it drops of its own
            some.append(entry)
            continue
        if len(some) > 1:
            yield some
        some = []


def best_order(segment: Sequence[ConfiguredStage], known: Mapping[str, Measured]) -> list[str]:
    """The filters by cost over what they drop; two that meet at a column keep their order."""
    left, order = list(segment), list[str]()
    while left:
        free = [one for place, one in enumerate(left) if not any(_meet(one, other) for other in left[:place])]
        best = min(free, key=lambda one: (_rank(known[one.id]), segment.index(one)))
        order.append(best.id)
        left.remove(best)
    return order


def _meet(one: ConfiguredStage, other: ConfiguredStage) -> bool:
    """Whether one of them writes a column that the other reads or writes."""
    assert isinstance(one.stage, Filter)
    assert isinstance(other.stage, Filter)
    return _touches(one.stage, other.stage.adds()) or _touches(other.stage, one.stage.adds())


def _touches(stage: Filter, written: Sequence[str]) -> bool:
    read = {*(stage.columns() or ()), *stage.requires(), *(root(one, written) for one in stage.on)}
    return bool(written) and (EVERYTHING in stage.on or not {*read, *stage.adds()}.isdisjoint(written))


def _rank(one: Measured) -> float:
    return one.seconds / one.dropped if one.dropped else float("inf")


def _cost(order: Sequence[str], known: Mapping[str, Measured]) -> float:
    """Seconds for each document that comes to the first."""
    cost, there = 0.0, 1.0
    for name in order:
        cost += there * known[name].seconds
        there *= 1 - known[name].dropped
    return cost


def _costs(dataset: Dataset) -> dict[str, float]:
    """Seconds for a document, by stage: of the latest run that measured most documents of those that any run did."""
    best: dict[str, tuple[int, float]] = {}
    for one in records(dataset.store, "run"):
        if one["name"] != dataset.name:
            continue
        for stage, cost in one["facts"].get("costs", {}).items():
            # Records before `own_seconds` held the preparation for all in the first stage's: they say too little.
            if "own_seconds" in cost and cost["documents"] and cost["documents"] >= best.get(stage, (0, 0.0))[0] // 2:
                best[stage] = cost["documents"], cost["own_seconds"] / cost["documents"]
    return {stage: seconds for stage, (_, seconds) in best.items()}


def _check_known(
    filters: Sequence[ConfiguredStage], rows: Mapping[str, Any], costs: Mapping[str, float], pipeline: Pipeline
) -> None:
    """Everything is known of all filters; what is not is told at once."""
    made = {True: "no run has measured {}", False: "the newest version was made without {}"}
    lacking = {entry.id: entry.id in rows for entry in filters if entry.id not in rows or entry.id not in costs}
    if lacking:
        names = ", ".join(f"`{name}`" for name in lacking)
        one = len(lacking) == 1
        why = [
            made[there].format("it" if one else ", ".join(f"`{name}`" for name in lacking if lacking[name] == there))
            for there in dict.fromkeys(lacking.values())
        ]
        first = next(entry for entry in filters if entry.id in lacking)
        raise CurateError(
            f"what {names} {'costs' if one else 'cost'} is not known: {'; '.join(why)}",
            first.where,
            f"curate run {pipeline.path.name} {' '.join(f'--force {name}' for name in lacking)}",
        )
    for entry in filters:
        settings = rows[entry.id]["settings"]
        if changed := [key for key, value in entry.shown_settings().items() if settings.get(key) != value]:
            raise CurateError(
                f"what `{entry.id}` drops is not known: the newest version was made with another `{'`, `'.join(changed)}`",
                entry.where,
                f"curate run {pipeline.path.name} with these settings first",
            )


def _measured(row: Mapping[str, Any], seconds: float) -> Measured:
    gone = row["dropped"] + row["quarantined"]
    return Measured(seconds, gone / row["in"] if row["in"] else 0.0)
