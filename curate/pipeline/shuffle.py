"""Work over all documents, out of memory and in parallel: calls into a stage, and the steps that they lead to.

Calls into a global stage are tasks with receipts, keyed by the stage and their arguments: since runs
(curate/pipeline/buckets.py) are named by their content, equal work is done once, whatever else is new. What is cut by group
has a digest for each, which stands for it in keys.

Groups are consecutive shards with about `GROUP_DOCUMENTS` documents: new shards at the end change the last group alone.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from curate.dataset.ledger import Shard, Step
from curate.dataset.state import IDENT, State
from curate.dataset.store import Store, canonical_json
from curate.pipeline.buckets import read_group, read_joined, read_run, stacked, write_cut, write_run
from curate.pipeline.cuts import with_texts
from curate.pipeline.steps import ABSENT, count_verdicts
from curate.pipeline.task import StageSpec, engine_key
from curate.stages.contract import Global
from curate.stages.selectors import framed, is_plain
from curate.stages.verdicts import as_one, check_rows, verdict_schema
from curate.stages.work import SHARD_BITS, Cut, OfGroup

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = [
    "GROUP_DOCUMENTS",
    "WorkDesk",
    "apply_key",
    "call_key",
    "describe_group",
    "group_digest",
    "group_shards",
    "run_apply",
    "run_call",
]

GROUP_DOCUMENTS = 1 << 17
GROUP_SHARDS = 64
Member = tuple[int, Shard, dict[str, Any], int]
"""A shard of a group: its number in the ledger, itself, what was signed of it, bytes of its texts."""


def group_shards(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Consecutive shards that are worked on together, as [first, last) numbers, from their counts of documents."""
    groups: list[tuple[int, int]] = []
    first = documents = 0
    for number, count in enumerate(counts):
        documents += count
        if documents >= GROUP_DOCUMENTS or number - first + 1 >= GROUP_SHARDS:
            groups.append((first, number + 1))
            first, documents = number + 1, 0
    return groups if first == len(counts) else [*groups, (first, len(counts))]


# ---- the desk


class WorkDesk:
    """What a call of a global stage reads and writes (`curate.stages.work.Desk`).

    Args:
        store: The store.
        stage: The stage.
        description: Object with a row for every shard of the call's group (`describe_group`), or None.
    """

    def __init__(self, store: Store, stage: Global, description: str | None) -> None:
        self.store, self.stage, self.description = store, stage, description

    @cached_property
    def shards(self) -> list[dict[str, Any]]:
        """The shards of the group: `number`, `shard` (JSON), `features`, `verdicts`, `bytes`."""
        assert self.description, "a call for a bucket has no documents at hand"
        return self.store.read_table(self.description).to_pylist()

    def signatures(self, columns: Sequence[str] | None = None) -> pa.Table:
        """What `open()` gave of the documents of the group, with their `document` address, ascending, and `id`."""
        return stacked(list(self.signatures_by_shard(columns)))

    def signatures_by_shard(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The same, a shard at a time."""
        import numpy as np
        import pyarrow as pa

        for record in self.shards:
            table = signatures_of(self.store, record, columns)
            address = table.column("row").to_numpy().astype(np.uint64) | np.uint64(record["number"] << SHARD_BITS)
            yield table.drop_columns(["row"]).append_column("document", pa.array(address))

    def texts(self, documents: np.ndarray) -> pa.Array:
        """The texts of documents of the group as they are compared, by ascending address."""
        import numpy as np
        import pyarrow as pa

        found = [pa.array([], pa.string())]
        numbers = (documents >> np.uint64(SHARD_BITS)).astype(np.int64)
        rows = (documents & np.uint64((1 << SHARD_BITS) - 1)).astype(np.int64)
        for record in self.shards:
            mine = rows[numbers == record["number"]]
            if not len(mine):
                continue
            state = State(self.store, Shard.from_json(json.loads(record["shard"])))
            texts = state.column("text", mine) if is_plain(self.stage.on) else framed(state.table(mine), self.stage.on)
            found += texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
        return pa.concat_arrays(found)

    def write_run(self, table: pa.Table, bucket: np.ndarray, buckets: int) -> str:
        """Write records cut by bucket."""
        return write_run(self.store, table, bucket, buckets)

    def read_run(self, names: Sequence[str], bucket: int) -> pa.Table:
        """The records of a bucket."""
        return read_run(self.store, names, bucket)

    def read_joined(
        self, before: Sequence[str], runs: Sequence[str], bucket: int, key: str, columns: Sequence[str] | None = None
    ) -> tuple[pa.Table, int]:
        """The records of a bucket of `runs`, after those of `before` that share their `key`; how many these are."""
        return read_joined(self.store, before, runs, bucket, key, columns)

    def write_cut(self, table: pa.Table, documents: np.ndarray, bounds: Sequence[int]) -> Cut:
        """Write records cut by group."""
        return write_cut(self.store, table, documents, bounds)

    def read_group(self, one: OfGroup) -> pa.Table:
        """The records of a group."""
        return read_group(self.store, one)

    def write(self, table: pa.Table) -> str:
        """Write an object."""
        return self.store.write_table(table)

    def read(self, name: str) -> pa.Table:
        """Read an object."""
        return self.store.read_table(name)


def _rows_of(members: Sequence[Member]) -> list[dict[str, Any]]:
    return [
        {
            "number": number, "shard": canonical_json(shard.to_json()).decode(), "object": shard.object,
            "features": signed["features"], "verdicts": signed["verdicts"], "bytes": size,
        }
        for number, shard, signed, size in members
    ]  # fmt: skip


def group_digest(members: Sequence[Member]) -> str:
    """Identity of a group: of its shards, what was done to them, and what was signed."""
    return hashlib.sha256(canonical_json(_rows_of(members))).hexdigest()


def describe_group(store: Store, members: Sequence[Member]) -> str:
    """An object that says what a group is, for the calls that look at its documents."""
    import pyarrow as pa

    names = ("shard", "object", "features", "verdicts")
    schema = pa.schema([("number", pa.int64()), *((name, pa.string()) for name in names), ("bytes", pa.int64())])
    return store.write_table(pa.Table.from_pylist(_rows_of(members), schema=schema))


def signatures_of(store: Store, record: dict[str, Any], columns: Sequence[str] | None = None) -> pa.Table:
    """The signatures of a shard's documents that have some: `row`, `id` and the stage's columns, by row."""
    import pyarrow as pa
    import pyarrow.compute as compute

    wanted = None if columns is None else ["row", ABSENT, *columns]
    table = store.read_table(record["features"], wanted)
    table = table.drop_columns([name for name in (IDENT,) if name in table.column_names])
    if record["verdicts"]:
        failed = store.read_table(record["verdicts"], ["row"]).column("row")
        failing = compute.is_in(table.column("row").cast("int64"), failed.combine_chunks())
        table = table.filter(compute.invert(failing))
    if ABSENT in table.column_names:
        there = compute.invert(compute.fill_null(table.column(ABSENT), False))
        table = table.filter(there).drop_columns([ABSENT])
    ids = store.read_table(record["object"], ["id"]).column("id").take(table.column("row"))
    return table.append_column("id", pa.chunked_array(ids.chunks, pa.string()))


def call_key(spec: StageSpec, digest: str | None, method: str, arguments: dict[str, Any]) -> str:
    """The key of the receipt of a call: records of a group are named by their digests, whatever runs they stand in."""
    return engine_key(
        "call of parts", spec.fingerprint, digest, method, {name: _known(one) for name, one in arguments.items()}
    )


def _known(argument: Any) -> Any:
    if isinstance(argument, list):
        return [_known(one) for one in argument]
    if isinstance(argument, dict) and "digests" in argument:
        return argument["digests"]
    return argument


def run_call(
    store: Store, spec: StageSpec, description: str | None, method: str, arguments: dict[str, Any], key: str
) -> dict[str, Any]:
    """Call a method of a global stage; what it gives is JSON, and `objects` in it are what the receipt needs."""
    stage = spec.build()
    assert isinstance(stage, Global)
    began = time.perf_counter()
    with spec.at_work():
        result: dict[str, Any] = getattr(stage, method)(WorkDesk(store, stage, description), **arguments)
    store.write_receipt(key, {"result": result}, result.get("objects", []))
    return {"result": result, "seconds": time.perf_counter() - began}


# ---- applying


def apply_key(spec: StageSpec, digest: str, found: OfGroup) -> str:
    """The key of the receipt of `run_apply`."""
    return engine_key("apply", spec.fingerprint, spec.id, digest, found["digests"])


def run_apply(store: Store, spec: StageSpec, description: str, found: OfGroup, key: str) -> dict[str, Any]:
    """A step for every shard of a group, from what was found of its documents: `step`, `identity`, `bytes` of each."""
    stage = spec.build()
    assert isinstance(stage, Global)
    began = time.perf_counter()
    desk = WorkDesk(store, stage, description)
    records = desk.read_group(found)
    with spec.at_work():
        steps = [_apply_one(store, stage, spec, record, records) for record in desk.shards]
    objects = [name for one in steps for name in Step.from_json(one["step"]).objects]
    store.write_receipt(key, {"steps": steps}, objects)
    return {"steps": steps, "seconds": time.perf_counter() - began}


def _apply_one(
    store: Store, stage: Global, spec: StageSpec, record: dict[str, Any], records: pa.Table
) -> dict[str, Any]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as compute

    shard = Shard.from_json(json.loads(record["shard"]))
    signatures = signatures_of(store, record)
    mine = records
    if records.num_rows:
        mine = records.filter(compute.equal(records.column("shard"), record["number"]))
        mine = mine.drop_columns(["shard"]).sort_by("row")
    effect = stage.apply(signatures, mine)
    check_rows(effect.verdicts, signatures.num_rows, spec.id)
    rows = signatures.column("row").to_numpy().astype(np.int64)
    said = effect.verdicts.select(verdict_schema().names)
    said = said.set_column(0, "row", pa.array(rows[said.column("row").to_numpy()]))
    if record["verdicts"]:
        said = as_one([said, store.read_table(record["verdicts"]).select(verdict_schema().names)])
    state = State(store, shard)
    said = with_texts(state, said.sort_by("row"))
    columns = dict(effect.columns)
    held = None
    if columns:
        place = pa.table({"row": pa.array(rows, pa.int32())})
        for name, column in columns.items():
            place = place.append_column(name, column)
        held = store.write_table(place)
    verdicts = None
    if said.num_rows:
        ids = state.column("id", said.column("row").to_numpy())
        verdicts = store.write_table(said.append_column("id", ids))
    step = Step(
        stage=spec.id, count=state.kept, bytes=record["bytes"], verdicts=verdicts, features=held,
        attached=tuple(columns) if held else (), reasons=count_verdicts(said),
    )  # fmt: skip
    state.apply(step)
    return {"step": step.to_json(), "identity": state.identity(), "bytes": state.bytes()}
