"""Windows of bytes: which are worth looking at, and their hashes; compiled, over UTF-8 in place.

An anchor is the smallest of `group` consecutive hashes of `width` bytes (winnowing: Schleimer, Wilkerson and Aiken 2003). A
window of width + group - 1 bytes has one, which its bytes alone decide; so a window that stands in two places has the same
anchor in both, and a window whose anchor stands in one place stands in one place itself. One stands in (group + 1) / 2 bytes.
Of equal ones in a row (in "aaaa..." every byte has one) two are told: that it stands in several places is all that matters.

Hashes of anchors have 64 bits: two that meet by chance cost time, no result. Windows have 128 bits, two polynomials of random
values of the bytes modulo 2^64, which fail for some made-up texts of over 1,024 bytes alone (Thue-Morse words).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from curate.stages.kernels import mix

__all__ = ["MOST_BYTES", "anchor_sizes", "candidates", "find_anchors", "window_hashes"]

MOST_BYTES = 1000
_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1342543DE82EF95)


def anchor_sizes(size: int) -> tuple[int, int]:
    """Width of what is hashed, and how many are in a group, for windows of so many bytes."""
    width = size // 2
    return width, size - width + 1


@njit(cache=True, nogil=True, inline="always")
def _value(byte, seed):  # noqa: ANN001, ANN202
    return mix((np.uint64(byte) + np.uint64(1)) * seed)


@njit(cache=True, nogil=True)
def _among(known, value):  # noqa: ANN001, ANN202
    low, high = 0, len(known)
    while low < high:
        middle = (low + high) >> 1
        if known[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low < len(known) and known[low] == value


@njit(cache=True, nogil=True)
def _slide(data, start, stop, width, group, known, marks, anchors, used):  # noqa: ANN001, ANN202
    """Write the anchors of data[start:stop] behind the `used` first; mark the windows whose anchor is known."""
    before = used
    values = np.empty(256, np.uint64)
    for byte in range(256):
        values[byte] = _value(byte, _FIRST)
    leaving = np.uint64(1)
    for _ in range(width):
        leaving *= _FIRST
    hashes, places = np.empty(group, np.uint64), np.empty(group, np.int64)  # of a queue of ever greater hashes
    head, tail, last, there, rolling = 0, 0, -1, False, np.uint64(0)
    for position in range(start, stop):
        rolling = rolling * _FIRST + values[data[position]]
        if position - start >= width:
            rolling -= values[data[position - width]] * leaving
        place = position - start - width + 1
        if place < 0:
            continue
        hashed = mix(rolling)
        if tail > head and places[head % group] <= place - group:
            head += 1
        while tail > head and hashes[(tail - 1) % group] >= hashed:
            tail -= 1
        hashes[tail % group], places[tail % group] = hashed, place
        tail += 1
        if place < group - 1:
            continue
        if places[head % group] != last:
            last = places[head % group]
            anchor = hashes[head % group]
            if used == len(anchors):
                anchors = np.concatenate((anchors, anchors))
            if used - before < 2 or anchors[used - 1] != anchor or anchors[used - 2] != anchor:
                anchors[used] = anchor
                used += 1
            there = len(marks) > 0 and _among(known, anchor)
        if len(marks):
            marks[place - group + 1] = there
    return anchors, used


@njit(cache=True, nogil=True)
def _all_anchors(data, offsets, width, group, bounds):  # noqa: ANN001, ANN202
    anchors, used = np.empty(1024, np.uint64), 0
    known, marks = np.empty(0, np.uint64), np.empty(0, np.bool_)
    for text in range(len(offsets) - 1):
        anchors, used = _slide(data, offsets[text], offsets[text + 1], width, group, known, marks, anchors, used)
        bounds[text + 1] = used
    return anchors[:used]


def find_anchors(data: np.ndarray, offsets: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The anchors of texts, one text after the other (uint64), and where those of each begin (int64).

    Args:
        data: UTF-8 bytes (uint8).
        offsets: Where each text begins, and where the last ends (int64).
        size: Bytes of a window.
    """
    bounds = np.zeros(len(offsets), np.int64)
    return _all_anchors(data, offsets, *anchor_sizes(size), bounds).copy(), bounds


def candidates(data: np.ndarray, start: int, stop: int, size: int, known: np.ndarray) -> np.ndarray:
    """For each window of data[start:stop], by its first byte, whether its anchor is among the known ones (ascending)."""
    marks = np.zeros(max(stop - start - size + 1, 0), np.bool_)
    if len(marks):
        _slide(data, start, stop, *anchor_sizes(size), known, marks, np.empty(1024, np.uint64), 0)
    return marks


@njit(cache=True, nogil=True)
def window_hashes(data, start, first, last, size):  # noqa: ANN001, ANN201
    """The hashes (n, 2) of the windows of a text that begins at `start`, from byte `first` of it to before `last`."""
    values = np.empty((256, 2), np.uint64)
    for byte in range(256):
        values[byte, 0], values[byte, 1] = _value(byte, _FIRST), _value(byte, _SECOND)
    leaving_high, leaving_low = np.uint64(1), np.uint64(1)
    for _ in range(size):
        leaving_high *= _FIRST
        leaving_low *= _SECOND
    found = np.empty((last - first, 2), np.uint64)
    high, low = np.uint64(0), np.uint64(0)
    for place in range(first, last + size - 1):
        entering = data[start + place]
        high, low = high * _FIRST + values[entering, 0], low * _SECOND + values[entering, 1]
        if place >= first + size:
            gone = data[start + place - size]
            high -= values[gone, 0] * leaving_high
            low -= values[gone, 1] * leaving_low
        if place >= first + size - 1:
            found[place - size + 1 - first, 0], found[place - size + 1 - first, 1] = mix(high), mix(low)
    return found
