"""Which columns a file has, told by its beginning: a schema of Parquet or Arrow, a CSV header, a first record of JSON lines."""

from __future__ import annotations

from functools import partial

from curate.collect.compression import ByteStream
from curate.collect.locations import open_location
from curate.stages.contract import Part

__all__ = ["first_names"]

DELIMITERS = {"csv": ",", "tsv": "\t"}
HEAD_BYTES = 4 << 20


def first_names(part: Part, *, quote: str | None, limit: int) -> list[str] | None:
    """The names of a file's columns; None where its format has none of its own, or nothing of it can be read.

    Args:
        part: Any part of the file.
        quote: The quote of CSV files.
        limit: Most bytes of a line.
    """
    import pyarrow as pa

    opener, form = partial(open_location, part.location), part.extra["format"]
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

        stream = ByteStream(opener, part.extra["compression"])
        return read_header(stream, delimiter=DELIMITERS[form], quote=quote, limit=limit)
    return _first_record(ByteStream(opener, part.extra["compression"])) if form == "jsonl" else None


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
