"""Bringing a store of format 1 to format 2: no version is lost, no text is written again.

    manifest       written anew, small; `lineage.upgraded_from` is its id in format 1, which goes on finding it
    files          fragments; each holds the documents of one split already, in the order they had
    ledger         verdicts and features by the row as read, where they stood by the row before the step
    index          of ids and places, made of the shards
    refs           numbers become entries of the log; tags, head and log name the new ids
    training/      run records

What is new is written first and is named by its hash, so doing it twice gives the same; the marker of the format comes
last. Killed at any moment, the next call goes on. Objects of format 1 that nothing names any more are left to
`curate data gc`. Cost: verdicts and features are read and written once, ids once for each version; 50 bytes of memory a
document of the largest version.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.dataset import refs
from curate.dataset.fragments import Fragment
from curate.dataset.index import hash_names
from curate.dataset.leases import lease
from curate.dataset.ledger import REMOVED, Shard, Step
from curate.dataset.manifest import Lineage, make_manifest, write_inputs
from curate.dataset.runs import record
from curate.dataset.schema import unpack_schema
from curate.dataset.store import STORE_SCHEMA, Store, blobs_at, canonical_json
from curate.errors import CurateError
from curate.stages.verdicts import verdict_schema
from curate.stages.work import SHARD_BITS, bucket_of, buckets_for

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["upgrade"]

OLD = 1


def upgrade(place: str | Path) -> dict[str, Any]:
    """Bring a store to the format of today.

    Args:
        place: Its folder or URL.

    Returns:
        `from` and `to` (formats), and how many `versions` and `runs` were brought along.

    Raises:
        CurateError: There is no store, it is in use, or of a version something is missing or damaged.
    """
    store = Store(blobs_at(place))
    before = store.format()
    told: dict[str, Any] = {"store": store.location, "from": before, "to": STORE_SCHEMA, "versions": 0, "runs": 0}
    if before != OLD:
        Store.open(place)  # of today, or of a newer curate
        return told
    if store.blobs.local_path("store.json") is None:
        raise CurateError(
            f"a store of format {OLD} is upgraded in a folder: object stores came later",
            store.location,
            "copy it to a folder, upgrade it there with --store DIR, and copy that back",
        )
    with _alone(store):
        ids = {old: _version(store, old, manifest) for old, manifest in _old_manifests(store)}
        told |= {"versions": len(ids), "runs": _trainings(store, ids)}
        for dataset in refs.datasets(store):
            _names(store, dataset, ids)
        _clear(store, ids)
        store.write("store.json", canonical_json({"schema": STORE_SCHEMA}))
    return told


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Nobody uses the store, neither with this curate nor with one that wrote format 1, which locked a file."""
    with lease(store, "collect"), (store.root / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CurateError(
                "the store is in use by another process", store.location, "try again when it has finished"
            ) from None
        yield


def _old_manifests(store: Store) -> Iterator[tuple[str, dict[str, Any]]]:
    for blob in sorted(store.blobs.list("versions")):
        version = blob.name.removeprefix("versions/").removesuffix(".json")
        manifest = store.manifest(version)
        if manifest.get("schema") == OLD:
            yield version, manifest


# ---- a version


def _version(store: Store, old: str, before: dict[str, Any]) -> str:
    """Write the manifest of a version, and all that it names; returns its new id."""
    try:
        shards = [_shard(store, one) for one in before["ledger"]]
        fragments = [_fragment(store, one) for one in before["shards"]]
        index = _index(store, shards)
    except CurateError as error:
        name = f"versions/{old}.json"
        raise CurateError(
            f"version {old[:12]} of `{before['dataset']}` cannot be upgraded: {error.problem}",
            error.where,
            f"restore it from a backup; without `{name}` the others are upgraded, and that version is given up",
        ) from error
    lineage = before["lineage"]
    manifest = make_manifest(
        store, dataset=before["dataset"], schema=unpack_schema(before["schema_ipc"]), fragments=fragments, shards=shards,
        stages=[_stage(row) for row in before["stages"]], indexes=[index] if index else [],
        lineage=Lineage(
            pipeline=lineage["pipeline"], inputs=write_inputs(store, lineage["inputs"]), sample=lineage["sample"],
            tools=lineage["tools"],
        ),
    )  # fmt: skip
    manifest["lineage"]["upgraded_from"] = old
    for key in ("documents", "splits", "columns", "bytes", "text_bytes"):
        if manifest[key] != before[key]:
            raise CurateError(
                f"version {old[:12]} of `{before['dataset']}` does not add up: its {key} were {before[key]}, and are "
                f"{manifest[key]}",
                store.location,
                "please report it; the store is as it was",
            )
    return store.write_manifest(manifest)


def _stage(row: dict[str, Any]) -> dict[str, Any]:
    artifacts = {name: {"objects": [one["object"]], "rows": one["rows"]} for name, one in row["artifacts"].items()}
    return {**row, "artifacts": artifacts, "made": 0, "expanded": 0, "passed": {}}


def _fragment(store: Store, file: dict[str, Any]) -> Fragment:
    schema = store.read_schema(file["object"]).remove_metadata()
    counts = {"documents": file["documents"], "text_bytes": file["text_bytes"]}
    return Fragment(
        object=file["object"], rows=file["documents"], kept=None, bytes=file["bytes"],
        schema=store.write_table(schema.empty_table()), splits={file["split"]: counts}, **counts,
    )  # fmt: skip


def _shard(store: Store, old: dict[str, Any]) -> Shard:
    """A shard whose steps say what they say by the row as read."""
    import numpy as np

    rows, steps = np.arange(old["documents"]), []
    for one in old["steps"]:
        verdicts = _verdicts(store.read_table(one["verdicts"]), rows) if one["verdicts"] else None
        features = _features(store.read_table(one["features"]), rows) if one["features"] else None
        steps.append(
            Step(
                stage=one["stage"], count=one["count"], bytes=one["bytes"],
                verdicts=store.write_table(verdicts) if verdicts is not None else None,
                features=store.write_table(features) if features is not None else None,
                attached=tuple(one["attached"]), reasons=one["reasons"],
            )
        )  # fmt: skip
        if verdicts is not None:
            rows = rows[~np.isin(rows, _removed(verdicts))]
    schema = unpack_schema(old["schema"]).remove_metadata()
    return Shard(
        part=old["part"], source=old["source"], object=old["object"], documents=old["documents"], bytes=old["bytes"],
        schema=store.write_table(schema.empty_table()), rejected=old["rejected"], rejects=old["rejects"],
        steps=tuple(steps),
    )  # fmt: skip


def _verdicts(table: pa.Table, rows: Any) -> pa.Table:
    """Verdicts by the row as read, which stood by position among `rows`."""
    import pyarrow as pa

    table = table.set_column(0, "row", pa.array(rows[table.column("row").to_numpy()]))
    table = table.append_column("path", pa.nulls(table.num_rows, pa.string()))
    return table.select([*verdict_schema().names, "id"])


def _features(table: pa.Table, rows: Any) -> pa.Table:
    import pyarrow as pa

    return table.add_column(0, "row", pa.array(rows, pa.int32()))


def _removed(verdicts: pa.Table) -> Any:
    import pyarrow as pa
    import pyarrow.compute as compute

    gone = compute.is_in(verdicts.column("verdict"), pa.array(REMOVED))
    return verdicts.filter(gone).column("row").to_numpy()


def _index(store: Store, shards: Sequence[Shard]) -> list[str]:
    """The objects of the index of ids and places, as `curate.pipeline.ids` makes them."""
    import numpy as np
    import pyarrow as pa

    parts = [_hashes(store, number, shard) for number, shard in enumerate(shards) if shard.documents]
    if not parts:
        return []
    high, low, document, place = (np.concatenate(column) for column in zip(*parts, strict=True))
    buckets = buckets_for(len(high))
    order = np.lexsort((document, place, low, high))
    bounds = np.searchsorted(bucket_of(high[order], buckets), np.arange(buckets + 1))
    names = []
    for first, last in pairwise(bounds):
        mine = order[first:last]
        columns = {"high": high[mine], "low": low[mine], "document": document[mine], "place": place[mine]}
        names.append(store.write_table(pa.table(columns)))
    return names


def _hashes(store: Store, number: int, shard: Shard) -> tuple[Any, Any, Any, Any]:
    import numpy as np

    table = store.read_table(shard.object, ["id", "source_uri"])
    names = [hash_names(table.column(name).to_pylist()) for name in ("id", "source_uri")]
    high, low = (np.concatenate(half) for half in zip(*names, strict=True))
    document = np.uint64(number << SHARD_BITS) | np.arange(shard.documents, dtype=np.uint64)
    return high, low, np.tile(document, 2), np.repeat([False, True], shard.documents)


# ---- names, runs, and what is left over


def _names(store: Store, dataset: str, ids: dict[str, str]) -> None:
    """The names of a dataset: numbers stand in the log alone; what names a version that is no more is left out."""
    while True:
        before, seen = refs.read(store, dataset)
        if before["schema"] != OLD:
            return
        log, gone = [], []
        for entry in before["log"]:
            old = entry["version"]
            (log if old in ids else gone).append({**entry, "version": ids.get(old, old), "upgraded_from": old})
        numbers = {(entry["tag"], entry["version"]) for entry in log if entry["action"] == "commit"}
        tags = {name: ids[old] for name, old in before["tags"].items() if old in ids}
        head = ids.get(before["head"] or "") or next((one["version"] for one in reversed(log)), None)
        if gone:
            log.append(refs.collected(gone) | {"time": datetime.now(UTC).isoformat(timespec="seconds")})
        tags = {name: version for name, version in tags.items() if (name, version) not in numbers}
        after = {"schema": STORE_SCHEMA, "dataset": dataset, "head": head, "tags": tags, "log": log}
        if store.blobs.swap(f"refs/{dataset}.json", seen, canonical_json(after)):
            return


def _trainings(store: Store, ids: dict[str, str]) -> int:
    """Run records of the training runs that used the store; how many."""
    found = 0
    for blob in sorted(store.blobs.list("training")):
        old = store.read_json(blob.name)
        if not old or "run" not in old:
            continue
        began = datetime.fromtimestamp(blob.modified, UTC).isoformat(timespec="seconds")
        folder = str(old.get("folder", ""))
        complete = (Path(folder) / "result.json").is_file()
        version = str(old.get("version", ""))
        record(
            store, "training", _run_id(folder, began), name=str(old["run"]),
            state="done" if complete else "interrupted", began=began, ended=began,
            inputs=[{"kind": "version", "id": ids.get(version, version), "name": str(old.get("dataset", ""))}],
            outputs=[], facts={key: value for key, value in old.items() if key not in ("schema", "run", "version")},
        )  # fmt: skip
        found += 1
    return found


def _run_id(folder: str, began: str) -> str:
    """The same for one training, however often the upgrade is begun."""
    return hashlib.sha256(canonical_json(["training", folder, began])).hexdigest()[:32]


def _clear(store: Store, ids: dict[str, str]) -> None:
    """Remove what format 2 has no use for: receipts answer to no key of today."""
    for dataset in refs.datasets(store):
        store.blobs.delete(f"runs/{dataset}.json")
    for name in ("receipts", "training"):
        shutil.rmtree(store.root / name, ignore_errors=True)
    for name in ("inputs.json", *(f"versions/{old}.json" for old in ids)):
        store.blobs.delete(name)
