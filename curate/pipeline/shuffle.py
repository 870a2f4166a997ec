"""Work over all documents, out of memory and in parallel: runs of records cut into buckets, and calls that read them.

A run is an object with one row group for each bucket that has records; which ones, its metadata says. Reading a bucket of
many runs opens each and reads one row group. Calls into a global stage are tasks with receipts, keyed by the stage and
their arguments: since runs are named by their content, equal work is done once, whatever else is new. What is cut by group
has a digest for each (the hash of its row group), which stands for it in keys.

Groups are consecutive shards with about `GROUP_DOCUMENTS` documents: new shards at the end change the last group alone.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from curate.dataset.ledger import Shard, Step
from curate.dataset.state import IDENT, State
from curate.dataset.store import Store, canonical_json
from curate.errors import CurateError
from curate.pipeline.steps import ABSENT, count_verdicts
from curate.pipeline.task import StageSpec, engine_key
from curate.stages.contract import Global
from curate.stages.selectors import framed, is_plain
from curate.stages.verdicts import check_rows, verdict_schema
from curate.stages.work import SHARD_BITS, Cut, OfGroup, group_of

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
    "read_group",
    "read_joined",
    "read_run",
    "run_apply",
    "run_call",
    "write_cut",
    "write_run",
]

GROUP_DOCUMENTS = 1 << 17
GROUP_SHARDS = 64
Member = tuple[int, Shard, dict[str, Any], int]
"""A shard of a group: its number in the ledger, itself, what was signed of it, bytes of its texts."""
BUCKETS = b"curate.buckets"


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


# ---- runs


def write_run(store: Store, table: pa.Table, bucket: np.ndarray, buckets: int) -> str:
    """Write records cut by bucket, in each in the order given; returns the name of the object."""
    return store.write_object(_cut(table, bucket, buckets)[0])


def write_cut(store: Store, table: pa.Table, documents: np.ndarray, bounds: Sequence[int]) -> Cut:
    """Write records cut by the groups of documents, with a digest of each group's records."""
    content, places = _cut(table, group_of(documents, bounds), len(bounds))
    digests = {
        str(group): hashlib.sha256(content[start:stop]).hexdigest()[:32] for group, (start, stop) in places.items()
    }
    return {"run": store.write_object(content), "groups": digests}


def _cut(table: pa.Table, bucket: np.ndarray, buckets: int) -> tuple[pa.Buffer, dict[int, tuple[int, int]]]:
    """The bytes of a run, and where in them each bucket's records stand."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as parquet

    order = np.argsort(bucket.astype(np.min_scalar_type(buckets)), kind="stable")  # of small numbers a radix sort
    bounds = np.searchsorted(bucket[order], np.arange(buckets + 1))
    there = np.flatnonzero(np.diff(bounds))
    places = {}
    whole = table.take(pa.array(order)).combine_chunks()
    schema = table.schema.with_metadata({BUCKETS: json.dumps(there.tolist()).encode()})
    sink = pa.BufferOutputStream()
    with parquet.ParquetWriter(
        sink, schema, compression="zstd", compression_level=1, write_statistics=False, use_dictionary=False
    ) as writer:
        for one in there.tolist():
            part, start = whole.slice(bounds[one], bounds[one + 1] - bounds[one]), sink.tell()
            writer.write_table(part.replace_schema_metadata(schema.metadata), row_group_size=max(part.num_rows, 1))
            places[one] = start, sink.tell()
    return sink.getvalue(), places


def read_run(store: Store, names: Sequence[str], bucket: int) -> pa.Table:
    """The records of a bucket, of all these runs in their order; without a column where no run has the bucket."""
    import pyarrow as pa

    tables, schema = [], None
    for name in names:
        with store.parquet(name) as file:
            schema = file.schema_arrow
            there = json.loads((schema.metadata or {})[BUCKETS])
            if bucket in there:
                tables.append(file.read_row_group(there.index(bucket), use_threads=False))
    if not tables:
        return schema.remove_metadata().empty_table() if schema is not None else pa.table({})
    return _stacked([table.replace_schema_metadata(None) for table in tables])


def read_group(store: Store, one: OfGroup) -> pa.Table:
    """The records of a group, of all cuts in their order; without a column where there are none."""
    return read_run(store, one["runs"], one["group"])


def read_joined(
    store: Store,
    before: Sequence[str],
    runs: Sequence[str],
    bucket: int,
    key: str,
    columns: Sequence[str] | None = None,
) -> tuple[pa.Table, int]:
    """The records of a bucket of `runs`, after those of `before` that share their `key`; how many these are.

    Of a run in `before`, only the key is read where nothing is shared. Held at once: one run's bucket.
    """
    import pyarrow as pa

    new = read_run(store, runs, bucket)
    if not new.num_rows or not before:
        return new, 0
    shares, tables = _sharing(new.column(key).to_numpy()), []
    for name in before:
        with store.parquet(name) as file:
            there = json.loads((file.schema_arrow.metadata or {})[BUCKETS])
            if bucket not in there:
                continue
            group = there.index(bucket)
            rows = shares(file.read_row_group(group, columns=[key], use_threads=False).column(key).to_numpy())
            if len(rows):
                table = file.read_row_group(group, columns=columns, use_threads=False)
                tables.append(table.replace_schema_metadata(None).take(pa.array(rows)))
    return _stacked([*tables, new]), sum(table.num_rows for table in tables)


def _sharing(keys: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function that tells which of other keys are among these: by a filter of bits, then one by one."""
    import numpy as np

    keys = np.unique(keys)
    bits = np.uint64((1 << min((16 * len(keys)).bit_length(), 26)) - 1)
    marks = np.zeros(int(bits) + 1, dtype=bool)
    marks[(keys >> np.uint64(16)) & bits] = True

    def shares(others: np.ndarray) -> np.ndarray:
        maybe = np.flatnonzero(marks[(others >> np.uint64(16)) & bits])
        place = np.minimum(np.searchsorted(keys, others[maybe]), len(keys) - 1)
        return maybe[keys[place] == others[maybe]]

    return shares


def _stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """Records one under another; a column may be missing from some of them.

    Raises:
        CurateError: A column that a stage attached to documents, and another one reads, is not of one type.
    """
    import pyarrow as pa

    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowTypeError as error:
        for name in dict.fromkeys(name for table in tables for name in table.column_names):
            kinds = dict.fromkeys(str(table.schema.field(name).type) for table in tables if name in table.column_names)
            if len(kinds) > 1:
                raise CurateError(
                    f"the column that decides (`{name}`) is {' in some shards and '.join(kinds)} in others",
                    hint="let the stage that attaches it give one type to all documents",
                ) from error
        raise


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
        import numpy as np
        import pyarrow as pa

        tables = []
        for record in self.shards:
            table = signatures_of(self.store, record, columns)
            address = table.column("row").to_numpy().astype(np.uint64) | np.uint64(record["number"] << SHARD_BITS)
            tables.append(table.drop_columns(["row"]).append_column("document", pa.array(address)))
        return _stacked(tables)

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
    return engine_key("call", spec.fingerprint, digest, method, {name: _known(one) for name, one in arguments.items()})


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
        said = pa.concat_tables([said, store.read_table(record["verdicts"]).select(verdict_schema().names)])
    said = said.sort_by("row")
    columns = dict(effect.columns)
    held = None
    if columns:
        place = pa.table({"row": pa.array(rows, pa.int32())})
        for name, column in columns.items():
            place = place.append_column(name, column)
        held = store.write_table(place)
    state = State(store, shard)
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
