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
        tags, told = refs.tags_of(desk.store, name), dict[str, dict[str, Any]]()
        for entry in refs.log(desk.store, name):
            if entry["action"] in ("commit", "refuse") and entry["version"] not in told:
                manifest = desk.store.read_json(f"versions/{entry['version']}.json")
                if manifest:
                    told[entry["version"]] = {
                        "name": f"{name}@{entry['version'][:12]}", "time": entry.get("time"), "gate": entry.get("gate"),
                        "tags": sorted(tag for tag, version in tags.items() if version == entry["version"]),
                        "documents": manifest["documents"], "text_bytes": manifest["text_bytes"],
                    }  # fmt: skip
        versions = list(told.values())
        datasets.append({"dataset": name, "versions": versions[:NEWEST], "more": max(0, len(versions) - NEWEST)})
    found = records(desk.store)
    runs = [{key: one[key] for key in ("kind", "name", "state", "began", "ended")} for one in reversed(found)]
    folders = ("objects", "versions", "receipts", "measured", "annotations", "tokens", "browse")
    disk = {name: sum(blob.size for blob in desk.store.blobs.list(name)) for name in folders}
    return {
        "store": _place(desk), "datasets": datasets, "runs": runs[:NEWEST], "more_runs": max(0, len(runs) - NEWEST),
        "disk": disk, "kept": desk.cache.kept,
    }  # fmt: skip


def _place(desk: Desk) -> str:
    """Where the store is, whole: two of them are told apart by it."""
    here = desk.store.blobs.local_path("store.json")
    return desk.store.location if here is None else str(here.parent.resolve())


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
        return {
            "version": f"{dataset.name}@{dataset.version[:12]}", "dataset": dataset.name, "id": dataset.version,
            "tag": dataset.tag, "documents": manifest["documents"], "text_bytes": manifest["text_bytes"],
            "splits": dataset.splits, "stages": stages, "parents": manifest["lineage"]["parents"],
            "others": _others(desk, dataset.name, dataset.version),
        }  # fmt: skip


def _others(desk: Desk, name: str, version: str) -> list[str]:
    """The dataset's other versions, newest first, to be compared with."""
    there = dict.fromkeys(
        entry["version"] for entry in refs.log(desk.store, name) if entry["action"] in ("commit", "refuse")
    )
    left = [one for one in there if one != version and desk.store.blobs.exists(f"versions/{one}.json")]
    return [f"{name}@{one[:12]}" for one in left[:NEWEST]]
