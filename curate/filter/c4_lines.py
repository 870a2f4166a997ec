"""C4's rules of lines, compiled, as datatrove's block applies them: which lines stay, and what is left of them.

Lines are those of `str.splitlines`, stripped; words end at whitespace. What is odd is left to datatrove's block: a digit that
is not ASCII behind a `[`, the Kelvin sign (which `str.lower` makes a `k`), a line that is kept and begins or ends with
whitespace (a citation stood there), and the word that spaCy fails on.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from curate.filter.lines import break_width
from curate.stages.buffers import reading
from curate.stages.chunks import space_width

__all__ = ["CURLY_BRACKET", "KEPT", "LOREM_IPSUM", "ODD", "REMOVED", "LineRules", "edit_lines"]

KEPT, LOREM_IPSUM, CURLY_BRACKET, ODD = range(4)
"""What became of a text."""
REMOVED = ("javascript", "no_terminal_punc", "policy", "too_few_words", "too_long_word")
"""Why a line goes, in datatrove's words."""
_JAVASCRIPT, _PUNCTUATION, _POLICY, _FEW, _LONG = range(5)
_SPLIT = b"\0"
_LOREM = np.frombuffer(b"lorem ipsum", np.uint8)
_SCRIPT = np.frombuffer(b"javascript", np.uint8)
_PHRASES = np.frombuffer(
    _SPLIT.join(
        (b"terms of use", b"privacy policy", b"cookie policy", b"uses cookies", b"use of cookies", b"use cookies")
    )
    + _SPLIT,
    np.uint8,
)
_EDIT = np.frombuffer(b"edit]", np.uint8)
_NEEDED = np.frombuffer(b"citation needed]", np.uint8)
_BROKEN = np.frombuffer(b"is_alpha", np.uint8)


class LineRules(NamedTuple):
    """The settings, -1 where a number is off."""

    most_characters: int
    citations: bool
    punctuation: bool
    fewest_words: int
    lorem_ipsum: bool
    javascript: bool
    curly_bracket: bool
    policy: bool


@njit(cache=True, nogil=True)
def _is_at(text, position, stop, phrase):  # noqa: ANN001, ANN202
    """Whether a phrase of small letters stands at a position, in letters of any case."""
    if position + len(phrase) > stop:
        return False
    for place in range(len(phrase)):
        byte = text[position + place]
        if 0x41 <= byte <= 0x5A:
            byte |= 0x20
        if byte != phrase[place]:
            return False
    return True


@njit(cache=True, nogil=True)
def _policy_at(text, position, stop):  # noqa: ANN001, ANN202
    """Whether one of the phrases of policies stands at a position."""
    begin = 0
    for place in range(len(_PHRASES)):
        if _PHRASES[place] == 0:
            if _is_at(text, position, stop, _PHRASES[begin:place]):
                return True
            begin = place + 1
    return False


@njit(cache=True, nogil=True)
def _phrases(text, start, stop):  # noqa: ANN001, ANN202
    """What stands in a line: lorem ipsum (1), javascript (2), `{` (4), a policy (8), what is odd (16)."""
    found = 0
    for position in range(start, stop):
        byte = text[position]
        if byte == 0x7B:
            found |= 4
        elif byte == 0xE2:
            if position + 2 < stop and text[position + 1] == 0x84 and text[position + 2] == 0xAA:
                found |= 16
        elif byte < 0x80:
            letter = byte | 0x20
            if letter == 0x6C:
                found |= _is_at(text, position, stop, _LOREM)
            elif letter == 0x6A:
                found |= 2 * _is_at(text, position, stop, _SCRIPT)
            elif letter == 0x69:
                found |= 16 * _is_at(text, position, stop, _BROKEN)
            elif (letter == 0x74 or letter == 0x70 or letter == 0x63 or letter == 0x75) and not found & 8:
                found |= 8 * _policy_at(text, position, stop)
    return found


@njit(cache=True, nogil=True)
def _words(text, start, stop):  # noqa: ANN001, ANN202
    """How many words a line has, and the characters of the longest."""
    words, longest, characters = 0, 0, 0
    position = start
    while position < stop:
        byte = text[position]
        if byte <= 0x20 or byte >= 0xC2:
            width = space_width(text, position, stop)
            if width:
                longest = max(longest, characters)
                characters = 0
                position += width
                continue
        if characters == 0:
            words += 1
        characters += byte & 0xC0 != 0x80
        position += 1
    return words, max(longest, characters)


@njit(cache=True, nogil=True)
def _copy(text, start, stop, citations, out, place):  # noqa: ANN001, ANN202
    """Write a line without its citations; returns where it ends, and whether it is odd."""
    position, odd = start, False
    while position < stop:
        byte = text[position]
        if citations and byte == 0x5B:
            behind = position + 1
            while behind < stop and 0x30 <= text[behind] <= 0x39:
                behind += 1
            if behind < stop and text[behind] >= 0x80:
                odd = True
            if behind < stop and text[behind] == 0x5D:
                position = behind + 1
                continue
            if _is_exactly(text, position + 1, stop, _EDIT):
                position += 1 + len(_EDIT)
                continue
            if _is_exactly(text, position + 1, stop, _NEEDED):
                position += 1 + len(_NEEDED)
                continue
        out[place] = byte
        place += 1
        position += 1
    return place, odd


@njit(cache=True, nogil=True)
def _is_exactly(text, position, stop, phrase):  # noqa: ANN001, ANN202
    if position + len(phrase) > stop:
        return False
    for place in range(len(phrase)):  # noqa: SIM110  numba has no all()
        if text[position + place] != phrase[place]:
            return False
    return True


@njit(cache=True, nogil=True)
def _ends_sentence(text, start, stop):  # noqa: ANN001, ANN202
    """Whether a line ends with a mark that ends sentences or a quotation mark, and not with `...`."""
    if stop == start:
        return False
    last = text[stop - 1]
    if last != 0x2E:
        return last == 0x3F or last == 0x21 or last == 0x22 or last == 0x27
    return stop - start < 3 or text[stop - 2] != 0x2E or text[stop - 3] != 0x2E


@njit(cache=True, nogil=True)
def _judge(text, start, stop, rules, out, written, place):  # noqa: ANN001, ANN202
    """One stripped line, written to `out`: why it goes (-1: it stays), where it ends there, and what became of the text."""
    words, longest = 0, 0
    if rules.most_characters >= 0 or rules.fewest_words >= 0:
        words, longest = _words(text, start, stop)
    if rules.most_characters >= 0 and longest > rules.most_characters:
        return _LONG, place, KEPT
    end, odd = _copy(text, start, stop, rules.citations, out, place)
    if odd:
        return -1, end, ODD
    if rules.punctuation and not _ends_sentence(written, place, end):
        return _PUNCTUATION, place, KEPT
    if words < rules.fewest_words:
        return _FEW, place, KEPT
    found = _phrases(written, place, end)
    if found & 16:
        return -1, end, ODD
    if rules.lorem_ipsum and found & 1:
        return -1, end, LOREM_IPSUM
    if rules.javascript and found & 2:
        return _JAVASCRIPT, place, KEPT
    if rules.curly_bracket and found & 4:
        return -1, end, CURLY_BRACKET
    if rules.policy and found & 8:
        return _POLICY, place, KEPT
    if end > place and (space_width(written, place, end) or _ends_in_space(written, place, end)):
        return -1, end, ODD
    return -1, end, KEPT


@njit(cache=True, nogil=True)
def _ends_in_space(text, start, stop):  # noqa: ANN001, ANN202
    begin = stop - 1
    while begin > start and text[begin] & 0xC0 == 0x80:
        begin -= 1
    return space_width(text, begin, stop) != 0


@njit(cache=True, nogil=True)
def _next_line(text, position, stop):  # noqa: ANN001, ANN202
    """Where the line at a position begins and ends without whitespace around it, and where the next one begins."""
    first, last, width = np.int64(-1), position, np.int64(0)
    while position < stop:
        byte = text[position]
        space = 0
        if byte <= 0x20 or byte >= 0xC2:
            width = break_width(text, position, stop)
            if width:
                break
            space = space_width(text, position, stop)
        if space == 0:
            first = position if first < 0 else first
            space, last = 1, position + 1
        position += space
    return (last if first < 0 else first), last, position + width


def edit_lines(text: np.ndarray, bounds: np.ndarray, rules: LineRules) -> tuple[np.ndarray, ...]:
    """Judge every line of some texts.

    Returns:
        What is left of the texts (UTF-8, uint8), where each begins and the last ends (int64); what became of each
        (n, int64); how many lines went, by `REMOVED` (n x 5, int64); how many of those that stay are
        empty, and how many of these stand between others (n x 2, int64); whether a text is another one now (n, bool); how many
        characters it lost (n, int64).
    """
    documents = len(bounds) - 1
    out = np.empty(2 * int(bounds[-1] - bounds[0]) + documents + 1, np.uint8)
    ends, said = np.zeros(documents + 1, np.int64), np.zeros(documents, np.int64)
    removed, empty = np.zeros((documents, 5), np.int64), np.zeros((documents, 2), np.int64)
    changed, lost = np.zeros(documents, np.bool_), np.zeros(documents, np.int64)
    _edit(text, bounds, rules, out, reading(out), ends, said, removed, empty, changed, lost)
    return out[: ends[-1] + 1], ends, said, removed, empty, changed, lost


@njit(cache=True, nogil=True)
def _edit(text, bounds, rules, out, written, ends, said, removed, empty, changed, lost) -> None:  # noqa: ANN001
    """Fill what `edit_lines` returns; `written` is `out`."""
    place = np.int64(0)
    for document in range(len(bounds) - 1):
        position, stop = bounds[document], bounds[document + 1]
        begin_out, kept, blank = place, False, np.int64(0)
        while position < stop and said[document] == KEPT:
            first, last, position = _next_line(text, position, stop)
            # empty lines are written with the line behind them: those around a text are stripped
            begin = place + (blank + 1 if kept else 0)
            why, end, said[document] = _judge(text, first, last, rules, out, written, begin)
            if why >= 0:
                removed[document, why] += 1
            elif end == begin:
                blank += 1
                empty[document, 0] += 1
            else:
                if kept:
                    for index in range(place, begin):
                        out[index] = 0x0A
                    empty[document, 1] += blank
                kept, blank, place = True, np.int64(0), end
        if said[document] != KEPT:
            place = begin_out
        ends[document + 1] = place
        start = bounds[document]
        changed[document] = stop - start != place - begin_out
        for index in range(start, stop):
            lost[document] += text[index] & 0xC0 != 0x80
        for index in range(begin_out, place):
            lost[document] -= out[index] & 0xC0 != 0x80
            changed[document] |= out[index] != text[start + index - begin_out]
