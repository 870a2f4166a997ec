"""Packed text of Python's own documentation, and tiny runs on it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest


class TextDataset:
    """The part of `curate.dataset.reader.Dataset` that packing uses: by split, a list of texts or columns by name."""

    def __init__(self, root, splits):
        self.store = SimpleNamespace(root=Path(root))
        self.name = "tiny"
        columns = {split: some if isinstance(some, dict) else {"text": some} for split, some in splits.items()}
        self.tables = {split: pa.table(some) for split, some in columns.items()}
        if columns:
            self.schema = pa.unify_schemas(
                [table.schema for table in self.tables.values()], promote_options="permissive"
            )
            self.tables = {split: table.cast(self.schema) for split, table in self.tables.items()}
            self.columns = self.schema.names
        self.version = hashlib.sha256(repr(splits).encode()).hexdigest()
        self.splits = {split: len(table) for split, table in self.tables.items()}
        sizes = {
            split: sum(len(str(text).encode()) for text in some.get("text", [])) for split, some in columns.items()
        }
        self.manifest = {"splits": {split: {"text_bytes": size} for split, size in sizes.items()}}

    def batches(self, split, columns, batch_size):
        yield from self.tables[split].select(columns).to_batches(batch_size)


def topics():
    from pydoc_data.topics import topics

    return [topics[name] for name in sorted(topics)][:40]


@pytest.fixture(scope="session")
def pack(tmp_path_factory):
    """About 60,000 tokens of train split and 3,000 of validation, with a vocabulary of 384."""
    from curate.tokenize.pack import pack_dataset
    from curate.tokenize.tokenizer import TokenizerSettings

    texts = topics()
    dataset = TextDataset(tmp_path_factory.mktemp("store"), {"train": texts[4:], "validation": texts[:4]})
    return pack_dataset(dataset, TokenizerSettings(vocabulary=384))


@pytest.fixture
def text_pack(tmp_path):
    """Packs given texts by split: `text_pack(train=[...], validation=[...])`."""
    return _packer(tmp_path / "store")


@pytest.fixture
def column_pack(tmp_path):
    """Packs given columns: `column_pack(Fields(...), train={"text": [...], ...})`."""
    build = _packer(tmp_path / "store")
    return lambda fields, **splits: build(fields=fields, **splits)


def _packer(root):
    from curate.tokenize.pack import pack_dataset
    from curate.tokenize.tokenizer import TokenizerSettings

    def build(fields=None, needs=(), **splits):
        return pack_dataset(TextDataset(root, splits), TokenizerSettings(vocabulary=300), fields, needs=needs)

    return build


@pytest.fixture
def tiny():
    """Settings of a run of about 10 ms a step: `tiny(steps=8, batch={...})`."""
    from curate.train.config import TrainConfig

    def build(**settings):
        given = {
            "dataset": "tiny",
            "run": "small",
            "steps": 12,
            "checkpoint_every": 4,
            "model": {"layers": 2, "width": 32, "heads": 2, "key_value_heads": 1, "feed_forward": 64},
            "batch": {"sequences": 4, "length": 32},
            "schedule": {"warmup": 2},
            "validation": {"every": 6, "sequences": 8},
        }
        return TrainConfig.model_validate({**given, **settings})

    return build


@pytest.fixture
def run(tmp_path, pack):
    """Train to the end, or until a step, as if the run was interrupted after it; gives the run's folder."""
    from curate.train.folder import held, prepare
    from curate.train.launch import launch
    from tests.train.interruption import interrupted

    def train(config, name="run", pack=pack, until=None):
        with held(tmp_path / name) as folder:
            prepare(folder, config, pack)
            with interrupted(folder.path, until):
                launch(config, folder, pack)
            return folder

    return train


@pytest.fixture
def quick_processes(monkeypatch):
    """The processes of a run are forked from one that has imported torch, which takes 0.1 s instead of 4."""
    from multiprocessing import get_context

    from curate.train import launch

    context = get_context("forkserver")
    context.set_forkserver_preload(["curate.train.run", "tests.train.interruption"])
    monkeypatch.setattr(launch, "get_context", lambda _: context)


@pytest.fixture
def parameters():
    """sha256 over all tensors (parameters and optimizer) of a run's newest checkpoint."""
    from safetensors import safe_open

    from curate.train.checkpoint import checkpoints

    def digest(folder):
        found = hashlib.sha256()
        for path in sorted(checkpoints(folder.checkpoints)[-1].glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                for name in sorted(file.keys()):
                    found.update(name.encode() + file.get_tensor(name).numpy().tobytes())
        return found.hexdigest()

    return digest
