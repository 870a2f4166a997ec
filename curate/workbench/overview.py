"""The first page (what a store has), and the funnel of a version, each bar of which leads to its documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.dataset import refs
from curate.dataset.runs import records
from curate.workbench.desk import Desk

__all__ = ["funnel", "start"]

NEWEST = 20
"""Versions of a dataset, and records of runs, that are listed."""
VERDICTS = ("dropped", "quarantined", "expanded")


def start(desk: Desk, path: Mapping[str, str], query: list[tuple[str, str]]) -> dict[str, Any]:
    """`datasets` with their newest `versions`, the last `runs` of any kind, and what the store takes on `disk`."""
    datasets: list[dict[str, Any]] = []
    for name in refs.datasets(desk.store):
        tags, rows = refs.tags_of(desk.store, name), list[dict[str, Any]]()
        log = refs.log(desk.store, name)[::-1]
        entries = {entry["version"]: entry for entry in log if entry["action"] in ("commit", "refuse")}
        entries |= {entry["version"]: entry for entry in log if entry["action"] == "commit"}
        for version, entry in reversed(entries.items()):
            manifest = desk.store.read_json(f"versions/{version}.json") if len(rows) < NEWEST else None
            if manifest:
                rows.append({
                    "name": f"{name}@{version[:12]}", "time": entry.get("time"),
                    "failed": (entry.get("gate") or "a gate") if entry["action"] == "refuse" else None,
                    "tags": sorted(tag for tag, named in tags.items() if named == version),
                    "documents": manifest["documents"], "text_bytes": manifest["text_bytes"],
                })  # fmt: skip
        datasets.append({"dataset": name, "versions": rows, "more": max(0, len(entries) - NEWEST)})
    found = records(desk.store)
    runs = [
        {**{key: one[key] for key in ("id", "kind", "name", "state", "began", "ended")},
         "made": [thing["name"] for thing in one["outputs"] if thing["kind"] == "version"]}
        for one in reversed(found[-NEWEST:])
    ]  # fmt: skip
    folders = ("objects", "versions", "receipts", "measured", "annotations", "tokens", "browse")
    disk = {name: sum(blob.size for blob in desk.store.blobs.list(name)) for name in folders}
    return {
        "store": _where(desk), "datasets": datasets, "runs": runs, "more_runs": max(0, len(found) - NEWEST),
        "disk": disk, "kept": desk.cache.kept,
    }  # fmt: skip


def funnel(desk: Desk, path: Mapping[str, str], query: list[tuple[str, str]]) -> dict[str, Any]:
    """A version: its counts, and of every stage how many came, left and why; of columns nothing is read."""
    with desk.version(path["version"]) as dataset:
        manifest = dataset.manifest
        stages = [
            {
                **{key: row[key] for key in ("id", "stage", "kind")},
                **{key: row.get(key, 0) for key in ("in", "kept", "edited", "made", *VERDICTS)},
                "reasons": [
                    {"verdict": verdict, "reason": reason, "documents": count}
                    for verdict in (*VERDICTS, "edited")
                    for reason, count in sorted(row["reasons"].get(verdict, {}).items(), key=lambda one: -one[1])
                ],
                "settings": row["settings"],
            }
            for row in manifest["stages"]
        ]
        times = [one.get("time") for one in refs.log(desk.store, dataset.name) if one["version"] == dataset.version]
        return {
            "time": times[-1] if times else None,
            "version": f"{dataset.name}@{dataset.version[:12]}", "dataset": dataset.name, "id": dataset.version,
            "tag": dataset.tag, "documents": manifest["documents"], "text_bytes": manifest["text_bytes"],
            "splits": dataset.splits, "stages": stages, "parents": manifest["lineage"]["parents"],
            "others": _others(desk, dataset.name, dataset.version),
        }  # fmt: skip


def _where(desk: Desk) -> str:
    """Where the store is, whole: two stores are often called alike."""
    path = desk.store.blobs.local_path("store.json")
    return desk.store.location if path is None else str(path.resolve().parent)


def _others(desk: Desk, name: str, version: str) -> list[str]:
    """The dataset's other versions, newest first, to be compared with."""
    there = dict.fromkeys(
        entry["version"] for entry in refs.log(desk.store, name) if entry["action"] in ("commit", "refuse")
    )
    left = [one for one in there if one != version and desk.store.blobs.exists(f"versions/{one}.json")]
    return [f"{name}@{one[:12]}" for one in left[:NEWEST]]
