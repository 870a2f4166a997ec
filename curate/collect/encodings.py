"""Text files in other encodings than UTF-8, as UTF-8: so that every reader of lines and records reads one encoding.

Offsets count in the UTF-8 that is made. Bytes that are not of the encoding become one that is never UTF-8: the reader
rejects the record that they stand in, as it does for a stray byte of a UTF-8 file.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from itertools import chain

from curate.collect.charsets import find_codec
from curate.collect.compression import ByteStream

__all__ = ["Utf8Stream", "is_wide"]

WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
UNDECODABLE = "curate_undecodable"


def is_wide(head: bytes) -> bool:
    """Whether a file that begins so is UTF-16."""
    return head.startswith(WIDE_MARKS)


class Utf8Stream(ByteStream):
    """A `ByteStream` whose blocks are UTF-8, of a file in the encoding that is named, or in UTF-16 where its mark says so."""

    encoding: str | None = None

    def __iter__(self) -> Iterator[bytes]:
        blocks = super().__iter__()
        first = next(blocks, b"")
        codec = find_codec(self.encoding) if self.encoding else "utf-16" if is_wide(first) else None
        if codec in (None, "utf-8"):
            yield from chain([first], blocks)
            return
        codecs.register_error(UNDECODABLE, lambda error: ("\udcff", getattr(error, "end", 0)))
        decoder = codecs.getincrementaldecoder(codec)(UNDECODABLE)
        given = 0
        for block, last in chain(((block, False) for block in chain([first], blocks)), [(b"", True)]):
            data = decoder.decode(block, last).encode("utf-8", "surrogateescape")
            given += len(data)
            self.position = given
            if data:
                yield data
