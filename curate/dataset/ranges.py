"""A large blob as a file: its end is there, the rest is fetched where it is read, and ahead where one reads on."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["READ_AHEAD", "Ranges"]

READ_AHEAD = 8 << 20
"""Bytes a request where one reads on: what the answer takes is then more than the waiting for it."""
JUMP_AHEAD = 256 << 10
"""Bytes a request after a jump, which is longer than this."""


class Ranges:
    """What `pyarrow.PythonFile` reads from. Holds one piece beside the end."""

    closed = False

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, tail: bytes) -> None:
        """A blob of so many bytes that ends with `tail`; `fetch` gives those from one place to another."""
        self._fetch, self._size = fetch, size
        self._pieces = [(size - len(tail), tail), (0, b"")]  # the end, for good, and what was read last
        self._place, self._read_on = 0, size

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._place

    def seek(self, place: int, whence: int = 0) -> int:
        """Read on from there."""
        self._place = place + (0, self._place, self._size)[whence]
        return self._place

    def read(self, count: int | None = None) -> bytes:
        """So many bytes, or all up to the end."""
        stop = self._size if count is None or count < 0 else min(self._place + count, self._size)
        start = min(self._place, self._size)
        found = [self._part(start, stop)]
        while (start := start + len(found[-1])) < stop:
            self._read_on = start
            found.append(self._part(start, stop))
        self._place = self._read_on = max(stop, self._place)
        return found[0] if len(found) == 1 else b"".join(found)

    def _part(self, start: int, stop: int) -> bytes:
        """What is wanted, or as much as one piece has of it."""
        if start >= stop:
            return b""
        for first, piece in self._pieces:
            if first <= start < first + len(piece):
                return piece[start - first : stop - first]
        reads_on = 0 <= start - self._read_on <= JUMP_AHEAD  # columns that are not wanted may lie between
        ahead = READ_AHEAD if reads_on else JUMP_AHEAD
        end = min(max(stop, start + ahead), self._pieces[0][0])
        self._pieces[1] = (start, self._fetch(start, end))
        return self._pieces[1][1][: stop - start]

    def close(self) -> None:
        """Let go of what was read."""
        self.closed, self._pieces = True, []
