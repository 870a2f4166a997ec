"""HTTP responses as archives keep them: the head, and the body without its transfer and content codings.

Archives keep what servers sent, or what a crawler made of it: lines that end in a bare line feed, codings that are named
and were undone already, bodies cut at a limit. So all of it is read as browsers do, and of a body that is cut short what
can be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["HEAD_BYTES", "Head", "read_head", "undo_codings"]

HEAD_BYTES = 1 << 16
STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?=[ \t\r\n]|$)", re.IGNORECASE)
BLANK = re.compile(rb"\r*\n\r*\n")
CHUNK = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\n]{0,1000})?\r?\n")
NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
SIGNATURES = (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x1f\x9d", b"BZh", b"\xfd7zXZ\0", b"PK\x03\x04")
GZIP, ZSTD = SIGNATURES[:2]
MOST_CODINGS = 8
WINDOW_BYTES = 1 << 31


class Head(NamedTuple):
    """The head of a response.

    Attributes:
        status: The status code.
        headers: Values by name in lower case; those of one name with commas between.
        end: Where the body starts.
    """

    status: int
    headers: dict[str, str]
    end: int

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].partition(",")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """The encoding of the content."""
        found = re.search(r"charset\s*=\s*[\"']?\s*([^\s\"';,]+)", self.headers.get("content-type", ""), re.IGNORECASE)
        return found.group(1) if found else None


def read_head(data: bytes) -> Head | None:
    """The head of the response (the last one, where interim ones go before); None where there is none."""
    begin = 0
    while status := STATUS.match(data, begin):
        blank = BLANK.search(data, begin)
        head = data[begin : blank.start() if blank else len(data)]
        begin = blank.end() if blank else len(data)
        if not status.group(1).startswith(b"1") or not STATUS.match(data, begin):
            return Head(int(status.group(1)), _headers(head), begin)
    return None


def _headers(head: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    name = ""
    for line in head.decode("latin-1").split("\n")[1:]:
        value = line.strip()
        if line[:1] not in (" ", "\t"):
            name, colon, value = (part.strip() for part in line.partition(":"))
            name = name.lower() if colon else ""
            value = f", {value}" if name in headers else value
        elif name:
            value = f" {value}"
        if name:
            headers[name] = headers.get(name, "") + value
    return headers


def undo_codings(body: bytes, headers: dict[str, str], limit: int) -> bytes:
    """The content of a body; of one that is cut short what can be read, and not much more than `limit` bytes.

    Raises:
        ValueError: It cannot be decoded; the content is compressed bytes still.
    """
    transfer, content = (_tokens(headers.get(name, "")) for name in ("transfer-encoding", "content-encoding"))
    for coding in reversed([*content, *transfer]):
        body = _undo(coding, body, limit)
    for _ in range(MOST_CODINGS):  # compressed, and no word of it
        if not body.startswith(GZIP) or len(body) > limit:
            break
        body = _gunzip(body, limit)
    if body.startswith(SIGNATURES) and len(body) <= limit and NO_TEXT.search(body[:512]):
        raise ValueError("the content is compressed in a way that no header tells")
    return body


def _tokens(value: str) -> list[str]:
    tokens = [token.strip().lower() for token in re.split(r"[,;]", value)]
    if len(tokens) > MOST_CODINGS:
        raise ValueError("too many codings")
    return tokens


def _undo(coding: str, body: bytes, limit: int) -> bytes:
    if coding == "chunked":
        return _unchunk(body)
    if coding in ("gzip", "x-gzip"):
        return _gunzip(body, limit) if body.startswith(GZIP[:2]) else body
    if coding == "zstd":
        return _unzstd(body, limit) if body.startswith(ZSTD) else body
    if coding in ("deflate", "x-deflate"):
        return _inflate(body, limit) if not body.startswith(GZIP) else body
    if coding == "br":
        return _unbrotli(body, limit)
    return body  # `identity`, `none`, `utf-8`: servers write all kinds of things


def _unchunk(body: bytes) -> bytes:
    """The chunks that are there; the body itself where it is not chunked."""
    chunks: list[bytes] = []
    place = 0
    while size := CHUNK.match(body, place):
        start = size.end()
        end = start + int(size.group(1), 16)
        if end == start:
            break
        follows = body[end : end + 2]
        if not chunks and end < len(body) and follows[:1] not in (b"\r", b"\n"):
            return body  # a text that starts like a chunk
        chunks.append(body[start:end])
        place = end + (2 if follows == b"\r\n" else 1)
    return b"".join(chunks) if size or chunks else body


def _gunzip(body: bytes, limit: int) -> bytes:
    """The text of all members, without what may stand behind the last one."""
    import zlib

    content = b""
    while body.startswith(GZIP[:2]) and len(content) <= limit:
        member = zlib.decompressobj(31)
        try:
            content += member.decompress(body, limit + 1 - len(content))
        except zlib.error as error:
            raise ValueError(f"gzip: {error}") from error
        body = member.unused_data
    return content


def _inflate(body: bytes, limit: int) -> bytes:
    """Zlib's format, or the raw deflate that many servers send instead."""
    import zlib

    for window in (15, -15):
        stream = zlib.decompressobj(window)
        try:
            content = stream.decompress(body, limit + 1)
        except zlib.error:
            continue
        if content or stream.eof:
            return _coded(body, content, whole=stream.eof or len(content) > limit)
    return _coded(body, b"", whole=False)


def _unbrotli(body: bytes, limit: int) -> bytes:
    import brotli

    stream, content = brotli.Decompressor(), b""
    try:
        data = stream.process(body, output_buffer_limit=limit + 1)
        while data and len(content) <= limit:
            content += data
            data = b"" if stream.is_finished() else stream.process(b"", output_buffer_limit=limit + 1)
    except brotli.error:
        return _coded(body, b"", whole=False)
    return _coded(body, content, whole=stream.is_finished() or len(content) > limit)


def _coded(body: bytes, content: bytes, *, whole: bool) -> bytes:
    """What decoding gave; the body where it gave nothing whole, and the body is no compressed data but text."""
    if whole or (content and not _is_text(body)):
        return content
    if _is_text(body):
        return body
    raise ValueError("the content is not in the coding that its headers name")


def _is_text(data: bytes) -> bool:
    if NO_TEXT.search(data[:4096]):
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.lstrip().startswith(b"<")
    return True


def _unzstd(body: bytes, limit: int) -> bytes:
    import io

    import zstandard

    packed = io.BytesIO(body)
    reader: Callable[[int], bytes] = (
        zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES).stream_reader(packed, read_across_frames=True).read
    )
    try:
        return reader(limit + 1)
    except zstandard.ZstdError as error:
        raise ValueError(f"zstd: {error}") from error
