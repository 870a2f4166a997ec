"""Tasks that see more than one shard, and the one that writes shards out.

    check_ids   ids of all documents -> a step that quarantines the later ones of equal ids
    reduce      signatures of all shards -> one step for every shard, and artifacts
    write       a shard's last state -> objects of the version

`reduce` holds the signatures of all documents in the memory of one process: about 200 bytes a document for
near-duplicates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from curate.dataset.ledger import DUPLICATE_ID, Shard, Step, replay
from curate.dataset.schema import conform, unpack_schema
from curate.dataset.store import Store
from curate.pipeline.steps import record_step
from curate.pipeline.task import StageSpec, engine_key, text_bytes
from curate.stages.contract import Global, Reduced, Verdicts
from curate.stages.decide import verdict_table

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["check_ids", "ids_key", "reduce_key", "run_reduce", "write_shard"]

Result = tuple[dict[str, Any], float | None]


def ids_key(shards: Sequence[Shard]) -> str:
    """The key of the receipt of `check_ids`."""
    return engine_key("ids", [[shard.object, shard.source] for shard in shards])


def check_ids(store: Store, shards: Sequence[Shard]) -> Result:
    """Quarantine every document whose id another one, read before it, has.

    Returns:
        `{"steps": [step or None for every shard]}` and the seconds (None: cached).
    """
    import numpy as np
    import polars

    key = ids_key(shards)
    receipt = store.read_receipt(key)
    if receipt:
        return {"steps": receipt["steps"]}, None
    began = time.perf_counter()
    ids = [polars.from_arrow(store.read_table(shard.object, ["id"])).to_series() for shard in shards]  # type: ignore[union-attr]
    later = ~polars.concat(ids).is_first_distinct().to_numpy()
    steps: list[Step | None] = []
    start = 0
    for shard in shards:
        rows = np.flatnonzero(later[start : start + shard.documents])
        start += shard.documents
        if len(rows) == 0:
            steps.append(None)
            continue
        verdicts = verdict_table(rows, "quarantined", DUPLICATE_ID)
        table = store.read_table(shard.object, ["id", "text"])
        steps.append(record_step(store, shard.source, table, shard.state, verdicts, None, ()))
    records = [step.to_json() if step else None for step in steps]
    store.write_receipt(key, {"steps": records}, [name for step in steps if step for name in step.objects])
    return {"steps": records}, time.perf_counter() - began


def reduce_key(shards: Sequence[Shard], maps: Sequence[dict[str, Any]], spec: StageSpec) -> str:
    """The key of the receipt of `run_reduce`."""
    made = [[each["signatures"], each["failed"]] for each in maps]
    return engine_key("reduce", [shard.state for shard in shards], made, spec.fingerprint)


def run_reduce(
    store: Store, shards: Sequence[Shard], maps: Sequence[dict[str, Any]], spec: StageSpec, force: Sequence[str]
) -> Result:
    """Decide about all documents from their signatures.

    Args:
        store: Where everything is.
        shards: All shards that have documents.
        maps: What `run_map` gave for each of them.
        spec: The global stage.
        force: Ids of stages whose receipts are not to be used.

    Returns:
        `{"steps": [step for every shard], "artifacts": {name: {"object", "rows"}}}` and the seconds (None: cached).
    """
    key = reduce_key(shards, maps, spec)
    receipt = None if spec.id in force else store.read_receipt(key)
    if receipt:
        steps = [{**step, "stage": spec.id} for step in receipt["steps"]]
        return {"steps": steps, "artifacts": receipt["artifacts"]}, None
    began = time.perf_counter()
    stage = spec.build()
    assert isinstance(stage, Global)
    signatures = [_signatures(store, made["signatures"]) for made in maps]
    counts = [0 if table is None else table.num_rows for table in signatures]
    reduced = _reduce(stage, store, shards, signatures, counts)
    steps = _split(store, spec.id, shards, maps, signatures, counts, reduced)
    artifacts = {
        name: {"object": store.write_table(table), "rows": table.num_rows} for name, table in reduced.artifacts.items()
    }
    objects = [name for step in steps for name in step.objects] + [made["object"] for made in artifacts.values()]
    result = {"steps": [step.to_json() for step in steps], "artifacts": artifacts}
    store.write_receipt(key, result, objects)
    return result, time.perf_counter() - began


def _signatures(store: Store, name: str | None) -> pa.Table | None:
    return store.read_table(name) if name else None


def _reduce(
    stage: Global, store: Store, shards: Sequence[Shard], signatures: list[pa.Table | None], counts: list[int]
) -> Reduced:
    import pyarrow as pa

    present = [table.drop_columns(["row"]) for table in signatures if table is not None]
    if not present:
        return Reduced(Verdicts().table())
    rows = [None if table is None else table.column("row") for table in signatures]
    whole = pa.concat_tables(present, promote_options="permissive")
    return stage.reduce(whole, _text_reader(store, shards, rows, counts))


def _text_reader(
    store: Store, shards: Sequence[Shard], rows: list[Any], counts: list[int]
) -> Callable[[np.ndarray], pa.Array]:
    """Fetches texts by document number; each shard that holds one of them is replayed once a call."""
    import numpy as np
    import pyarrow as pa

    ends = np.cumsum(counts)

    def texts(numbers: np.ndarray) -> pa.Array:
        numbers = np.asarray(numbers)
        order = np.argsort(numbers, kind="stable")
        owners = np.searchsorted(ends, numbers[order], side="right")
        found = []
        for owner in np.unique(owners):
            inside = numbers[order][owners == owner] - (ends[owner] - counts[owner])
            table = replay(store, shards[owner])
            found.append(table.column("text").take(rows[owner].take(pa.array(inside))).combine_chunks())
        if not found:
            return pa.array([], pa.string())
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        return pa.concat_arrays([_flat(array) for array in found]).take(pa.array(back))

    return texts


def _flat(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array


def _split(
    store: Store,
    stage_id: str,
    shards: Sequence[Shard],
    maps: Sequence[dict[str, Any]],
    signatures: list[pa.Table | None],
    counts: list[int],
    reduced: Reduced,
) -> list[Step]:
    """What was decided about all documents, cut into a step for every shard."""
    import pyarrow as pa

    verdicts = reduced.verdicts.sort_by("row")
    numbers = verdicts.column("row").to_numpy()
    steps, start = [], 0
    for shard, made, table, count in zip(shards, maps, signatures, counts, strict=True):
        first, last = numbers.searchsorted([start, start + count])
        mine = verdicts.slice(first, last - first)
        rows = pa.array([], pa.int64()) if table is None else table.column("row").combine_chunks()
        local = rows.take(pa.array(numbers[first:last] - start))
        tables = [mine.set_column(0, "row", local), *([store.read_table(made["failed"])] if made["failed"] else [])]
        columns = {name: column.slice(start, count) for name, column in reduced.columns.items()}
        features = store.write_table(_aligned(columns, rows, shard.kept)) if columns else None
        documents = replay(store, shard).select(["id", "text"])
        whole = pa.concat_tables(tables).sort_by("row")
        steps.append(record_step(store, stage_id, documents, shard.state, whole, features, tuple(columns)))
        start += count
    return steps


def _aligned(columns: dict[str, Any], rows: pa.Array, count: int) -> pa.Table:
    """Columns with a value for every document of the shard; null for those that have no signature."""
    import numpy as np
    import pyarrow as pa

    where = np.full(count, -1, dtype=np.int64)
    where[rows.to_numpy()] = np.arange(len(rows))
    take = pa.array(where, mask=where < 0)
    return pa.table({name: _flat(column).take(take) for name, column in columns.items()})


# ---- write


def write_shard(store: Store, shard: Shard, schema: str, by_split: bool) -> Result:
    """Write what is left of a shard as objects of the version.

    A shard that nothing touched is not written again: the object of its documents as read serves.

    Args:
        store: Where everything is.
        shard: With all its steps.
        schema: Packed schema of the version's columns.
        by_split: Whether the column `split` cuts it into several objects.

    Returns:
        `{"files": [{"object", "split", "documents", "text_bytes", "bytes"}]}` and the seconds (None: cached).
    """
    key = engine_key("write", shard.state, schema, by_split)
    receipt = store.read_receipt(key)
    if receipt:
        return {"files": receipt["files"]}, None
    began = time.perf_counter()
    untouched = shard.state == shard.object and shard.schema == schema
    if untouched:
        parts = [("train", shard.object, shard.documents, shard.bytes)]
    else:
        table = conform(replay(store, shard), unpack_schema(schema))
        assert table.num_rows == shard.kept, f"shard {shard.object[:12]}: {table.num_rows} documents, not {shard.kept}"
        parts = [
            (split, store.write_table(part), part.num_rows, text_bytes(part))
            for split, part in _splits(table, by_split)
        ]
    files = [
        {"object": name, "split": split, "documents": documents, "text_bytes": size, "bytes": _size(store, name)}
        for split, name, documents, size in parts
        if documents
    ]
    store.write_receipt(key, {"files": files}, [file["object"] for file in files])
    return {"files": files}, time.perf_counter() - began


def _size(store: Store, name: str) -> int:
    return store.object_path(name).stat().st_size


def _splits(table: pa.Table, by_split: bool) -> list[tuple[str, pa.Table]]:
    import pyarrow.compute as compute

    if not by_split:
        return [("train", table)]
    names = compute.unique(table.column("split")).to_pylist()
    return [(name, table.filter(compute.equal(table.column("split"), name))) for name in sorted(names)]
