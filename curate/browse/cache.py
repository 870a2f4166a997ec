"""Narrow columns of single objects, kept beside the store: a cache that may be deleted at any time, and never a fact.

    browse/2/ab/<object>.arrow    64 bytes (a hash of the rest), then Arrow IPC, uncompressed, mapped into memory

Each file depends on one immutable object alone, so a new version makes only those of its new objects, whoever makes them
first; one that is cut short or damaged is made anew. It holds no texts: of documents lengths, numbers, hashes of ids, and
strings of columns that have few values. These may still be personal, so an erasure removes the whole folder
(curate/erasure/erase.py), garbage collection the files of objects that are gone (curate/dataset/care.py), and nobody but the
store's owner can read it. Where the store is in an object store, or cannot be written, nothing is kept.

Cost: benchmarks/browse.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from curate.dataset.care import BROWSE, BROWSE_FORMATS
from curate.dataset.leases import lease
from curate.dataset.state import IDENT, SIZE
from curate.dataset.store import Store, object_name
from curate.errors import CurateError
from curate.files import write_durably
from curate.reports.text import mask
from curate.stages.selectors import PLACES, is_json, root

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pyarrow as pa

__all__ = ["Cache", "hash_of"]

FORMAT = BROWSE_FORMATS[0]
"""Raised when what is kept of an object changes: files of other formats are garbage."""
HEADER = 64
MOST_VALUES, LONGEST = 1000, 200
"""A column of strings of an object is kept where it has no more values than this, and none is longer (characters), or looks
personal."""
LEFT_OUT = b"left out"
"""Key of a table's metadata, a JSON list: columns of strings that are not to be shown by their values, as they have too many,
or one that looks personal, or (of verdicts) as a stage edited them."""
IDENTITY, OTHER, LENGTH = "#id", "#other", "#length"
REMOVAL = ("row", "verdict", "reason", "value", "threshold", "duplicate_of", "path")


def hash_of(identity: str | None) -> int:
    """What stands for an id; 0 for none."""
    from xxhash import xxh3_64_intdigest

    return 0 if identity is None else xxh3_64_intdigest(identity.encode("utf-8", "surrogatepass")) or 1


class Cache:
    """The narrow columns of a store's objects.

    Attributes:
        made: How many objects were read to make them, and not found.
        kept: Whether what is made is kept on disk.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.made = 0
        root = store.blobs.local_path("store.json")
        self._root = None if root is None else root.parent
        self._folder = None if root is None else root.parent / BROWSE / FORMAT
        self.kept = self._folder is not None

    def documents(self, name: str) -> pa.Table:
        """Of an object of documents, a row each: `#id` (hash), `#length` (bytes), numbers, and strings of few values."""
        return self._table(name, lambda: _documents(self.store, name))

    def features(self, name: str) -> pa.Table:
        """Of an object of features, or of columns beside documents: `row`, numbers, and strings of few values."""
        return self._table(name, lambda: _read(self.store, name, _narrow(self.store, name)))

    def verdicts(self, name: str) -> pa.Table:
        """Of an object of verdicts: `row`, `verdict`, `reason`, `value`, `threshold`, `#other` (hash of `duplicate_of`)."""
        return self._table(name, lambda: _verdicts(self.store.read_table(name, REMOVAL)))

    def _table(self, name: str, make: Callable[[], pa.Table]) -> pa.Table:
        path = self._folder / name[:2] / f"{name}.arrow" if self._folder is not None else None
        found = None if path is None else _mapped(str(path))
        if found is not None:
            return found
        self.made += 1
        made = make().combine_chunks()
        if path is not None and self.kept:
            self._keep(name, path, made)
        return made

    def _keep(self, name: str, path: Path, made: pa.Table) -> None:
        """Write a file, unless an erasure or garbage collection is going on, or has taken the object meanwhile."""
        assert self._root
        try:
            with suppress(CurateError), lease(self.store, "plan"):
                if self.store.blobs.exists(object_name(name)):
                    (self._root / BROWSE).mkdir(exist_ok=True)
                    (self._root / BROWSE).chmod(0o700)
                    aside = self._root / "temporary"  # what is left there half written is swept
                    aside.mkdir(exist_ok=True)
                    write_durably(path, _bytes(made), aside=aside, name=False)
        except OSError:  # a full disk, a store of somebody else's: it works without, and the start page says so
            self.kept = False


def _bytes(table: pa.Table) -> bytes:
    import pyarrow as pa
    from xxhash import xxh3_128_hexdigest

    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    body = sink.getvalue().to_pybytes()
    return xxh3_128_hexdigest(body).encode().ljust(HEADER) + body


def _mapped(path: str) -> pa.Table | None:
    """What a file holds; None where there is none, or it is not what was written."""
    import pyarrow as pa
    from xxhash import xxh3_128_hexdigest

    with suppress(OSError, pa.ArrowException):
        whole = pa.memory_map(path).read_buffer()
        body = whole.slice(HEADER)
        if whole.slice(0, HEADER).to_pybytes().strip() == xxh3_128_hexdigest(body).encode():
            return pa.ipc.open_file(body).read_all()
    return None


def _narrow(store: Store, name: str) -> list[str]:
    """Columns that may be kept: numbers, truth values and strings that are no JSON."""
    import pyarrow.types as types

    kinds = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_dictionary)
    schema = store.read_schema(name)
    own = ("text", "parent", "duplicate_cluster", *PLACES, SIZE, IDENT)  # texts and names of documents
    return [
        field.name
        for field in schema
        if field.name not in own
        and not field.name.startswith("#")
        and not is_json(field)
        and any(kind(field.type) for kind in kinds)
    ]


def _read(store: Store, name: str, columns: list[str], also: tuple[str, ...] = ()) -> pa.Table:
    """The columns that have few values, and those of `also` whatever they have; a row group at a time."""
    import pyarrow as pa
    import pyarrow.types as types

    found: list[pa.Table] = []
    values: dict[str, set[str | None]] = {}
    left_out = [one for one in store.read_schema(name).names if one.startswith("#") and one not in (SIZE, IDENT)]
    with store.parquet(name) as file:
        left = list(columns)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, [*also, *left], use_threads=False)
            for column in list(left):
                if types.is_string(table.schema.field(column).type):
                    seen = values.setdefault(column, set())
                    seen.update(table.column(column).unique().to_pylist())
                    if len(seen) > MOST_VALUES or any(one and (len(one) > LONGEST or mask(one) != one) for one in seen):
                        left.remove(column)
                        left_out.append(column)
            found.append(table)
    empty = store.read_schema(name).empty_table()
    table = pa.concat_tables([one.select([*also, *left]) for one in found or [empty]])
    for column in left:
        if types.is_string(table.schema.field(column).type):
            place = table.schema.get_field_index(column)
            table = table.set_column(place, column, table.column(column).dictionary_encode())
    told = {LEFT_OUT: json.dumps(left_out).encode()}
    return table.replace_schema_metadata(told).unify_dictionaries()


def _documents(store: Store, name: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as compute

    there = store.read_schema(name).names
    also = ("id", SIZE) if SIZE in there else ("id", "text") if "text" in there else ("id",)
    table = _read(store, name, _narrow(store, name), also)
    lengths = pa.nulls(table.num_rows, pa.int64())
    if len(also) == 2:
        lengths = compute.binary_length(table.column("text")) if also[1] == "text" else table.column(SIZE)
    narrow = table.drop_columns(list(also))
    narrow = narrow.append_column(IDENTITY, pa.array(_hashes(table.column("id")), pa.uint64()))
    return narrow.append_column(LENGTH, compute.fill_null(lengths.cast(pa.int64()), 0))


def _hashes(ids: pa.ChunkedArray) -> np.ndarray:
    import numpy as np

    return np.fromiter((hash_of(one) for one in ids.to_pylist()), np.uint64, len(ids))


def _verdicts(table: pa.Table) -> pa.Table:
    import pyarrow as pa

    others = pa.array(_hashes(table.column("duplicate_of")), pa.uint64())
    edited = {root(path) for path in table.column("path").unique().to_pylist() if path and path != "text"}
    table = table.drop_columns(["duplicate_of", "path"]).append_column(OTHER, others)
    for column in ("verdict", "reason"):
        place = table.schema.get_field_index(column)
        table = table.set_column(place, column, table.column(column).dictionary_encode())
    told = {LEFT_OUT: json.dumps(sorted(edited)).encode()}
    return table.replace_schema_metadata(told).unify_dictionaries()
