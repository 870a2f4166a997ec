"""Messages of a mailbox (mbox), one document each: bytes for an extractor, not parsed here.

A message starts at a line `From ADDRESS DATE` behind a blank line. Python's `mailbox` starts one at every line that begins
with "From ", so that 2,000 messages which quote such a line become 4,000. Lines that the mailbox escaped (`>From `) are as
they were sent. Cost: 32 MB a CPU second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import TYPE_CHECKING

from curate.collect.binary import payload_table
from curate.collect.columns import Selection
from curate.collect.compression import ByteStream
from curate.collect.lines import line_blocks
from curate.stages.contract import Rejected

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_mbox"]

TABLE_BYTES = 8 << 20
DAYS = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
START = re.compile(rb"^From [^\n]{0,200}?\b" + DAYS + rb",? [^\n]{0,40}\b\d{4}\b[^\n]{0,20}$", re.MULTILINE)
BLANK = re.compile(rb"\n\r?\n\Z")
ESCAPED = re.compile(rb"^>(>*From )", re.MULTILINE)


def read_mbox(stream: ByteStream, selection: Selection, *, name: str) -> Iterator[pa.Table | Rejected]:
    """Tables of messages, at the offsets of their `From ` lines; what stands before the first one, and what is too long.

    Rejects: `corrupt` (no message starts there), `too_long`.
    """
    held: list[tuple[int, bytes]] = []
    size = 0
    for offset, message in _messages(stream, selection.limit):
        first, _, content = message.partition(b"\n")
        if not START.match(first):
            if content.strip() or first.strip():
                yield Rejected(offset, "corrupt", "mbox: no message starts here: there is no line `From ADDRESS DATE`")
            continue
        if len(content) > selection.limit:
            yield Rejected(offset, "too_long", f"the message is longer than {selection.limit} bytes")
            continue
        held.append((offset, ESCAPED.sub(rb"\1", content) if b">From " in content else content))
        size += len(content)
        if size >= TABLE_BYTES:
            yield _table(held, selection, name)
            held, size = [], 0
    if held:
        yield _table(held, selection, name)


def _table(held: list[tuple[int, bytes]], selection: Selection, name: str) -> pa.Table:
    offsets, contents = zip(*held, strict=True)
    return payload_table(contents, ["message/rfc822"] * len(held), offsets, selection, name=name)


def _messages(stream: ByteStream, limit: int) -> Iterator[tuple[int, bytes]]:
    """Each message with its `From ` line; of one that is too long, at least one byte more than the limit."""
    begin, pieces, size = 0, list[bytes](), 0
    behind = b"\n\n"  # what stands before the block; `pieces` has not all of a message that is too long
    for block in line_blocks(stream, start=0, stop=None, limit=limit):
        if isinstance(block, Rejected):
            pieces.append(b"x" * (limit + 1))  # one line that is too long: so is its message
            size += limit + 1
            behind = b""
            continue
        starts = [
            place for place in _lines_from(block.data) if BLANK.search(behind + block.data[max(place - 3, 0) : place])
        ]
        behind = (behind + block.data[-3:])[-3:]
        for start, stop in pairwise(chain([0], starts, [len(block.data)])):
            if start == stop:
                continue
            if pieces and (start or starts[:1] == [0]):
                yield begin, b"".join(pieces)
                begin, pieces, size = block.offset + start, [], 0
            if size <= limit + (1 << 20):
                pieces.append(block.data[start:stop])
                size += stop - start
    if pieces:
        yield begin, b"".join(pieces)


def _lines_from(data: bytes) -> Iterator[int]:
    """Where lines start that may begin a message; a plain search, where a pattern would be tried at every line."""
    place = 0 if data.startswith(b"From ") else data.find(b"\nFrom ") + 1
    while place or data.startswith(b"From "):
        if START.match(data, place):
            yield place
        place = data.find(b"\nFrom ", place) + 1
        if not place:
            return
