"""Erasure at the other end: versions that an erasure has replaced here are replaced there, and what only they need is removed.

    1. for each name there that leads to a version of before, its successor is copied
    2. the names are swapped to the successors, whose log has the ids of before
    3. objects that no version there needs any more are removed, and then the manifests of before

Killed anywhere, the same command goes on: what says which objects are to be removed goes last. Nobody may be running,
collecting or reading a version of before there. The list of what was erased stays here: runs there need an erasure there.
"""

from __future__ import annotations

from typing import Any

from curate.dataset import refs
from curate.dataset.annotations import annotation_objects
from curate.dataset.erased import erasure_objects
from curate.dataset.leases import lease, versions_in_use
from curate.dataset.manifest import objects_of
from curate.dataset.store import Store, object_name
from curate.dataset.transfer import Transferred, copy_version, sizes_of
from curate.errors import CurateError, DamagedError

__all__ = ["outdated", "prune"]


def outdated(source: Store, target: Store, dataset: str) -> dict[str, str]:
    """Versions at the other end that an erasure here has replaced, and what came after them."""
    became = refs.succeeded(refs.read(source, dataset)[0])
    names, _ = refs.read(target, dataset)
    named = {names["head"], *names["tags"].values(), *(entry["version"] for entry in names["log"])}
    there = {version for version in became if target.blobs.exists(f"versions/{version}.json")}
    return {version: became[version] for version in became if version in there | named}


def prune(source: Store, target: Store, dataset: str, done: Transferred) -> None:
    """Replace and remove at the other end what an erasure here has replaced.

    Raises:
        CurateError: Somebody reads a version of before there, or uses the store.
    """
    becomes = outdated(source, target, dataset)
    done.pruned = {"versions": 0, "objects": 0, "bytes": 0}
    if not becomes:
        return
    with lease(target, "collect"):
        in_use = versions_in_use(target) & becomes.keys()
        if in_use:
            problem = f"version {min(in_use)[:12]} of `{dataset}`, which an erasure has replaced, is being read there"
            raise CurateError(problem, target.location, "try again when its readers have finished")
        _succeed(source, target, dataset, becomes, done)
        old = [version for version in becomes if target.blobs.exists(f"versions/{version}.json")]
        sizes, gone = sizes_of(target), _only_needed_by(target, set(old))
        manifests = [target.manifest(version) for version in old]
        telling = {name for one in manifests for name in (one["fragments"], *one["ledger"].values())}
        for some in (gone - telling, gone & telling):
            target.blobs.delete(*(object_name(name) for name in sorted(some & sizes.keys())))
        target.blobs.delete(*(f"versions/{version}.json" for version in old))
    done.pruned = {
        "versions": len(old), "objects": len(gone & sizes.keys()), "bytes": sum(sizes.get(name, 0) for name in gone),
    }  # fmt: skip


def _succeed(source: Store, target: Store, dataset: str, becomes: dict[str, str], done: Transferred) -> None:
    """Let all names there lead to the successors, which are copied first."""
    names, _ = refs.read(target, dataset)
    named = {names["head"], *names["tags"].values(), *(entry["version"] for entry in names["log"])} & becomes.keys()
    sizes, there = sizes_of(source), sizes_of(target)
    for version in sorted({becomes[one] for one in named}):
        copy_version(source, target, version, sizes, there, done)
    if named:
        erasures = [one["erasure"] for one in refs.read(source, dataset)[0]["log"] if one["action"] == "erase"]
        refs.succeed(target, dataset, {one: becomes[one] for one in named}, erasures[-1])


def _only_needed_by(store: Store, old: set[str]) -> set[str]:
    """Objects that these versions need, and no other of the store."""
    versions = {blob.name.rpartition("/")[2].partition(".")[0] for blob in store.blobs.list("versions")}
    stay = {name for version in versions - old for name, _ in objects_of(store, store.manifest(version))}
    stay |= {*annotation_objects(store), *erasure_objects(store)}
    return {name for version in old for name in _needed(store, store.manifest(version))} - stay


def _needed(store: Store, manifest: dict[str, Any]) -> set[str]:
    """What a version needs; of one whose objects are partly gone (this was killed before), what can still be told."""
    found: set[str] = set()
    try:
        for name, _ in objects_of(store, manifest):
            found.add(name)
    except DamagedError:
        pass
    return found
