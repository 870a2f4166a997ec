"""Rows of one file: JSON lines, a JSON list, CSV, TSV, Parquet or lines of text; gz, zst, xz and bz2 are undone.

Nothing is guessed and nothing left out: a file that is damaged, has a line of another form or is not UTF-8 is refused, with the
place. In TSV quotes are plain text, as in GLUE's files; in CSV they hold fields together. A line of
text is a row with the column `text`, in `a.txt.dev` and `a.txt.test`, too.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from curate.collect.compression import ByteStream
from curate.collect.formats import STREAMED, file_type
from curate.errors import CurateError, did_you_mean
from curate.jsontext import loads

__all__ = ["ENDINGS", "read_file"]

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")
PARTS = (".train", ".dev", ".test")


def read_file(path: Path, columns: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of a file.

    Args:
        path: The file; its ending says what it is.
        columns: Names of the columns of a CSV or TSV file whose first line is a row, too.

    Raises:
        CurateError: It is of another kind, or not what its ending says.
    """
    compression = file_type(path.name).compression
    name = path.with_suffix("") if compression else path
    ending = name.suffix.lower()
    if ending in PARTS and Path(name.stem).suffix.lower() == ".txt":
        ending = ".txt"
    if ending not in ENDINGS or (compression and (compression not in STREAMED or ending == ".parquet")):
        raise CurateError(
            f"files like `{path.name}` are not read here", str(path),
            did_you_mean(ending, ENDINGS) or f"there are: {', '.join(ENDINGS)}, each also .gz, .zst, .xz or .bz2 but Parquet",
        )  # fmt: skip
    if ending in (".csv", ".tsv"):
        return _delimited(path, _text(path, compression), columns, tabs=ending == ".tsv")
    if columns:
        raise CurateError("`columns` names the columns of CSV and TSV files; others have names", str(path))
    if ending == ".parquet":
        return _parquet(path)
    if ending == ".txt":
        return [{"text": line} for line in _text(path, compression).splitlines() if line.strip()]
    content = _content(path, compression)
    return _list(path, content) if ending == ".json" and content.lstrip()[:1] == b"[" else list(_lines(path, content))


def _content(path: Path, compression: str | None) -> bytes:
    try:
        stream = ByteStream(lambda: path.open("rb"), compression)
        content = b"".join(stream)
    except OSError as error:
        raise CurateError(f"the file cannot be read: {error.strerror or error}", str(path)) from None
    if stream.damage:
        raise CurateError(f"the file is damaged: {': '.join(stream.damage)}", str(path), "get it again")
    return content


def _text(path: Path, compression: str | None) -> str:
    content = _content(path, compression)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CurateError(f"line {line} is not UTF-8", str(path), "convert the file to UTF-8 first") from None


def _delimited(path: Path, text: str, columns: Sequence[str], *, tabs: bool) -> list[dict[str, Any]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    how: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"strict": True}
    reader = csv.reader(io.StringIO(text, newline=""), **how)
    names, rows = list(columns), []
    try:
        for record in reader:
            if not record:
                continue
            if not names:
                names = record
            elif len(record) != len(names):
                raise CurateError(
                    f"line {reader.line_num} has {len(record)} fields, not {len(names)}: {', '.join(names)}",
                    str(path), None if columns else "where the first line is a row, `columns` of the task names the columns",
                )  # fmt: skip
            else:
                rows.append(dict(zip(names, record, strict=True)))
    except csv.Error as error:
        raise CurateError(f"line {reader.line_num} cannot be read: {error}", str(path)) from None
    return rows


def _parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        return parquet.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise CurateError(f"the file cannot be read: {error}", str(path)) from None


def _list(path: Path, content: bytes) -> list[dict[str, Any]]:
    try:
        rows = loads(content)
    except ValueError as error:
        raise CurateError(f"the file is not JSON: {error}", str(path)) from None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise CurateError(f"entry {number} of the list is not a JSON object", str(path))
    return rows


def _lines(path: Path, content: bytes) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = loads(line)
        except ValueError as error:
            raise CurateError(f"line {number} is not JSON: {error}", str(path), "one JSON object a line") from None
        if not isinstance(row, dict):
            raise CurateError(f"line {number} is not a JSON object", str(path), "one JSON object a line")
        yield row
