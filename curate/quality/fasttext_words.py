"""What fastText reads of a text, as compiled code: words, runs of characters in them, runs of words, and their sums.

Hashes are fastText's: FNV-1a of 32 bits over signed bytes; runs of words are a polynomial of their hashes. A line ends with the
word `</s>`, also where that stands in the text; a word that begins with `__label__` is not read.
Source: Joulin et al. 2016; Bojanowski et al. 2017; the file format of version 12.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Dictionary", "entries", "hashed", "sum_texts", "sum_words", "table_of"]

_START, _PRIME, _LOW = np.uint64(2166136261), np.uint64(16777619), np.uint64(0xFFFFFFFF)
_SIGN = np.uint64(0xFFFFFF00)
_HIGH = np.uint64(0xFFFFFFFF00000000)
_BASE = np.uint64(116049371)
_LABEL = np.frombuffer(b"__label__", np.uint8)
_END = np.frombuffer(b"</s>", np.uint8)


class Dictionary(NamedTuple):
    """Words and labels of a model, and how texts are cut.

    Attributes:
        data: The file's bytes (uint8).
        starts: Where each word, then each label, begins in them (int64).
        stops: Where it ends.
        hashes: Its hash (uint64).
        table: Entries by hash, -1 where there is none (int32, a power of two of them).
        words: How many are words.
        shortest: Characters of the shortest run in a word.
        longest: Of the longest; 0: none are read.
        ngrams: Most words in a run.
        buckets: How many hashes of runs there are.
        kept: Of each bucket its row, -1 where it was cut off; empty where none was (int32).
    """

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    table: NDArray[np.int32]
    words: int
    shortest: int
    longest: int
    ngrams: int
    buckets: int
    kept: NDArray[np.int32]


@njit(cache=True, nogil=True)
def entries(data, position: int, starts, stops, counts, kinds) -> int:  # noqa: ANN001
    """Read the entries of a dictionary; returns the byte after them, -1 where the data ends before."""
    for number in range(len(starts)):
        starts[number] = position
        while position < len(data) and data[position] != 0:
            position += 1
        if position + 10 > len(data):
            return -1
        stops[number] = position
        count = np.uint64(0)
        for place in range(8):
            count |= np.uint64(data[position + 1 + place]) << np.uint64(8 * place)
        counts[number], kinds[number] = np.int64(count), data[position + 9]
        position += 10
    return position


@njit(cache=True, nogil=True, inline="always")
def _add(state, byte):  # noqa: ANN001, ANN202
    value = np.uint64(byte)
    return ((state ^ (value | _SIGN if byte >= 128 else value)) * _PRIME) & _LOW


@njit(cache=True, nogil=True)
def hashed(data, start: int, stop: int):  # noqa: ANN001, ANN201
    """The hash of data[start:stop] (uint64, below 2^32)."""
    state = _START
    for place in range(start, stop):
        state = _add(state, data[place])
    return state


@njit(cache=True, nogil=True)
def table_of(data, starts, stops, hashes, size: int):  # noqa: ANN001, ANN201
    """Fill `hashes`, and give the entries by hash (int32, `size` of them, a power of two)."""
    table, mask = np.full(size, -1, np.int32), np.uint64(size - 1)
    for number in range(len(starts)):
        hashes[number] = hashed(data, starts[number], stops[number])
        slot = hashes[number] & mask
        while table[np.int64(slot)] >= 0:
            slot = (slot + np.uint64(1)) & mask
        table[np.int64(slot)] = number
    return table


@njit(cache=True, nogil=True, inline="always")
def _same(data, start: int, stop: int, other, begin: int, end: int) -> bool:  # noqa: ANN001
    if stop - start != end - begin:
        return False
    for place in range(stop - start):  # noqa: SIM110 - numba has no `all` of a generator
        if data[start + place] != other[begin + place]:
            return False
    return True


@njit(cache=True, nogil=True, inline="always")
def _entry(text, start: int, stop: int, state, data, starts, stops, hashes, table) -> int:  # noqa: ANN001
    """The entry of a word, -1 where it has none."""
    mask = np.uint64(len(table) - 1)
    slot = state & mask
    while True:
        found = table[np.int64(slot)]
        if found < 0:
            return -1
        if hashes[found] == state and _same(text, start, stop, data, starts[found], stops[found]):
            return found
        slot = (slot + np.uint64(1)) & mask


@njit(cache=True, nogil=True, inline="always")
def _gram(state, buckets, kept, grams, sums) -> int:  # noqa: ANN001
    """Add the row of a hash; returns whether there is one."""
    row = np.int64(state % buckets)
    if len(kept):
        row = np.int64(kept[row])
        if row < 0:
            return 0
    for column in range(len(sums)):
        sums[column] += grams[row, column]
    return 1


@njit(cache=True, nogil=True, inline="always")
def _byte(text, start: int, stop: int, place: int):  # noqa: ANN001, ANN202
    """Of `<word>` with text[start:stop] as the word."""
    at = start + place - 1
    return np.uint8(0x3C) if place == 0 else np.uint8(0x3E) if at == stop else text[at]


@njit(cache=True, nogil=True)
def _characters(text, start: int, stop: int, dictionary, grams, sums) -> int:  # noqa: ANN001
    """Add the rows of the runs of characters of a word, its begin and end marked; returns how many."""
    size, added = stop - start + 2, 0
    buckets, kept = np.uint64(dictionary.buckets), dictionary.kept
    for first in range(size):
        if (_byte(text, start, stop, first) & 0xC0) == 0x80:
            continue
        state, place, count = _START, first, 1
        while place < size and count <= dictionary.longest:
            state = _add(state, _byte(text, start, stop, place))
            place += 1
            while place < size and (_byte(text, start, stop, place) & 0xC0) == 0x80:
                state = _add(state, _byte(text, start, stop, place))
                place += 1
            if count >= dictionary.shortest and not (count == 1 and (first == 0 or place == size)):
                added += _gram(state, buckets, kept, grams, sums)
            count += 1
    return added


@njit(cache=True, nogil=True)
def sum_words(dictionary, rows, grams, sizes) -> None:  # noqa: ANN001
    """Add to the row of each word those of its runs of characters, and say how many rows that are."""
    sums = np.zeros(rows.shape[1], np.float64)
    for word in range(dictionary.words):
        start, stop = dictionary.starts[word], dictionary.stops[word]
        sizes[word] = 1
        if dictionary.longest <= 0 or _same(dictionary.data, start, stop, _END, 0, 4):
            continue
        sums[:] = rows[word]
        sizes[word] += _characters(dictionary.data, start, stop, dictionary, grams, sums)
        rows[word] = sums


@njit(cache=True, nogil=True, inline="always")
def _between(byte) -> bool:  # noqa: ANN001
    return byte == 0x20 or 0x09 <= byte <= 0x0D or byte == 0


@njit(cache=True, nogil=True)
def _line(text, position: int, end: int, dictionary, rows, grams, sizes, sums, hashes):  # noqa: ANN001, ANN202
    """Add all that a text stands for; returns how many rows that are."""
    data, starts, stops, known, table = (
        dictionary.data, dictionary.starts, dictionary.stops, dictionary.hashes, dictionary.table
    )  # fmt: skip
    added, words, ended = 0, 0, False
    while not ended:
        while position < end and _between(text[position]):
            position += 1
        start, state, read = position, _START, text
        while position < end and not _between(text[position]):
            state = _add(state, text[position])
            position += 1
        stop = position
        if start == stop:
            read, start, stop, state = _END, 0, 4, hashed(_END, 0, 4)
        found = _entry(read, start, stop, state, data, starts, stops, known, table)
        ended = stop - start == 4 and _same(read, start, stop, _END, 0, 4)
        if found >= dictionary.words or (found < 0 and _is_label(read, start, stop)):
            continue
        hashes[words] = state | _HIGH if state >> np.uint64(31) else state
        words += 1
        if found >= 0:
            added += sizes[found]
            for column in range(len(sums)):
                sums[column] += rows[found, column]
        elif dictionary.longest > 0 and not ended:
            added += _characters(read, start, stop, dictionary, grams, sums)
    if dictionary.ngrams > 1:
        buckets, kept = np.uint64(dictionary.buckets), dictionary.kept
        for first in range(words):
            state = hashes[first]
            for last in range(first + 1, min(words, first + dictionary.ngrams)):
                state = state * _BASE + hashes[last]
                added += _gram(state, buckets, kept, grams, sums)
    return added


@njit(cache=True, nogil=True, inline="always")
def _is_label(text, start: int, stop: int) -> bool:  # noqa: ANN001
    return stop - start >= len(_LABEL) and _same(text, start, start + len(_LABEL), _LABEL, 0, len(_LABEL))


@njit(cache=True, nogil=True)
def sum_texts(text, offsets, dictionary, rows, grams, sizes):  # noqa: ANN001, ANN201
    """The mean of the rows that each text stands for (float64, texts by columns), NaN where it has none.

    Args:
        text: UTF-8 bytes (uint8).
        offsets: Where each text begins in them, and where the last ends (integers).
        dictionary: Of the model.
        rows: Of its words, with those of their runs of characters (float32).
        grams: Of the buckets of runs (float32).
        sizes: How many rows are in that of each word (int32).
    """
    longest = 0
    for number in range(len(offsets) - 1):
        longest = max(longest, offsets[number + 1] - offsets[number])
    means, hashes = np.zeros((len(offsets) - 1, rows.shape[1]), np.float64), np.empty(longest // 2 + 2, np.uint64)
    for number in range(len(offsets) - 1):
        count = _line(text, offsets[number], offsets[number + 1], dictionary, rows, grams, sizes, means[number], hashes)
        means[number] /= np.float64(count) if count else np.nan
    return means
