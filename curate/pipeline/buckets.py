"""Runs of records cut into buckets: how they are written, read, and joined with others.

A run is an object with one row group for each bucket that has records; which ones, its metadata says. Reading a bucket of
many runs opens each and reads one row group. What is cut by group has a digest for each group: the hash of its row group.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from curate.dataset.store import Store
from curate.errors import CurateError
from curate.stages.work import Cut, OfGroup, group_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["read_group", "read_joined", "read_run", "stacked", "write_cut", "write_run"]

BUCKETS = b"curate.buckets"


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
    return stacked([table.replace_schema_metadata(None) for table in tables])


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
                    f"the column that decides (`{name}`) is {' in some shards and '.join(kinds)} in others",
                    hint="let the stage that attaches it give one type to all documents",
                ) from error
        raise
