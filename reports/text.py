"""Text from the corpus, made fit to be read by people: nothing hidden, nothing personal that a simple pattern can find.

`visible` names what a browser would hide or obey (control characters, direction overrides, zero-width characters).
`mask` is deliberately coarse: it runs on every example, on top of what the pipeline's own anonymization did, because a
document that was dropped early never reached that stage. It covers addresses, long numbers and number groups (phones,
cards, accounts, social security numbers, IP addresses); names of people it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["BLOCK", "excerpt", "first_difference", "mask", "personal", "visible", "without"]

BLOCK = "\u2588" * 6
"""What stands for something masked; always of the same length, so that it tells nothing."""

# Each is linear in the length of the text, whatever stands in it: a word is matched once and looked into.
_WORD = re.compile(r"[^\s<>\"'()\[\]]+")
_NUMBER = re.compile(r"\+?\d(?:[ .,()/\-\u2010-\u2015]{0,2}\d){5,}")
_YEARS = re.compile(r"(?:19|20)\d\d(?:[ ,\-\u2010-\u2015]{1,2}(?:19|20)\d\d)+")
_COLONS = re.compile(r"(?:[0-9A-Fa-f]{1,4}:){3,}[0-9A-Fa-f:.]*")

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)


def mask(text: str) -> str:
    """The text with what looks personal blocked out."""
    without_addresses = _WORD.sub(lambda word: BLOCK if "@" in word[0][1:-1] else word[0], text)
    return _COLONS.sub(BLOCK, _NUMBER.sub(_block_number, without_addresses))


def personal(text: str) -> list[tuple[int, int]]:
    """Where what `mask` blocks out begins and ends, for text that is shown in pieces."""
    words = [one.span() for one in _WORD.finditer(text) if "@" in one[0][1:-1]]
    numbers = [one.span() for one in _NUMBER.finditer(text) if not _YEARS.fullmatch(one[0])]
    return sorted([*words, *numbers, *(one.span() for one in _COLONS.finditer(text))])


def _block_number(number: re.Match[str]) -> str:
    # Years in a row are in every licence, and tell nothing of anybody.
    return number[0] if _YEARS.fullmatch(number[0]) else BLOCK


def without(text: str, secrets: Iterable[str]) -> str:
    """The text with each of the secrets blocked out, the longest first."""
    for secret in sorted(filter(None, set(secrets)), key=len, reverse=True):
        text = text.replace(secret, BLOCK)
    return text


def visible(text: str) -> str:
    """The text with hidden characters named; line feeds and tabs stay."""
    return _HIDDEN.sub(_name, text)


def _name(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)  # the control pictures
    return "\u2421" if code == 0x7F else f"[U+{code:04X}]"


def excerpt(text: str, *, around: int = 0, length: int = 300) -> str:
    """About `length` characters of a text from a little before `around`, with an ellipsis where it is cut."""
    start = max(0, around - length // 3) if around > length // 2 else 0
    cut = text[start : start + length].strip("\n")
    return ("\u2026" if start else "") + cut + ("\u2026" if start + length < len(text) else "")


def first_difference(before: str, after: str) -> int:
    """Where two texts first differ."""
    shorter = min(len(before), len(after))
    if before[:shorter] == after[:shorter]:
        return shorter
    low, high = 0, shorter
    while high - low > 1:
        middle = (low + high) // 2
        if before[:middle] == after[:middle]:
            low = middle
        else:
            high = middle
    return low
