"""Documents from WARC files (plain, gzip, zstd, lz4) through FastWARC: the HTML and plain text that was fetched.

Offsets are those of the records in the file as it is on disk, compressed or not, as WARC indexes have them; in the
decompressed file where records are not compressed one by one. After damage, reading goes on at the next place where a
record starts, so that one broken record costs itself alone.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from curate.collect.charsets import decode_page
from curate.collect.columns import Selection, document_table
from curate.collect.compression import ByteStream
from curate.collect.http import HEAD_BYTES, Head, read_head, undo_codings
from curate.stages.contract import Passed, Rejected

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_warc"]

TABLE_BYTES = 8 << 20
SCAN_BYTES = 1 << 20
RECORD_STARTS = {None: b"WARC/", "gz": b"\x1f\x8b\x08", "zst": b"\x28\xb5\x2f\xfd", "lz4": b"\x04\x22\x4d\x18"}
CONTENT_TYPES = ("text/html", "application/xhtml+xml", "text/plain")
HTTP_START = re.compile(rb"HTTP/\d", re.IGNORECASE)
COLUMNS = ("url", "date", "content_type", "status")


class Page(NamedTuple):
    """One fetched document."""

    offset: int
    text: str
    url: str | None
    date: str | None
    content_type: str
    status: int | None


def read_warc(
    open_file: Callable[[], BinaryIO], compression: str | None, selection: Selection, *, name: str
) -> Iterator[pa.Table | Rejected | Passed]:
    """Tables of documents with columns `url`, `date`, `content_type` and `status`, rejects, and counts of the rest.

    Documents are the records of kind `response`, `resource` and `conversion` whose content is HTML or plain text. Bytes
    that are not of the page's encoding become U+FFFD, as browsers do it. Rejects: `corrupt`, `truncated`, `too_long`.
    Counted are records of other kinds (`request`, `metadata`, ...) and content types, and those without content.

    Args:
        open_file: Opens the file.
        compression: None, `gz`, `zst` or `lz4`.
        selection: Which columns to take.
        name: What the file is called.
    """
    carried = list(selection.carried((selection.text or "text", *COLUMNS), complete=True))
    pages: list[Page] = []
    size = 0
    passed: Counter[str] = Counter()
    for page in _pages(open_file, compression, selection.limit):
        if isinstance(page, Passed):
            passed[page.kind] += page.count
            continue
        if isinstance(page, Rejected):
            yield page
            continue
        pages.append(page)
        size += len(page.text)
        if size >= TABLE_BYTES:
            yield _table(pages, name, carried)
            pages, size = [], 0
    if pages:
        yield _table(pages, name, carried)
    for kind, count in sorted(passed.items()):
        yield Passed(kind, count)


def _table(pages: list[Page], name: str, carried: list[str]) -> pa.Table:
    return document_table(
        [page.text for page in pages],
        None,
        [page.offset for page in pages],
        name=name,
        columns={column: [getattr(page, column) for page in pages] for column in carried},
    )


def _pages(
    open_file: Callable[[], BinaryIO], compression: str | None, limit: int
) -> Iterator[Page | Passed | Rejected]:
    """The pages of the file; one reject for each stretch that cannot be read."""
    quirks = _has_bare_lines(open_file, compression)
    open_archive: Callable[[], Any] = open_file
    if compression and compression != "lz4" and not _one_by_one(open_file):
        open_archive, compression = partial(_Unpacked, open_file, compression), None
    start: int | None = 0
    pending: Rejected | None = None  # damage after a record, until it is known where
    intact = True
    while start is not None:
        broken: Broken | None = None
        last, found = start, None
        for last, found in _records(open_archive, start, limit, quirks=quirks):  # noqa: B007 the last one is looked at below
            if isinstance(found, Broken):
                broken = found
                break
            if pending:
                yield pending
            intact, pending = True, None
            yield found
        if broken is None:
            told = isinstance(found, Rejected) and found.reason == "truncated"
            pending = pending or (None if told else _unread(open_archive, last, compression))
            break
        if broken.inside:
            if intact:
                yield Rejected(last, "corrupt", f"warc: {broken.problem}")
            intact, pending = False, None
        else:
            pending = Rejected(last + 1, "corrupt", f"warc: {broken.problem}, after the record at {last}")
        start = _find(open_archive, RECORD_STARTS[compression], last + 1)
    if pending:
        yield pending


def _one_by_one(open_file: Callable[[], BinaryIO]) -> bool:
    """Whether records are compressed one by one, as the standard wants it, so that each has its own offset."""
    from fastwarc.warc import ArchiveIterator

    with open_file() as file, contextlib.suppress(OSError):
        places = [record.stream_pos for record in islice(ArchiveIterator(file, parse_http=False), 3)]
        return len(set(places)) == len(places)
    return True


def _has_bare_lines(open_file: Callable[[], BinaryIO], compression: str | None) -> bool:
    """Whether the lines of its headers end in bare line feeds, as ClueWeb09 has them.

    FastWARC reads these in a mode in which it also says nothing of damage, so no other file is read in it.
    """
    head = b"" if compression == "lz4" else next(iter(ByteStream(open_file, compression)), b"")
    return re.match(rb"\s*WARC/[\d.]+\n", head) is not None


class _Unpacked(io.RawIOBase):
    """The decompressed bytes of a file; seeking back reads it again from its start."""

    def __init__(self, open_file: Callable[[], BinaryIO], compression: str) -> None:
        self._open, self._compression = open_file, compression
        self._restart()

    def _restart(self) -> None:
        self._blocks = iter(ByteStream(self._open, self._compression))
        self._rest, self._place = b"", 0

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; none at the end, or where the file is damaged."""
        if not self._rest:
            self._rest = next(self._blocks, b"")
        data = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(data) :]
        self._place += len(data)
        return data

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Decompressed bytes read."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place counted from the start."""
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only places counted from the start")
        if offset < self._place:
            self._restart()
        while self._place < offset and self.read(offset - self._place):
            pass
        return self._place


class Broken(NamedTuple):
    """Why reading failed: inside the last record, or between it and the next one."""

    inside: bool
    problem: str


def _records(
    open_file: Callable[[], BinaryIO], start: int, limit: int, *, quirks: bool
) -> Iterator[tuple[int, Page | Passed | Rejected | Broken]]:
    """The records from `start` on: a page, a reject, the kind of one that is no document; last, what broke."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    wanted = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion
    with open_file() as file:
        file.seek(start)
        records = ArchiveIterator(file, record_types=WarcRecordType.any_type, parse_http=False, quirks_mode=quirks)
        offset, inside = start, True
        while True:
            try:
                record = next(records)
                offset, inside = record.stream_pos, True
                if record.record_type & wanted:
                    found = _page(record, limit)
                else:
                    found = _passed_over(record, (record.headers.get("WARC-Type") or "unknown").strip().lower())
            except StopIteration:
                return
            except OSError as error:
                yield offset, Broken(inside, str(error) or "unreadable")
                return
            inside = False
            yield offset, found


def _unread(open_file: Callable[[], BinaryIO], last: int, compression: str | None) -> Rejected | None:
    """A reject where the file goes on after its last record: FastWARC says nothing of a header that is cut short."""
    problem = f"warc: the file ends in the middle of what follows the record at {last}"
    if compression == "lz4":  # no stream to look into, but every record is a frame
        more = _find(open_file, RECORD_STARTS["lz4"], last + 1) is not None
        return Rejected(last + 1, "truncated", problem) if more else None

    def open_there() -> BinaryIO:
        file = open_file()
        file.seek(last)
        return file

    if compression:
        stream = ByteStream(open_there, compression, max_expansion=math.inf)
    else:
        stream = ByteStream(open_file, start=last)
    size, end, head = 0, None, b""
    unread = False
    for block in stream:
        if end is None:
            head += block[: HEAD_BYTES - len(head)]
            end = _record_end(head)
        unread = unread or (end is not None and bool(block[max(end - size, 0) :].strip()))
        size += len(block)
    if unread or (stream.damage and size >= (end or 0)) or (size and end is None):
        return Rejected(last + 1, "truncated", problem)
    return None


def _record_end(head: bytes) -> int | None:
    """Where the record that these bytes start with ends; None where they do not tell."""
    begin = len(head) - len(head.lstrip())  # some writers put the blank lines between records before a record
    blank = re.compile(rb"\r*\n\r*\n").search(head, begin)
    length = re.compile(rb"\ncontent-length:\s*(\d+)", re.IGNORECASE).search(head, begin)
    return blank.end() + int(length.group(1)) if length and blank else None


def _passed_over(record: Any, kind: str, read: int = 0) -> Passed | Rejected:
    """A record that is no document, of which `read` bytes were read."""
    return _cut_short(record) if read + record.consume() < record.content_length else Passed(kind, 1)


def _cut_short(record: Any) -> Rejected:
    length = record.content_length
    return Rejected(record.stream_pos, "truncated", f"warc: the file ends before the {length} bytes of the record")


def _page(record: Any, limit: int) -> Page | Passed | Rejected:
    """The content of a record of kind response, resource or conversion."""
    length, declared = record.content_length, record.headers.get("Content-Type", "")
    head, body = None, record.reader.read(min(HEAD_BYTES, limit + 1))
    if record.is_http or (HTTP_START.match(body) and not declared.lower().startswith(CONTENT_TYPES)):
        body += record.reader.read(HEAD_BYTES - len(body))
        head = read_head(body)
        if head is None and len(body) < min(length, HEAD_BYTES):
            return _cut_short(record)
        if head is None:
            return Rejected(record.stream_pos, "corrupt", "warc: the HTTP headers cannot be read")
    else:
        head = Head(0, {"content-type": declared}, 0)
    if head.content_type not in CONTENT_TYPES:
        kind = "other content type" if head.content_type else "no content type"
        return _passed_over(record, kind, len(body))
    most = head.end + limit + 1
    body += record.reader.read(max(0, most - len(body)))
    if len(body) < min(length, most):
        return _cut_short(record)
    try:
        data = undo_codings(body[head.end :], head.headers, limit)
    except ValueError as error:
        return Rejected(record.stream_pos, "corrupt", f"warc: the content cannot be decoded: {error}")
    if len(data) > limit:
        return Rejected(record.stream_pos, "too_long", f"the document is longer than {limit} bytes")
    if not data:
        return Passed(f"status {head.status} without content" if head.status else "no content", 1)
    date = record.record_date.isoformat() if record.record_date else None
    url = record.headers.get("WARC-Target-URI")
    text = decode_page(data, declared=head.charset)
    return Page(record.stream_pos, text, url and url.strip("<>"), date, head.content_type, head.status or None)


def _find(open_file: Callable[[], BinaryIO], mark: bytes, start: int) -> int | None:
    """Where `mark` next stands at or after `start`."""
    place, tail = start, b""
    with open_file() as file:
        file.seek(start)
        while data := file.read(SCAN_BYTES):
            found = (tail + data).find(mark)
            if found >= 0:
                return place - len(tail) + found
            place += len(data)
            tail = (tail + data)[1 - len(mark) :]
    return None
