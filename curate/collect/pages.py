"""One document a file: plain text, Markdown, HTML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from curate.collect.columns import Selection, document_table
from curate.collect.compression import ByteStream
from curate.stages.contract import Rejected

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["decode_page", "read_page"]


def read_page(stream: ByteStream, selection: Selection, *, name: str, is_html: bool) -> Iterator[pa.Table | Rejected]:
    """The file as one document at offset 0, or why it is none: `too_long`, `invalid_utf8`, or damage of the file.

    HTML may be in the encoding that it declares; all else is UTF-8, with or without a byte order mark.
    """
    blocks: list[bytes] = []
    size = 0
    for block in stream:
        blocks.append(block)
        size += len(block)
        if size > selection.limit:
            yield Rejected(0, "too_long", f"the document is longer than {selection.limit} bytes")
            return
    if stream.damage or not size:
        return
    data = b"".join(blocks)
    try:
        text = decode_page(data) if is_html else data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        yield Rejected(0, "invalid_utf8", f"byte {error.start} is not {error.encoding}")
        return
    selection.carried((), complete=True)
    yield document_table([text], None, [0], name=name, columns={})


def decode_page(data: bytes, *, declared: str | None = None) -> str:
    """A web page as text, in the encoding of its byte order mark, `declared` (by HTTP), its `meta` element, or UTF-8.

    Raises:
        UnicodeDecodeError: It is in none of them.
    """
    import re

    from resiliparse.parse.encoding import map_encoding_to_html5

    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    if data.startswith(b"\xef\xbb\xbf"):
        return data.decode("utf-8-sig")
    meta = re.search(rb"<meta[^>]{1,200}charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", data[:2048], re.IGNORECASE)
    written = meta.group(1).decode("ascii", "replace") if meta else None
    if written and written.lower().startswith("utf-16"):
        written = None  # it was read as ASCII, so that is not so
    names = [map_encoding_to_html5(name, fallback_utf8=False) for name in (declared, written) if name]
    for name in filter(None, names):
        try:
            return data.decode(name)
        except (UnicodeDecodeError, LookupError):
            continue
    return data.decode("utf-8")
