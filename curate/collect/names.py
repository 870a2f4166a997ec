"""Which columns a file has, told by its beginning: a schema of Parquet or Arrow, a CSV header, a first record of JSON lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from curate.collect.compression import ByteStream
from curate.collect.formats import DELIMITERS
from curate.stages.contract import Rejected

__all__ = ["first_names"]

HEAD_BYTES = 4 << 20


def first_names(
    opener: Callable[[], BinaryIO],
    form: str,
    stream: ByteStream,
    *,
    delimiter: str | None,
    quote: str | None,
    limit: int,
) -> list[str] | None:
    """The names of a file's columns; None where its format has none of its own, or nothing of it can be read.

    Args:
        opener: Opens the file.
        form: Its format.
        stream: Its bytes as text, from the start; only the beginning is read.
        delimiter: Between the fields of CSV files; None is their format's own.
        quote: The quote of CSV files.
        limit: Most bytes of a line.
    """
    import pyarrow as pa

    if form in ("parquet", "arrow"):
        import pyarrow.parquet as parquet

        from curate.collect.arrow import arrow_schema

        with opener() as file:
            try:
                return parquet.read_schema(file).names if form == "parquet" else arrow_schema(opener).names
            except (pa.ArrowException, OSError):
                return None  # reading it says what is wrong
    if form in DELIMITERS:
        from curate.collect.delimited import read_header

        return read_header(stream, delimiter=delimiter or DELIMITERS[form], quote=quote, limit=limit)
    if form == "json":
        return _first_value(stream, limit)
    return _first_record(stream) if form == "jsonl" else None


def _first_value(stream: ByteStream, limit: int) -> list[str] | None:
    """The keys of the first value, where it is an object."""
    import orjson

    from curate.collect.jsonfile import json_values

    first = next(json_values(stream, limit), None)
    if first is None or isinstance(first, Rejected):
        return None
    try:
        record = orjson.loads(first[1])
    except orjson.JSONDecodeError:
        return None
    return list(record) if isinstance(record, dict) else None


def _first_record(stream: ByteStream) -> list[str] | None:
    """The keys of the first line that is a JSON object."""
    import orjson

    head = b""
    for block in stream:
        head += block
        if head.count(b"\n") or len(head) > HEAD_BYTES:
            break
    for line in head.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(record, dict):
            return list(record)
    return None
