"""Documents from lines of JSON, one object a line.

A block of lines is parsed at once by orjson; only a block with something wrong in it is gone through line by line.
Cost: 50 MB of zstd with six columns in 0.22 CPU seconds, 0.05 of it decompressing. pyarrow's own JSON reader needs
0.14, but it guesses dates and does not survive a bad line.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

from curate.collect.columns import Selection, document_table
from curate.collect.compression import ByteStream
from curate.collect.lines import Lines, line_blocks
from curate.stages.contract import Rejected

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_jsonl"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
Record = tuple[int, dict[str, Any]]


def read_jsonl(
    stream: ByteStream, selection: Selection, *, name: str, start: int, stop: int | None
) -> Iterator[pa.Table | Rejected]:
    """Tables of documents, a block of lines each, and rejects: `bad_json`, `invalid_utf8`, `no_text`, `too_long`.

    Args:
        stream: The file's bytes from `start - 1` on.
        selection: Which columns to take.
        name: What the file is called.
        start: First byte of the part: the lines that start in [start, stop) are read.
        stop: End of the part; None is the end of the file.

    Raises:
        CurateError: The first record of the file lacks the text column, or a column has a reserved name.
    """
    unchecked = start == 0
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
        texts = {str} if selection.text is None else {type(record[selection.text]) for record in records}
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return None
    if texts != {str} or set(map(type, records)) != {dict}:
        return None
    offsets = accumulate((size + 1 for size in sizes), initial=block.offset)
    return list(zip(offsets, records, strict=False))


def _parse_lines(block: Lines, selection: Selection, rejects: list[Rejected], *, first: bool) -> Iterator[Record]:
    """The records of a block that have a text; why not, for all other lines."""
    offset, data = block
    if offset == 0 and data.startswith(BYTE_ORDER_MARK):
        offset, data = len(BYTE_ORDER_MARK), data[len(BYTE_ORDER_MARK) :]
    for line in data.split(b"\n"):
        place, offset = offset, offset + len(line) + 1
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
        if isinstance(text, str):
            yield place, record
        else:
            problem = "is not a string" if selection.text in record and text is not None else "is missing or null"
            rejects.append(Rejected(place, "no_text", f"column `{selection.text}` {problem}"))


def _parse(line: bytes, place: int) -> dict[str, Any] | Rejected:
    """One line, by orjson or, for what orjson refuses and others write (NaN), by the standard library."""
    import json

    import orjson

    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        problem = f"{error.msg}: column {error.colno}"
        try:
            record = json.loads(line.decode("utf-8"))
            orjson.dumps(record)  # refuses strings that are not Unicode
        except UnicodeDecodeError as invalid:
            return Rejected(place, "invalid_utf8", f"byte {place + invalid.start} is not UTF-8")
        except (ValueError, TypeError, RecursionError):
            return Rejected(place, "bad_json", problem)
    if not isinstance(record, dict):
        return Rejected(place, "bad_json", f"the line is a JSON {type(record).__name__}, not an object")
    return record


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
