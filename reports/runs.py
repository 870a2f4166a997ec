"""Training runs as the report shows them: the record that the store keeps, and the metrics in the run's folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from curate.dataset.store import Store
from curate.reports.data import RunData

__all__ = ["find_run", "read_run", "runs_of"]

METRICS = "metrics.jsonl"
CONFIG = "config.json"


def runs_of(store: Store, version: str) -> tuple[RunData, ...]:
    """The runs that were trained on a version, by name."""
    records = [record for record in store.training_records() if record.get("version") == version]
    return tuple(read_run(record, store) for record in sorted(records, key=lambda record: str(record["run"])))


def find_run(target: str, store: Store) -> RunData | None:
    """The run of this name in the store, or the run of this folder; None where there is none."""
    records = store.training_records()
    record = next((record for record in records if record["run"] == target), None)
    folder = Path(target)
    if record is None and (folder / METRICS).is_file():
        same = (record for record in records if _folder(record, store).resolve() == folder.resolve())
        record = next(same, {"run": folder.resolve().name, "folder": str(folder.resolve())})
    return read_run(record, store) if record else None


def read_run(record: dict[str, Any], store: Store) -> RunData:
    """A run with its metrics and configuration; what cannot be read is told in `problem`."""
    folder = _folder(record, store)
    problem = None
    metrics: dict[str, list[tuple[int, float]]] = {}
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8", errors="replace").splitlines()
        metrics, broken = _read_metrics(lines)
        problem = f"{broken} lines of {METRICS} cannot be read" if broken else None
    except OSError:
        problem = f"the run's folder has no {METRICS} any more"
    return RunData(
        run=str(record["run"]),
        dataset=str(record.get("dataset", "")),
        version=str(record.get("version", "")),
        tokenizer=str(record.get("tokenizer", "")),
        metrics=metrics,
        config=_read_config(folder),
        problem=problem,
    )


def _folder(record: dict[str, Any], store: Store) -> Path:
    # A relative folder is meant from where the store stands.
    return store.root.absolute().parent / record["folder"]


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
