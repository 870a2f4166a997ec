"""A tokenizer in the files from which transformers reads it, with the roles of its tokens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.tokenize.roles import roles as known_roles
from curate.tokenize.tokenizer import load_tokenizer

__all__ = ["CHAT_TEMPLATE", "read_chat_template", "write_tokenizer"]

CHAT_TEMPLATE = "chat_template.jinja"
"""File of a model's template of conversations."""

_OURS = {
    "bos": "start",
    "eos": "end_of_text",
    "pad": "padding",
    "unk": "unknown",
    "mask": "mask",
    "cls": "start",
    "sep": "separator",
}
"""Roles as transformers names them, and as `curate.tokenize.roles` does."""
_BESIDE = ("tokenizer_config.json", "special_tokens_map.json")


def write_tokenizer(
    folder: Path, tokenizer: Path | None, roles: Mapping[str, int] | None, *, length: int, chat_template: str | None
) -> dict[str, int]:
    """Write the files, and give the numbers of the tokens by transformers' names of their roles.

    Args:
        folder: Where to.
        tokenizer: A tokenizer.json, or a folder with it; a tokenizer_config.json beside it is taken over as it is, and
            what it says of roles goes before `roles`. None: nothing is written but the template.
        roles: As `curate.tokenize.roles` names them; None: by the usual names of the tokens.
        length: Most tokens of the model.
        chat_template: A Jinja template of conversations.

    Raises:
        CurateError: The tokenizer cannot be read.
    """
    if chat_template is not None:
        (folder / CHAT_TEMPLATE).write_text(chat_template)
    if tokenizer is None:
        return _theirs(roles or {})
    file = tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer
    try:
        tokens = load_tokenizer(file)
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise CurateError(f"the tokenizer cannot be read: {error}", str(file)) from None
    found = _theirs(known_roles(tokens) if roles is None else roles)
    shutil.copyfile(file, folder / "tokenizer.json")
    if file.with_name(_BESIDE[0]).is_file():
        for path in (file.with_name(name) for name in _BESIDE):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        said = {role: tokens.token_to_id(name) for role, name in _said(file.with_name(_BESIDE[0])).items()}
        return found | {role: number for role, number in said.items() if number is not None}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": length,
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": tokens.id_to_token(number) for role, number in found.items()},
    }
    (folder / _BESIDE[0]).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return found


def read_chat_template(folder: Path) -> str | None:
    """The template of conversations in a model's folder: a file, or in its tokenizer_config.json; None where there is none.

    Raises:
        CurateError: A file cannot be read.
    """
    path = folder / CHAT_TEMPLATE
    try:
        if path.is_file():
            return path.read_text()
        path = folder / _BESIDE[0]
        given = json.loads(path.read_bytes()).get("chat_template") if path.is_file() else None
    except (OSError, ValueError, AttributeError) as error:
        raise CurateError(f"the model's template of conversations cannot be read: {error}", str(path)) from None
    if isinstance(given, list):  # several, by their names
        given = next((one["template"] for one in given if one["name"] == "default"), None)
    return given


def _theirs(roles: Mapping[str, int]) -> dict[str, int]:
    return {theirs: roles[ours] for theirs, ours in _OURS.items() if ours in roles}


def _said(path: Path) -> dict[str, str]:
    """What a tokenizer_config.json says of roles: a name, or an object with it."""
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
        told = {role: config.get(f"{role}_token") for role in _OURS}
    except (OSError, ValueError, AttributeError) as error:
        raise CurateError(f"the tokenizer's settings cannot be read: {error}", str(path)) from None
    names = {role: name.get("content") if isinstance(name, dict) else name for role, name in told.items()}
    return {role: name for role, name in names.items() if isinstance(name, str)}
