"""Documents from lines of JSON, one object a line.

A block of lines is parsed at once by orjson; only a block with something wrong in it is gone through line by line.
Cost: 50 MB of zstd with six columns in 0.22 CPU seconds, 0.05 of it decompressing. pyarrow's own JSON reader needs
0.14, but it guesses dates and does not survive a bad line. orjson makes floats of integers beyond 64 bits, and forgets how
a float was written: lines with numbers that it would not write back so are parsed again by the standard library.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

from curate import jsontext
from curate.collect.columns import JsonText, Selection, document_table
from curate.collect.compression import ByteStream
from curate.collect.lines import Lines, line_blocks
from curate.stages.contract import Rejected

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_jsonl", "read_records"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SETTLED = frozenset([float, list, dict])
"""Types of values that need a look: numbers as they are written, and what becomes JSON text."""
SPACE_OR_END = frozenset([b",", b"}", b" ", b"\t", b"\r"])
Record = tuple[int, dict[str, Any]]


def read_jsonl(
    stream: ByteStream, selection: Selection, *, name: str, start: int, stop: int | None, complete: bool = True
) -> Iterator[pa.Table | Rejected]:
    """Tables of documents, a block of lines each.

    Rejects: `bad_json`, `invalid_utf8`, `no_text`, `too_long`, `unexpected_text` (the file's first record has none).

    Args:
        stream: The file's bytes from `start - 1` on.
        selection: Which columns to take.
        name: What the file is called.
        start: First byte of the part: the lines that start in [start, stop) are read.
        stop: End of the part; None is the end of the file.
        complete: Whether the first record must have the columns that were named.

    Raises:
        CurateError: The first record of the file lacks the text column, or a column has a reserved name.
    """
    unchecked = complete and start == 0
    for block in line_blocks(stream, start=start, stop=stop, limit=selection.limit):
        if isinstance(block, Rejected):
            yield block
            continue
        cut_short = stream.damage is not None and not block.data.endswith(b"\n")
        if cut_short and isinstance(_parse(block.data, block.offset), Rejected):
            continue
        parsed = _parse_fast(block, selection)
        if parsed is None:
            rejects: list[Rejected] = []
            parsed = list(_parse_lines(block, selection, rejects, first=unchecked))
            yield from rejects
        if not parsed:
            continue
        if unchecked:
            selection.require_text(parsed[0][1])
            unchecked = False
        yield _table(parsed, selection, name)


def _parse_fast(block: Lines, selection: Selection) -> list[Record] | None:
    """The records with their offsets, or None where a line needs a closer look."""
    import orjson

    lines = block.data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    sizes = list(map(len, lines))
    if not sizes or max(sizes) > selection.limit:
        return None
    try:
        records = list(map(orjson.loads, lines))
        if set(map(type, records)) != {dict}:
            return None
        if selection.text is None:
            if any(map(selection.has_unexpected_text, records)):
                return None
        elif {type(record[selection.text]) for record in records} != {str}:
            return None
        records = list(map(_settled, records, lines))
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    offsets = accumulate((size + 1 for size in sizes), initial=block.offset)
    return list(zip(offsets, records, strict=False))


def read_records(
    values: Iterable[tuple[int, bytes]], selection: Selection, *, name: str, first: bool
) -> Iterator[pa.Table | Rejected]:
    """A table of the records among JSON values, and rejects for the others.

    Args:
        values: Each with its offset.
        selection: Which columns to take.
        name: What the file is called.
        first: Whether they are the file's first, which must have the columns that were named.
    """
    rejects: list[Rejected] = []
    parsed = list(_parse_values(values, selection, rejects, first=first))
    yield from rejects
    if parsed:
        yield _table(parsed, selection, name)


def _parse_lines(block: Lines, selection: Selection, rejects: list[Rejected], *, first: bool) -> Iterator[Record]:
    """The records of a block that have a text; why not, for all other lines."""
    offset, data = block
    if offset == 0 and data.startswith(BYTE_ORDER_MARK):
        offset, data = len(BYTE_ORDER_MARK), data[len(BYTE_ORDER_MARK) :]
    lines = data.split(b"\n")
    places = accumulate((len(line) + 1 for line in lines), initial=offset)
    return _parse_values(zip(places, lines, strict=False), selection, rejects, first=first)


def _parse_values(
    values: Iterable[tuple[int, bytes]], selection: Selection, rejects: list[Rejected], *, first: bool
) -> Iterator[Record]:
    for place, line in values:
        if not line.strip():
            continue
        if len(line) > selection.limit:
            rejects.append(Rejected(place, "too_long", f"the line is longer than {selection.limit} bytes"))
            continue
        record = _parse(line, place)
        if isinstance(record, Rejected):
            rejects.append(record)
            continue
        if first:
            selection.require_text(record)
            first = False
        text = "" if selection.text is None else record.get(selection.text)
        if selection.has_unexpected_text(record):
            rejects.append(Rejected(place, "unexpected_text", "has a `text`, which the file's first record has not"))
        elif isinstance(text, str) and not isinstance(text, JsonText):
            yield place, record
        else:
            problem = "is not a string" if selection.text in record and text is not None else "is missing or null"
            rejects.append(Rejected(place, "no_text", f"column `{selection.text}` {problem}"))


def _parse(line: bytes, place: int) -> dict[str, Any] | Rejected:
    """One line, by orjson or, for what orjson refuses and others write (NaN), by the standard library."""
    import orjson

    try:
        record = orjson.loads(line)
        known = line
    except orjson.JSONDecodeError as error:
        problem = f"{error.msg}: column {error.colno}"
        try:
            record, known = jsontext.loads_as_written(line.decode("utf-8")), None
            jsontext.dumps(record)  # refuses strings that are not Unicode
        except UnicodeDecodeError as invalid:
            return Rejected(place, "invalid_utf8", f"byte {place + invalid.start} is not UTF-8")
        except (ValueError, TypeError):
            return Rejected(place, "bad_json", problem)
    if not isinstance(record, dict):
        return Rejected(place, "bad_json", f"the line is a JSON {type(record).__name__}, not an object")
    try:
        return _settled(record, known)
    except (ValueError, TypeError):
        return Rejected(place, "bad_json", f"a value is nested deeper than {jsontext.DEPTH} levels")


def _settled(record: dict[str, Any], line: bytes | None) -> dict[str, Any]:
    """The record with its lists and objects as JSON text, and every number as the line has it.

    Args:
        record: What orjson made of the line.
        line: The line; None where the record has its numbers as they are written.
    """
    import orjson

    if SETTLED.isdisjoint(map(type, record.values())):
        return record
    nested: dict[str, Any] = {}
    for name, value in record.items():
        kind = type(value)
        if kind is dict or kind is list:
            written = orjson.dumps(value) if line else jsontext.dumps(value).encode()
            nested[name] = JsonText(written, "utf-8")
            differs = line and jsontext.may_differ(line, written) and written not in line
        else:
            differs = line and kind is float and not _stands_so(line, name, value)
        if differs:
            return _settled(jsontext.loads_as_written(line or b""), None)
    return {**record, **nested} if nested else record


@lru_cache(1000)
def _before(name: str) -> bytes:
    """What stands before the value of a member."""
    import orjson

    return orjson.dumps(name) + b":"


def _stands_so(line: bytes, name: str, number: float) -> bool:
    """Whether the number, of the member called `name`, is written in the line as orjson writes it."""
    import orjson

    before, literal = _before(name), orjson.dumps(number)
    found = line.find(before)
    place = found + len(before)
    after = line[place : place + len(literal) + 2].lstrip()
    alone = found >= 0 and line.find(before, place) < 0
    return alone and after.startswith(literal) and after[len(literal) : len(literal) + 1] in SPACE_OR_END


def _table(parsed: list[Record], selection: Selection, name: str) -> pa.Table:
    offsets, records = zip(*parsed, strict=True)
    names = dict.fromkeys(chain.from_iterable(dict.fromkeys(map(tuple, records))))
    carried = selection.carried(names, complete=False)
    return document_table(
        None if selection.text is None else [record[selection.text] for record in records],
        [record.get(selection.id_name) for record in records] if selection.has_ids(names) else None,
        offsets,
        name=name,
        columns={column: [record.get(known) for record in records] for column, known in carried.items()},
    )
