"""Care of a store: check that a version is what it says it is, and remove what no version needs."""

from __future__ import annotations

from typing import Any, NamedTuple

from curate.dataset import refs
from curate.dataset.annotations import annotation_objects
from curate.dataset.blobs import Blob
from curate.dataset.erased import erasure_objects, succeeding
from curate.dataset.leases import lease, versions_in_use
from curate.dataset.manifest import check_values, objects_of
from curate.dataset.reader import Dataset
from curate.dataset.snapshots import pieces_of, pinned_versions, snapshot_objects, stale_snapshots
from curate.dataset.store import Store, object_name
from curate.errors import CurateError, DamagedError

__all__ = ["BROWSE", "BROWSE_FORMATS", "KEEP_LAST", "REMEDY", "collect_garbage", "verify"]

REMEDY = "remove these files and run the pipeline again, which makes them anew; or restore them from a backup"
KEEP_LAST = 5
BROWSE, BROWSE_FORMATS = "browse", ("2", "text-1")
"""Folder of what `curate browse` keeps of single objects, and those in it that are of today's formats: a cache
(curate/browse/cache.py, curate/browse/text.py)."""


def verify(dataset: Dataset) -> dict[str, Any]:
    """Read every object of a version: is it there, are its bytes what its name says, has it its rows; can it be read.

    Returns:
        `objects`, `bytes`, and `problems`: a list of `{"object", "problem", "file"}`, empty where all is well.
    """
    store, size = dataset.store, 0
    problems: list[dict[str, str]] = []

    def note(name: str, problem: str, blob: str) -> None:
        path = store.blobs.local_path(blob)
        problems.append({"object": name, "problem": problem, "file": str(path or f"{store.location}/{blob}")})

    manifest = f"versions/{dataset.version}.json"
    if store.blobs.hash(manifest) != dataset.version:
        note("manifest", "its bytes are not what its name says", manifest)
    named = [dataset.manifest["fragments"], *dataset.manifest["ledger"].values()]
    wanted: dict[str, int | None] = dict.fromkeys(named)
    if all(store.problem(name) is None for name in named):  # these say what else there is
        wanted |= dict(objects_of(store, dataset.manifest))
    for name, rows in sorted(wanted.items()):
        if (problem := store.problem(name)) is not None:
            words = {"is missing": "missing", "is damaged": "its bytes are not what its name says"}
            note(name, words.get(problem, problem), object_name(name))
            continue
        size += store.size(name)
        with store.parquet(name) as file:
            found = file.metadata.num_rows
        if rows is not None and found != rows:
            note(name, f"{found} rows, not {rows}", object_name(name))
    if not problems:
        try:
            check_values(store, dataset.fragments, dataset.schema)
        except CurateError as error:
            note("manifest", error.problem, manifest)
    counts = dataset.manifest["documents"]
    lost = sum(counts.get(key, 0) for key in ("dropped", "quarantined", "expanded"))
    if counts["in"] + counts.get("made", 0) != counts["kept"] + lost:
        note("manifest", f"documents do not add up: {counts}", manifest)
    return {"objects": len(wanted), "bytes": size, "problems": problems}


def collect_garbage(store: Store, *, keep_days: float, keep_last: int, dry_run: bool) -> dict[str, Any]:
    """Remove old versions, and what no version that stays needs.

    Heads, tagged versions, the last `keep_last` of each dataset, versions younger than `keep_days`, those that somebody
    reads now and those that a pinned snapshot names stay, and snapshots that are pinned or that these versions read. So do
    objects, snapshots and receipts younger than `keep_days`: they are an interrupted run's work, or cached.

    Args:
        store: The store; no run may be using it.
        keep_days: Age in days up to which everything stays.
        keep_last: How many of the newest versions of each dataset stay whatever their age.
        dry_run: Only count.

    Returns:
        Numbers of `versions`, `snapshots`, `objects`, `receipts`, `token_shards` (folders of a version's tokens), `browse`
        (files that `curate browse` kept of objects that are gone, or in an older form) removed, and the `bytes` freed.
    """
    with lease(store, "collect"):
        swept = 0 if dry_run else store.blobs.sweep()
        oldest = store.blobs.now() - keep_days * 86_400
        found = _garbage(store, oldest, keep_last)
        if not dry_run:
            gone = {_stem(blob) for blob in found.versions}
            for dataset in refs.datasets(store) if gone else ():
                refs.forget(store, dataset, gone)
            if gone & versions_in_use(store):  # somebody has opened one meanwhile
                found = _garbage(store, oldest, keep_last)
            found = _without_manifests(store, found, oldest, keep_last)
        blobs = (*found.versions, *found.snapshots, *found.receipts, *found.objects, *found.browse)
        freed = sum(blob.size for blob in blobs) + sum(found.tokens.values())
        if not dry_run:
            store.blobs.delete(
                *(blob.name for blob in (*found.snapshots, *found.receipts, *found.objects, *found.browse))
            )
            for folder in found.tokens:
                store.blobs.delete_folder(folder)
    return {
        "versions": len(found.versions),
        "snapshots": len(found.snapshots),
        "objects": len(found.objects),
        "receipts": len(found.receipts),
        "token_shards": len(found.tokens),
        "browse": len(found.browse),
        "temporary": swept,
        "bytes": freed,
        "dry_run": dry_run,
    }


class _Garbage(NamedTuple):
    """What goes: manifests, snapshots, receipts (and lists of measurements), objects, folders of token shards, caches."""

    versions: list[Blob]
    snapshots: list[Blob]
    receipts: list[Blob]
    objects: list[Blob]
    tokens: dict[str, int]
    browse: list[Blob]


def _without_manifests(store: Store, found: _Garbage, oldest: float, keep_last: int) -> _Garbage:
    """Remove the manifests first: whoever has not read one by now cannot open its version; for who has, all of it stays."""
    manifests = {blob.name: store.blobs.read(blob.name) for blob in found.versions}
    store.blobs.delete(*manifests)
    opened = [blob for blob in found.versions if _stem(blob) in versions_in_use(store)]
    if not opened:
        return found
    for blob in opened:
        store.blobs.write(blob.name, manifests[blob.name])
    gone = [blob for blob in found.versions if blob not in opened]
    return _garbage(store, oldest, keep_last)._replace(versions=gone)


def _garbage(store: Store, oldest: float, keep_last: int) -> _Garbage:
    stay = _staying(store, oldest, keep_last)
    needed = {name for version in stay for name in _needed_by(store, version)}
    needed.update(annotation_objects(store))
    needed.update(erasure_objects(store))
    versions = [blob for blob in store.blobs.list("versions") if _stem(blob) not in stay]
    gone = stale_snapshots(store, needed, oldest)
    snapshots = [blob for blob in store.blobs.list("snapshots") if _stem(blob) in gone]
    needed.update(snapshot_objects(store, gone))
    receipts = _old_receipts(store, needed, oldest)
    objects = [blob for blob in store.blobs.list("objects") if _stem(blob) not in needed and blob.modified < oldest]
    there = {_stem(blob) for blob in store.blobs.list("objects")} - {_stem(blob) for blob in objects}
    browse = [blob for blob in store.blobs.list(BROWSE) if _browsed(blob) not in there]
    return _Garbage(versions, snapshots, receipts, objects, _token_folders(store, stay, oldest), browse)


def _needed_by(store: Store, version: str) -> set[str]:
    """What a version is made of, and the snapshots' pieces that it was read from, as far as they are there."""
    try:
        manifest = store.manifest(version)
        return {name for name, _ in objects_of(store, manifest)} | pieces_of(store, manifest)
    except DamagedError as error:
        raise DamagedError(
            f"{error.problem}, and version {version[:12]} needs it: what it holds cannot be told, so nothing was removed",
            error.where,
            "run its pipeline again, which makes the object anew if the inputs are as they were; to give the version up, "
            "take its tags away and collect with `--keep-last 0 --keep-days 0` (a head stays: commit another one first)",
        ) from error


def _browsed(blob: Blob) -> str:
    """The object that a file in `browse/FORMAT/ab/` is of, or in a folder of its name there; of older formats none."""
    parts = blob.name.split("/")
    return parts[3].partition(".")[0] if len(parts) > 3 and parts[1] in BROWSE_FORMATS else ""


def _stem(blob: Blob) -> str:
    return blob.name.rpartition("/")[2].partition(".")[0]


def _staying(store: Store, oldest: float, keep_last: int) -> set[str]:
    """Versions that are not removed."""
    stay = versions_in_use(store) | succeeding(store) | pinned_versions(store)
    for dataset in refs.datasets(store):
        stay |= refs.pinned(store, dataset)
        committed = [entry["version"] for entry in refs.log(store, dataset) if entry["action"] == "commit"]
        stay |= set(list(dict.fromkeys(committed))[:keep_last])
    young = {_stem(blob) for blob in store.blobs.list("versions") if blob.modified >= oldest}
    return (stay | young) & {_stem(blob) for blob in store.blobs.list("versions")}


def _old_receipts(store: Store, needed: set[str], oldest: float) -> list[Blob]:
    """Receipts that go; what younger ones name is added to `needed`.

    A receipt whose objects are all needed stays: it is how the next run of that pipeline finds them. One without objects
    of its own says nothing that is dear, and goes by its age. Of measurements each that is left is of use.
    """
    old = []
    for blob in (*store.blobs.list("receipts"), *store.blobs.list("measured")):
        objects = _objects(store, blob)
        if blob.modified >= oldest:
            needed.update(objects)
        else:
            old.append((blob, objects))
    return [
        blob
        for blob, objects in old
        if (needed.isdisjoint(objects) if blob.name.startswith("measured/") else not needed.issuperset(objects or [""]))
    ]


def _objects(store: Store, blob: Blob) -> list[str]:
    """What a receipt, or a list of measurements, names."""
    found = store.read_json(blob.name) or {}
    if blob.name.startswith("measured/"):
        entries = [entry for listed in found.values() if isinstance(listed, list) for entry in listed]
        return [str(name) for entry in entries if isinstance(entry, list) for name in entry if name]
    objects = found.get("objects")
    return [str(name) for name in objects] if isinstance(objects, list) else []


def _token_folders(store: Store, stay: set[str], oldest: float) -> dict[str, int]:
    """Folders of token shards whose version goes, and their bytes; and those whose writer died a day before that."""
    folders: dict[str, list[Blob]] = {}
    for blob in store.blobs.list("tokens"):
        folders.setdefault(blob.name.rpartition("/")[0], []).append(blob)
    folders.pop("tokens", None)
    return {
        folder: sum(blob.size for blob in blobs)
        for folder, blobs in folders.items()
        if _is_gone(store, blobs, stay, oldest)
    }


def _is_gone(store: Store, tokens: list[Blob], stay: set[str], oldest: float) -> bool:
    manifest = next((blob for blob in tokens if blob.name.endswith("/manifest.json")), None)
    if manifest is None:
        return max(blob.modified for blob in tokens) < oldest - 86_400
    return manifest.modified < oldest and (store.read_json(manifest.name) or {}).get("version") not in stay
