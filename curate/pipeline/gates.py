"""Gates: what a version must be like to become the newest one. One that fails is kept, and its id finds it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from curate.config.licenses import Licenses
from curate.config.pipeline import Settings
from curate.dataset.reader import Dataset
from curate.dataset.refs import Reference
from curate.dataset.store import Store

__all__ = ["failed_gate"]

NAMED = 5


def failed_gate(settings: Settings, store: Store, version: str) -> tuple[str, str] | None:
    """Which gate a version fails, in words, and the next step; None where it passes."""
    one = Dataset(store, Reference(settings.dataset, version, None))
    name, counts = f"{one.name}@{version[:12]}", one.manifest["documents"]
    found, limit = counts["quarantined"], settings.max_quarantined
    if limit is not None and found > (limit * counts["in"] if isinstance(limit, float) else limit):
        return (
            f"{found} of {counts['in']} documents are quarantined, more than `max_quarantined: {limit}` allows",
            f"the version is complete without them, but is not the newest; `curate data show {name} --quarantined` "
            "lists them",
        )
    if counts["kept"] < settings.min_documents:
        return _too_few(name, counts, settings.min_documents, one.manifest["stages"])
    return _licenses(one, name, settings.licenses) if settings.licenses else None


def _too_few(name: str, counts: dict[str, int], fewest: int, rows: list[dict[str, Any]]) -> tuple[str, str]:
    most = max(rows, key=lambda row: row["dropped"] + row["quarantined"], default=None)
    left = f"{counts['kept']} of {counts['in']} documents are left"
    gone = most["dropped"] + most["quarantined"] if most else 0
    took = f"`{most['id']}` took {gone} of the {most['in']} it saw" if most and gone else "nothing was read"
    return (
        f"{left}, fewer than `min_documents: {fewest}` asks for",
        f"{took}; `curate data show {name} --dropped` lists what was dropped, and why" if gone else took,
    )


def _licenses(one: Dataset, name: str, gate: Licenses) -> tuple[str, str] | None:
    """Licences that are not allowed, and documents without any, which are counted apart."""
    column, kept = gate.column, one.manifest["documents"]["kept"]
    if column not in one.columns:
        return (
            f"the version has no column `{column}`, which the gate `licenses` asks for",
            "name the column that has SPDX ids: `licenses: {allow: [...], column: NAME}`",
        )
    counts: Counter[str | None] = Counter()
    for batch in one.batches(columns=[column], batch_size=20_000):
        for value in batch.column(0).value_counts().to_pylist():
            counts[None if value["values"] is None else str(value["values"])] += value["counts"]
    refused = [(license, count) for license, count in counts.most_common() if not gate.allows(license)]
    if not refused:
        return None
    others = [(license, count) for license, count in refused if license is not None]
    told = [f"`{license[:60]}` ({count})" for license, count in others[:NAMED]]
    told += [f"{len(others) - NAMED} more"] if len(others) > NAMED else []
    words = [
        f"{sum(count for _, count in others)} under licences that `licenses.allow` does not list: {', '.join(told)}"
    ]
    unknown = [f"{counts[None]} under none that is known"] if not gate.allows(None) and counts[None] else []
    return (
        f"of {kept} documents, {'; '.join([*(words if others else []), *unknown])}",
        f"allow them (null: those under none that is known), or leave out what they come from; `{name}` is kept, but is not "
        "the newest",
    )
