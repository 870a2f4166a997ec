"""Care of a store: check that a version is what it says it is, and remove what no version needs."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate.dataset import refs
from curate.dataset.ledger import Shard
from curate.dataset.reader import Dataset
from curate.dataset.store import Store

__all__ = ["REMEDY", "collect_garbage", "objects_of", "verify"]

REMEDY = "remove these files and run the pipeline again, which makes them anew; or restore them from a backup"


def objects_of(manifest: dict[str, Any]) -> Iterator[tuple[str, int | None]]:
    """Every object that a version needs, with the number of its rows where the manifest tells."""
    for file in manifest["shards"]:
        yield file["object"], file["documents"]
    for record in manifest["ledger"]:
        shard = Shard.from_json(record)
        yield shard.object, shard.documents
        if shard.rejected:
            yield shard.rejected, sum(shard.rejects.values())
        for step in shard.steps:
            if step.verdicts:
                yield step.verdicts, sum(step.number(verdict) for verdict in step.reasons)
            if step.features:
                yield step.features, step.count
    for stage in manifest["stages"]:
        for artifact in stage["artifacts"].values():
            yield artifact["object"], artifact["rows"]


def verify(dataset: Dataset) -> dict[str, Any]:
    """Read every object of a version: is it there, are its bytes what its name says, has it the rows it should have.

    Returns:
        `objects`, `bytes`, and `problems`: a list of `{"object", "problem", "file"}`, empty where all is well.
    """
    import pyarrow.parquet as parquet

    store, size = dataset.store, 0
    manifest = store.manifest_path(dataset.version)
    problems: list[dict[str, str]] = []

    def note(name: str, problem: str, path: Path) -> None:
        problems.append({"object": name, "problem": problem, "file": str(path)})

    if _sha256(manifest) != dataset.version:
        note("manifest", "its bytes are not what its name says", manifest)
    wanted = dict(objects_of(dataset.manifest))
    for name, rows in sorted(wanted.items()):
        path = store.object_path(name)
        if not path.exists():
            note(name, "missing", path)
            continue
        size += path.stat().st_size
        if _sha256(path) != name:
            note(name, "its bytes are not what its name says", path)
        elif rows is not None and (found := parquet.read_metadata(path).num_rows) != rows:
            note(name, f"{found} rows, not {rows}", path)
    counts = dataset.manifest["documents"]
    if counts["in"] != counts["kept"] + counts["dropped"] + counts["quarantined"]:
        note("manifest", f"documents do not add up: {counts}", manifest)
    return {"objects": len(wanted), "bytes": size, "problems": problems}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _objects(receipt: Path) -> list[str]:
    """What a receipt names; a damaged one names something that is nowhere, and goes."""
    try:
        return json.loads(receipt.read_bytes())["objects"]
    except (ValueError, KeyError):
        return ["damaged"]


def _token_folders(store: Store, named: set[str], oldest: float) -> list[Path]:
    """Folders of token shards whose version nobody names; those that are being written have no manifest yet."""
    found = []
    for manifest in (store.root / "tokens").glob("*/manifest.json"):
        if manifest.stat().st_mtime < oldest and json.loads(manifest.read_bytes()).get("version") not in named:
            found.append(manifest.parent)
    return found


def collect_garbage(store: Store, *, keep_days: float, dry_run: bool) -> dict[str, Any]:
    """Remove versions that no head or tag names, and objects and receipts that no named version needs.

    Args:
        store: The store; nothing else may be using it.
        keep_days: Objects and receipts younger than this stay: they are an interrupted run's work, or cached.
        dry_run: Only count.

    Returns:
        Numbers of `versions`, `objects`, `receipts`, `token_shards` (folders of a version's tokens) removed, and the
        `bytes` freed.
    """
    with store.lock("exclusive"):
        swept = 0 if dry_run else store.sweep()
        named = set()
        for dataset in refs.datasets(store):
            named |= {*refs.tags_of(store, dataset).values(), refs.resolve(store, dataset).version}
        needed = {name for version in named for name, _ in objects_of(store.manifest(version))}
        oldest = time.time() - keep_days * 86_400
        versions = [path for path in (store.root / "versions").glob("*.json") if path.stem not in named]
        receipts = []
        for path in store.receipts():
            objects = _objects(path)
            if path.stat().st_mtime >= oldest:
                needed.update(objects)
            elif not needed.issuperset(objects):
                receipts.append(path)
        objects = [
            path
            for path in (store.root / "objects").glob("*/*.parquet")
            if path.stem not in needed and path.stat().st_mtime < oldest
        ]
        tokens = _token_folders(store, named, oldest)
        files = [path for folder in tokens for path in folder.rglob("*") if path.is_file()]
        freed = sum(path.stat().st_size for path in (*versions, *receipts, *objects, *files))
        if not dry_run:
            for path in (*versions, *receipts, *objects):
                path.unlink(missing_ok=True)
            for folder in tokens:
                shutil.rmtree(folder)
    return {
        "versions": len(versions),
        "objects": len(objects),
        "receipts": len(receipts),
        "token_shards": len(tokens),
        "temporary": swept,
        "bytes": freed,
        "dry_run": dry_run,
    }
