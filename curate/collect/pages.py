"""Plain text, Markdown, HTML: one document a file, or one a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from curate.collect.charsets import decode_page
from curate.collect.columns import Selection, document_table
from curate.collect.compression import ByteStream
from curate.collect.lines import line_blocks
from curate.stages.contract import Rejected

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_lines", "read_page", "whole_file"]


def read_page(stream: ByteStream, selection: Selection, *, name: str, is_html: bool) -> Iterator[pa.Table | Rejected]:
    """The file as one document at offset 0, or why it is none: `too_long`, `invalid_utf8`, or damage of the file.

    HTML is read as browsers do, in the encoding that it declares, and never `invalid_utf8`; all else is UTF-8, with or
    without a byte order mark.
    """
    data = whole_file(stream, selection.limit)
    if isinstance(data, Rejected):
        yield data
        return
    if not data:
        return
    try:
        text = decode_page(data) if is_html else data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        yield Rejected(0, "invalid_utf8", f"byte {error.start} is not {error.encoding}")
        return
    selection.carried((), complete=True)
    yield document_table([text], None, [0], name=name, columns={})


def read_lines(
    stream: ByteStream, selection: Selection, *, name: str, start: int, stop: int | None
) -> Iterator[pa.Table | Rejected]:
    """Tables of documents, one for each line that is not blank; rejects: `invalid_utf8`, `too_long`.

    Args:
        stream: The file's bytes from `start - 1` on.
        selection: Which columns to take.
        name: What the file is called.
        start: First byte of the part: the lines that start in [start, stop) are read.
        stop: End of the part; None is the end of the file.
    """
    selection.carried((), complete=True)
    for block in line_blocks(stream, start=start, stop=stop, limit=selection.limit):
        if isinstance(block, Rejected):
            yield block
            continue
        texts, offsets, place = list[str](), list[int](), block.offset
        for line in block.data.split(b"\n"):
            offset, place = place, place + len(line) + 1
            try:
                text = line.removesuffix(b"\r").decode("utf-8-sig" if offset == 0 else "utf-8")
            except UnicodeDecodeError as error:
                yield Rejected(offset, "invalid_utf8", f"byte {offset + error.start} is not UTF-8")
                continue
            if len(line) > selection.limit:
                yield Rejected(offset, "too_long", f"the line is longer than {selection.limit} bytes")
            elif text.strip():
                texts.append(text)
                offsets.append(offset)
        if texts:
            yield document_table(texts, None, offsets, name=name, columns={})


def whole_file(stream: ByteStream, limit: int) -> bytes | Rejected:
    """All of a file of at most so many bytes; nothing of one that is damaged."""
    blocks: list[bytes] = []
    size = 0
    for block in stream:
        blocks.append(block)
        size += len(block)
        if size > limit:
            return Rejected(0, "too_long", f"the document is longer than {limit} bytes")
    return b"" if stream.damage else b"".join(blocks)
