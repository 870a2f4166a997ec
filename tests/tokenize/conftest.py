"""A dataset as packing sees it."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pytest

from curate.dataset.store import Store, blobs_at
from curate.errors import CurateError


class TextDataset:
    """The part of `curate.dataset.reader.Dataset` that this package uses: by split, a list of texts or columns by name."""

    def __init__(self, root, splits):
        self.store = Store(blobs_at(root))
        self.name = "tiny"
        columns = {split: some if isinstance(some, dict) else {"text": some} for split, some in splits.items()}
        self.tables = {split: pa.table(some) for split, some in columns.items()}
        if columns:
            schema = pa.unify_schemas([table.schema for table in self.tables.values()], promote_options="permissive")
            self.tables = {split: table.cast(schema) for split, table in self.tables.items()}
            self.schema, self.columns = schema, schema.names
        self.version = hashlib.sha256(repr(splits).encode()).hexdigest()
        self.splits = {split: len(table) for split, table in self.tables.items()}
        sizes = {
            split: sum(len(str(text).encode()) for text in some.get("text", [])) for split, some in columns.items()
        }
        self.manifest = {"splits": {split: {"text_bytes": size} for split, size in sizes.items()}}

    def batches(self, split, columns, batch_size):
        for name in columns:
            if name not in self.columns:
                raise CurateError(f"`tiny` has no column `{name}`")
        yield from self.tables[split].select(columns).to_batches(batch_size)


@pytest.fixture
def dataset(tmp_path):
    def build(**splits):
        return TextDataset(tmp_path, splits)

    return build


@pytest.fixture(scope="session")
def topics():
    """Texts of Python's own documentation."""
    from pydoc_data.topics import topics

    return [topics[name] for name in sorted(topics)]
