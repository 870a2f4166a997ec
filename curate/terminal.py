"""Text of others on the terminal: what would steer it is shown, not obeyed.

Ids, names of files, texts and settings come from data, and a terminal does what escape sequences in them say: it changes its
title, colours, what stands on it, or hides what follows. All that is printed for people goes through `visible`.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any

__all__ = ["echo", "escaped", "json_ready", "json_text", "visible"]

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls (C0 but tabs and line feeds, DEL, C1), marks that turn the direction of writing, and halves of surrogate pairs."""
_BREAKING = {"\n": "\\n", "\t": "\\t"}


def visible(text: object, *, in_one_line: bool = False) -> str:
    r"""The text with what steers a terminal as Python writes it: an escape character as `\x1b`.

    Args:
        text: Any text, or what `str` makes one of.
        in_one_line: Whether line feeds and tabs are written out too: for names, and cells of a table.
    """
    shown = _STEERING.sub(lambda found: _written(found[0]), str(text))
    return re.sub(r"[\n\t]", lambda found: _BREAKING[found[0]], shown) if in_one_line else shown


def _written(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def escaped(document: str) -> str:
    """JSON text that is the same value, and steers no terminal."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def json_text(record: dict[str, Any]) -> str:
    """One JSON document with `"schema": 1`, for scripts; dates as text, numbers that JSON does not know as null."""
    return escaped(json.dumps(json_ready({"schema": 1, **record}), ensure_ascii=False, indent=2))


def json_ready(value: Any) -> Any:
    """What JSON can say of a value: dates as text, numbers that it does not know as null, other things as `str` has them."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else json.dumps(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    if isinstance(value, float):
        return float(value) if isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def echo(message: Any = "", *, err: bool = False) -> None:
    """Print a line for people, on stdout or stderr."""
    import typer

    typer.echo(visible(message), err=err)
