"""Rows of one file: JSON lines, a JSON list, CSV, TSV, Parquet or lines of text; gz, zst, xz, bz2 and zip are undone.

Nothing is guessed and nothing left out: a file that is damaged, has a line of another form or is not UTF-8 is refused, with the
place. A row of a text file is a line in the column `text`, or as many lines as there are `columns`; `a.txt.dev` and
`a.txt.test` are such files, too. In TSV quotes are plain text, as in GLUE's files; in CSV they hold fields together.
"""

from __future__ import annotations

import csv
import glob
import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from curate.collect.compression import ByteStream
from curate.collect.formats import STREAMED, file_type
from curate.errors import CurateError, did_you_mean
from curate.jsontext import loads

__all__ = ["ENDINGS", "matching_files", "read_file"]

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".parquet", ".zip")
PARTS = (".train", ".dev", ".test")
Place = Path | zipfile.Path


def matching_files(patterns: Sequence[str], *, where: str) -> list[Path]:
    """The files of paths or globs, in order.

    Args:
        patterns: Paths or globs.
        where: Which setting names them, for errors.

    Raises:
        CurateError: A pattern matches nothing.
    """
    paths: list[Path] = []
    for pattern in patterns:
        names = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - patterns may be absolute
        found = [Path(name) for name in names if Path(name).is_file()]
        if not found:
            near = did_you_mean(Path(pattern).name, [path.name for path in _beside(pattern)])
            raise CurateError(f"there is no file `{pattern}`", where, near)
        paths += found
    return paths


def _beside(pattern: str) -> Iterator[Path]:
    folder = Path(pattern).parent
    return folder.iterdir() if folder.is_dir() else iter(())


def read_file(path: Place, columns: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of a file.

    Args:
        path: The file; its ending says what it is.
        columns: Names of the columns of a CSV or TSV file whose first line is a row, too; of the lines that are a row of a
            text file.

    Raises:
        CurateError: It is of another kind, or not what its ending says.
    """
    compression = file_type(path.name).compression
    name = Path(path.name).with_suffix("") if compression else Path(path.name)
    ending = name.suffix.lower()
    if ending in PARTS and Path(name.stem).suffix.lower() == ".txt":
        ending = ".txt"
    whole = ending in (".parquet", ".zip")
    if ending not in ENDINGS or (compression and (compression not in STREAMED or whole)):
        raise CurateError(
            f"files like `{path.name}` are not read here", str(path),
            did_you_mean(ending, ENDINGS) or f"there are: {', '.join(ENDINGS)}; but the last two also .gz, .zst, .xz or .bz2",
        )  # fmt: skip
    if isinstance(path, Path) and ending == ".zip":
        return _archive(path, columns)
    if ending in (".csv", ".tsv"):
        return _delimited(path, _text(path, compression), columns, tabs=ending == ".tsv")
    if ending == ".txt" and columns:
        return _grouped(path, _text(path, compression).splitlines(), columns)
    if columns:
        raise CurateError("`columns` names the columns of CSV, TSV and text files; others have names", str(path))
    if ending == ".parquet":
        return _parquet(path)
    if ending == ".txt":
        return [{"text": line} for line in _text(path, compression).splitlines() if line.strip()]
    content = _content(path, compression)
    return _list(path, content) if ending == ".json" and content.lstrip()[:1] == b"[" else list(_lines(path, content))


def _archive(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of all files in a zip file, by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [one for one in sorted(archive.namelist()) if Path(one).suffix.lower() in ENDINGS[:5]]
            names = [one for one in names if not one.startswith("__MACOSX/")]
            return [row for name in names for row in read_file(zipfile.Path(archive, name), columns)]
    except (zipfile.BadZipFile, OSError) as error:
        raise CurateError(f"the file is damaged: {error}", str(path), "get it again") from None


def _grouped(path: Place, lines: list[str], columns: Sequence[str]) -> list[dict[str, Any]]:
    if len(lines) % len(columns):
        raise CurateError(
            f"the file has {len(lines)} lines, which are no rows of {len(columns)}", str(path),
            "`columns` of the task names the lines that are a row of a text file",
        )  # fmt: skip
    starts = range(0, len(lines), len(columns))
    return [dict(zip(columns, lines[start : start + len(columns)], strict=True)) for start in starts]


def _content(path: Place, compression: str | None) -> bytes:
    try:
        stream = ByteStream(lambda: cast(BinaryIO, path.open("rb")), compression)
        content = b"".join(stream)
    except OSError as error:
        raise CurateError(f"the file cannot be read: {error.strerror or error}", str(path)) from None
    if stream.damage:
        raise CurateError(f"the file is damaged: {': '.join(stream.damage)}", str(path), "get it again")
    return content


def _text(path: Place, compression: str | None) -> str:
    content = _content(path, compression)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CurateError(f"line {line} is not UTF-8", str(path), "convert the file to UTF-8 first") from None


def _delimited(path: Place, text: str, columns: Sequence[str], *, tabs: bool) -> list[dict[str, Any]]:
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


def _parquet(path: Place) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        return parquet.read_table(str(path)).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise CurateError(f"the file cannot be read: {error}", str(path)) from None


def _list(path: Place, content: bytes) -> list[dict[str, Any]]:
    try:
        rows = loads(content)
    except ValueError as error:
        raise CurateError(f"the file is not JSON: {error}", str(path)) from None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise CurateError(f"entry {number} of the list is not a JSON object", str(path))
    return rows


def _lines(path: Place, content: bytes) -> Iterator[dict[str, Any]]:
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
