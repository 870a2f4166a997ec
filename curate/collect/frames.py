"""Where the frames of a compressed file begin, without unpacking it: so that one file is read by many workers.

zstd says the length of a frame's blocks before each, and in most files the size of its content in its header; a seek table
(zstd's seekable format) has it where the header has not. bgzf (gzip in blocks of 64 KB, as bgzip writes it) has both. Ordinary
gzip, xz and bzip2 do not tell, nor does a zstd frame that was written from a stream of unknown length.

Cost: 1 GB of zstd has about 25,000 blocks, a few microseconds each. What a file says of itself is only where to begin: who
reads a part checks that the next one begins where this one ends (`ByteStream.settle`).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Frame", "cuts"]

ZSTD_MAGIC = 0xFD2FB528
SKIPPABLE_MAGIC = 0x184D2A50
SEEK_TABLE_MAGIC = 0x8F92EAB1
Data = bytes | mmap.mmap


class Frame(NamedTuple):
    """Where a frame begins: in the file, and in its content."""

    place: int
    offset: int


class _Unknown(Exception):
    """The file does not say where its frames are."""


def cuts(path: Path, compression: str | None, shard_bytes: int, max_expansion: float) -> list[Frame]:
    """The frames at which parts of at most `shard_bytes` of content begin; the first alone where the file cannot be cut.

    Args:
        path: A local file.
        compression: A name of `formats.COMPRESSIONS`.
        shard_bytes: Most content of a part, unless one frame has more: a frame is never cut.
        max_expansion: A file that claims more content for each of its bytes is not cut.
    """
    whole = [Frame(0, 0)]
    walk = WALKS.get(compression or "")
    if walk is None or path.stat().st_size <= 1:
        return whole
    found, end = list(whole), 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            for place, size in walk(data):
                if end > found[-1].offset and end + size - found[-1].offset > shard_bytes:
                    found.append(Frame(place, end))
                end += size
                if end > max_expansion * len(data):
                    return whole
        except (_Unknown, struct.error, IndexError):
            return whole
    return found


def _zstd(data: Data) -> Iterator[tuple[int, int]]:
    """Frames with content: where they begin, and how much they hold."""
    table = _seek_table(data)
    place = number = 0
    while place < len(data):
        (magic,) = struct.unpack_from("<I", data, place)
        if magic & 0xFFFFFFF0 == SKIPPABLE_MAGIC:
            place += 8 + struct.unpack_from("<I", data, place + 4)[0]
            continue
        if magic != ZSTD_MAGIC:
            raise _Unknown
        size, end = _zstd_frame(data, place)
        if size is None:
            length, size = table[number] if number < len(table) else (None, 0)
            if length != end - place:
                raise _Unknown
        yield place, size
        place, number = end, number + 1
    if place != len(data):
        raise _Unknown


def _zstd_frame(data: Data, place: int) -> tuple[int | None, int]:
    """The content size of a frame (RFC 8878, 3.1.1), where it is told, and the end of the frame."""
    descriptor = data[place + 4]
    flag, single = descriptor >> 6, descriptor >> 5 & 1
    at = place + 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    width = (single, 2, 4, 8)[flag]
    size = int.from_bytes(data[at : at + width], "little") + (256 if flag == 1 else 0) if width else None
    at += width
    last = 0
    while not last:
        header = int.from_bytes(data[at : at + 3], "little")
        last, kind = header & 1, header >> 1 & 3
        if kind == 3 or at + 3 > len(data):
            raise _Unknown
        at += 3 + (1 if kind == 1 else header >> 3)
    return size, at + (4 if descriptor & 4 else 0)


def _seek_table(data: Data) -> list[tuple[int, int]]:
    """Compressed length and content of each frame, as zstd's seekable format has them at the end; else nothing."""
    if len(data) < 17 or struct.unpack_from("<I", data, len(data) - 4)[0] != SEEK_TABLE_MAGIC:
        return []
    count, descriptor = struct.unpack_from("<IB", data, len(data) - 9)
    width = 12 if descriptor & 0x80 else 8
    start = len(data) - 9 - count * width
    return [struct.unpack_from("<II", data, start + number * width) for number in range(count)] if start >= 8 else []


def _bgzf(data: Data) -> Iterator[tuple[int, int]]:
    """Blocks: where they begin, and how much they hold (SAM specification, 4.1)."""
    place = 0
    while place < len(data):
        if data[place : place + 4] != b"\x1f\x8b\x08\x04":
            raise _Unknown
        (extra,) = struct.unpack_from("<H", data, place + 10)
        end = place + _block_length(data[place + 12 : place + 12 + extra])
        yield place, struct.unpack_from("<I", data, end - 4)[0]
        place = end
    if place != len(data):
        raise _Unknown


def _block_length(fields: bytes) -> int:
    while len(fields) >= 4:
        (length,) = struct.unpack_from("<H", fields, 2)
        if fields[:2] == b"BC" and length == 2:
            return struct.unpack_from("<H", fields, 4)[0] + 1
        fields = fields[4 + length :]
    raise _Unknown


WALKS: dict[str, Callable[[Data], Iterator[tuple[int, int]]]] = {"zst": _zstd, "gz": _bgzf}
