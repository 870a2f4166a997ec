"""Long texts, cut at the end of a line: what is shown at once, and what a reader unfolds.

A box that scrolls hides half a line, needs a mouse, and swallows the page's own scrolling on a phone; a fold does not.
"""

from __future__ import annotations

import math

from curate.reports.compare import Segments

__all__ = ["fold"]

ACROSS = 44
"""Letters that a line holds at least: beside another text, or on a phone."""
FEWEST = 4
"""Lines that are worth folding."""


def fold(segments: Segments, lines: int) -> tuple[Segments, Segments]:
    """About the first `lines` of a text, and the rest: empty where that would be less than `FEWEST`."""
    place = _cut("".join(text for text, _ in segments), lines)
    shown: Segments = []
    rest: Segments = []
    for text, differs in segments:
        before, after = text[:place], text[place:]
        place -= len(before)
        if before:
            shown.append((before, differs))
        if after:
            rest.append((after, differs))
    if rest and rest[0][0].startswith("\n"):
        rest[0] = (rest[0][0][1:], rest[0][1])
    return shown, rest


def _cut(text: str, lines: int) -> int:
    """Where the text is cut: before a line feed, or before a word where a single line fills the half."""
    used, place = 0, 0
    for line in text.split("\n"):
        takes = max(1, math.ceil(len(line) / ACROSS))
        if used + takes > lines:
            break
        used, place = used + takes, place + len(line) + 1
    else:
        return len(text)
    if used <= lines // 2:
        place = text.rfind(" ", place, place + (lines - used) * ACROSS) + 1 or place + (lines - used) * ACROSS
    else:
        place -= 1
    left = text[place:].removeprefix("\n").split("\n")
    return place if sum(max(1, math.ceil(len(line) / ACROSS)) for line in left) >= FEWEST else len(text)
