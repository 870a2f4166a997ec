"""A small language model that knows nothing: what it says is arbitrary, and always the same."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from curate.evaluation.models.ours import TrunkModel
from curate.train.models.trunk import build_trunk
from curate.train.settings.architecture import Architecture, ModelSettings


def sizes(**settings) -> Architecture:
    return ModelSettings(layers=2, width=32, heads=2, **settings).architecture


def byte_tokenizer() -> Tokenizer:
    """Every byte is a token; `<|endoftext|>` ends a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


def small_model(length: int = 24, seed: int = 0, **settings) -> TrunkModel:
    torch.manual_seed(seed)
    trunk = build_trunk(sizes(**settings), vocabulary=257, length=length)
    for parameter in trunk.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return TrunkModel(
        trunk, name="small", identity=f"seed {seed}", tokenizer=byte_tokenizer(), prefix=256, end=frozenset({256}),
        length=length,
    )  # fmt: skip
