"""What differs between two texts, for marking: word by word where they are short, else in the lines that differ."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

__all__ = ["Segments", "compare", "compare_lines"]

_TOKENS = re.compile(r"\w+|\s+|[^\w\s]")
MOST_TOKENS = 400
MOST_LINES = 2000
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


def compare_lines(left: str, right: str) -> tuple[Segments, Segments]:
    """The same of longer texts: lines are compared first, and the words of those that stand for each other.

    Lines that stand for no others, or are too long to be compared, differ as a whole; so do texts of more than `MOST_LINES`.
    """
    lines = left.splitlines(keepends=True), right.splitlines(keepends=True)
    if max(map(len, lines)) > MOST_LINES:
        return [(left, left != right)], [(right, left != right)]
    sides: tuple[Segments, Segments] = ([], [])
    for kind, *places in SequenceMatcher(None, *lines, autojunk=False).get_opcodes():
        mine, other = lines[0][slice(*places[:2])], lines[1][slice(*places[2:])]
        pairs = zip(mine, other, strict=True) if len(mine) == len(other) else [("".join(mine), "".join(other))]
        for one, two in pairs:
            short = kind != "equal" and max(len(_TOKENS.findall(text)) for text in (one, two)) <= MOST_TOKENS
            words = compare(one, two) if short else ([(one, kind != "equal")], [(two, kind != "equal")])
            for side, found in zip(sides, words, strict=True):
                side += [segment for segment in found if segment[0]]
    return sides


def _forgive_cut(side: Segments) -> None:
    """What differs just before the ellipsis differs because one of the texts was cut earlier."""
    if len(side) > 1 and side[-1] == (ELLIPSIS, False) and side[-2][1] and len(side[-2][0]) <= CUT:
        side[-2:] = [(side[-2][0] + ELLIPSIS, False)]
