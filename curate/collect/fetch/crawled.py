"""Records of Common Crawl's files as they are: gzip members, each a WARC record; and lines of its index, which name them."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from curate.collect.charsets import decode_page
from curate.collect.http import Head, read_head, undo_codings

__all__ = ["Entry", "Record", "as_utf8", "members", "parse_entry", "parse_record", "put_together", "taken_apart"]

MAGIC = b"\x1f\x8b\x08"
HEAD_BYTES = 1 << 16
STEP = 1 << 20
LONGEST = 64 << 20
"""Bytes of a member above which it is no record of this crawl, which cuts what it fetches at 5 MB."""
LENGTH = re.compile(rb"(?im)^(content-length:[ \t]*)(\d+)")
CODED = re.compile(
    rb"(?im)^(?:content-type|content-encoding|transfer-encoding|content-length)[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*"
)
TYPED = re.compile(rb"(?im)^content-type[ \t]*:[ \t]*([^\r\n]*)")
TEXTS = ("text/html", "application/xhtml+xml", "text/plain")
CODES = re.compile(r"[A-Za-z,-]{1,200}")
FARTHEST = 2**63 - 1 - LONGEST
HEADER = re.compile(rb"^([A-Za-z-]+):[ \t]*([^\r\n]*)", re.MULTILINE)


class Entry(NamedTuple):
    """A line of an index.

    Attributes:
        file: Path below the base.
        offset: Where the record starts.
        length: Its bytes, compressed.
        url: Its address.
        mime: What the bytes are, else what the server said.
        languages: Codes of ISO 639-3, joined by commas, the most used first; None where they were not told.
    """

    file: str
    offset: int
    length: int
    url: str
    mime: str
    languages: str | None


class Record(NamedTuple):
    """What the headers of a record say.

    Attributes:
        kind: `response`, `conversion`, `request`, ...
        url: Its address.
        mime: What the bytes are, else what the record itself is.
        languages: As the crawl told them.
        truncated: Why the content was cut: `length`, `time`, `disconnect`; None where it is whole.
    """

    kind: str
    url: str
    mime: str
    languages: str | None
    truncated: str | None


def parse_entry(line: str) -> Entry | str:
    """A line of an index (JSON, with or without the key and time of CDXJ before it), or what is wrong with it."""
    try:
        found: Any = json.loads(line[line.index("{") :])
        one = Entry(
            str(found["filename"]), _number(found["offset"]), _number(found["length"]), str(found["url"]),
            str(found.get("mime-detected") or found.get("mime") or ""), found.get("languages") or None,
        )  # fmt: skip
    except (ValueError, RecursionError):
        return "it is no JSON object, or its numbers are none"
    except (KeyError, TypeError, AttributeError) as error:
        return f"it lacks {error}" if isinstance(error, KeyError) else "it is no JSON object"
    if one.offset > FARTHEST or not 0 < one.length <= LONGEST:
        return f"offset {one.offset} and length {one.length} are none of a record"
    if one.languages is not None and not CODES.fullmatch(str(one.languages)):
        return "its languages are no codes with commas between"
    return one


def _number(value: Any) -> int:
    """A number as an index writes it, with or without quotes.

    Raises:
        ValueError: It is none.
    """
    text = str(value)
    if isinstance(value, str | int) and text.isascii() and text.isdecimal() and len(text) <= 20:
        return int(text)
    raise ValueError("no number")


def parse_record(head: bytes) -> Record | None:
    """What a record says of itself; None where it is none."""
    block, _, rest = head.partition(b"\r\n\r\n")
    if not block.startswith(b"WARC/"):
        return None
    said = {name.lower(): value.strip().decode("utf-8", "replace") for name, value in HEADER.findall(block)}
    told = {name.lower(): value for name, value in HEADER.findall(rest.partition(b"\r\n\r\n")[0])}
    mime = said.get(b"warc-identified-payload-type") or told.get(b"content-type", b"").decode("latin-1")
    return Record(
        said.get(b"warc-type", "").lower(), said.get(b"warc-target-uri", "").strip("<>"),
        (mime or said.get(b"content-type", "")).partition(";")[0].strip().lower(),
        said.get(b"warc-identified-content-language") or None, said.get(b"warc-truncated") or None,
    )  # fmt: skip


def members(
    read: Callable[[int, int], bytes], start: int, chunk: int
) -> Iterator[tuple[int, bytes | None, bytes | str]]:
    """The gzip members of a file from a place on: where each starts, its bytes, and how its content begins.

    Of what is damaged: where it starts, None, and what is wrong; the next member is where one may start again.

    Args:
        read: Gives bytes from a place on, at most so many.
        start: Where a member starts.
        chunk: How many are asked for at a time.
    """
    window = _Window(read, start, chunk)
    intact = True
    while window.fill(1):
        undo, head, size, problem = zlib.decompressobj(31), b"", 0, ""
        while not undo.eof and not problem and (block := window.block(size)):
            size += len(block)
            problem, head = _fed(undo, block, head)
            if size > LONGEST:
                problem = f"a record of more than {LONGEST >> 20} MB"
        if undo.eof:
            size -= len(undo.unused_data)
            yield window.place, window.take(size), head
            intact = True
            continue
        if intact:
            yield window.place, None, problem or "the file ends in the middle of a record"
        intact = False
        window.skip_to(MAGIC)


class _Window:
    """The bytes of a file from a place on that are held."""

    def __init__(self, read: Callable[[int, int], bytes], place: int, chunk: int) -> None:
        self.read, self.place, self.chunk = read, place, chunk
        self.held, self.begin, self.ended = b"", 0, False

    def fill(self, size: int) -> bool:
        """Whether there are so many bytes from the place on."""
        while len(self.held) - self.begin < size and not self.ended:
            more = self.read(self.place + len(self.held) - self.begin, self.chunk)
            self.ended = not more
            self.held, self.begin = self.held[self.begin :] + more, 0
        return len(self.held) - self.begin >= size

    def block(self, at: int) -> bytes:
        """Bytes at a distance from the place; none at the end of the file."""
        self.fill(at + 1)
        return self.held[self.begin + at : self.begin + at + STEP]

    def take(self, size: int) -> bytes:
        """The next bytes, which are passed."""
        found = self.held[self.begin : self.begin + size]
        self.begin, self.place = self.begin + size, self.place + size
        return found

    def skip_to(self, mark: bytes) -> None:
        """Pass to the next place behind this one where a mark stands, or to the end."""
        self.take(1)
        while self.fill(len(mark)):
            found = self.held.find(mark, self.begin)
            self.take(found - self.begin if found >= 0 else len(self.held) - self.begin - len(mark) + 1)
            if found >= 0:
                return
        self.take(len(self.held) - self.begin)


def _fed(undo: Any, block: bytes, head: bytes) -> tuple[str, bytes]:
    """What is wrong with a block of a member, and how its content begins; no more than a step is held of what comes out."""
    try:
        out = block
        while (block or len(out) == STEP) and not undo.eof:
            out = undo.decompress(block, STEP)
            head += out[: HEAD_BYTES - len(head)]
            block = undo.unconsumed_tail
    except zlib.error as error:
        return f"gzip: {error}", head
    return "", head


def taken_apart(member: bytes) -> tuple[bytes, bytes] | str:
    """The headers of a record and its content, unpacked; or what is wrong with it.

    They are kept so, and not packed, since an erasure looks into them, and may make a content shorter.
    """
    undo = zlib.decompressobj(31)
    data = undo.decompress(member, LONGEST + HEAD_BYTES)
    if not undo.eof:
        return f"it unpacks to more than {LONGEST >> 20} MB"
    head, _, rest = data.partition(b"\r\n\r\n")
    told = LENGTH.search(head)
    length = int(told[2][:18]) if told else -1
    if not 0 <= length <= len(rest) or rest[length:].strip():
        return "its content is not as long as it says"
    return head, rest[:length]


def as_utf8(head: bytes, content: bytes) -> tuple[bytes, bytes] | str:
    """A record with its codings undone, and a text in UTF-8 that says so; as it came where it is that, or what is wrong.

    So an erasure, which looks for UTF-8, sees what a reader would, and what it replaces is a text still. Digests in the
    headers remain those of what the crawl was sent.
    """
    typed = TYPED.search(head)
    declared = typed[1].strip().decode("latin-1") if typed else ""
    found = None if declared.lower().startswith(TEXTS) else read_head(content)
    inner = found or Head(0, {"content-type": declared}, 0)
    body = content[inner.end :]
    is_text = inner.content_type in TEXTS
    try:
        data = undo_codings(body, inner.headers, LONGEST)
    except ValueError as error:
        return f"the content cannot be decoded: {error}" if is_text else (head, content)
    if len(data) > LONGEST:
        return f"it unpacks to more than {LONGEST >> 20} MB"
    new = decode_page(data, declared=inner.charset).encode() if is_text else data
    if new == body:
        return head, content
    said = b"Content-Type: " + inner.headers.get("content-type", "").encode("latin-1", "replace")
    if is_text:
        said = b"Content-Type: %s; charset=utf-8" % inner.content_type.encode("latin-1", "replace")
    if found is None:
        return TYPED.sub(lambda _: said, head, count=1), new
    return head, CODED.sub(b"", content[: inner.end]).rstrip(b"\r\n") + b"\r\n" + said + b"\r\n\r\n" + new


def put_together(head: bytes, content: bytes) -> bytes:
    """A record as it stands in a file that is not packed."""
    return LENGTH.sub(rb"\g<1>%d" % len(content), head, count=1) + b"\r\n\r\n" + content + b"\r\n\r\n"
