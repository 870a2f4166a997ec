"""Where recognizers look: triggers that are found at the speed of the machine, and windows of the text around anchors.

Whole batches are searched for triggers by RE2, inside Arrow: 390 MB of prose a second for all kinds of data together. A text
without one is never seen by Python. In the others cheap patterns find anchors (an `@`, a run of digits), and a recognizer
sees only windows around them. A window ends where no match can cross: where no address goes on, 60 characters beyond the
digits elsewhere, so what is found is what is found in the whole text (a differential test says so).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from curate.privacy.scripts import apart

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["MARGIN", "PIECE", "TRIGGERS", "addresses_around", "margins_around", "pieces", "triggered", "words_around"]

MARGIN, LONGEST_ADDRESS = 60, 320
"""Characters around digits, and to either side of an `@`, that may be of what is found."""
PIECE = 4000
"""Characters of a window that a recognizer takes at once, where it would give up on more."""
_SIX_DIGITS = r"\d(?:[^\w\n]{0,4}\d){5,}"
TRIGGERS = {
    "email": "@",
    "phone": _SIX_DIGITS,
    "card": _SIX_DIGITS,
    "ssn": _SIX_DIGITS,
    "ip": r"\d\.\d{1,3}\.\d{1,3}\.\d|::|(?:[0-9A-Fa-f]{1,4}:){4}",
    "iban": r"(?i:[A-Z]{2}[0-9]{2}[ -]?[A-Z0-9]{4}[ -]?[A-Z0-9]{4})",
    "mac": r"[0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2}[:-][0-9A-Fa-f]{2}[:-]|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.",
    "crypto": r"(?:bc1|[13])[a-zA-HJ-NP-Z0-9]{25}|0x[0-9a-fA-F]{40}",
}
"""What a text must hold to hold such data, for RE2; in ASCII."""
_WIDE = r"[\x{FF01}-\x{FF5E}\x{FE50}-\x{FE6B}]|[^\P{Nd}0-9]"
"""Full-width and small forms, and the digits of other scripts: what they stand for shows in Python."""


def triggered(texts: pa.Array | pa.ChunkedArray, triggers: Iterable[str]) -> np.ndarray:
    """The rows (int64, ascending) whose texts have one of the triggers in them."""
    import numpy as np
    import pyarrow.compute as compute

    pattern = "|".join(f"(?:{one})" for one in dict.fromkeys([*triggers, _WIDE]))
    found = compute.match_substring_regex(texts, pattern)
    return np.flatnonzero(found.to_numpy(zero_copy_only=False))


# ---- windows: ascending, and disjoint but for addresses


def addresses_around(text: str, anchor: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Each anchor with what can be of an address around it, at most 320 characters to either side.

    First of Latin letters, then of all: scripts that are written without spaces are long runs of letters, in which the
    limit of 320 would cut addresses. An address comes twice then.
    """
    latin = apart(text)
    for seen in (latin,) if latin == text else (latin, text):
        yield from _runs_around(seen, anchor)


def _runs_around(text: str, anchor: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    last, first = _no_address()
    end = 0
    for match in anchor.finditer(text):
        if match.start() < end:
            continue
        low, high = max(end, match.start() - LONGEST_ADDRESS), min(len(text), match.end() + LONGEST_ADDRESS)
        before, after = last.search(text, low, match.start()), first.search(text, match.end(), high)
        end = after.start() if after else high
        yield before.end() if before else low, end


@cache
def _no_address() -> tuple[Any, Any]:
    """What cannot be of an address: patterns for the last and the first place of it."""
    import regex

    border = r"[^!#$%&'*+\-/=?^_`{|}~.@\w]"
    return regex.compile(f"(?r){border}"), regex.compile(border)


def words_around(text: str, anchor: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Each anchor with what stands around it up to whitespace, at most 320 characters to either side."""
    end = 0
    for match in anchor.finditer(text):
        if match.start() < end:
            continue
        low = max(end, match.start() - LONGEST_ADDRESS)
        head = text[low : match.start()].rsplit(None, 1)
        start = match.start() - (len(head[-1]) if head and not text[match.start() - 1].isspace() else 0)
        high = min(len(text), match.end() + LONGEST_ADDRESS)
        tail = text[match.end() : high].split(None, 1)
        end = match.end() + (len(tail[0]) if tail and not text[match.end()].isspace() else 0)
        yield start, end


def margins_around(text: str, anchor: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Each anchor with 60 characters to either side; windows that meet are one."""
    start = end = -1
    for match in anchor.finditer(text):
        low, high = max(0, match.start() - MARGIN), min(len(text), match.end() + MARGIN)
        if low <= end:
            end = high
            continue
        if end >= 0:
            yield start, end
        start, end = low, high
    if end >= 0:
        yield start, end


def pieces(start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """A window in pieces: where each is seen from and to, and from and to where what is found in it counts.

    They overlap by more than anything that is found is long, so what a cut goes through is seen whole in the next one.
    """
    for first in range(start, end, PIECE):
        last = min(first + PIECE, end)
        yield max(start, first - 2 * MARGIN), min(end, last + 2 * MARGIN), first, last
