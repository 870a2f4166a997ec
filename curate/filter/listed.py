"""A set of millions of lines in the memory of their text and 16 bytes each: hashes in order, and what they find is compared."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from numba import njit

from curate.stages.buffers import reading

__all__ = ["Listed"]

_START = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)


class Listed(Collection[str]):
    """The lines of a UTF-8 text, each ended by a line feed but perhaps the last; empty ones are none."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        data = np.frombuffer(text, np.uint8)
        cuts = np.concatenate([[-1], np.flatnonzero(data == 0x0A), [len(data)]])
        hashes = _hash_lines(data, reading(cuts))
        order = np.argsort(hashes)
        order = order[np.diff(cuts)[order] > 1]
        self._hashes, self._starts = hashes[order], cuts[order] + 1

    def __len__(self) -> int:
        """How many lines."""
        return len(self._hashes)

    def __iter__(self) -> Iterator[str]:
        """The lines, in no order."""
        return (self._text[start:].partition(b"\n")[0].decode() for start in self._starts.tolist())

    def __contains__(self, line: object) -> bool:
        """Whether this is a line."""
        if not isinstance(line, str) or not line or "\n" in line:
            return False
        sought = line.encode("utf-8", "surrogatepass")
        cuts = np.array([-1, len(sought)])
        hashed = _hash_lines(np.frombuffer(sought, np.uint8), reading(cuts))[0]
        place = int(np.searchsorted(self._hashes, hashed))
        while place < len(self._hashes) and self._hashes[place] == hashed:
            start = int(self._starts[place])
            if self._text.startswith(sought, start) and self._text[start + len(sought) : start + len(sought) + 1] in (
                b"\n",
                b"",
            ):
                return True
            place += 1
        return False


@njit(cache=True, nogil=True)
def _hash_lines(data, cuts):  # noqa: ANN001, ANN202
    """FNV-1a (uint64) of what is between two cuts."""
    hashes = np.empty(len(cuts) - 1, np.uint64)
    for line in range(len(hashes)):
        state = _START
        for position in range(cuts[line] + 1, cuts[line + 1]):
            state = (state ^ np.uint64(data[position])) * _PRIME
        hashes[line] = state
    return hashes
