"""A small language model that knows nothing: what it says is arbitrary, and always the same."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from curate.evaluation.models.ours import TrunkModel
from curate.train.models.trunk import build_trunk
from curate.train.settings.architecture import Architecture, ModelSettings


def sizes(**settings) -> Architecture:
    return ModelSettings(layers=2, width=32, heads=2, **settings).architecture


def byte_tokenizer(merges: tuple[tuple[str, str], ...] = ()) -> Tokenizer:
    """Every byte is a token, and every merge; `<|endoftext|>` ends a text."""
    names = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.encode_special_tokens = True  # as `load_tokenizer` has it
    return tokenizer


def small_model(length: int = 24, seed: int = 0, merges: tuple[tuple[str, str], ...] = (), **settings) -> TrunkModel:
    torch.manual_seed(seed)
    end = 256 + len(merges)
    trunk = build_trunk(sizes(**settings), vocabulary=end + 1, length=length)
    for parameter in trunk.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return TrunkModel(
        trunk, name="small", weights=f"seed {seed}", tokenizer=byte_tokenizer(merges), prefix=end, end=frozenset({end}),
        length=length,
    )  # fmt: skip


def llama_folder(place: Path, seed: int = 1, length: int = 64) -> Path:
    """A Llama of transformers that knows nothing, with a tokenizer of bytes."""
    import transformers

    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=257, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=length, bos_token_id=256, eos_token_id=256, pad_token_id=256,
        initializer_range=0.1,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(place)
    byte_tokenizer().save(str(place / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    (place / "tokenizer_config.json").write_text(json.dumps(names))
    return place
