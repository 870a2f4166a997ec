"""What the quality filters ask of the lines of texts: compiled code, one pass over an Arrow UTF-8 buffer.

Three ideas of a line, as datatrove has them: Gopher's quality rules take those of `str.splitlines`, its repetition rules
what is between runs of line feeds (and paragraphs between runs of two and more), FineWeb what is between two line feeds and
not blank. Whitespace is that of `str.strip`. Repeated lines are found by hash and compared byte by byte.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from curate.stages.chunks import space_width

__all__ = ["break_width", "quality_lines", "repeated_lines", "shape_of_lines"]

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_START = np.uint64(0xCBF29CE484222325)


@njit(cache=True, nogil=True, forceinline=True)
def break_width(text, position, stop):  # noqa: ANN001, ANN201
    """Bytes of the line break (as `str.splitlines` has it) at a position; 0 where there is none."""
    byte = text[position]
    if byte < 0x80:
        if byte == 0x0D:
            return 2 if position + 1 < stop and text[position + 1] == 0x0A else 1
        return 1 if 0x0A <= byte <= 0x0C or 0x1C <= byte <= 0x1E else 0
    if byte == 0xC2:
        return 2 if text[position + 1] == 0x85 else 0
    if byte == 0xE2 and position + 2 < stop and text[position + 1] == 0x80:
        return 3 if text[position + 2] == 0xA8 or text[position + 2] == 0xA9 else 0
    return 0


@njit(cache=True, nogil=True, forceinline=True)
def _ends_in_ellipsis(text, start, stop):  # noqa: ANN001, ANN202
    """Whether text[start:stop] ends with `...` or the one character."""
    if stop - start < 3:
        return False
    last, middle, first = text[stop - 1], text[stop - 2], text[stop - 3]
    return (first == 0x2E and middle == 0x2E and last == 0x2E) or (first == 0xE2 and middle == 0x80 and last == 0xA6)


@njit(cache=True, nogil=True)
def quality_lines(text, bounds):  # noqa: ANN001, ANN201
    """Of each text: `#`, ellipses, lines, lines that begin with a bullet, lines that end with an ellipsis (n x 5, int64)."""
    counted = np.zeros((len(bounds) - 1, 5), np.int64)
    for document in range(len(bounds) - 1):
        position, stop = bounds[document], bounds[document + 1]
        hashes, ellipses, lines, bullets, ends, dots = 0, 0, 0, 0, 0, 0
        begin, first, last = position, np.int64(-1), np.int64(-1)  # of the line; of what is not whitespace in it
        while position < stop:
            byte = text[position]
            if byte == 0x2E:
                dots += 1
                if dots == 3:
                    ellipses += 1
                    dots = 0
            else:
                dots = 0
                if byte == 0x23:
                    hashes += 1
            if 0x20 < byte < 0xC2:
                if first < 0:
                    first = position
                    bullets += byte == 0x2D
                position += 1
                last = position
                continue
            width = break_width(text, position, stop)
            if width:
                lines += 1
                if first >= 0:
                    ends += _ends_in_ellipsis(text, first, last)
                position += width
                begin, first, last = position, np.int64(-1), np.int64(-1)
                continue
            width = space_width(text, position, stop)
            if width == 0:
                width = 1
                if byte == 0xE2 and position + 2 < stop and text[position + 1] == 0x80:
                    third = text[position + 2]
                    ellipses += third == 0xA6
                    bullets += first < 0 and third == 0xA2
                if first < 0:
                    first = position
                last = position + 1
            position += width
        if begin < stop or lines == 0:
            lines += 1
            ends += first >= 0 and _ends_in_ellipsis(text, first, last)
        counted[document, 0], counted[document, 1], counted[document, 2] = hashes, ellipses, lines
        counted[document, 3], counted[document, 4] = bullets, ends
    return counted


# ---- repeated ones


@njit(cache=True, nogil=True)
def _seen_before(text, start, stop, hashed, seen, begins, ends, hashes, count, base):  # noqa: ANN001, ANN202
    """Whether text[start:stop] is among those of this text that came before; else it is number `count` now.

    `seen` is an open hash table of numbers + `base`; what is smaller than `base` is of a text before, and free.
    """
    mask = len(seen) - 1
    slot = np.int64(hashed >> np.uint64(20)) & mask
    while seen[slot] >= base:
        known = seen[slot] - base
        if hashes[known] == hashed and ends[known] - begins[known] == stop - start:
            same, begin = 0, begins[known]
            while same < stop - start and text[begin + same] == text[start + same]:
                same += 1
            if same == stop - start:
                return True
        slot = (slot + 1) & mask
    seen[slot] = base + count
    begins[count], ends[count], hashes[count] = start, stop, hashed
    return False


@njit(cache=True, nogil=True)
def _most_lines(text, bounds):  # noqa: ANN001, ANN202
    """The most lines that a text has, and a table's size for them."""
    most = 0
    for document in range(len(bounds) - 1):
        lines = 1
        for position in range(bounds[document], bounds[document + 1]):
            lines += text[position] == 0x0A
        most = max(most, lines)
    size = 64
    while size < 2 * most:
        size *= 2
    return most, size


@njit(cache=True, nogil=True)
def _stripped(text, start, stop):  # noqa: ANN001, ANN202
    """Where text[start:stop] begins and ends without whitespace around it."""
    while start < stop:
        width = space_width(text, start, stop)
        if width == 0:
            break
        start += width
    while start < stop:
        begin = stop - 1
        while begin > start and text[begin] & 0xC0 == 0x80:
            begin -= 1
        if space_width(text, begin, stop) == 0:
            break
        stop = begin
    return start, stop


@njit(cache=True, nogil=True)
def _between_feeds(text, start, stop, least, seen, begins, ends, hashes, base):  # noqa: ANN001, ANN202
    """Pieces between runs of at least so many line feeds: how many, how many came before, and the characters of these."""
    pieces, repeated, repeated_characters = np.int64(0), np.int64(0), np.int64(0)
    position = start
    while True:
        begin, hashed, characters, feeds = position, _START, np.int64(0), np.int64(0)
        while position < stop:
            byte = text[position]
            if byte == 0x0A:
                feeds = 1
                while position + feeds < stop and text[position + feeds] == 0x0A:
                    feeds += 1
                if feeds >= least:
                    break
                feeds = 0
            hashed = (hashed ^ np.uint64(byte)) * _PRIME
            characters += byte & 0xC0 != 0x80
            position += 1
        if _seen_before(text, begin, position, hashed, seen, begins, ends, hashes, pieces - repeated, base):
            repeated += 1
            repeated_characters += characters
        pieces += 1
        if feeds == 0:
            return pieces, repeated, repeated_characters
        position += feeds


@njit(cache=True, nogil=True)
def repeated_lines(text, bounds):  # noqa: ANN001, ANN201
    """Of each text (n x 7, int64): characters; paragraphs, repeated ones, their characters; lines, repeated ones, theirs."""
    counted = np.zeros((len(bounds) - 1, 7), np.int64)
    most, size = _most_lines(text, bounds)
    seen = np.full(size, -1, np.int64)
    begins, ends, hashes = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.uint64)
    base, paragraphs, lines = np.int64(0), np.int64(2), np.int64(1)
    for document in range(len(bounds) - 1):
        start, stop = bounds[document], bounds[document + 1]
        characters = 0
        for position in range(start, stop):
            characters += text[position] & 0xC0 != 0x80
        counted[document, 0] = characters
        begin, end = _stripped(text, start, stop)
        found = _between_feeds(text, begin, end, paragraphs, seen, begins, ends, hashes, base)
        counted[document, 1], counted[document, 2], counted[document, 3] = found
        base += most
        found = _between_feeds(text, start, stop, lines, seen, begins, ends, hashes, base)
        counted[document, 4], counted[document, 5], counted[document, 6] = found
        base += most
    return counted


@njit(cache=True, nogil=True)
def _ends_with(text, start, stop, single, longer, cuts):  # noqa: ANN001, ANN202
    """Whether text[start:stop] ends with one of the characters of a table, or of the longer marks."""
    if start < stop:
        begin = stop - 1
        while begin > start and text[begin] & 0xC0 == 0x80:
            begin -= 1
        lead = np.int64(text[begin])
        code = lead if lead < 0x80 else lead & (0x1F if lead < 0xE0 else 0x0F if lead < 0xF0 else 0x07)
        for position in range(begin + 1, stop):
            code = code << 6 | np.int64(text[position]) & 0x3F
        if code < len(single) and single[code]:
            return True
    for mark in range(len(cuts) - 1):
        length = cuts[mark + 1] - cuts[mark]
        if length <= stop - start:
            same = 0
            while same < length and longer[cuts[mark] + same] == text[stop - length + same]:
                same += 1
            if same == length:
                return True
    return False


@njit(cache=True, nogil=True)
def shape_of_lines(text, bounds, single, longer, cuts, short):  # noqa: ANN001, ANN201
    """What FineWeb asks of the lines of each text.

    Args:
        text: UTF-8 (uint8).
        bounds: Where each text begins, and the last ends (int64).
        single: Whether the character with this code point is a mark (bool).
        longer: Marks of several characters, as UTF-8 (uint8).
        cuts: Where each of these begins, and the last ends (int64).
        short: Characters.

    Returns:
        n x 6 (int64): characters, line feeds, and of lines that are not blank: how many, how many end with a mark, how many
        have at most `short` characters, and the characters of those that came before.
    """
    counted = np.zeros((len(bounds) - 1, 6), np.int64)
    most, size = _most_lines(text, bounds)
    seen = np.full(size, -1, np.int64)
    begins, ends, hashes = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.uint64)
    for document in range(len(bounds) - 1):
        position, stop = bounds[document], bounds[document + 1]
        all_characters, feeds, lines, marked, few, repeated, different = 0, 0, 0, 0, 0, 0, np.int64(0)
        while position < stop:
            begin, hashed, characters, blank = position, _START, 0, True
            while position < stop and text[position] != 0x0A:
                byte = text[position]
                hashed = (hashed ^ np.uint64(byte)) * _PRIME
                if byte & 0xC0 != 0x80:
                    characters += 1
                    blank = blank and ((0x20 < byte < 0xC2) is False) and space_width(text, position, stop) != 0
                position += 1
            all_characters += characters
            if not blank:
                lines += 1
                few += characters <= short
                marked += _ends_with(text, begin, position, single, longer, cuts)
                if _seen_before(text, begin, position, hashed, seen, begins, ends, hashes, different, document * most):
                    repeated += characters
                else:
                    different += 1
            if position < stop:
                position += 1
                feeds += 1
        counted[document, 0], counted[document, 1], counted[document, 2] = all_characters + feeds, feeds, lines
        counted[document, 3], counted[document, 4], counted[document, 5] = marked, few, repeated
    return counted
