"""The page of an evaluation: what a model can do, how sure, by group, and which words cost it most."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from curate.evaluation.compare import PRIMARY, told_of_groups
from curate.evaluation.metrics import METRICS
from curate.evaluation.result import Evaluation, read_items
from curate.reports.calibration import calibration_figure
from curate.reports.definitions import definitions, shown
from curate.reports.drawing import Figure
from curate.reports.html import render
from curate.reports.intervals import Interval, intervals
from curate.reports.numbers import number
from curate.reports.report import write_page
from curate.reports.text import BLOCK, personal

__all__ = [
    "build_evaluation_page",
    "group_figures",
    "interval_of",
    "measured_sections",
    "metric_rows",
    "primary",
    "render_evaluation",
]

MOST_DRAWN, MOST_COSTLY = 40, 12
LEVELS = (1.0, 3.0, 6.0, 10.0)
"""Bits of a piece from which it has the next colour."""


class _Map(NamedTuple):
    """A text in pieces: each with its colour class, and the costliest of them."""

    title: str
    pieces: list[tuple[str, str]]
    costly: list[tuple[str, str, str]]


class _Task(NamedTuple):
    """What is told of a task."""

    anchor: str
    name: str
    about: str
    rows: list[tuple[str, ...]]
    groups: list[Figure]
    calibration: Figure | None
    maps: list[_Map]
    signatures: list[str]


def build_evaluation_page(evaluation: Evaluation, out: Path) -> Path:
    """Write the page.

    Raises:
        CurateError: The file cannot be written.
    """
    return write_page(out, render_evaluation(evaluation))


def render_evaluation(evaluation: Evaluation) -> str:
    """The page as HTML."""
    result = evaluation.result
    tasks = [_task(evaluation, name, f"task-{at}") for at, name in enumerate(result["tasks"], 1)]
    every = [metric for metrics in result["tasks"].values() for metric in metrics]
    return render(
        "evaluation.html",
        name=evaluation.folder.resolve().name, model=result["model"], identity=result["identity"], tasks=tasks,
        sections=measured_sections(result), warnings=result["warnings"], length=result.get("length"),
        definitions=definitions(every),
        sentences=[_sentence(name, metrics) for name, metrics in result["tasks"].items() if metrics],
        levels=[(f"loss-{at}", f"from {bits:g} bits") for at, bits in enumerate(LEVELS, 1)],
        contents=[("tasks", "Tasks", [(one.anchor, one.name) for one in tasks]), ("numbers", "What the numbers are", []),
                  ("limits", "What this cannot tell", [])],
    )  # fmt: skip


def primary(metrics: Mapping[str, Any]) -> str:
    """The metric that stands for a task."""
    return next(name for name in (*PRIMARY, *metrics) if name in metrics)


def interval_of(one: Mapping[str, Any]) -> str:
    """An interval as people read it."""
    return "\u2013" if one.get("low") is None else f"{shown(one['low'])} to {shown(one['high'])}"


def metric_rows(metrics: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Metric, value, interval, items; clusters of them where they are not alone."""
    return [
        (
            name.replace("_", " "), shown(one["value"]), interval_of(one),
            number(one["n"]) + (f" in {number(one['clusters'])} clusters" if one.get("clusters") else ""),
        )
        for name, one in metrics.items()
    ]  # fmt: skip


def measured_sections(result: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """What else an evaluation measured (bias, contamination, ...): the values in each other part of the result, by name."""
    found = [
        (name, list(_measured(part))) for name, part in result.items() if name not in _KNOWN and isinstance(part, dict)
    ]
    return [*_contamination(result), *((name, rows) for name, rows in found if rows)]


def _contamination(result: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """What of each task stands in the training data, and its main number without that."""
    part = result.get("contamination")
    if not part:
        return
    rows: list[tuple[str, ...]] = []
    for task, one in part["tasks"].items():
        short = f"; {number(one['too_short'])} more are too short to tell" if one["too_short"] else ""
        count = f"{number(one['contaminated'])} of {number(one['n'])} items{short}"
        rows.append((f"{task}: in the training data", shown(one["share"]["value"]), interval_of(one["share"]), count))
        if one["contaminated"] and one["contaminated"] < one["n"]:
            name = primary(one["clean"])
            some = one["clean"][name]
            told = f"{task}: {name.replace('_', ' ')} of the others"
            rows.append((told, shown(some["value"]), interval_of(some), number(some["n"])))
    yield f"contamination by {part['name']}", rows


_KNOWN = ("tasks", "groups", "about", "signatures", "contamination")


def _measured(part: Mapping[str, Any], *names: str) -> Iterator[tuple[str, ...]]:
    if "value" in part:
        count = part.get("n")
        yield " ".join(names), shown(part["value"]), interval_of(part), number(count) if isinstance(count, int) else ""
        return
    for name, one in part.items():
        if isinstance(one, dict):
            yield from _measured(one, *names, name.replace("_", " "))
        elif isinstance(one, int | float) and not isinstance(one, bool):
            yield " ".join((*names, name.replace("_", " "))), f"{one:,.4g}", "", ""


def _sentence(task: str, metrics: Mapping[str, Any]) -> str:
    name = primary(metrics)
    one = metrics[name]
    return f"{task}: {name.replace('_', ' ')} {shown(one['value'])} ({interval_of(one)}, {number(one['n'])} items)"


def _task(evaluation: Evaluation, name: str, anchor: str) -> _Task:
    result, items = evaluation.result, read_items(evaluation.folder, name)
    metrics, about = result["tasks"][name], result.get("about", {}).get(name, {})
    table = items.table if items else pa.table({})
    return _Task(
        anchor, name, _about(about), metric_rows(metrics), list(group_figures(anchor, name, result)),
        calibration_figure(f"{anchor}-calibration", name, table), list(_maps(table)),
        [f"{metric}: {words}" for metric, words in result.get("signatures", {}).get(name, {}).items()],
    )  # fmt: skip


def _about(about: Mapping[str, Any]) -> str:
    """What was asked, of what, by what."""
    if not about:
        return ""
    kind = str(about.get("definition", {}).get("kind", ""))
    split = f", split {about['split']}" if about.get("split") else ""
    rows = f"{number(about['rows'])} of {number(about['total'])} rows" if "rows" in about and "total" in about else ""
    return "; ".join(filter(None, (kind, f"{about.get('source', '')}{split}", rows, str(about.get("engine", "")))))


def group_figures(key: str, task: str, result: Mapping[str, Any]) -> Iterator[Figure]:
    """What is told of the values of each column that a task is told by."""
    for at, (by, values) in enumerate(result.get("groups", {}).get(task, {}).items()):
        told = {value: metrics for value, metrics in values.items() if metrics}
        if not told:
            continue
        for metric in told_of_groups(result["tasks"][task]):
            known = {value: metrics[metric] for value, metrics in told.items() if metric in metrics}
            some = {value: one for value, one in known.items() if one["value"] is not None}
            if some:
                title = f"{task}: {metric.replace('_', ' ')} by {by}"
                yield _groups(f"{key}-by-{at}-{metric}", title, metric, some, result["tasks"][task][metric])


def _groups(key: str, title: str, metric: str, some: Mapping[str, Any], whole: Mapping[str, Any]) -> Figure:
    drawn = dict(list(some.items())[:MOST_DRAWN])
    more = f", the first {len(drawn)} of {len(some)}" if len(some) > len(drawn) else ""
    items = [
        Interval(value or "(empty)", one["value"], one["value"] if one["low"] is None else one["low"],
                 one["value"] if one["high"] is None else one["high"], "kept", shown(one["value"]))
        for value, one in drawn.items()
    ]  # fmt: skip
    way = METRICS[metric].way if metric in METRICS else "higher is better"
    return intervals(
        key, title + more, f"{len(items)} values with 95 % intervals; the line is the value of all items; {way}.", items,
        middle=whole["value"], logarithmic=False, x_name=f"{metric.replace('_', ' ')} ({way})",
        header=("group", "value (95 %)", "items"),
        rows=[(value, f"{shown(one['value'])} ({interval_of(one)})", number(one["n"])) for value, one in some.items()],
        legend=[("kept", "value and 95 % interval")],
    )  # fmt: skip


def _maps(table: pa.Table) -> Iterator[_Map]:
    """Texts with what their tokens cost, where samples were kept."""
    if "pieces" not in table.column_names:
        return
    for identity, pieces in zip(table["id"].to_pylist()[:8], table["pieces"].to_pylist()[:8], strict=True):
        if pieces:
            yield _map(identity, pieces)


def _map(identity: str, pieces: Sequence[Mapping[str, Any]]) -> _Map:
    texts = _without_personal([one["text"] for one in pieces])
    bits = [one["nats"] / math.log(2) for one in pieces]
    coloured = [(words, f"loss-{level}" if (level := sum(cost >= one for one in LEVELS)) else "loss-0")
                for words, cost in zip(texts, bits, strict=True)]  # fmt: skip
    order = sorted(range(len(bits)), key=lambda number: -bits[number])[:MOST_COSTLY]
    costly = [
        (repr(texts[place])[1:-1], "".join(texts[max(place - 6, 0) : place]), f"{bits[place]:.1f}") for place in order
    ]
    return _Map(identity, coloured, costly)


def _without_personal(texts: Sequence[str]) -> list[str]:
    """The pieces of a text, those blocked out that touch what looks personal."""
    ends = list(accumulate(map(len, texts)))
    spans = personal("".join(texts))
    return [
        BLOCK if any(start < end and end - len(text) < stop for start, stop in spans) else text
        for text, end in zip(texts, ends, strict=True)
    ]
