"""Documents from a JSON file: the elements of an array, or the values that stand one behind the other.

Where a value ends is found by the standard library's scanner, over bytes taken as Latin-1, so that places are bytes; what it
holds is then read as a line of JSON is. A value that is broken ends the reading: where the next one begins is anybody's guess.
Cost: 23 MB a CPU second where JSON lines take 123: the scanner of the standard library builds what it scans.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from curate.collect.columns import Selection
from curate.collect.compression import ByteStream
from curate.collect.jsonl import read_records
from curate.stages.contract import Rejected

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["json_values", "read_json"]

TABLE_BYTES = 4 << 20
SPACE = re.compile(r"[ \t\r\n]*")
LITERAL_BYTES = 16
"""More than an escape or a literal has, which may be cut by the end of a block."""
Value = tuple[int, bytes]


def read_json(stream: ByteStream, selection: Selection, *, name: str) -> Iterator[pa.Table | Rejected]:
    """Tables of documents, one for each object; rejects are those of JSON lines, by the offset of the value.

    Raises:
        CurateError: The first record lacks the text column, or a column has a reserved name.
    """
    held: list[Value] = []
    size, first = 0, True
    for value in json_values(stream, selection.limit):
        if isinstance(value, Rejected):
            if held:
                yield from read_records(held, selection, name=name, first=first)
                held, size, first = [], 0, False
            yield value
            continue
        held.append(value)
        size += len(value[1])
        if size >= TABLE_BYTES:
            yield from read_records(held, selection, name=name, first=first)
            held, size, first = [], 0, False
    if held:
        yield from read_records(held, selection, name=name, first=first)


def json_values(stream: ByteStream, limit: int) -> Iterator[Value | Rejected]:
    """The bytes of each value with its offset; last, why the rest cannot be read."""
    scan = json.JSONDecoder(parse_float=str, parse_int=str).raw_decode
    blocks = iter(stream)
    text = next(blocks, b"").decode("latin-1")
    base, place = 0, 3 if text.startswith("\xef\xbb\xbf") else 0
    place = SPACE.match(text, place).end()  # pyright: ignore[reportOptionalMemberAccess] it matches everywhere
    is_array = text[place : place + 1] == "["
    place += is_array
    while True:
        place = SPACE.match(text, place).end()  # pyright: ignore[reportOptionalMemberAccess]
        if is_array and text[place : place + 1] == ",":
            place = SPACE.match(text, place + 1).end()  # pyright: ignore[reportOptionalMemberAccess]
        if is_array and text[place : place + 1] == "]":
            if text[place + 1 :].strip() or any(map(bytes.strip, blocks)):
                yield Rejected(base + place + 1, "bad_json", "something stands behind the array")
            return
        problem, hopeless = None, False
        try:
            _, end = scan(text, place)
        except (ValueError, RecursionError) as error:
            end, problem = place, str(error) if isinstance(error, ValueError) else "nested too deep"
            hopeless = not _is_cut(error, text)
        if problem is None and (end < len(text) or text[end - 1] in "}]"):
            yield base + place, text[place:end].encode("latin-1")
            place = end
            continue
        more = _more(blocks, len(text) - place) if len(text) - place <= limit and not hopeless else b""
        if more:
            text, base, place = text[place:] + more.decode("latin-1"), base + place, 0
            continue
        yield from _last(text, place, end, base, problem, limit, ends=not is_array, damaged=stream.damage is not None)
        return


def _more(blocks: Iterator[bytes], least: int) -> bytes:
    """A block, or as many as make a value that is scanned again twice as long: scanning takes time in proportion to it."""
    pieces, size = list[bytes](), 0
    while not pieces or size < least:
        block = next(blocks, b"")
        if not block:
            break
        pieces.append(block)
        size += len(block)
    return b"".join(pieces)


def _is_cut(error: Exception, text: str) -> bool:
    """Whether the value may only not have ended yet."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.pos > len(text) - LITERAL_BYTES or error.msg.startswith("Unterminated string")


def _last(
    text: str, place: int, end: int, base: int, problem: str | None, limit: int, *, ends: bool, damaged: bool
) -> Iterator[Value | Rejected]:
    """What stands at the end of the file: a value, nothing, or why it is none."""
    if problem is None:
        yield base + place, text[place:end].encode("latin-1")
    elif len(text) - place > limit:
        yield Rejected(base + place, "too_long", f"a value is longer than {limit} bytes, or does not end")
    elif damaged or (place >= len(text) and ends):
        return
    elif place >= len(text):
        yield Rejected(base + place, "truncated", "the array does not end")
    else:
        words = problem.partition(": line")[0]
        yield Rejected(base + place, "bad_json", f"{words}; nothing behind it is read")
