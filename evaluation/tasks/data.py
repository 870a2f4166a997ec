"""The rows of a task: documents of a version's split, or of files, with a hash that says which they are."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.dataset.reader import open_dataset
from curate.errors import CurateError, did_you_mean
from curate.evaluation.tasks.settings import TaskSettings
from curate.files import file_hash
from curate.jsontext import loads

__all__ = ["Rows", "column", "read_files", "read_rows"]

SMALL = 20
"""Fewer rows get a warning: the interval is all that they tell."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a task asks about.

    Attributes:
        rows: A map a row; `id` is a document's, or FILE:LINE.
        source: The version or the files.
        identity: Version and split, or a hash over the files.
        version: The whole id of the version; None for files.
        split: Of the version; None for files.
        total: Rows that there are; `rows` may be fewer of them (`limit`).
    """

    rows: list[dict[str, Any]]
    source: str
    identity: str
    version: str | None
    split: str | None
    total: int


def read_rows(task: TaskSettings, store: str | None) -> Rows:
    """The rows of a task.

    Raises:
        CurateError: There is no such version, split or file, or nothing in it.
    """
    if task.data is None:
        rows, identity = read_files(task.files, where=f"task {task.name}: files")
        some = _spread(rows, task.limit)
        return Rows(some, ", ".join(task.files), identity, None, None, len(rows))
    dataset = open_dataset(task.data, store)
    split = task.split or ("test" if "test" in dataset.splits else None)
    table = dataset.arrow(split)
    if not table.num_rows:
        raise CurateError(
            f"there is no document in {task.data}" + (f", split {split}" if split else ""), f"task {task.name}"
        )
    rows = _spread(range(table.num_rows), task.limit)
    some = table.take(rows).to_pylist()
    name = f"{dataset.name}@{dataset.tag or dataset.version[:12]}"
    return Rows(some, name, f"{dataset.version}/{split or ''}", dataset.version, split or "all", table.num_rows)


def read_files(patterns: Sequence[str], *, where: str) -> tuple[list[dict[str, Any]], str]:
    """All rows of some files, each with an `id`, and a hash over the files.

    Raises:
        CurateError: A pattern matches nothing, or a file cannot be read.
    """
    paths: list[Path] = []
    for pattern in patterns:
        names = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - patterns may be absolute
        found = [Path(name) for name in names if Path(name).is_file()]
        if not found:
            near = did_you_mean(Path(pattern).name, [path.name for path in _beside(pattern)])
            raise CurateError(f"there is no file `{pattern}`", where, near)
        paths += found
    digest, rows = hashlib.sha256(), []
    for path in paths:
        digest.update(bytes.fromhex(file_hash(path)))
        rows += [{"id": f"{path.name}:{number}", **row} for number, row in enumerate(_read(path), 1)]
    if not rows:
        raise CurateError("there are no rows in the files", where, ", ".join(map(str, paths)))
    return rows, digest.hexdigest()


def _beside(pattern: str) -> Iterator[Path]:
    folder = Path(pattern).parent
    return folder.iterdir() if folder.is_dir() else iter(())


def _read(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as parquet

        try:
            yield from parquet.read_table(path).to_pylist()
        except pa.ArrowException as error:
            raise CurateError(f"the file cannot be read: {error}", str(path)) from None
    elif path.suffix in (".csv", ".tsv"):
        import csv

        with path.open(newline="", encoding="utf-8-sig") as lines:
            yield from csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ",")
    else:
        yield from _lines(path)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = loads(line)
            except ValueError as error:
                raise CurateError(f"line {number} is not JSON: {error}", str(path), "one JSON object a line") from None
            if not isinstance(row, dict):
                raise CurateError(f"line {number} is not a JSON object", str(path), "one JSON object a line")
            yield row


def _spread(rows: Any, limit: int | None) -> Any:
    """At most `limit` of the rows, evenly over all of them."""
    count = len(rows)
    return list(rows) if limit is None or limit >= count else [rows[number * count // limit] for number in range(limit)]


def column(rows: Rows, name: str, task: str, setting: str) -> list[Any]:
    """The values of a column in all rows.

    Raises:
        CurateError: A row does not have it.
    """
    for row in rows.rows:
        if row.get(name) is None:
            near = did_you_mean(name, row) or f"it has: {', '.join(row)}"
            raise CurateError(f"the row {row['id']} has no `{name}`", f"task {task}: {setting}", near)
    return [row[name] for row in rows.rows]
