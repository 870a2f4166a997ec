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
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from curate.collect.columns import Selection, document_table
from curate.collect.compression import ByteStream
from curate.collect.pages import decode_page
from curate.stages.contract import Rejected

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_warc"]

TABLE_BYTES = 8 << 20
SCAN_BYTES = 1 << 20
HEADER_BYTES = 1 << 16
RECORD_STARTS = {None: b"WARC/1.", "gz": b"\x1f\x8b\x08", "zst": b"\x28\xb5\x2f\xfd", "lz4": b"\x04\x22\x4d\x18"}
CONTENT_TYPES = ("text/html", "application/xhtml+xml", "text/plain")
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
) -> Iterator[pa.Table | Rejected]:
    """Tables of documents with columns `url`, `date`, `content_type` and `status`, and rejects.

    Documents are the records of kind `response`, `resource` and `conversion` whose content is HTML or plain text. Bytes
    that are not of the page's encoding become U+FFFD, as browsers do it. Rejects: `corrupt`, `truncated`, `too_long`.

    Args:
        open_file: Opens the file.
        compression: None, `gz`, `zst` or `lz4`.
        selection: Which columns to take.
        name: What the file is called.
    """
    carried = list(selection.carried((selection.text, *COLUMNS), complete=True))
    pages: list[Page] = []
    size = 0
    for page in _pages(open_file, compression, selection.limit):
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


def _table(pages: list[Page], name: str, carried: list[str]) -> pa.Table:
    return document_table(
        [page.text for page in pages],
        None,
        [page.offset for page in pages],
        name=name,
        columns={column: [getattr(page, column) for page in pages] for column in carried},
    )


def _pages(open_file: Callable[[], BinaryIO], compression: str | None, limit: int) -> Iterator[Page | Rejected]:
    """The pages of the file; one reject for each stretch that cannot be read."""
    open_archive: Callable[[], Any] = open_file
    if compression and compression != "lz4" and not _one_by_one(open_file):
        open_archive, compression = partial(_Unpacked, open_file, compression), None
    start: int | None = 0
    pending: Rejected | None = None  # damage after a record, until it is known where
    intact = True
    while start is not None:
        broken: Broken | None = None
        last, found = start, None
        for last, found in _records(open_archive, start, limit):  # noqa: B007 the last one is looked at below
            if isinstance(found, Broken):
                broken = found
                break
            if pending:
                yield pending
            intact, pending = True, None
            if found is not None:
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
    open_file: Callable[[], BinaryIO], start: int, limit: int
) -> Iterator[tuple[int, Page | Rejected | Broken | None]]:
    """The records from `start` on: a page, a reject, None for one without text; last, what broke."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    wanted = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion
    with open_file() as file:
        file.seek(start)
        records = ArchiveIterator(file, record_types=WarcRecordType.any_type, parse_http=False, auto_decode="none")
        offset, inside = start, True
        while True:
            try:
                record = next(records)
                offset, inside = record.stream_pos, True
                found = _page(record, limit) if record.record_type & wanted else _passed_over(record)
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
            head += block[: HEADER_BYTES - len(head)]
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


def _passed_over(record: Any) -> Rejected | None:
    length = record.content_length
    return _cut_short(record, length) if record.consume() < length else None


def _cut_short(record: Any, length: int) -> Rejected:
    return Rejected(record.stream_pos, "truncated", f"warc: the file ends before the {length} bytes of the record")


def _page(record: Any, limit: int) -> Page | Rejected | None:
    headers = record.headers
    status = charset = http = None
    kind = headers.get("Content-Type", "")
    if record.is_http:
        record.parse_http()
        http = record.http_headers
        kind, charset, status = record.http_content_type or "", record.http_charset, http.status_code
        if status is None:
            return Rejected(record.stream_pos, "corrupt", "warc: the HTTP headers cannot be read")
    kind = kind.partition(";")[0].strip().lower()
    if kind not in CONTENT_TYPES:
        return _passed_over(record)
    data = record.reader.read(limit + 1)
    if len(data) < min(record.content_length, limit + 1):
        return _cut_short(record, record.content_length)
    try:
        data = _unpack(data, http, limit) if http else data
    except (OSError, ValueError) as error:
        return Rejected(record.stream_pos, "corrupt", f"warc: the content cannot be decoded: {error}")
    if len(data) > limit:
        return Rejected(record.stream_pos, "too_long", f"the document is longer than {limit} bytes")
    if not data:
        return None
    date = record.record_date.isoformat() if record.record_date else None
    url = headers.get("WARC-Target-URI")
    return Page(record.stream_pos, _text(data, charset), url and url.strip("<>"), date, kind, status)


def _text(data: bytes, charset: str | None) -> str:
    from resiliparse.parse.encoding import detect_encoding

    try:
        return decode_page(data, declared=charset)
    except UnicodeDecodeError:
        return data.decode(detect_encoding(data, from_html_meta=True) or "utf-8", "replace")


def _unpack(data: bytes, http: Any, limit: int) -> bytes:
    """The content without its transfer and content encodings; many archives name encodings that they have undone."""
    import zlib

    from fastwarc.stream_io import BrotliReader, ChunkedReader, ZstdReader

    if http.get("Transfer-Encoding", "").lower() == "chunked":
        with contextlib.suppress(OSError):  # not chunked after all
            data = ChunkedReader(io.BytesIO(data)).read(limit + 1)
    encoding = http.get("Content-Encoding", "").strip().lower()
    if encoding == "br" and not data.lstrip().startswith(b"<"):
        return BrotliReader(io.BytesIO(data)).read(limit + 1)
    if encoding == "zstd" and data.startswith(RECORD_STARTS["zst"]):
        return ZstdReader(io.BytesIO(data)).read(limit + 1)
    if data.startswith(b"\x1f\x8b") or (encoding == "deflate" and not data.lstrip().startswith(b"<")):
        try:
            return zlib.decompressobj(47).decompress(data, limit + 1)
        except zlib.error as error:
            raise ValueError(str(error)) from error
    return data


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
