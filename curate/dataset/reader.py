"""Reading a version: Arrow, polars, or a Hugging Face dataset, from the store's own Parquet files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.dataset.refs import Reference, resolve
from curate.dataset.schema import conform, unpack_schema
from curate.dataset.store import Store, find_store
from curate.errors import CurateError, did_you_mean

if TYPE_CHECKING:
    import datasets
    import polars
    import pyarrow as pa

__all__ = ["Dataset", "open_dataset"]

SPLITS = ("train", "validation", "test")


def open_dataset(name: str, store: str | os.PathLike[str] | Store | None = None) -> Dataset:
    """Open a version of a dataset.

    Args:
        name: `NAME` (the newest version), `NAME@TAG` or `NAME@ID-PREFIX`.
        store: The store's folder; by default `CURATE_STORE`, then `.curate` in the current folder.

    Raises:
        CurateError: There is no such store, dataset or version.
    """
    opened = store if isinstance(store, Store) else find_store(Path(store) if store is not None else None)
    return Dataset(opened, resolve(opened, name))


class Dataset:
    """A version of a dataset: its documents, columns and splits. Nothing is read before it is asked for."""

    def __init__(self, store: Store, reference: Reference) -> None:
        self.store = store
        self.name, self.version, self.tag = reference
        self.manifest: dict[str, Any] = store.manifest(reference.version)

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
        """The Arrow schema that every file is read with."""
        return unpack_schema(self.manifest["schema_ipc"])

    def files(self, split: str | None = None) -> list[Path]:
        """The Parquet files of a split (None: of all), in order.

        Raises:
            CurateError: There is no such split.
        """
        if split is not None and split not in self.splits:
            raise CurateError(
                f"`{self.name}` has no split `{split}`",
                hint=did_you_mean(split, self.splits) or f"there are: {', '.join(self.splits)}",
            )
        return [self.store.object_path(shard["object"]) for shard in self._shards(split)]

    def _shards(self, split: str | None) -> list[dict[str, Any]]:
        return [shard for shard in self.manifest["shards"] if split in (None, shard["split"])]

    def batches(
        self, split: str | None = None, columns: Sequence[str] | None = None, batch_size: int = 1000
    ) -> Iterator[pa.RecordBatch]:
        """The documents in order, at most `batch_size` at a time; memory stays at one file's row group.

        Raises:
            CurateError: There is no such split or column, or an object is missing or damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as parquet

        schema = self._schema_of(columns)
        for path in self.files(split):
            with self.store.readable(path.stem), parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=batch_size, columns=schema.names, use_threads=False):
                    yield from conform(pa.Table.from_batches([batch]), schema).to_batches()

    def take(self, rows: Sequence[int], split: str | None = None) -> pa.Table:
        """Some documents by their number in the version (or split), in its order; only the files that hold them are read."""
        import pyarrow as pa

        self.files(split)
        tables, start = [self.schema.empty_table()], 0
        for shard in self._shards(split):
            here = [row - start for row in sorted(rows) if start <= row < start + shard["documents"]]
            start += shard["documents"]
            if here:
                tables.append(conform(self.store.read_table(shard["object"]).take(here), self.schema))
        return pa.concat_tables(tables)

    def arrow(self, split: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The documents as one Arrow table."""
        import pyarrow as pa

        return pa.Table.from_batches(self.batches(split, columns, 20_000), self._schema_of(columns))

    def polars(self, split: str | None = None) -> polars.LazyFrame:
        """The documents as a polars query over the files: only the columns and rows that it asks for are read."""
        import polars
        from polars.io.plugins import register_io_source

        files = self.files(split)
        if not files:
            return polars.from_arrow(self.arrow(split)).lazy()  # type: ignore[union-attr]

        def read(
            columns: list[str] | None, predicate: polars.Expr | None, rows: int | None, _: int | None
        ) -> Iterator[polars.DataFrame]:
            """One object after another, so that an error can name it; `rows` are counted before the predicate."""
            for shard in self._shards(split):
                with self.store.readable(shard["object"], polars.exceptions.PolarsError) as path:
                    query = polars.scan_parquet(path)
                    query = query if rows is None else query.head(rows)
                    query = query if predicate is None else query.filter(predicate)
                    yield (query if columns is None else query.select(columns)).collect()
                rows = None if rows is None else max(rows - shard["documents"], 0)

        with self.store.readable(files[0].stem, polars.exceptions.PolarsError) as path:
            schema = polars.scan_parquet(path).collect_schema()
        return register_io_source(read, schema=schema, is_pure=True)

    def huggingface(self, split: str | None = None) -> datasets.DatasetDict | datasets.Dataset:
        """A Hugging Face `DatasetDict` of the splits, or the `Dataset` of one; shares memory with Arrow, copies nothing."""
        import datasets

        if split is not None:
            return _huggingface(self.arrow(split), split)
        return datasets.DatasetDict([(name, _huggingface(self.arrow(name), name)) for name in self.splits])

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


def _huggingface(table: pa.Table, split: str) -> datasets.Dataset:
    import datasets
    from datasets.table import InMemoryTable

    return datasets.Dataset(InMemoryTable(table.replace_schema_metadata(None)), split=datasets.NamedSplit(split))
