"""A dataset as packing sees it."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pyarrow as pa
import pytest


class TextDataset:
    """The part of `curate.dataset.reader.Dataset` that this package uses, over lists of texts by split."""

    def __init__(self, root, texts):
        self.store = SimpleNamespace(root=root)
        self.name, self.texts = "tiny", texts
        self.version = hashlib.sha256(repr(texts).encode()).hexdigest()
        self.splits = {split: len(some) for split, some in texts.items()}
        sizes = {split: sum(len(text.encode()) for text in some) for split, some in texts.items()}
        self.manifest = {"splits": {split: {"text_bytes": size} for split, size in sizes.items()}}

    def batches(self, split, columns, batch_size):
        for start in range(0, len(self.texts[split]), batch_size):
            yield pa.RecordBatch.from_pydict({"text": self.texts[split][start : start + batch_size]})


@pytest.fixture
def dataset(tmp_path):
    def build(**texts):
        return TextDataset(tmp_path, texts)

    return build


@pytest.fixture(scope="session")
def topics():
    """Texts of Python's own documentation."""
    from pydoc_data.topics import topics

    return [topics[name] for name in sorted(topics)]
