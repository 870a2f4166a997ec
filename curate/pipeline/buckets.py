"""Runs of records cut into buckets: how they are written, read, and joined with others.

A run is an object with its records by bucket. Of up to `MOST_PARTS` buckets each that has records is a row group; of more,
a row group holds several next to each other, and a column says which record is of which: a reader goes through the places of
all row groups to read one, so that with one for each of thousands of buckets it would do nothing else
(benchmarks/buckets.py). What is cut by group has a digest for each group: the hash of its row group.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from curate.dataset.store import Store
from curate.errors import CurateError
from curate.stages.work import Cut, OfGroup, group_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

__all__ = ["read_group", "read_joined", "read_run", "stacked", "write_cut", "write_run"]

BUCKETS, PARTS = b"curate.buckets", b"curate.parts"
"""In the metadata of a run: into how many buckets it is cut, and which row groups are there, of how many."""
BUCKET = "curate.bucket"
MOST_PARTS = 128


def write_run(store: Store, table: pa.Table, bucket: np.ndarray, buckets: int) -> str:
    """Write records cut by bucket, in each in the order given; returns the name of the object."""
    return store.write_object(_cut(table, bucket, buckets, min(buckets, MOST_PARTS))[0])


def write_cut(store: Store, table: pa.Table, documents: np.ndarray, bounds: Sequence[int]) -> Cut:
    """Write records cut by the groups of documents, with a digest of each group's records."""
    content, places = _cut(table, group_of(documents, bounds), len(bounds), len(bounds))
    digests = {
        str(group): hashlib.sha256(content[start:stop]).hexdigest()[:32] for group, (start, stop) in places.items()
    }
    return {"run": store.write_object(content), "groups": digests}


def _cut(table: pa.Table, bucket: np.ndarray, buckets: int, parts: int) -> tuple[pa.Buffer, dict[int, tuple[int, int]]]:
    """The bytes of a run, and where in them each part's records stand."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as parquet

    order = np.argsort(bucket.astype(np.min_scalar_type(buckets)), kind="stable")  # of small numbers a radix sort
    bounds = np.searchsorted(_part(bucket[order], buckets, parts), np.arange(parts + 1))
    there = np.flatnonzero(np.diff(bounds))
    places = {}
    if parts < buckets:
        table = table.append_column(BUCKET, pa.array(bucket.astype(np.uint32)))
    whole = table.take(pa.array(order)).combine_chunks()
    metadata = {BUCKETS: str(buckets), PARTS: json.dumps([parts, there.tolist()])}
    schema = table.schema.with_metadata(metadata)
    sink = pa.BufferOutputStream()
    with parquet.ParquetWriter(
        sink, schema, compression="zstd", compression_level=1, write_statistics=False, use_dictionary=False
    ) as writer:
        for one in there.tolist():
            part, start = whole.slice(bounds[one], bounds[one + 1] - bounds[one]), sink.tell()
            writer.write_table(part.replace_schema_metadata(schema.metadata), row_group_size=max(part.num_rows, 1))
            places[one] = start, sink.tell()
    return sink.getvalue(), places


def _part(bucket: Any, buckets: int, parts: int) -> Any:
    """The row group that a bucket is in, of a number or an array."""
    return bucket if parts == buckets else bucket * parts // buckets


def _read(file: parquet.ParquetFile, bucket: int, columns: Sequence[str] | None = None) -> pa.Table | None:
    """The records of a bucket; None where there are none."""
    import numpy as np

    metadata = file.schema_arrow.metadata or {}
    buckets, (parts, there) = int(metadata[BUCKETS]), json.loads(metadata[PARTS])
    part = _part(bucket, buckets, parts)
    if part not in there:
        return None
    wanted = None if columns is None else [*columns, *([BUCKET] if parts < buckets else [])]
    table = file.read_row_group(there.index(part), columns=wanted, use_threads=False).replace_schema_metadata(None)
    if parts == buckets:
        return table
    first, last = np.searchsorted(table.column(BUCKET).to_numpy(), [bucket, bucket + 1]).tolist()
    return table.slice(first, last - first).drop_columns([BUCKET]) if last > first else None


def read_run(store: Store, names: Sequence[str], bucket: int) -> pa.Table:
    """The records of a bucket, of all these runs in their order; without a column where no run has the bucket."""
    import pyarrow as pa

    tables, schema = list[pa.Table](), None
    for name in names:
        with store.parquet(name) as file:
            schema = file.schema_arrow
            if (table := _read(file, bucket)) is not None:
                tables.append(table)
    if tables:
        return stacked(tables)
    empty = schema.remove_metadata().empty_table() if schema is not None else pa.table({})
    return empty.drop_columns([BUCKET]) if BUCKET in empty.column_names else empty


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
            keys = _read(file, bucket, [key])
            rows = shares(keys.column(key).to_numpy()) if keys is not None else ()
            if len(rows) and (table := _read(file, bucket, columns)) is not None:
                tables.append(table.take(pa.array(rows)))
    return stacked([*tables, new]), sum(table.num_rows for table in tables)


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


def stacked(tables: Sequence[pa.Table]) -> pa.Table:
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
                    f"the column that decides (`{name.removeprefix('=')}`) is {' in some shards and '.join(kinds)} in others",
                    hint="let the stage that attaches it give one type to all documents; a column that files hold, "
                    "`table_types` gives one type",
                ) from error
        raise
