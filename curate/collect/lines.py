"""Whole lines of a byte stream, in large blocks with their offsets.

A line belongs to the part of a file in which it starts, so parts may be cut at any byte. A line is what ends in a line
feed (or in another byte, where a format has one); a line longer than the limit is passed over without being held in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from curate.stages.contract import Rejected

__all__ = ["Lines", "line_blocks"]


class Lines(NamedTuple):
    """Consecutive whole lines.

    Attributes:
        offset: Where the first one starts in the file.
        data: The lines with their line ends; the last line of a file may lack it.
    """

    offset: int
    data: bytes


def line_blocks(
    blocks: Iterable[bytes], *, start: int, stop: int | None, limit: int, ending: bytes = b"\n"
) -> Iterator[Lines | Rejected]:
    """The lines that start in [start, stop), and a reject for each that is longer than `limit` and than a block.

    Args:
        blocks: The bytes of the file from `start - 1` on (from 0 where `start` is 0).
        start: First byte of the part.
        stop: End of the part, exclusive; None is the end of the file.
        limit: Most bytes of a line held back while its end has not come.
        ending: The byte that ends a line.
    """
    place = max(start - 1, 0)
    skipping = start > 0
    begin, held, held_bytes = place, [], 0
    for fresh in blocks:
        block, base = fresh, place
        place += len(fresh)
        if skipping:
            end = block.find(ending) + 1
            if not end:
                continue
            skipping, begin, base, block = False, base + end, base + end, block[end:]
        if stop is not None and begin >= stop:
            return
        last = block.find(ending, max(stop - 1 - base, 0)) + 1 if stop is not None and place >= stop else 0
        end = last or block.rfind(ending) + 1
        if end:
            yield Lines(begin, b"".join([*held, memoryview(block)[:end]]))
            if last:
                return
            begin, held, held_bytes, block = base + end, [], 0, block[end:]
        held.append(block)
        held_bytes += len(block)
        if held_bytes > limit:
            yield Rejected(begin, "too_long", f"the line is longer than {limit} bytes")
            held, held_bytes, skipping = [], 0, True
    if held_bytes and not skipping:
        yield Lines(begin, b"".join(held))
