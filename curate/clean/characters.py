"""The edits of single characters: which ones, in the syntax that both RE2 and Python read, and what becomes of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import partial
from itertools import chain

__all__ = ["character_edits", "normal_form_edit"]

Applied = Callable[[str], tuple[str, int]]

LINE_ENDS = "[\r\x0b\x0c\x85\u2028\u2029]"
CONTROL_CHARACTERS = ("\x1b\\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\ufffe\uffff]", "")
INVISIBLE_CHARACTERS = ("[\xad\u200b\u2060\ufeff]", "")
SINGLE_QUOTES = ("[\u2018-\u201b]", "'")
DOUBLE_QUOTES = ("[\u201c-\u201f]", '"')


def character_edits() -> list[tuple[str, str, Applied]]:
    """Name, pattern and function of each edit, in the order in which they are done."""
    return [
        ("line_ends", LINE_ENDS, _end_lines),
        ("control_characters", CONTROL_CHARACTERS[0], _substitution(*CONTROL_CHARACTERS)),
        ("invisible_characters", INVISIBLE_CHARACTERS[0], _substitution(*INVISIBLE_CHARACTERS)),
        ("straight_quotes", f"{SINGLE_QUOTES[0]}|{DOUBLE_QUOTES[0]}", _straighten()),
    ]


def _end_lines(text: str) -> tuple[str, int]:
    pairs = text.count("\r\n")
    text, others = re.subn(LINE_ENDS, "\n", text.replace("\r\n", "\n"))
    return text, pairs + others


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
    """Name, pattern and function of a normal form; a text that the pattern does not match has it already."""

    def normalize(text: str) -> tuple[str, int]:
        if unicodedata.is_normalized(form, text):  # type: ignore[arg-type]
            return text, 0
        normal = unicodedata.normalize(form, text)  # type: ignore[arg-type]
        return normal, max(1, abs(len(text) - len(normal)))

    return "normal_form", unnormalized(form), normalize


def unnormalized(form: str) -> str:
    """A character class of all that may change under a normal form: what it replaces, marks, and the parts of Hangul.

    Costs 40 ms: the characters are tried, so that the class is that of this Python's Unicode version.
    """
    tried = chain(range(0x80, 0xD800), range(0xE000, 0x20000), range(0x2F800, 0x2FA20))
    ranges: list[list[int]] = []
    for code in tried:
        if unicodedata.is_normalized(form, chr(code)):  # type: ignore[arg-type]
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return r"[\p{M}\x{1161}-\x{1175}\x{11a8}-\x{11c2}" + "".join(rf"\x{{{a:x}}}-\x{{{b:x}}}" for a, b in ranges) + "]"
