"""Two versions side by side, and training runs side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from curate.dataset.diff import diff
from curate.dataset.erased import REASON
from curate.dataset.refs import became, read
from curate.dataset.runs import records
from curate.errors import CurateError
from curate.reports.figures import run_figures
from curate.reports.runs import read_run
from curate.workbench.desk import Desk
from curate.workbench.differing import differing

__all__ = ["differences", "drawn", "runs"]

MOST_RUNS = 6
"""Runs that are drawn at once."""
_HASH = re.compile("[0-9a-f]{40,}")
"""What names content is no setting: that it differs follows from what was set."""
POINTS = 1000
"""Points of a curve that are told, about."""


def differences(desk: Desk, path: Mapping[str, str], query: list[tuple[str, str]]) -> dict[str, Any]:
    """What `curate data diff` tells of the version and the one that `with` names; the other one comes before.

    With `list=removed` (or `added`, `changed`) `lists` has a page of these documents.
    """
    given = dict(query)
    other = given.get("with", "")
    if not other:
        raise CurateError(
            "there is no version to compare with", hint="`?with=NAME@ID`; the page of a version links to others"
        )
    with desk.version(path["version"]) as dataset, desk.version(other) as before:
        told = diff(before, dataset)
        names = [f"{one.name}@{one.version[:12]}" for one in (before, dataset)]
        told["settings"] = [one for one in told["settings"] if one["stage"] != REASON]  # an erasure is nobody's setting
        lists = differing(desk, before, dataset, given) if "list" in given else None
        return {
            "version": names[1],
            "before": names[0],
            "dataset": dataset.name,
            **told,
            "lists": lists,
            "given": query,
        }


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
        if not any(_HASH.fullmatch(str(settings.get(key))) for settings in flat.values())
        and len({repr(settings.get(key)) for settings in flat.values()}) > 1
    ]
    shown = [
        {
            "id": one, "run": named[one], "data": _now(desk, run.dataset, run.version), "problem": run.problem,
            "steps": run.steps, "bits_per_byte": run.bits_per_byte,
            "metrics": {name: points[:: max(1, len(points) // POINTS)] for name, points in run.metrics.items()},
        }
        for one, run in read.items()
    ]  # fmt: skip
    sets = {one["data"] for one in shown}
    return {
        "measured_on_different": len(sets) > 1,
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


def _now(desk: Desk, dataset: str, version: str) -> str:
    """A version as it is called now: an erasure may have given it another id."""
    return f"{dataset}@{became(read(desk.store, dataset)[0], version)[:12]}" if dataset else "@"


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Settings by their dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    found: dict[str, Any] = {}
    for key, inside in value.items():
        found |= _flat(inside, f"{name}.{key}" if name else str(key))
    return found
