"""A checkpoint in Detoxify's format: a BERT of two layers, with random weights and a vocabulary of some words."""

from __future__ import annotations

import json

import pytest

from tests.oracles import library

WORDS = "you are a the idiot kind neighbour bridge committee met on tuesday and loser . , ! ##s ##er what was said"
CLASSES = ["toxic", "severe_toxic", "insult"]


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory):
    """config.json, the tokenizer, and what a checkpoint is made of: (folder, its content)."""
    torch, transformers = library("torch"), library("transformers")
    folder = tmp_path_factory.mktemp("toy")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split(), *map(chr, range(97, 123))]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=512, num_labels=len(CLASSES),
    )  # fmt: skip
    config.save_pretrained(folder)
    torch.manual_seed(3)
    model = transformers.BertForSequenceClassification(config)
    torch.nn.init.normal_(model.classifier.weight, std=2.0)
    arguments = {
        "model_type": str(folder), "model_name": "BertForSequenceClassification", "tokenizer_name": "BertTokenizer",
        "num_classes": len(CLASSES),
    }  # fmt: skip
    content = {
        "config": {"arch": {"args": arguments}, "dataset": {"args": {"classes": CLASSES}}},
        "state_dict": model.state_dict(),
    }
    torch.save(content, folder / "toy.ckpt")
    return folder, content


@pytest.fixture
def checkpoint(toy_folder):
    """The checkpoint's path."""
    return toy_folder[0] / "toy.ckpt"


@pytest.fixture
def other_checkpoint(toy_folder, tmp_path):
    """Write another checkpoint beside the same configuration: (what to save or the file's bytes) -> path."""
    folder, content = toy_folder

    def write(change):
        import torch

        path = tmp_path / "other.ckpt"
        made = change(json.loads(json.dumps(content["config"])), dict(content["state_dict"]))
        if isinstance(made, bytes):
            path.write_bytes(made)
        else:
            torch.save(made, path)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
            if (folder / name).exists():
                (tmp_path / name).write_bytes((folder / name).read_bytes())
        return path

    return write
