"""Byte strings with numbers: compiled code finds the number of a piece of a UTF-8 buffer, or gives it the next one.

An open hash table. A string is known by two 64-bit words: up to 15 bytes are these words themselves, with the length; of a
longer one they hold a hash, and what the table finds is compared byte by byte. So two strings never share a number.
Memory: 48 to 96 bytes of the table and 8 and its own for each string.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from curate.stages.buffers import reading

__all__ = ["LONG", "Strings", "add_string", "find_string", "longer"]

LONG = np.uint64(0xFF << 56)
"""Second word of a string of more than 15 bytes: this, and the low 56 bits of its length."""
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SECOND = np.uint64(0xC4CEB9FE1A85EC53)
_HALF = np.uint64(32)
_EIGHT = np.uint64(8)


class Strings:
    """Strings numbered from 0 in the order they came.

    Attributes:
        count: How many there are.
        data: Their bytes, one after the other (uint8).
        starts: Where each begins in `data`, and behind the last one its end (int64).
        table: Of each place its string's two words and its number + 1, 0 where it is free (places x 3, uint64).
    """

    def __init__(self, room: int = 1 << 14) -> None:
        self.count = 0
        self.data = np.empty(8 * room, np.uint8)
        self.starts = np.zeros(room + 1, np.int64)
        self.table = np.zeros((2 * room, 3), np.uint64)

    @property
    def room(self) -> int:
        """How many strings there may be."""
        return len(self.starts) - 1

    @property
    def bytes(self) -> int:
        """Bytes of all strings together."""
        return int(self.starts[self.count])

    def text(self, number: int) -> str:
        """One of the strings."""
        return self.data[self.starts[number] : self.starts[number + 1]].tobytes().decode()

    def grow(self, length: int) -> None:
        """Make room: for twice as many strings where half of it is taken, and for one of so many bytes."""
        if 2 * self.count >= self.room:
            self.starts = np.concatenate([self.starts, np.zeros(self.room, np.int64)])
            table = np.zeros((2 * len(self.table), 3), np.uint64)
            _move(self.table, table)
            self.table = table
        if 2 * (self.bytes + length) >= len(self.data):
            self.data = np.concatenate([self.data, np.empty(len(self.data) + length, np.uint8)])

    def number(self, text: np.ndarray, cuts: np.ndarray) -> np.ndarray:
        """The numbers (int32) of the pieces of a buffer (uint8) between each two of the cuts (int64); new ones get theirs."""
        numbers = np.empty(len(cuts) - 1, np.int32)
        text, cuts, done = reading(text), reading(cuts), 0
        while True:
            done, self.count = _number(text, cuts, done, numbers, self.count, self.data, self.starts, self.table)
            if done == len(numbers):
                return numbers
            self.grow(int(cuts[done + 1] - cuts[done]))

    def number_texts(self, texts: Sequence[str]) -> np.ndarray:
        """The numbers (int32) of texts."""
        encoded = [text.encode() for text in texts]
        cuts = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(one) for one in encoded], out=cuts[1:])
        data = np.frombuffer(b"".join(encoded) + b"\0", np.uint8)
        return self.number(data, cuts)


@njit(cache=True, nogil=True, forceinline=True)
def _place(first, second, table):  # noqa: ANN001, ANN202
    """Where to begin to look for a string."""
    state = (first ^ (second * _SECOND)) * _PRIME
    return np.int64((state ^ (state >> _HALF)) & np.uint64(len(table) - 1))


@njit(cache=True, nogil=True)
def _move(old, new) -> None:  # noqa: ANN001
    """Put everything into a larger table."""
    for row in range(len(old)):
        if old[row, 2] == 0:
            continue
        place = _place(old[row, 0], old[row, 1], new)
        while new[place, 2] != 0:
            place = (place + 1) & (len(new) - 1)
        for column in range(3):
            new[place, column] = old[row, column]


@njit(cache=True, nogil=True, forceinline=True)
def longer(text, start, stop):  # noqa: ANN001, ANN201
    """The two words of a string of more than 15 bytes."""
    state = np.uint64(0xCBF29CE484222325)
    for position in range(start, stop):
        state = (state ^ np.uint64(text[position])) * _PRIME
    return state ^ (state >> _HALF), LONG | np.uint64(stop - start)


@njit(cache=True, nogil=True, forceinline=True)
def find_string(text, start, stop, first, second, data, starts, table):  # noqa: ANN001, ANN201
    """The number of text[start:stop], whose words are given; where there is none, -1 - its place in the table."""
    place = _place(first, second, table)
    while True:
        found = table[place, 2]
        if found == 0:
            return -1 - place
        if table[place, 0] == first and table[place, 1] == second:
            number = np.int64(found) - 1
            if second < LONG:
                return number
            begin, same = starts[number], 0
            while same < stop - start and data[begin + same] == text[start + same]:
                same += 1
            if same == stop - start:
                return number
        place = (place + 1) & (len(table) - 1)


@njit(cache=True, nogil=True)
def add_string(text, start, stop, first, second, place, count, data, starts, table):  # noqa: ANN001, ANN201
    """Give text[start:stop] the number `count`; False where there is no room."""
    begin = starts[count]
    if count + 1 >= len(starts) or begin + stop - start > len(data):
        return False
    for position in range(start, stop):
        data[begin + position - start] = text[position]
    starts[count + 1] = begin + stop - start
    table[place, 0], table[place, 1], table[place, 2] = first, second, np.uint64(count + 1)
    return True


@njit(cache=True, nogil=True)
def _number(text, cuts, done, numbers, count, data, starts, table):  # noqa: ANN001, ANN202
    """Number pieces from `done` on; returns how far it came before there was no room, and how many strings there are."""
    for piece in range(done, len(numbers)):
        start, stop = cuts[piece], cuts[piece + 1]
        first, second = np.uint64(0), np.uint64(stop - start) << np.uint64(56)
        if stop - start > 15:
            first, second = longer(text, start, stop)
        else:
            for position in range(start, stop):
                shift = np.uint64(position - start) * _EIGHT
                if position - start < 8:
                    first |= np.uint64(text[position]) << shift
                else:
                    second |= np.uint64(text[position]) << (shift - np.uint64(64))
        number = find_string(text, start, stop, first, second, data, starts, table)
        if number < 0:
            if not add_string(text, start, stop, first, second, -1 - number, count, data, starts, table):
                return piece, count
            number = count
            count += 1
        numbers[piece] = number
    return len(numbers), count
