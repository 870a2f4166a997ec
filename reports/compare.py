"""What differs between two short texts, word by word, for marking."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

__all__ = ["Segments", "compare"]

_TOKENS = re.compile(r"\w+|\s+|[^\w\s]")
MOST_TOKENS = 400
CUT = 40
"""Characters before the ellipsis in which a difference says nothing."""
ELLIPSIS = "\u2026"

Segments = list[tuple[str, bool]]


def compare(left: str, right: str) -> tuple[Segments, Segments]:
    """Both texts as stretches that are the same in the other one (False) or not (True).

    Texts of more than `MOST_TOKENS` words and signs are not compared: the time grows with the square.
    """
    tokens = _TOKENS.findall(left), _TOKENS.findall(right)
    if max(map(len, tokens)) > MOST_TOKENS:
        return [(left, False)], [(right, False)]
    sides: tuple[Segments, Segments] = ([], [])
    for kind, *places in SequenceMatcher(None, *tokens, autojunk=False).get_opcodes():
        for side, all_tokens, (start, stop) in zip(sides, tokens, (places[:2], places[2:]), strict=True):
            if stop > start:
                side.append(("".join(all_tokens[start:stop]), kind != "equal"))
    for side in sides:
        _forgive_cut(side)
    return sides


def _forgive_cut(side: Segments) -> None:
    """What differs just before the ellipsis differs because one of the texts was cut earlier."""
    if len(side) > 1 and side[-1] == (ELLIPSIS, False) and side[-2][1] and len(side[-2][0]) <= CUT:
        side[-2:] = [(side[-2][0] + ELLIPSIS, False)]
