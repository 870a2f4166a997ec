"""A byte-level BPE tokenizer in the keys of a GGUF file, as llama.cpp reads them.

llama.cpp knows by a name (`tokenizer.ggml.pre`) how a text is cut before pairs are merged; a tokenizer that cuts in another
way would give other tokens there, so only those that it has a name for are written. Qwen's normalisation to NFC has no key:
llama.cpp leaves it out, as for Qwen's own models. Sources: the GGUF specification; the package gguf 0.19.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.tokenize.roles import roles as known_roles
from curate.tokenize.tokenizer import load_tokenizer

__all__ = ["check_tokenizer", "write_tokens"]

_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_PATTERNS = {
    f"{_LETTERS}\\p{{N}}{{1,3}}{_REST}": "llama-bpe",
    f"{_LETTERS}\\p{{N}}{_REST}": "qwen2",
}
"""Patterns of Llama 3 and Qwen 2, and llama.cpp's names of them."""
_WHOLE_WORDS = ("llama-bpe",)
"""Those with which a word that is a token as it is, is not merged."""


def check_tokenizer(path: Path) -> str:
    """llama.cpp's name of how the tokenizer of a file cuts texts.

    Raises:
        CurateError: It has none.
    """
    described = json.loads(path.read_bytes())
    model = described["model"]
    name = _name_of(described)
    odd = [
        key for key in ("byte_fallback", "dropout", "continuing_subword_prefix", "end_of_word_suffix") if model.get(key)
    ]
    if model.get("type", "BPE") != "BPE" or name is None or odd:
        raise CurateError(
            "the tokenizer cuts texts in a way that llama.cpp has no name for here",
            str(path),
            "byte-level BPE with the pattern of GPT-2 (what `curate train` makes), SmolLM, Llama 3 or Qwen 2 is written; "
            "others by llama.cpp's own convert_hf_to_gguf.py, from a Hugging Face folder (`curate export` without --format)",
        )
    return name


def _name_of(described: Mapping[str, Any]) -> str | None:
    part = described.get("pre_tokenizer") or {}
    parts: list[Mapping[str, Any]] = part.get("pretokenizers") or [part]
    kinds = [one.get("type") for one in parts]
    if kinds[-1:] != ["ByteLevel"] or parts[-1]["add_prefix_space"]:
        return None
    cuts, normalizer = parts[-1].get("use_regex", True), (described.get("normalizer") or {}).get("type")
    found = None
    if kinds == ["ByteLevel"] and cuts:
        found = "gpt-2"
    elif kinds == ["Digits", "ByteLevel"] and cuts and parts[0].get("individual_digits"):
        found = "smollm"
    elif kinds == ["Split", "ByteLevel"] and not cuts and parts[0].get("behavior") == "Isolated":
        found = None if parts[0].get("invert") else _PATTERNS.get(parts[0]["pattern"].get("Regex", ""))
    plain = normalizer == "NFC" if found == "qwen2" else normalizer is None
    whole = bool(described["model"].get("ignore_merges")) == (found in _WHOLE_WORDS)
    return found if plain and whole else None


def write_tokens(writer: Any, path: Path, *, vocabulary: int, chat_template: str | None, turn_end: int | None) -> None:
    """Write the tokenizer into a GGUF file.

    Args:
        writer: A `gguf.GGUFWriter`.
        path: The tokenizer.json.
        vocabulary: Rows of the embedding; those without a token are filled.
        chat_template: Of its conversations.
        turn_end: Token that ends an answer.
    """
    from gguf import TokenType

    described, tokenizer = json.loads(path.read_bytes()), load_tokenizer(path)
    names = {number: name for name, number in tokenizer.get_vocab(with_added_tokens=True).items()}
    kinds = {
        token["id"]: TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
        for token in described["added_tokens"]
    }
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(check_tokenizer(path))
    writer.add_token_list([names.get(number, f"[PAD{number}]") for number in range(vocabulary)])
    writer.add_token_types(
        [
            kinds.get(number, TokenType.NORMAL if number in names else TokenType.UNUSED).value
            for number in range(vocabulary)
        ]
    )
    merges = described["model"]["merges"]
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in merges])
    roles = known_roles(tokenizer)
    writer.add_bos_token_id(roles["start"])
    writer.add_eos_token_id(roles["end_of_text"])
    writer.add_pad_token_id(roles["padding"])
    if turn_end is not None:
        writer.add_eot_token_id(turn_end)
    writer.add_add_bos_token(False)  # as `curate generate` and the Hugging Face folder, which add none
    if chat_template is not None:
        writer.add_chat_template(chat_template)
