"""The documents of a version as a labeling task sees them: id, hash of what is judged, what is shown."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.dataset.annotations import hashes
from curate.dataset.reader import Dataset
from curate.errors import CurateError, did_you_mean
from curate.jsontext import loads
from curate.labeling.task import Task
from curate.labeling.values import shown

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Shown", "conversations", "documents", "find", "text_to_learn"]


class Shown(NamedTuple):
    """A document: its id, the hash of what is judged, and what people see (labeling/values.py)."""

    id: str
    hash: str
    data: dict[str, Any]


def documents(dataset: Dataset, task: Task, also: Sequence[str] = ()) -> Iterator[tuple[pa.Table, list[Shown]]]:
    """All documents that have something to judge, with their rows; memory is one row group.

    Args:
        dataset: The version.
        task: The task.
        also: Further columns that the tables are to have.

    Raises:
        CurateError: The version has no such column, or a conversation where a text is asked for.
    """
    import pyarrow as pa
    import pyarrow.compute as compute

    names = _columns(dataset, task, also)
    for fragment in dataset.fragments:
        for table in dataset.tables(fragment, names):
            digests = hashes(table, task.on)
            there = compute.is_valid(digests)
            some = table.filter(there)
            found = _shown(task, some, digests.filter(there).to_pylist())
            if task.turn is not None:  # conversations that have no such turn
                reach = [bool(one.data["messages"]) for one in found]
                some, found = some.filter(pa.array(reach)), [one for one, has in zip(found, reach, strict=True) if has]
            if found:
                yield some, found


def find(dataset: Dataset, task: Task, ids: Collection[str]) -> dict[str, Shown]:
    """Some documents, by id; those that are not in the version are not in the answer."""
    found: dict[str, Shown] = {}
    for some in dataset.lookup(ids, _columns(dataset, task, ())):
        digests = [digest or "" for digest in hashes(some, task.on).to_pylist()]
        found.update((one.id, one) for one in _shown(task, some, digests))
    return found


def conversations(dataset: Dataset, task: Task, ids: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """The conversations of some documents as they are in the version, with all that their turns hold."""
    found: dict[str, list[dict[str, Any]]] = {}
    for some in dataset.lookup(ids, [task.messages]):
        values = [loads(one) if isinstance(one, str) else one for one in some.column(task.messages).to_pylist()]
        found.update(zip(some.column("id").to_pylist(), values, strict=True))
    return found


def text_to_learn(task: Task, data: Mapping[str, Any]) -> str:
    """What a model of the task reads: everything that is judged, as one text."""
    parts: list[str] = []
    for name, _ in task.main:
        value = data[name]
        parts += [f"{turn['role']}: {turn['content']}" for turn in value] if isinstance(value, list) else [value]
    return "\n".join(parts)


def _columns(dataset: Dataset, task: Task, also: Sequence[str]) -> list[str]:
    for column in (*task.columns, *also):
        if column not in dataset.columns:
            raise CurateError(
                f"`{dataset.name}` has no column `{column}`, which the task `{task.name}` shows",
                hint=did_you_mean(column, dataset.columns) or f"there are: {', '.join(dataset.columns)}",
            )
    return list(dict.fromkeys(["id", *task.columns, *also]))


def _shown(task: Task, table: pa.Table, digests: Sequence[str]) -> list[Shown]:
    columns = {name: table.column(name).to_pylist() for name in task.columns}
    for name in task.columns:
        if task.is_dialogue(name):
            columns[name] = [loads(value) if isinstance(value, str) else value for value in columns[name]]
    return [
        Shown(identity, digest, shown(task, {name: values[row] for name, values in columns.items()}))
        for row, (identity, digest) in enumerate(zip(table.column("id").to_pylist(), digests, strict=True))
    ]
