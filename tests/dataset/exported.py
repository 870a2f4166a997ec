"""Versions to export: documents with all that is hard on formats, in a store of their own."""

from __future__ import annotations

import orjson
import pyarrow as pa

from curate.dataset.fragments import Fragment
from curate.dataset.manifest import Lineage, make_manifest
from curate.dataset.reader import Dataset
from curate.dataset.refs import commit, resolve
from curate.dataset.store import Store

TEXTS = [
    "plain",
    'two\nlines\r\nand "quotes", commas\ttabs',
    "NUL \x00 here",
    "emoji \U0001f600 \u200d RTL \u202e",
    "",
    " lone \r ",
]
SCHEMA = pa.schema([
    ("id", pa.string()),
    ("text", pa.string()),
    ("score", pa.float64()),
    ("count", pa.int64()),
    ("good", pa.bool_()),
    ("tags", pa.list_(pa.string())),
    pa.field("meta", pa.string(), metadata={b"curate.json": b"1"}),
])  # fmt: skip
NAMES = SCHEMA.names


def document(index: int, text: str, **columns) -> dict:
    row = {
        "id": f"d{index}",
        "text": text,
        "score": index / 4,
        "count": -index,
        "good": index % 2 == 0,
        "tags": ["a", text],
    }
    return {**row, "meta": '{"n": 123456789012345678901,\n "x": [null]}', **columns}


ROWS = [document(index, text) for index, text in enumerate(TEXTS)]
NULLS = document(9, "nulls", score=None, count=None, good=None, tags=None, meta=None)


def make_dataset(root, splits: dict[str, list[dict]], schema: pa.Schema = SCHEMA) -> Dataset:
    """A version of these documents in a store of its own, one fragment for each split."""
    store = Store.open(root / "store", create=True)
    empty = store.write_table(schema.empty_table())
    fragments = [
        Fragment(
            object=store.write_table(pa.Table.from_pylist(rows, schema)), rows=len(rows), kept=None,
            documents=len(rows), text_bytes=0, bytes=0, schema=empty,
            splits={split: {"documents": len(rows), "text_bytes": 0}},
        )
        for split, rows in splits.items()
    ]  # fmt: skip
    return commit_fragments(store, fragments, schema)


def commit_fragments(store: Store, fragments: list[Fragment], schema: pa.Schema) -> Dataset:
    manifest = make_manifest(
        store, dataset="books", schema=schema, fragments=fragments, shards=[], stages=[], indexes=[], lineage=Lineage()
    )
    commit(store, "books", store.write_manifest(manifest))
    return Dataset(store, resolve(store, "books"))


def decoded(row: dict) -> dict:
    """The row as JSON lines should hold it: JSON columns are values."""
    return {**row, "meta": None if row["meta"] is None else orjson.loads(row["meta"])}


def read_lines(content: bytes) -> list[dict]:
    return [orjson.loads(line) for line in content.split(b"\n") if line]
