"""What-if: a slider for every threshold, counts, and documents that would flip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from curate.browse.commands import commands
from curate.browse.whatif import WhatIf
from curate.dataset.refs import head
from curate.errors import CurateError
from curate.reports.charts import Small, multiples
from curate.reports.numbers import measure
from curate.workbench.desk import Desk

__all__ = ["drawn", "what_if"]


def what_if(desk: Desk, path: Mapping[str, str], query: list[tuple[str, str]]) -> dict[str, Any]:
    """What the thresholds of the address (`set.STAGE.SETTING=VALUE`) would do; `counts=1` without documents and histograms."""
    asked: dict[str, float] = {}
    for key, value in query:
        if key.startswith("set.") and value.strip():
            try:
                asked[key.removeprefix("set.")] = float(value)
            except ValueError:
                raise CurateError(f"`{key}` is no number: `{value[:40]}`") from None
    with desk.version(path["version"]) as dataset:
        columns = desk.columns(dataset)
        asking = WhatIf(columns)
        changes = asking.read(asked)
        told, leave, stay = asking.tell(changes)
        newest = head(desk.store, dataset.name) == dataset.version
        typed = commands(desk.store, columns, changes, newest=newest)
        facts = {
            "version": f"{dataset.name}@{dataset.version[:12]}", "dataset": dataset.name, "id": dataset.version,
            "changes": changes, **told, "command": typed.run, "tell": typed.tell, "compared": typed.file is not None,
        }  # fmt: skip
        if dict(query).get("counts"):
            return facts
        flips = {
            name: {"documents": int(which.sum()), "nearest": asking.examples(dataset, changes, np.flatnonzero(which))}
            for name, which in (("leave", leave), ("stay", stay))
        }
        return {
            **facts,
            "flips": flips,
            "sliders": asking.sliders(),
            "fixed": asking.fixed(),
            "not_here": asking.why_not,
        }


def drawn(facts: dict[str, Any]) -> dict[str, Any]:
    """The histogram of each slider, with its threshold as it was."""
    figures: dict[str, Any] = {}
    for number, one in enumerate(facts.get("sliders", ())):
        name = f"{one['stage']}.{one['setting']}"
        small = Small("", one["edges"], one["counts"], (float(one["value"]),), one["logarithmic"])
        pairs = zip(one["edges"], one["edges"][1:], one["counts"], strict=False)
        rows = [(f"{measure(low)} to {measure(high)}", str(count)) for low, high, count in pairs if count]
        header = ("values", "documents")
        figures[name] = multiples(f"slider-{number}", one["column"], "", [small], header=header, rows=rows, legend=())
    return {"figures": figures}
