"""Packed text of Python's own documentation, and tiny runs on it."""

from __future__ import annotations

import hashlib
import sys
import types

import pyarrow as pa
import pytest

from curate.dataset.store import Store, blobs_at
from tests.train.rows_project import made, project, refused, train  # noqa: F401


class TextDataset:
    """The part of `curate.dataset.reader.Dataset` that packing uses: by split, a list of texts or columns by name."""

    def __init__(self, root, splits):
        self.store = Store(blobs_at(root))
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
    from curate.train.settings.config import TrainConfig

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
    from curate.train.runs.folder import held, prepare
    from curate.train.runs.launch import launch
    from tests.train.interruption import interrupted

    def start(config, name="run", pack=pack, until=None):
        with held(tmp_path / name) as folder:
            prepare(folder, config, pack)
            with interrupted(folder.path, until):
                launch(config, folder, pack)
            return folder

    return start


@pytest.fixture
def quick_processes(monkeypatch):
    """The processes of a run are forks (forked.py)."""
    from curate.train.runs import launch
    from tests.train import forked

    monkeypatch.setattr(launch, "get_context", lambda _: forked.context())


@pytest.fixture
def parameters():
    """sha256 over all tensors (parameters and optimizer) of a run's newest checkpoint."""
    import torch
    from safetensors import safe_open

    from curate.train.weights.checkpoint import checkpoints

    def digest(folder):
        found = hashlib.sha256()
        for path in sorted(checkpoints(folder.checkpoints)[-1].glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                for name in sorted(file.keys()):
                    found.update(name.encode() + file.get_tensor(name).reshape(-1).view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    return digest


# ---- every objective on a few rows (tiny_tasks.py)


@pytest.fixture(scope="session")
def tiny_packs(tmp_path_factory):
    """Packs the rows of every dataset that settings name; made once. `rows` replaces those of `rows_of`, by name."""
    from curate.train.data.tasks import pack_all
    from tests.train.tiny_tasks import rows_of

    root = tmp_path_factory.mktemp("tiny")

    def build(config, rows=None):
        def opened(name):
            splits = (rows or {}).get(name)
            return TextDataset(root, splits or {"train": rows_of(name, 48), "validation": rows_of(name, 16, seed=1)})

        return pack_all(config, opened, tokenizer=None)

    return build


@pytest.fixture(scope="session")
def tiny_origins(tmp_path_factory, tiny_packs):
    """Folders of models to begin with, by name: `gpt2` and `bert` of transformers, with dropout or without; `teacher`."""
    from functools import cache

    from curate.train.runs.folder import held, prepare
    from curate.train.runs.launch import launch
    from tests.train.tiny_tasks import CASES, config_of

    root = tmp_path_factory.mktemp("origins")

    @cache
    def build(name, dropout):
        path = root / f"{name}-{dropout}"
        if name != "teacher":
            return _write_pretrained(name, path, dropout)
        config = config_of(CASES["causal"])
        with held(path) as folder:
            packs = tiny_packs(config)
            prepare(folder, config, packs)
            launch(config, folder, packs)
        return path

    return build


def _write_pretrained(name, path, dropout):
    """A tiny model with random weights."""
    import torch
    import transformers

    torch.manual_seed(3)
    sizes = {"vocab_size": 400, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    if name == "gpt2":
        drops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
        config = transformers.GPT2Config(n_positions=64, **sizes, **drops)
        transformers.GPT2LMHeadModel(config).save_pretrained(path)
    else:
        drops = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        config = transformers.BertConfig(intermediate_size=32, max_position_embeddings=64, **sizes, **drops)
        transformers.BertModel(config).save_pretrained(path)
    return path


@pytest.fixture
def trained(run, tiny_packs, tiny_origins):
    """Trains a case of tiny_tasks.py with settings of its own: `trained("causal", "straight", steps=8)`."""
    from tests.train.tiny_tasks import CASES, config_of

    def start(case, name="run", *, until=None, rows=None, dropout=0.1, **settings):
        config = config_of(CASES[case], dropout=dropout, **settings)
        if config.model.kind == "pretrained":
            path = tiny_origins(config.model.path, dropout)
            config = config.model_copy(update={"model": config.model.model_copy(update={"path": str(path)})})
        if config.objective.kind == "distillation":
            teacher = str(tiny_origins("teacher", 0.1))
            config = config.model_copy(update={"objective": config.objective.model_copy(update={"teacher": teacher})})
        return run(config, name, tiny_packs(config, rows), until)

    return start


@pytest.fixture
def stand_in(monkeypatch):
    """Put a function in the place of `train_process`, in this process."""

    def put(train_process):
        module = types.ModuleType("curate.train.runs.process")
        module.train_process = train_process
        monkeypatch.setitem(sys.modules, "curate.train.runs.process", module)

    return put
