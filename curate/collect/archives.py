"""Documents from WARC files (plain, gzip, zstd, lz4) through FastWARC: the HTML and plain text that was fetched.

Offsets are those of the records in the file as it is on disk, compressed or not, as WARC indexes have them. After
damage, reading goes on at the next place where a record starts, so that one broken record costs itself alone.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from curate.collect.columns import Selection, document_table
from curate.collect.pages import decode_page
from curate.stages.contract import Rejected

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_warc"]

TABLE_BYTES = 8 << 20
SCAN_BYTES = 1 << 20
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
    carried = selection.carried((selection.text, *COLUMNS), complete=True)
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
    mark = RECORD_STARTS[compression]
    start: int | None = 0
    pending: Rejected | None = None  # damage after a record, until it is known where
    intact = True
    with open_file() as file:
        while start is not None:
            file.seek(start)
            broken: Broken | None = None
            for found in _records(file, start, limit):
                if isinstance(found, Broken):
                    broken = found
                    break
                if pending:
                    yield pending
                intact, pending = True, None
                if found is not None:
                    yield found
            if broken is None:
                break
            if broken.inside:
                if intact:
                    yield Rejected(broken.offset, "corrupt", f"warc: {broken.problem}")
                intact, pending = False, None
            else:
                problem = f"warc: {broken.problem}, after the record at {broken.offset}"
                pending = Rejected(broken.offset + 1, "corrupt", problem)
            start = _find(file, mark, broken.offset + 1)
    if pending:
        yield pending


class Broken(NamedTuple):
    """Where reading failed: inside the record at `offset`, or between it and the next one."""

    offset: int
    inside: bool
    problem: str


def _records(file: BinaryIO, start: int, limit: int) -> Iterator[Page | Rejected | Broken | None]:
    """The records from where the file stands: a page, a reject, None for one without text; last, what broke."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    wanted = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion
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
            yield Broken(offset, inside, str(error) or "unreadable")
            return
        inside = False
        yield found


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


def _find(file: BinaryIO, mark: bytes, start: int) -> int | None:
    """Where `mark` next stands at or after `start`."""
    file.seek(start)
    tail = b""
    place = start
    while data := file.read(SCAN_BYTES):
        found = (tail + data).find(mark)
        if found >= 0:
            return place - len(tail) + found
        place += len(data)
        tail = (tail + data)[1 - len(mark) :]
    return None
