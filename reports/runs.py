"""Training runs as the report shows them: the record that the store keeps, and the metrics in the run's folder."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from curate.dataset.runs import ids_of, records
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.reports.data import RunData

__all__ = ["find_run", "read_run", "runs_of"]

METRICS = "metrics.jsonl"
CONFIG = "config.json"


def runs_of(store: Store, version: str) -> tuple[RunData, ...]:
    """The runs that were trained on a version, by name; those of the same name are told apart by their projects'."""
    ids = ids_of(version, store.manifest(version))
    newest = _by_folder(records(store, "training", version=ids))
    names = Counter(record["name"] for record in newest.values())
    runs: dict[str, RunData] = {}
    for folder, record in sorted(newest.items(), key=lambda item: (item[1]["name"], item[1]["began"], item[0])):
        label = record["name"]
        if names[label] > 1:
            label = f"{label} ({folder.parent.parent.name})"
        while label in runs:
            label += "'"
        runs[label] = replace(read_run(record, ids), run=label)
    return tuple(runs.values())


def _by_folder(found: list[dict[str, Any]]) -> dict[Path, dict[str, Any]]:
    """The newest record of each folder: a run that was begun afresh took the place of the old one."""
    return {_folder(record): record for record in found}


def find_run(target: str, store: Store) -> RunData | None:
    """The run of this name in the store, or the run of this folder; None where there is none.

    Raises:
        CurateError: Several runs have this name.
    """
    newest = _by_folder(records(store, "training"))
    named = {folder: record for folder, record in newest.items() if record["name"] == target}
    if len(named) > 1:
        listed = ", ".join(f"`{folder}`" for folder in sorted(named))
        raise CurateError(
            f"{len(named)} runs are named `{target}`", store.location, f"name one by its folder: {listed}"
        )
    if named:
        return read_run(next(iter(named.values())))
    folder = Path(target).resolve()
    if not (folder / METRICS).is_file():
        return None
    return read_run(newest.get(folder) or {"name": folder.name, "inputs": [], "facts": {"folder": str(folder)}})


def read_run(record: dict[str, Any], versions: Collection[str] = ()) -> RunData:
    """A run with its metrics and configuration; what cannot be read is told in `problem`.

    Args:
        record: Of the store.
        versions: Of the versions that it was trained on the first of these is told; by default the first of all.
    """
    folder = _folder(record)
    problem = None
    metrics: dict[str, list[tuple[int, float]]] = {}
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8", errors="replace").splitlines()
        metrics, broken = _read_metrics(lines)
        problem = f"{broken} lines of {METRICS} cannot be read" if broken else None
    except OSError:
        problem = f"the run's folder has no {METRICS} any more"
    used = [thing for thing in record["inputs"] if thing["kind"] == "version"]
    told = next((thing for thing in used if not versions or thing["id"] in versions), {})
    return RunData(
        run=record["name"],
        dataset=str(told.get("name", "")).partition("@")[0],
        version=str(told.get("id", "")),
        tokenizer=str(record["facts"].get("tokenizer", "")),
        metrics=metrics,
        config=_read_config(folder),
        problem=problem,
        state=record.get("state", ""),
        folder=folder,
        checkpoints=tuple(thing["id"] for thing in record.get("outputs", ()) if thing["kind"] == "checkpoint"),
    )


def _folder(record: dict[str, Any]) -> Path:
    return Path(record["facts"]["folder"])


def _read_metrics(lines: list[str]) -> tuple[dict[str, list[tuple[int, float]]], int]:
    """Points by metric, and the number of lines that are not such records.

    A resumed run writes some steps again: the later line counts.
    """
    points: dict[str, dict[int, float]] = {}
    broken = 0
    for line in filter(str.strip, lines):
        try:
            record = json.loads(line)
            step = int(record["step"])
        except (ValueError, KeyError, TypeError):
            broken += 1
            continue
        for name, value in _flat(record):
            if name != "step" and math.isfinite(value):
                points.setdefault(name, {})[step] = value
    return {name: sorted(values.items()) for name, values in points.items()}, broken


def _flat(record: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """The numbers of a record, those in nested objects with dotted names."""
    flat: list[tuple[str, float]] = []
    for name, value in record.items():
        if isinstance(value, dict):
            flat += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat.append((prefix + name, float(value)))
    return flat


def _read_config(folder: Path) -> dict[str, Any] | None:
    """The settings and the data that the run's folder names, or None."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None
