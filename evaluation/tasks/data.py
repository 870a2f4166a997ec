"""The rows of a task: documents of a version's split, or of files, with a hash that says which they are."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.collect.file_rows import matching_files, read_file
from curate.dataset.reader import Dataset, open_dataset
from curate.errors import CurateError, did_you_mean
from curate.evaluation.tasks.settings import CoreferenceTask, PerplexityTask, TaskSettings, ToxicityTask
from curate.files import file_hash
from curate.table.contract import FEATURES
from curate.table.recipe import Recipe, recipe_of

__all__ = ["SMALL", "Rows", "as_texts", "column", "documents", "read_files", "read_rows"]

SMALL = 20
"""Fewer rows get a warning: the interval is all that they tell."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a task asks about.

    Attributes:
        rows: A map a row; `id`, which no two share, is a document's, or FILE:LINE.
        source: The version or the files.
        identity: Version and split, or a hash over the files; and one over those that examples come from.
        version: The whole id of the version; None for files.
        split: Of the version; None for files.
        total: Rows that there are; `rows` may be fewer of them (`limit`).
        left_out: Rows that have nothing in a column that the task reads, which `rows` has no more.
        table: What stages of a table have learned for the version; None for files.
        repeated: Rows that had the id of one before them, and got a number behind it.
    """

    rows: list[dict[str, Any]]
    source: str
    identity: str
    version: str | None
    split: str | None
    total: int
    repeated: int = 0
    left_out: int = 0
    table: Recipe | None = None


def read_rows(task: TaskSettings, store: str | None) -> Rows:
    """The rows of a task; of a version one row group is held at a time beside those that are wanted.

    Raises:
        CurateError: There is no such version, split or file, or nothing in it.
    """
    found, examples = _rows(task, store), getattr(task, "examples_from", ())
    if not examples or task.model_dump()["examples"] == 0:
        return found
    hashed = _files_hash(matching_files(examples, where=f"task {task.name}: examples_from"))
    return replace(found, identity=f"{found.identity} {hashed}")


def _rows(task: TaskSettings, store: str | None) -> Rows:
    if task.data is None:
        rows, identity = read_files(task.files, task.columns, where=f"task {task.name}: files")
        if isinstance(task, CoreferenceTask):
            identity = _beside_anti(task, rows, identity)
        if isinstance(task, ToxicityTask):
            rows = [one for row in rows for one in _prompts(row, task.prompt)]
            if not rows:
                raise CurateError("there are no prompts in the files", f"task {task.name}: files")
        some = [rows[number] for number in _spread(len(rows), task.limit)]
        return Rows(some, ", ".join(task.files), identity, None, None, len(rows), _name_apart(some))
    dataset = open_dataset(task.data, store)
    split = task.split or ("test" if "test" in dataset.splits else None)
    dataset.check_split(split)
    total = len(dataset) if split is None else dataset.splits[split]
    if not total:
        raise CurateError(
            f"there is no document in {task.data}" + (f", split {split}" if split else ""), f"task {task.name}"
        )
    some = documents(dataset, split, _columns(task, dataset), _spread(total, task.limit))
    name = f"{dataset.name}@{dataset.tag or dataset.version[:12]}"
    identity = f"{dataset.version}/{split or ''}"
    table = recipe_of(dataset) if FEATURES in dataset.columns else None
    return Rows(some, name, identity, dataset.version, split or "all", total, _name_apart(some), table=table)


def _beside_anti(task: CoreferenceTask, rows: list[dict[str, Any]], identity: str) -> str:
    """Put beside each sentence that with the other pronoun, and the one that is about the other person; the new identity.

    Raises:
        CurateError: There are not as many.
    """
    where = f"task {task.name}: anti"
    others, hashed = read_files(task.anti, task.columns, where=where)
    if len(others) != len(rows) or len(rows) % 2:
        raise CurateError(
            f"there are {len(rows):,} sentences in `files` and {len(others):,} in `anti`", where,
            "as many, in the same order; each two lines are about the same two people",
        )  # fmt: skip
    for number, (row, other) in enumerate(zip(rows, others, strict=True)):
        mate = rows[number ^ 1]
        row |= {"anti": other.get(task.text), "mate": mate.get(task.text), "cluster": rows[number & ~1]["id"]}
    return hashlib.sha256((identity + hashed).encode()).hexdigest()


def _prompts(row: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The prompts of a file of BOLD, which is a map of groups, of entities, of prompts; any other row as it is."""
    groups = {group: some for group, some in row.items() if isinstance(some, dict) and name not in row}
    if not groups:
        yield row
    for group, entities in groups.items():
        for entity, prompts in entities.items():
            for number, prompt in enumerate(prompts if isinstance(prompts, list) else (), 1):
                yield {"id": f"{group}/{entity}/{number}", "group": group, "entity": entity, name: prompt}


def _columns(task: TaskSettings, dataset: Dataset) -> list[str] | None:
    """What of a version is read: of texts to predict the text only; templates may ask for all."""
    if not isinstance(task, PerplexityTask):
        return None
    wanted = {"id", task.text, *task.by, *([task.cluster] if task.cluster else [])}
    return [*(name for name in dataset.columns if name in wanted), *sorted(wanted - set(dataset.columns))]


def documents(
    dataset: Dataset, split: str | None, columns: list[str] | None, wanted: np.ndarray
) -> list[dict[str, Any]]:
    """Documents of a split by their sorted numbers; None: all columns. One batch is held beside them."""
    found, start = list[dict[str, Any]](), 0
    for batch in dataset.batches(split, columns, 1000):
        here = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, start + batch.num_rows)]
        if len(here):
            found += batch.take(pa.array(here - start)).to_pylist()
        start += batch.num_rows
        if start > wanted[-1]:
            break
    return found


def read_files(patterns: Sequence[str], columns: Sequence[str] = (), *, where: str) -> tuple[list[dict[str, Any]], str]:
    """All rows of some files, each with an `id`, and a hash over the files.

    Args:
        patterns: Paths or globs.
        columns: Names of the columns of CSV and TSV files that begin with a row.
        where: Which setting names them, for errors.

    Raises:
        CurateError: A pattern matches nothing, or a file cannot be read.
    """
    paths = matching_files(patterns, where=where)
    rows = [
        {"id": f"{path.name}:{number}", **row}
        for path in paths
        for number, row in enumerate(read_file(path, columns), 1)
    ]
    if not rows:
        names = ", ".join(map(str, paths))
        raise CurateError("there are no rows in the files", where, names if names != where else "a row is a line")
    return rows, _files_hash(paths)


def _files_hash(paths: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(file_hash(path)) for path in paths)).hexdigest()


def _spread(count: int, limit: int | None) -> np.ndarray:
    """At most `limit` of the numbers below `count`, evenly over all of them."""
    some = count if limit is None else min(limit, count)
    return np.arange(some) * count // max(some, 1)


def _name_apart(rows: list[dict[str, Any]]) -> int:
    """Give rows that share an id different ones, in place: two models are paired by it. How many had to be changed."""
    seen, changed = Counter[str](), 0
    for row in rows:
        name = str(row.get("id"))
        seen[name] += 1
        changed += seen[name] > 1
        row["id"] = name if seen[name] == 1 else f"{name}#{seen[name]}"
    return changed


def column(rows: Rows, name: str, task: str, setting: str) -> list[Any]:
    """The values of a column in all rows.

    Raises:
        CurateError: A row does not have it.
    """
    for row in rows.rows:
        if row.get(name) is None:
            where = f"task {task}: {setting}"
            if name in row:
                raise CurateError(f"the row {row['id']} has a null in `{name}`", where)
            near = did_you_mean(name, row) or f"it has: {', '.join(row)}"
            raise CurateError(f"the row {row['id']} has no `{name}`", where, near)
    return [row[name] for row in rows.rows]


def as_texts(rows: Rows, name: str) -> pa.Array:
    """The values of a column as text, null where there is none."""
    values = (row.get(name) for row in rows.rows)
    return pa.array([None if value is None else str(value) for value in values], pa.string())
