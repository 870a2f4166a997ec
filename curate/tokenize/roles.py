"""What the special tokens of a tokenizer are for: found by the names that are usual.

A role is what an objective asks for (`mask`, `separator`); its token has another name in every family of models. The
first name of a role is the one that a tokenizer of ours gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError, did_you_mean
from curate.jsontext import loads

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["CHAT", "FILL", "NAMES", "fill_roles", "missing_names", "require", "roles", "roles_of", "special_tokens"]

NAMES: dict[str, tuple[str, ...]] = {
    "end_of_text": ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "[SEP]"),
    "start": ("<|start|>", "[CLS]", "<s>", "<|begin_of_text|>", "<bos>", "[BOS]"),
    "separator": ("<|separator|>", "[SEP]", "</s>", "<sep>"),
    "mask": ("<|mask|>", "[MASK]", "<mask>"),
    "padding": ("<|padding|>", "[PAD]", "<pad>", "<|finetune_right_pad_id|>"),
    "unknown": ("<|unknown|>", "[UNK]", "<unk>"),
    "system": ("<|system|>",),
    "user": ("<|user|>",),
    "assistant": ("<|assistant|>",),
    "end": ("<|end|>",),
    "fim_prefix": ("<|fim_prefix|>", "<fim_prefix>", "<fim-prefix>", "<\uff5cfim\u2581begin\uff5c>", "\u2581<PRE>"),
    "fim_suffix": ("<|fim_suffix|>", "<fim_suffix>", "<fim-suffix>", "<\uff5cfim\u2581hole\uff5c>", "\u2581<SUF>"),
    "fim_middle": ("<|fim_middle|>", "<fim_middle>", "<fim-middle>", "<\uff5cfim\u2581end\uff5c>", "\u2581<MID>"),
}
FILL = ("fim_prefix", "fim_suffix", "fim_middle")
"""Roles that stand before the parts of a text whose middle is filled in."""
CHAT = ("system", "user", "assistant", "end")
"""Roles that the default template of conversations needs."""
_FALL_BACK = ("start", "separator", "padding")
"""Roles that the end of text plays where there is no other token for them, as in GPT-2."""


def roles(tokenizer: Tokenizer, end_of_text: str | None = None) -> dict[str, int]:
    """The number of the token of each role; roles without a token are left out.

    Args:
        tokenizer: Whose special tokens.
        end_of_text: Name of the token that ends a document, where it is none of the usual ones.

    Raises:
        CurateError: No token ends a document.
    """
    special = special_tokens(tokenizer)
    found = {role: next((special[name] for name in names if name in special), None) for role, names in NAMES.items()}
    found |= fill_roles(tokenizer)
    if end_of_text is not None:
        found["end_of_text"] = tokenizer.token_to_id(end_of_text)
    if found["end_of_text"] is None:
        listed = ", ".join(f"`{name}`" for name in special) or "none"
        near = did_you_mean(end_of_text, tokenizer.get_vocab()) if end_of_text else None
        raise CurateError(
            f"the tokenizer has no token `{end_of_text}`"
            if end_of_text
            else "the tokenizer has no token that ends a text, by its name",
            "tokenizer.end_of_text",
            near or f"name it here; its special tokens: {listed}",
        )
    for role in _FALL_BACK:
        if found[role] is None:
            found[role] = found["end_of_text"]
    return {role: number for role, number in found.items() if number is not None}


def roles_of(tokenizer: Tokenizer, folder: Path) -> dict[str, int]:
    """The number of the token of each role in a model's folder: as its files say (Hugging Face's), else by usual names.

    Args:
        tokenizer: The model's.
        folder: Where tokenizer_config.json and config.json are, if there are any.

    Raises:
        CurateError: No token ends a document.
    """
    told, numbers = _settings(folder / "tokenizer_config.json"), _settings(folder / "config.json")
    found: dict[str, int] = {}
    for theirs, ours in _THEIRS.items():
        name, number = told.get(f"{theirs}_token"), numbers.get(f"{theirs}_token_id")
        name = name.get("content") if isinstance(name, dict) else name
        number = number[0] if isinstance(number, list) and number else number
        known = tokenizer.token_to_id(name) if isinstance(name, str) else number
        if isinstance(known, int) and ours not in found:
            found[ours] = known
    if "end_of_text" in found:
        name = tokenizer.id_to_token(found["end_of_text"])
        return roles(tokenizer, name) | found if name is not None else roles(tokenizer) | found
    try:
        return roles(tokenizer) | found
    except CurateError as error:
        place = folder / "tokenizer_config.json"
        raise CurateError(error.problem, str(place), "`eos_token` there names the token that ends a text") from None


_THEIRS = {
    "eos": "end_of_text", "bos": "start", "cls": "start", "sep": "separator", "mask": "mask", "pad": "padding", "unk": "unknown"
}  # fmt: skip


def _settings(path: Path) -> dict[str, Any]:
    """A JSON file's map; what cannot be read says nothing."""
    try:
        found = loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def fill_roles(tokenizer: Tokenizer) -> dict[str, int]:
    """The tokens of `FILL` that there are; some families (Qwen 2.5) do not mark them as special."""
    added = {token.content: number for number, token in tokenizer.get_added_tokens_decoder().items()}
    return {role: added[name] for role in FILL for name in NAMES[role] if name in added}


def special_tokens(tokenizer: Tokenizer) -> dict[str, int]:
    """Number by name of the tokens that are no text."""
    added = tokenizer.get_added_tokens_decoder()
    return {token.content: number for number, token in sorted(added.items()) if token.special}


def missing_names(needs: Sequence[str], given: Sequence[str]) -> list[str]:
    """Names of the special tokens that a tokenizer needs for these roles and was not given."""
    return [NAMES[role][0] for role in dict.fromkeys(needs) if not set(NAMES[role]) & set(given)]


def require(needs: Sequence[str], found: dict[str, int], path: Path) -> None:
    """Check that a tokenizer has a token for each of these roles.

    Raises:
        CurateError: It has not.
    """
    lacking = [role for role in dict.fromkeys(needs) if role not in found]
    if not lacking:
        return
    names = ", ".join(f"`{NAMES[role][0]}`" for role in lacking)
    hint = f"add it to its special tokens as {names}, or train a tokenizer"
    if set(lacking) & set(CHAT):
        hint = "name the template of conversations that the tokenizer was made for (`data.chat_template`)"
    raise CurateError(f"the tokenizer has no special token for: {', '.join(lacking)}", str(path), hint)
