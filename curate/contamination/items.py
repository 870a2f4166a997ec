"""What is looked for: the texts of evaluation files, each with a name that finds it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from curate.errors import CurateError, did_you_mean

__all__ = ["EvaluationFiles", "Text", "evaluation_paths", "evaluation_texts"]


class EvaluationFiles(BaseModel):
    """Files of evaluation data, and what in them is looked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[str, ...] = Field(
        min_length=1,
        description="Files or patterns: jsonl, json, csv, tsv, txt (also gz, zst, xz or bz2), parquet or zip.",
    )
    fields: tuple[str, ...] = Field(
        default=(), description="Fields of a row to look for (`question`, `answer`); by default every text in it."
    )
    columns: tuple[str, ...] = Field(
        default=(),
        description="Names of the columns of a csv or tsv file whose first line is a row, or of the lines of a row of a txt.",
    )


class Text(NamedTuple):
    """A text of an evaluation item.

    Attributes:
        name: `FILE:ROW FIELD`, rows from 1; of several equal texts the first one's.
        text: The text.
    """

    name: str
    text: str


def _all_files(
    files: Sequence[str | EvaluationFiles], tasks: Sequence[str], root: Path
) -> Iterator[tuple[str, EvaluationFiles]]:
    """The files that are named, with what names them; those of task files are seen from these files' folders."""
    for one in files:
        entry = EvaluationFiles(files=(one,)) if isinstance(one, str) else one
        seen = tuple(str(root / Path(name).expanduser()) for name in entry.files)
        yield "evaluation", entry.model_copy(update={"files": seen})
    for name in tasks:
        yield from _of_tasks(root / Path(name).expanduser())


def _of_tasks(path: Path) -> Iterator[tuple[str, EvaluationFiles]]:
    from curate.config.yamlfile import load_yaml

    if not path.is_file():
        beside = [one.name for one in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise CurateError(
            f"there is no file of tasks `{path}`", "tasks",
            did_you_mean(path.name, beside) or "name a file as `curate eval --tasks` takes it, relative to the pipeline file",
        )  # fmt: skip
    located = load_yaml(path)
    tasks = located.at("tasks")
    if not isinstance(tasks, list) or not tasks:
        raise CurateError("a file of tasks is a map with `tasks`, a list", located.where())
    for number, task in enumerate(tasks):
        where = located.where("tasks", number)
        if not isinstance(task, dict) or not isinstance(task.get("files"), list | tuple):
            raise CurateError(
                "decontamination looks for tasks that name their `files`", where,
                "export the documents of a version (`curate export`), and name that file",
            )  # fmt: skip
        named = [*task["files"], *(task.get("anti") or ())]
        files = tuple(str(path.parent / str(one)) for one in named)
        yield where, EvaluationFiles(files=files, columns=tuple(task.get("columns") or ()))


def evaluation_paths(
    files: Sequence[str | EvaluationFiles], tasks: Sequence[str], *, root: Path = Path()
) -> list[Path]:
    """All files that are read; relative ones start at `root`.

    Raises:
        CurateError: A pattern matches nothing, or a file of tasks is none.
    """
    from curate.collect.file_rows import matching_files

    found = [root / Path(name).expanduser() for name in tasks]
    for where, one in _all_files(files, tasks, root):
        found += matching_files(one.files, where=where)
    return list(dict.fromkeys(found))


def evaluation_texts(
    files: Sequence[str | EvaluationFiles], tasks: Sequence[str], *, root: Path = Path()
) -> list[Text]:
    """All texts of the files, each once; names of files are told from `root` on, so that they are the same on every machine.

    Raises:
        CurateError: A file cannot be read, a row lacks a field that is named, or there is no text at all.
    """
    from curate.collect.file_rows import matching_files, read_file

    found: dict[str, str] = {}
    for where, one in _all_files(files, tasks, root):
        for path in matching_files(one.files, where=where):
            for number, row in enumerate(read_file(path, one.columns), 1):
                for name, text in _texts_of_row(row, one.fields, f"{path}:{number}"):
                    found.setdefault(text, f"{_from(root, path)}:{number} {name}")
    if not found:
        raise CurateError("there is no text in the evaluation files", "evaluation", "a row is a JSON object a line")
    return [Text(name, text) for text, name in found.items()]


def _from(root: Path, path: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _texts_of_row(row: dict[str, Any], fields: Sequence[str], where: str) -> Iterator[tuple[str, str]]:
    for name in fields or row:
        if name not in row:
            near = did_you_mean(name, row) or f"it has: {', '.join(row)}"
            raise CurateError(f"the row has no field `{name}`", where, near)
        yield from _texts(row[name], name)


def _texts(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """The texts in a value; a list of single words is one, and an address none."""
    if isinstance(value, str):
        if value.strip() and not (value.startswith(("http://", "https://")) and len(value.split()) == 1):
            yield name, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _texts(one, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        if value and all(isinstance(one, str) and len(one.split()) == 1 for one in value):
            yield name, " ".join(value)
            return
        for number, one in enumerate(value):
            yield from _texts(one, f"{name}[{number}]")
