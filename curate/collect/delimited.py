"""Documents from CSV and TSV, one record each, the first record being the header.

Read by the csv module in strict mode, fed line by line, so that the offset of every record is known. Where a record is
broken (a stray quote, a wrong number of fields), its first line alone is rejected and reading goes on with the next
line: an unclosed quote does not swallow the rest of the file. Lines end in line feeds, with or without a carriage return
before them, or, where the first one does, in lone carriage returns.

A column becomes numbers where all its values come back as they are written: `7` and `0.5` are numbers; `007`, `3.10`,
`1e10`, `+5`, `nan` and integers beyond 64 bits are not, and a column with one of them is text. So is one with both integers
and floats: `1` beside `0.5` would come back as `1.0`. Tables are typed one by one, and their columns marked, so that
`curate.dataset.schema.unify` decides in the same way for a whole column, however the file is cut.
"""

from __future__ import annotations

import contextlib
import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from curate.collect.columns import Column, Selection, document_table
from curate.collect.compression import ByteStream
from curate.collect.lines import line_blocks
from curate.dataset.schema import AS_WRITTEN
from curate.errors import CurateError
from curate.jsontext import number_text
from curate.stages.contract import Rejected

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["line_ending", "read_delimited", "read_header"]

Row = tuple[int, list[str]]

TABLE_BYTES = 8 << 20
HEAD_BYTES = 1 << 16
INTEGER = r"^(0|-?[1-9][0-9]{0,18})$"
DECIMAL = r"^-?(0|[1-9][0-9]{0,15})\.(0|[0-9]{0,16}[1-9])$"


@dataclass
class Feed:
    """Gives the csv module one line after the other, and remembers those of the current record.

    Attributes:
        stream: Where the lines come from.
        lines: Lines to come, with their offsets; an empty one stands for a line that was too long to hold.
        ahead: Lines that were taken back.
        taken: Lines that the current record has used.
    """

    stream: ByteStream
    lines: Iterator[tuple[int, bytes]]
    ahead: deque[tuple[int, bytes]] = field(default_factory=deque)
    taken: list[tuple[int, bytes]] = field(default_factory=list)

    def __iter__(self) -> Iterator[str]:
        while True:
            line = self.ahead.popleft() if self.ahead else next(self.lines, None)
            if line is None:
                return
            self.taken.append(line)
            yield line[1].decode("utf-8", "surrogateescape")

    def take_back(self) -> None:
        """All lines of the current record but the first come again."""
        self.ahead.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


def read_header(stream: ByteStream, *, delimiter: str, quote: str | None, limit: int) -> list[str] | None:
    """The names of the columns, None where the file is empty or has no readable first record."""
    feed = Feed(stream, _lines(stream, 0, None, limit, []))
    first = next(_records(feed, delimiter, quote, limit), None)
    return first[1] if first and isinstance(first[1], list) else None


def read_delimited(
    stream: ByteStream,
    selection: Selection,
    *,
    name: str,
    delimiter: str,
    quote: str | None,
    start: int = 0,
    stop: int | None = None,
    header: list[str] | None = None,
) -> Iterator[pa.Table | Rejected]:
    """Tables of documents, and rejects: `bad_csv`, `invalid_utf8`, `no_text`, `too_long`.

    Args:
        stream: The file's bytes from `start - 1` on.
        selection: Which columns to take.
        name: What the file is called.
        delimiter: Character between fields.
        quote: Character around fields that hold delimiters or line ends; None is none.
        start: First byte of the part; only files without quotes are cut.
        stop: End of the part; None is the end of the file.
        header: Names of the columns, for a file or a part that does not start with them.

    Raises:
        CurateError: The text column is missing, a column has a reserved name, two have the same, or names are not UTF-8.
    """
    if header is not None:
        _checked_header(header, selection)
    rejects: list[Rejected] = []
    feed = Feed(stream, _lines(stream, start, stop, selection.limit, rejects))
    rows: list[Row] = []
    size = 0
    for offset, record in _records(feed, delimiter, quote, selection.limit):
        if isinstance(record, Rejected):
            rejects.append(record)
        elif header is None:
            header = _checked_header(record, selection)
        elif problem := _problem(offset, record, header, selection):
            rejects.append(problem)
        else:
            rows.append((offset, record))
            size += sum(map(len, record))
        yield from rejects
        rejects.clear()
        if size >= TABLE_BYTES:
            yield _table(rows, header or [], selection, name)
            rows, size = [], 0
    yield from rejects
    if rows:
        yield _table(rows, header or [], selection, name)


def line_ending(head: bytes) -> bytes:
    """The byte that ends the lines of a file that begins so: a line feed, or the lone carriage return of old programs."""
    head = head[:HEAD_BYTES].replace(b"\r\n", b"\n")
    place = head.find(b"\r")
    first = 0 <= place < len(head) - 1 and b"\n" not in head[:place]
    return b"\r" if first and head.count(b"\r") >= head.count(b"\n") else b"\n"


def _lines(
    stream: ByteStream, start: int, stop: int | None, limit: int, rejects: list[Rejected]
) -> Iterator[tuple[int, bytes]]:
    blocks = iter(stream)
    first = next(blocks, b"")
    ending = b"\n" if start else line_ending(first)
    for block in line_blocks(chain([first], blocks), start=start, stop=stop, limit=limit, ending=ending):
        if isinstance(block, Rejected):
            rejects.append(block)
            yield block.offset, b""
            continue
        offset, data = block
        if stream.damage and not data.endswith(ending):
            return  # what is left of a line that was cut short
        if offset == 0 and data.startswith(b"\xef\xbb\xbf"):
            offset, data = 3, data[3:]
        for line in data.removesuffix(ending).split(ending):
            yield offset, line + ending
            offset += len(line) + 1


def _records(feed: Feed, delimiter: str, quote: str | None, limit: int) -> Iterator[tuple[int, list[str] | Rejected]]:
    """Every record with its offset, or what is wrong with it; blank lines are passed over."""
    csv.field_size_limit(limit)
    quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    reader = csv.reader(iter(feed), delimiter=delimiter, quotechar=quote, quoting=quoting, strict=True)
    while True:
        feed.taken.clear()
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            offset = feed.taken[0][0]
            reason = "too_long" if "field limit" in str(error) else "bad_csv"
            yield offset, Rejected(offset, reason, _in_words(str(error)))
            if feed.stream.damage and "end of data" in str(error):
                return  # the record is cut short: its other lines are no records
            feed.take_back()
            reader = csv.reader(iter(feed), delimiter=delimiter, quotechar=quote, quoting=quoting, strict=True)
            continue
        offset = feed.taken[0][0]
        if record and not all(line for _, line in feed.taken):
            yield offset, Rejected(offset, "too_long", f"a line of the record is longer than {limit} bytes")
        elif record:
            yield offset, record


def _in_words(error: str) -> str:
    if error.startswith("new-line character seen"):
        return (
            "a carriage return stands inside a field without quotes, though it is not what ends the lines of the file"
        )
    return f"{error}; where quotes are plain text, set `quote: null`"


def _checked_header(names: list[str], selection: Selection) -> list[str]:
    if any(map(_undecodable, names)):
        raise CurateError(
            "the names of the columns are not UTF-8",
            selection.where,
            "name the encoding of the file: `encoding: windows-1252`",
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CurateError(f"two columns are called `{twice}`", selection.where, "rename one of them")
    selection.require_text(names)
    selection.carried(names, complete=True)
    return names


def _problem(offset: int, record: list[str], header: list[str], selection: Selection) -> Rejected | None:
    if len(record) != len(header):
        return Rejected(offset, "bad_csv", f"{len(record)} fields, the header has {len(header)}")
    if any(map(_undecodable, record)):
        return Rejected(offset, "invalid_utf8", "a field is not UTF-8")
    if selection.text is None:
        return None
    text = record[header.index(selection.text)]
    if not text:
        return Rejected(offset, "no_text", f"column `{selection.text}` is empty")
    if len(text) > selection.limit:
        return Rejected(offset, "too_long", f"the text is longer than {selection.limit} bytes")
    return None


def _undecodable(value: str) -> bool:
    if value.isascii():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def _table(rows: list[Row], header: list[str], selection: Selection, name: str) -> pa.Table:
    offsets, records = zip(*rows, strict=True)
    values: dict[str, Any] = dict(zip(header, zip(*records, strict=True), strict=True))
    carried = selection.carried(header, complete=True)
    ids = values[selection.id_name] if selection.has_ids(header) else None
    return document_table(
        None if selection.text is None else values[selection.text],
        [value or None for value in ids] if ids else None,
        offsets,
        name=name,
        columns={column: _numbers(values[known]) for column, known in carried.items()},
    )


def _numbers(values: tuple[str, ...]) -> Column:
    """The fields as integers or floats where every one is as such a number is written back; else as they are.

    Empty fields are null.
    """
    import pyarrow as pa
    import pyarrow.compute as compute

    strings = pa.array([value or None for value in values], pa.string())
    if strings.null_count == len(strings):
        return Column(pa.nulls(len(strings)))
    if compute.all(compute.match_substring_regex(strings, INTEGER)).as_py():
        with contextlib.suppress(pa.ArrowInvalid):  # it has more than 64 bits
            return Column(strings.cast(pa.int64()), AS_WRITTEN)
    elif compute.all(compute.match_substring_regex(strings, DECIMAL)).as_py():
        numbers = [float(value) if value else None for value in values]
        written = ["" if number is None else number_text(number) for number in numbers]
        if written == list(values):
            return Column(pa.array(numbers, pa.float64()), AS_WRITTEN)
    return Column(strings)
