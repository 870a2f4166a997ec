"""Two versions side by side, and training runs side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.dataset.diff import diff
from curate.dataset.runs import records
from curate.errors import CurateError
from curate.reports.figures import run_figures
from curate.reports.runs import read_run
from curate.workbench.desk import Desk

__all__ = ["differences", "drawn", "runs"]

MOST_RUNS = 6
"""Runs that are drawn at once."""
POINTS = 1000
"""Points of a curve that are told, about."""


def differences(desk: Desk, path: Mapping[str, str], query: list[tuple[str, str]]) -> dict[str, Any]:
    """What `curate data diff` tells of the version and the one that `with` names; the other one comes before."""
    other = dict(query).get("with", "")
    if not other:
        raise CurateError(
            "there is no version to compare with", hint="`?with=NAME@ID`; the page of a version links to others"
        )
    with desk.version(path["version"]) as dataset, desk.version(other) as before:
        told = diff(before, dataset)
        names = [f"{one.name}@{one.version[:12]}" for one in (before, dataset)]
        return {"version": names[1], "before": names[0], "dataset": dataset.name, **told}


def runs(desk: Desk, path: Mapping[str, str], query: list[tuple[str, str]]) -> dict[str, Any]:
    """All training runs, newest first; of those that `id` names (at most six) the metrics, and the settings that differ."""
    found = records(desk.store, "training")
    chosen = list(dict.fromkeys(value for key, value in query if key == "id"))[:MOST_RUNS]
    known = {one["id"]: one for one in found}
    missing = [one for one in chosen if one not in known]
    if missing:
        raise CurateError(f"there is no run `{missing[0][:40]}`", hint="the page /runs lists them")
    listed = [
        {
            **{key: one[key] for key in ("id", "name", "state", "began", "ended")},
            "data": [thing.get("name") for thing in one["inputs"] if thing["kind"] == "version"], "chosen": one["id"] in chosen,
        }
        for one in reversed(found)
    ]  # fmt: skip
    read = {one: read_run(known[one]) for one in chosen}
    named = _labels({one: run.run for one, run in read.items()})
    flat = {one: _flat(run.config or {}) for one, run in read.items()}
    keys = sorted({key for settings in flat.values() for key in settings})
    differing = [
        {"setting": key, "values": [flat[one].get(key) for one in chosen]}
        for key in keys
        if len({repr(settings.get(key)) for settings in flat.values()}) > 1
    ]
    shown = [
        {
            "id": one, "run": named[one], "data": f"{run.dataset}@{run.version[:12]}", "problem": run.problem,
            "steps": run.steps, "bits_per_byte": run.bits_per_byte,
            "metrics": {name: points[:: max(1, len(points) // POINTS)] for name, points in run.metrics.items()},
        }
        for one, run in read.items()
    ]  # fmt: skip
    return {
        "runs": listed,
        "chosen": shown,
        "settings": differing,
        "_read": [(named[one], run) for one, run in read.items()],
    }


def drawn(facts: dict[str, Any]) -> dict[str, Any]:
    """The curves of the runs that were chosen."""
    from dataclasses import replace

    return {"figures": run_figures(tuple(replace(run, run=name) for name, run in facts["_read"]))}


def _labels(names: dict[str, str]) -> dict[str, str]:
    """Names that tell runs apart: with the beginning of their ids where two are called the same."""
    told = list(names.values())
    return {one: name if told.count(name) == 1 else f"{name} ({one[:8]})" for one, name in names.items()}


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Settings by their dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    found: dict[str, Any] = {}
    for key, inside in value.items():
        found |= _flat(inside, f"{name}.{key}" if name else str(key))
    return found
