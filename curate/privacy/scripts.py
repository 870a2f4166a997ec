"""Texts of all scripts as recognizers see them that know one: character by character, so that positions stay.

A recognizer's idea of where a number or an address may begin is a word boundary, and to a regular expression every
letter of every script is part of a word: `8.8.8.8` is not seen where Chinese, Thai or Russian stands beside it. Numbers
and addresses have an alphabet of their own; what is not of it is no part of them.
"""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache
from typing import Any

__all__ = ["FOREIGN", "apart", "narrow"]

FOREIGN = "\x1c"
"""Stands for a letter of another script: white space that no pattern has as a separator."""


@lru_cache(maxsize=2)
def narrow(text: str) -> str:
    """The text with full-width and small forms, and the digits of all scripts, as ASCII: `\uff11\uff20` is `1@`."""
    return text if text.isascii() else _wide().sub(lambda found: _ascii(found[0]), text)


@lru_cache(maxsize=2)
def apart(text: str) -> str:
    """The text with all letters and marks of other scripts than Latin as `FOREIGN`."""
    return text if text.isascii() else _other_scripts().sub(lambda found: FOREIGN * len(found[0]), text)


@cache
def _wide() -> Any:
    import regex

    return regex.compile(r"[\uFF01-\uFF5E\u3000\uFE50-\uFE6B]|[^\P{Nd}0-9]|(?<=\p{Nd})\u30FC(?=\p{Nd})")


@cache
def _other_scripts() -> Any:
    """Letters that scripts share and that stand beside numbers in Japanese and Arabic (long vowels) count as theirs."""
    import regex

    shared = r"\u30FC\uFF70\uFF9E\uFF9F\u3099\u309A\u0640"
    return regex.compile(rf"(?:[^\p{{Latin}}\p{{Common}}\p{{Inherited}}]|[{shared}])+")


@lru_cache(maxsize=1000)
def _ascii(character: str) -> str:
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    if character == "\u30fc":  # the long vowel, which is written for a dash between digits
        return "-"
    plain = unicodedata.normalize("NFKC", character)
    return plain if len(plain) == 1 else character
