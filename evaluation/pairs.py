"""Two evaluations of a task, item by item: what can be paired, and why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from curate.evaluation.metrics import METRICS
from curate.evaluation.result import Evaluation, Items
from curate.jsontext import dumps

__all__ = ["Pair", "notes_of", "pair_of"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Items that both were measured on, row by row; `same`: by one model; `lost`: items that only one has."""

    first: Items
    other: Items
    same: bool
    lost: int

    @property
    def metrics(self) -> list[str]:
        """Those that both have."""
        there = set(self.first.table.column_names) & set(self.other.table.column_names)
        return [name for name, metric in METRICS.items() if there.issuperset(metric.facts)]


def pair_of(task: str, first: Evaluation, other: Evaluation) -> Pair | str:
    """The items of both, or why they are not the same."""
    for one, absent in ((first, other), (other, first)):
        if task not in absent.result["tasks"]:
            return f"only {one.folder.name} has it"
    left, right = first.items(task), other.items(task)
    if left.about["data"] != right.about["data"]:
        sources = [str(one.about.get("source", "")) for one in (left, right)]
        return "measured on other data" + (f": {sources[0]} and {sources[1]}" if sources[0] != sources[1] else "")
    if words := _defined_apart(left.about["definition"], right.about["definition"]):
        return f"measured with another definition: {words}"
    same = (left.about["model"], left.about.get("length")) == (right.about["model"], right.about.get("length"))
    ids, others = left.table["id"].to_pylist(), right.table["id"].to_pylist()
    if ids == others:
        return Pair(left, right, same, 0)
    places = {name: place for place, name in enumerate(others)}
    both = [(place, places[name]) for place, name in enumerate(ids) if name in places]
    if not both:
        return "no item is in both"
    one, two = (list(some) for some in zip(*both, strict=True))
    lost = len(ids) + len(others) - 2 * len(both)
    return Pair(
        replace(left, table=left.table.take(one)), replace(right, table=right.table.take(two)), same, lost
    )  # fmt: skip


def _defined_apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The settings in which two definitions differ; groups are none, as they change no item."""
    told: list[str] = []
    for key in sorted({*one, *other} - {"by"}):
        values = [dumps(some.get(key)) for some in (one, other)]
        if values[0] != values[1]:
            short = max(map(len, values)) <= 60 and key != "digest"
            name = "the task file" if key == "digest" else f"`{key}`"
            told.append(f"{name} ({values[0]} and {values[1]})" if short else name)
    return ", ".join(told)


def notes_of(pair: Pair) -> Iterator[str]:
    """What people should know of a pair."""
    if pair.lost:
        yield f"{pair.lost:,} items are in one of the two only, and left out"
    if pair.first.about.get("length") != pair.other.about.get("length"):
        lengths = [one.about.get("length") for one in (pair.first, pair.other)]
        yield f"one model reads {lengths[0]} tokens at once, the other {lengths[1]}"
    cuts = [one.about.get("cut") for one in (pair.first, pair.other)]
    if cuts[0] != cuts[1]:
        yield f"{cuts[0]} items were too long for the first model and were cut, {cuts[1]} for the other"
    if pair.first.table.num_rows < 20:
        yield f"{pair.first.table.num_rows} items are too few to tell much: see what would have been found"
