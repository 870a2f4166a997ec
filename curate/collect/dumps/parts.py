"""Files of dumps: a part each, decompressed as it is read, and read on behind damage where there is a place to start again.

A .bz2 file may be many streams (`multistream`, pbzip2), each to be read by itself: damage costs the rest of one. In a file of
one stream, and in other compressions, it costs the rest of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from curate.collect.compression import ByteStream
from curate.collect.formats import STREAMED, file_type
from curate.collect.locations import find_locations, open_location
from curate.errors import CurateError
from curate.stages.contract import Part, Rejected, SourceContext

__all__ = ["DumpStream", "dump_parts"]

STREAM = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")
STREAM_BYTES = 10
SCAN_BYTES = 1 << 20
BREAK = b"\x00\n"
"""What stands for bytes that are lost: it is no XML, so what was cut is never read with what comes behind it as one."""


def dump_parts(paths: Sequence[str], context: SourceContext) -> list[Part]:
    """One part a file.

    Raises:
        CurateError: A path matches nothing, or a file is compressed in a way that is not undone here.
    """
    locations = find_locations(paths, context.root)
    context.prepare([Path(location.location) for location in locations if location.is_local])
    parts: list[Part] = []
    for one in locations:
        compression = file_type(one.name).compression
        if compression not in (None, *STREAMED) or one.name.endswith(".7z"):
            raise CurateError(
                f"`{one.name}` is compressed in a way that is not undone here",
                hint=f"unpack it, or pack it as one of: {', '.join(STREAMED)}",
            )
        content, _ = one.content(context.content_hash, context.size)
        parts.append(Part(one.name, one.location, content, extra={"compression": compression}))
    return parts


class DumpStream:
    """Iterates over the decompressed bytes of a file once, `BREAK` where some are lost.

    Attributes:
        position: Bytes given so far.
        damage: What could not be read, and where.

    Args:
        part: A part of `dump_parts`.
    """

    def __init__(self, part: Part) -> None:
        self._open, self._compression = partial(open_location, part.location), part.extra["compression"]
        self.position = 0
        self.damage: list[Rejected] = []

    def __iter__(self) -> Iterator[bytes]:
        place: int | None = 0
        while place is not None:
            stream = ByteStream(self._open, self._compression, place=place)
            for block in stream:
                self.position += len(block)
                yield block
            place = None
            if stream.damage:
                reason, detail = stream.damage
                if self._compression == "bz2" and reason == "corrupt":
                    place = self._next(stream.frame + 1)
                detail = detail if place is None else f"{detail}; reading goes on at the next stream"
                self.damage.append(Rejected(self.position, reason, detail))
            if place is not None:
                self.position += len(BREAK)
                yield BREAK

    def _next(self, place: int) -> int | None:
        """Where a stream begins, at a place of the compressed file or behind it."""
        held = b""
        with self._open() as file:
            file.seek(place)
            while data := file.read(SCAN_BYTES):
                held += data
                if found := STREAM.search(held):
                    return place + found.start()
                passed = max(0, len(held) - STREAM_BYTES + 1)
                place, held = place + passed, held[passed:]
        return None
