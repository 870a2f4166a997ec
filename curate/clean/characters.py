"""The edits of single characters: which ones, in the syntax that both RE2 and Python read, and what becomes of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import partial

__all__ = ["character_edits", "normal_form_edit"]

Applied = Callable[[str], tuple[str, int]]

LINE_ENDS = ("\r\n|[\r\x0b\x0c\x85\u2028\u2029]", "\n")
CONTROL_CHARACTERS = ("\x1b\\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\ufffe\uffff]", "")
INVISIBLE_CHARACTERS = ("[\xad\u200b\u2060\ufeff]", "")
SINGLE_QUOTES = ("[\u2018-\u201b]", "'")
DOUBLE_QUOTES = ("[\u201c-\u201f]", '"')


def character_edits() -> list[tuple[str, str, Applied]]:
    """Name, pattern and function of each edit, in the order in which they are done."""
    return [
        ("line_ends", LINE_ENDS[0], _substitution(*LINE_ENDS)),
        ("control_characters", CONTROL_CHARACTERS[0], _substitution(*CONTROL_CHARACTERS)),
        ("invisible_characters", INVISIBLE_CHARACTERS[0], _substitution(*INVISIBLE_CHARACTERS)),
        ("straight_quotes", f"{SINGLE_QUOTES[0]}|{DOUBLE_QUOTES[0]}", _straighten()),
    ]


def _substitution(pattern: str, replacement: str) -> Applied:
    return partial(re.compile(pattern).subn, replacement)


def _straighten() -> Applied:
    single, double = re.compile(SINGLE_QUOTES[0]), re.compile(DOUBLE_QUOTES[0])

    def straighten(text: str) -> tuple[str, int]:
        text, singles = single.subn("'", text)
        text, doubles = double.subn('"', text)
        return text, singles + doubles

    return straighten


def normal_form_edit(form: str) -> tuple[str, str, Applied]:
    """Name, pattern and function of the normal form; no character below U+0300 changes under NFC, none of ASCII under NFKC."""

    def normalize(text: str) -> tuple[str, int]:
        if text.isascii() or unicodedata.is_normalized(form, text):  # type: ignore[arg-type]
            return text, 0
        normal = unicodedata.normalize(form, text)  # type: ignore[arg-type]
        return normal, max(1, abs(len(text) - len(normal)))

    return "normal_form", "[^\x00-\u02ff]" if form == "NFC" else "[^\x00-\x7f]", normalize
