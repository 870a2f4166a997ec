"""Reading a version: Arrow, polars, or a Hugging Face dataset, from the store's own Parquet files.

A fragment at a time: its rows that are in the version, with the columns that lie beside it. Memory is one row group of an
object, and the sidecars of one fragment.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from curate.dataset.find import find_store
from curate.dataset.fragments import Fragment, read_fragments, read_ledger
from curate.dataset.index import find_ids
from curate.dataset.leases import lease
from curate.dataset.ledger import Shard
from curate.dataset.nested import nested, nested_schema
from curate.dataset.refs import Reference, resolve
from curate.dataset.schema import conform
from curate.dataset.store import Store
from curate.errors import CurateError, DamagedError, did_you_mean

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import polars
    import pyarrow as pa
    import pyarrow.parquet as parquet

__all__ = ["Dataset", "open_dataset"]

SPLITS = ("train", "validation", "test")


def open_dataset(name: str, store: str | os.PathLike[str] | Store | None = None) -> Dataset:
    """Open a version of a dataset.

    Args:
        name: `NAME` (the newest version), `NAME@TAG` or `NAME@ID-PREFIX`.
        store: The store's folder or URL; by default the one that commands find from here.

    Raises:
        CurateError: There is no such store, dataset or version.
    """
    opened = store if isinstance(store, Store) else find_store(None if store is None else str(store))
    return Dataset(opened, resolve(opened, name))


class Dataset:
    """A version of a dataset: its documents, columns and splits. Nothing is read before it is asked for.

    As long as the object lives, garbage collection keeps what the version needs.
    """

    def __init__(self, store: Store, reference: Reference) -> None:
        self.store = store
        self.name, self.version, self.tag = reference
        with ExitStack() as held:  # the lease first: what is read after it stays
            held.enter_context(lease(store, "read", reference.version))
            self.manifest: dict[str, Any] = store.manifest(reference.version)
            weakref.finalize(self, held.pop_all().close)

    def __repr__(self) -> str:
        return f"Dataset({self.name}@{self.version[:12]}, {len(self)} documents, splits {self.splits})"

    def __len__(self) -> int:
        return self.manifest["documents"]["kept"]

    @property
    def splits(self) -> dict[str, int]:
        """Documents by split: train, validation and test in this order, then others by name; if none, an empty train."""
        found = self.manifest["splits"]
        names = [*(name for name in SPLITS if name in found), *sorted(found.keys() - set(SPLITS))]
        return {name: found[name]["documents"] for name in names} or {"train": 0}

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [column["name"] for column in self.manifest["columns"]]

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema that every document is read with."""
        with self._naming():
            return self.store.read_schema(self.manifest["schema_object"]).remove_metadata()

    @cached_property
    def fragments(self) -> list[Fragment]:
        """What the version is made of, in its order."""
        with self._naming():
            return read_fragments(self.store, self.manifest["fragments"])

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Say of an object that is missing or damaged which version needs it."""
        try:
            yield
        except DamagedError as error:
            needs = f"{error.problem}, and {self.name}@{self.tag or self.version[:12]} needs it"
            raise DamagedError(needs, error.where, error.hint) from error

    def ledger(self, numbers: Sequence[int] | None = None) -> list[Shard]:
        """What was done to every shard that was read, or to some of them."""
        return read_ledger(self.store, self.manifest["ledger"], numbers)

    def inputs(self) -> list[dict[str, Any]]:
        """What was read: `source`, `name`, `content` (a hash) and `bytes` of each."""
        name = self.manifest["lineage"]["inputs"]
        return self.store.read_table(name).to_pylist() if name else []

    def check_split(self, split: str | None) -> None:
        """Raise a CurateError if there is no such split (None is all of them)."""
        if split is not None and split not in self.splits:
            raise CurateError(
                f"`{self.name}` has no split `{split}`",
                hint=did_you_mean(split, self.splits) or f"there are: {', '.join(self.splits)}",
            )

    def batches(
        self, split: str | None = None, columns: Sequence[str] | None = None, batch_size: int = 1000
    ) -> Iterator[pa.RecordBatch]:
        """The documents in order, at most `batch_size` at a time; memory stays at one row group.

        Raises:
            CurateError: There is no such split or column, or an object is missing or damaged.
        """
        self.check_split(split)
        schema = self._schema_of(columns)
        for fragment in self.fragments:
            if split is None or fragment.splits.get(split, {}).get("documents"):
                for table in self._tables(fragment, split, schema, batch_size):
                    yield from table.to_batches(max_chunksize=batch_size)

    def tables(self, fragment: Fragment, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The documents of one fragment, some at a time."""
        return self._tables(fragment, None, self._schema_of(columns), 20_000)

    def lookup(self, ids: Collection[str], columns: Sequence[str]) -> Iterator[pa.Table]:
        """The documents with these ids; the index says where they are, and only row groups that hold one are read."""
        import pyarrow as pa
        import pyarrow.compute as compute

        rows = find_ids(self.store, self.manifest["indexes"], ids)
        schema, wanted = self._schema_of(list(dict.fromkeys(["id", *columns]))), pa.array(sorted(ids), pa.string())
        shards = [number for number, shard in enumerate(self.ledger()) if shard.kept] if rows else []
        for number, fragment in zip(shards, self.fragments if rows else [], strict=True):
            for table in self._tables(fragment, None, schema, 20_000, rows[number]) if number in rows else ():
                yield table.filter(compute.is_in(table.column("id"), wanted))

    def _tables(
        self, fragment: Fragment, split: str | None, schema: pa.Schema, batch_size: int, only: np.ndarray | None = None
    ) -> Iterator[pa.Table]:
        """A fragment's documents, some at a time; of the rows in `only` where it is given."""
        with self._naming():
            yield from self._read(fragment, split, schema, batch_size, only)

    def _read(
        self, fragment: Fragment, split: str | None, schema: pa.Schema, batch_size: int, only: np.ndarray | None
    ) -> Iterator[pa.Table]:
        import numpy as np
        import pyarrow as pa

        beside = _Beside(self.store, fragment, schema.names, split, only)
        wanted = len(beside.rows(0, fragment.rows))
        step = max(
            batch_size, min(batch_size * fragment.rows // max(wanted, 1), 20_000)
        )  # so that batches are not tiny
        with self.store.parquet(fragment.object) as file:
            there = [name for name in schema.names if name in file.schema_arrow.names and name not in beside.columns]
            stop = 0
            for start, batch in _parts(file, there or ["id"], step, beside, every=only is None):
                stop = start + batch.num_rows
                rows = beside.rows(start, stop)
                if len(rows):
                    table = pa.Table.from_batches([batch])
                    table = table if len(rows) == batch.num_rows else table.take(pa.array(rows - start))
                    for name in beside.columns:
                        column = beside.column(name, rows)
                        where = table.schema.get_field_index(name)
                        table = (
                            table.append_column(name, column) if where < 0 else table.set_column(where, name, column)
                        )
                    yield conform(table, schema)
        assert stop == fragment.rows or not np.any(beside.rows(stop, fragment.rows)), "an object without its rows"

    def take(self, rows: Sequence[int], split: str | None = None) -> pa.Table:
        """Some documents by their number in the version (or split), in its order; only the files that hold them are read."""
        import pyarrow as pa

        self.check_split(split)
        tables, start = [self.schema.empty_table()], 0
        for fragment in self.fragments:
            counts = fragment.documents if split is None else fragment.splits.get(split, {}).get("documents", 0)
            here = [row - start for row in sorted(rows) if start <= row < start + counts]
            start += counts
            if here:
                whole = pa.concat_tables(self._tables(fragment, split, self.schema, 20_000))
                tables.append(whole.take(pa.array(here)))
        return pa.concat_tables(tables)

    def arrow(self, split: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The documents as one Arrow table."""
        import pyarrow as pa

        return pa.Table.from_batches(self.batches(split, columns, 20_000), self._schema_of(columns))

    def polars(self, split: str | None = None) -> polars.LazyFrame:
        """The documents as a polars query: only the columns and rows that it asks for are read."""
        import polars
        from polars.io.plugins import register_io_source

        self.check_split(split)

        def read(
            columns: list[str] | None, predicate: polars.Expr | None, rows: int | None, _: int | None
        ) -> Iterator[polars.DataFrame]:
            """Some documents after another; `rows` are counted before the predicate."""
            needed = columns if predicate is None or columns is None else [
                name for name in self.columns if name in {*columns, *predicate.meta.root_names()}
            ]  # fmt: skip
            left = rows
            for batch in self.batches(split, needed, 20_000):
                frame: polars.DataFrame = polars.from_arrow(batch)  # type: ignore[assignment]
                if left is not None:
                    frame, left = frame.head(left), max(left - batch.num_rows, 0)
                frame = frame if predicate is None else frame.filter(predicate)
                yield frame if columns is None else frame.select(columns)
                if left == 0:
                    return

        empty: polars.DataFrame = polars.from_arrow(self.schema.empty_table())  # type: ignore[assignment]
        return register_io_source(read, schema=empty.schema, is_pure=True)

    def arrays(
        self, label: str, split: str | None = None, *, features: str = "features"
    ) -> tuple[np.ndarray, np.ndarray]:
        """X and y as scikit-learn takes them: (rows, numbers) float64, and the label of each row.

        Args:
            label: Column of labels.
            split: Of these documents; None is all.
            features: Column of lists of numbers, as `table_features` makes it.

        Raises:
            CurateError: There is no such split or column, its lists have not all the same length, or the label is among what
                they are made of.
        """
        import numpy as np

        from curate.dataset.tables import check_label

        if features == "features":
            check_label(self, label)
        table = self.arrow(split, [features, label]).combine_chunks()
        lists, labels = table.column(features).combine_chunks(), np.array(table.column(label).to_pylist())
        if not hasattr(lists, "flatten") or lists.null_count or len(set(lists.value_lengths().to_pylist())) > 1:
            raise CurateError(
                f"column `{features}` holds {lists.type}, not as many numbers in each document",
                hint="`{stage: table_features}` makes such a column",
            )
        return np.asarray(lists.flatten(), dtype=np.float64).reshape(len(lists), -1), labels

    def artifact(self, stage: str, name: str) -> pa.Table:
        """A table that a stage (its id) left with the version: `learned`, `cells`, `fitted`, `mix`, `topics`, ...

        Raises:
            CurateError: There is none.
        """
        from curate.dataset.artifacts import artifact

        return artifact(self, stage, name)

    def huggingface(self, split: str | None = None) -> datasets.DatasetDict | datasets.Dataset:
        """A Hugging Face `DatasetDict` of the splits, or the `Dataset` of one; shares memory with Arrow.

        Columns of JSON text whose values have one type are lists and structures (curate/dataset/nested.py).
        """
        import datasets
        import pyarrow as pa

        schema = nested_schema(self.schema, lambda names: self.batches(None, names, 1000))

        def of(name: str) -> datasets.Dataset:
            table = self.arrow(name)
            return _huggingface(pa.Table.from_batches(nested(table.to_batches(), schema), schema), name)

        return of(split) if split is not None else datasets.DatasetDict([(name, of(name)) for name in self.splits])

    def _schema_of(self, columns: Sequence[str] | None) -> pa.Schema:
        import pyarrow as pa

        if columns is None:
            return self.schema
        for name in columns:
            if name not in self.columns:
                raise CurateError(
                    f"`{self.name}` has no column `{name}`",
                    hint=did_you_mean(name, self.columns) or f"there are: {', '.join(self.columns)}",
                )
        return pa.schema([self.schema.field(name) for name in columns])


class _Beside:
    """What lies beside a fragment: which rows are wanted, and the columns of its sidecars."""

    def __init__(
        self, store: Store, fragment: Fragment, names: Sequence[str], split: str | None, only: np.ndarray | None
    ) -> None:
        import numpy as np

        self.holders = {name: one.object for one in fragment.sidecars for name in one.columns}
        self.columns = [name for name in self.holders if name in names]
        self._store = store
        self._held: dict[str, pa.Table] = {}
        self._wanted = np.arange(fragment.rows)
        if fragment.kept:
            kept = store.read_table(fragment.kept).column("kept").to_numpy()
            self._wanted = np.flatnonzero(kept)
        if only is not None:
            self._wanted = np.intersect1d(self._wanted, only)
        if split is not None and "split" in self.holders:
            given = self.column("split", self._wanted)
            self._wanted = self._wanted[np.array(given.to_pylist()) == split]

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The wanted rows in a range."""
        import numpy as np

        first, last = np.searchsorted(self._wanted, [start, stop])
        return self._wanted[first:last]

    def column(self, name: str, rows: np.ndarray) -> pa.ChunkedArray:
        """A sidecar's column for some rows; null where it has no value."""
        import numpy as np
        import pyarrow as pa

        holder = self.holders[name]
        if name not in self._held:  # with all others that are asked for: a table has hundreds in one object
            names = [one for one in dict.fromkeys([name, *self.columns]) if self.holders[one] == holder]
            self._held |= dict.fromkeys(names, self._store.read_table(holder, ["row", *names]))
        table = self._held[name]
        known = table.column("row").to_numpy()
        if not len(known):
            return pa.chunked_array([pa.nulls(len(rows), table.schema.field(name).type)])
        place = np.minimum(np.searchsorted(known, rows), len(known) - 1)
        return table.column(name).take(pa.array(place, mask=known[place] != rows))


def _parts(
    file: parquet.ParquetFile, columns: list[str], step: int, beside: _Beside, *, every: bool
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of an object with the number of the first, some at a time: all, or those of row groups that hold wanted ones."""
    start, groups = 0, [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    for some, rows in [(None, sum(groups))] if every else [([group], rows) for group, rows in enumerate(groups)]:
        place = start
        start += rows
        if some is None or len(beside.rows(place, start)):
            for batch in file.iter_batches(step, row_groups=some, columns=columns, use_threads=False):
                yield place, batch
                place += batch.num_rows


def _huggingface(table: pa.Table, split: str) -> datasets.Dataset:
    import datasets
    from datasets.table import InMemoryTable

    return datasets.Dataset(InMemoryTable(table.replace_schema_metadata(None)), split=datasets.NamedSplit(split))
