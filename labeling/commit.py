"""A version with labels: columns beside its documents, and where each label comes from.

| column | what it says |
|---|---|
| `label` | the label (`column:` of the task calls it otherwise, and the others after it) |
| `label_source` | `human`, `aggregated` (of several people), `adjudicated` (a review), `weak`, `automatic` |
| `label_probability` | how sure: the share of the people, or the model's probability |
| `label_model`, `label_round`, `label_annotators` | which model, round and people |
| `label_chosen`, `label_rejected` | of a preference the two answers in their order; null for a tie |
| `label_messages` | of a rewrite the conversation with the better turn; `label_rejected` is the old one |

Documents without a label have nulls. What people said goes before what models say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.dataset.annotations import Annotated, annotation_objects, lineage, put_beside
from curate.dataset.reader import Dataset
from curate.dataset.refs import Reference
from curate.dataset.schema import JSON_FIELD
from curate.errors import CurateError
from curate.jsontext import dumps
from curate.labeling.decide import Decided, Method, decided
from curate.labeling.documents import Shown, conversations, find
from curate.labeling.log import LOGS, Decision, answers, decisions, items, value_of
from curate.labeling.only import labelled_only
from curate.labeling.task import Task

if TYPE_CHECKING:
    import pyarrow as pa

ENDS = ("source", "probability", "model", "round", "annotators", "chosen", "rejected", "messages")
__all__ = ["Committed", "labels", "unlabelled", "with_labels"]


class Committed(NamedTuple):
    """A version with labels.

    Attributes:
        annotated: The version, and how many documents have a label, changed, or are not in it.
        sources: Labels by where they come from.
        ties: Documents whose answers are tied: they have none.
    """

    annotated: Annotated
    sources: dict[str, int]
    ties: int


def labels(dataset: Dataset, task: Task, method: Method = "majority") -> Decided:
    """The label of every document that has one, people before models, and the documents whose answers are tied."""
    store = dataset.store
    wanted, said = items(store, task), answers(store, task)
    there = find(dataset, task, {one.id for one in said}) if task.kind == "spans" else {}
    texts = {(one.id, one.hash): one.data["text"] for one in there.values()}
    people = decided(task, wanted, said, texts, method)
    known = {(one.id, one.hash) for one in people.decisions} | {*people.ties}
    models = [one for one in decisions(store, task) if (one.id, one.hash) not in known]
    return Decided([*models, *people.decisions], people.ties)


def unlabelled(dataset: Dataset, task: Task) -> Dataset:
    """The version that one with this task's labels was derived from, where it is there: labelling again begins from it."""
    made_by = dataset.manifest["lineage"].get("made_by") or {}
    if made_by.get("kind") != "labels" or made_by["task"] != task.name:
        return dataset
    for parent in dataset.manifest["lineage"]["parents"]:
        with suppress(CurateError):
            return Dataset(dataset.store, Reference(dataset.name, parent, None))
    return dataset


def with_labels(dataset: Dataset, task: Task, method: Method = "majority", *, only: bool = False) -> Committed:
    """Derive a version with the labels; committing it is the caller's.

    Args:
        dataset: The version.
        task: The task.
        method: How several answers become one.
        only: Leave documents out that have none; of preferences also ties.

    Raises:
        CurateError: There is no label.
    """
    found, ties = labels(dataset, task, method)
    if not found:
        raise CurateError(
            f"nobody has labelled anything for `{task.name}`", hint="`curate label annotate`, or `curate label pull`"
        )
    projects = [task.name + suffix for suffix in LOGS.values()]
    made_by = {
        "kind": "labels", "task": task.name, "column": task.column, "instructions": task.instructions, "method": method,
        "logs": {project: annotation_objects(dataset.store, project) for project in projects},
    }  # fmt: skip
    replacing = _columns_of_ours(dataset, task)
    there = find(dataset, task, {one.id for one in found})
    turns = conversations(dataset, task, {one.id for one in found}) if task.kind == "rewrite" else {}
    table = _table(task, found, there, turns)
    _refuse_columns(dataset, task, set(table.column_names) - {"id", "hash", *replacing})
    annotated = put_beside(dataset, table, task.on, made_by, replacing=replacing)
    if only:
        beside = {"preference": f"{task.column}_chosen", "rewrite": f"{task.column}_messages"}.get(
            task.kind, task.column
        )
        labelled = Dataset(dataset.store, Reference(dataset.name, annotated.version, None))
        annotated = annotated._replace(version=labelled_only(labelled, beside))
        if not _documents_of(dataset, annotated.version):
            raise CurateError(f"no document of `{dataset.name}` has a label of `{task.name}`, so nothing would be left")
    current = Counter(one.source for one in found if one.id in there and there[one.id].hash == one.hash)
    return Committed(annotated, dict(sorted(current.items())), len(ties))


def _documents_of(dataset: Dataset, version: str) -> int:
    """How many documents a version has."""
    return dataset.store.manifest(version)["documents"]["kept"]


def _columns_of_ours(dataset: Dataset, task: Task) -> list[str]:
    """Columns that an earlier commit of this task has put beside the documents."""
    made_by = [one["lineage"].get("made_by") or {} for one in lineage(dataset)]
    ours = [one["column"] for one in made_by if one.get("kind") == "labels" and one["task"] == task.name]
    names = [name for column in ours for name in (column, *(f"{column}_{end}" for end in ENDS))]
    return [name for name in dict.fromkeys(names) if name in dataset.columns]


def _refuse_columns(dataset: Dataset, task: Task, made: set[str]) -> None:
    taken = sorted(made & set(dataset.columns))
    if taken or task.column in ("id", "hash", "source_uri"):
        raise CurateError(
            f"`{dataset.name}` has a column `{(taken or [task.column])[0]}` already, which is not of the task `{task.name}`",
            hint="give `column:` in task.yaml another name",
        )


def _table(
    task: Task, found: Sequence[Decision], there: dict[str, Shown], conversations: dict[str, list[dict[str, Any]]]
) -> pa.Table:
    import pyarrow as pa

    text, name = pa.string(), task.column
    values = [value_of(one) for one in found]
    kind: pa.DataType = {"multilabel": pa.list_(text), "rating": pa.int32()}.get(task.kind, text)
    if task.kind == "spans":
        values = [dumps(value) for value in values]
    columns: list[tuple[pa.Field, Iterable[Any]]] = [
        (pa.field("id", text), [one.id for one in found]),
        (pa.field("hash", text), [one.hash for one in found]),
        (pa.field(name, kind, metadata={JSON_FIELD: b""} if task.kind == "spans" else None), values),
        (pa.field(f"{name}_source", text), [one.source for one in found]),
        (pa.field(f"{name}_probability", pa.float64()), [one.probability for one in found]),
        (pa.field(f"{name}_model", text), [one.model for one in found]),
        (pa.field(f"{name}_round", pa.int32()), [one.round for one in found]),
        (pa.field(f"{name}_annotators", text), [one.annotators for one in found]),
    ]
    if task.kind == "preference":
        pairs = [_in_order(there.get(one.id), value) for one, value in zip(found, values, strict=True)]
        for place, role in enumerate(("chosen", "rejected")):
            columns.append((pa.field(f"{name}_{role}", text), [pair[place] for pair in pairs]))
    if task.kind == "rewrite":
        turns = [_rewritten(conversations.get(one.id), value) for one, value in zip(found, values, strict=True)]
        columns.append((pa.field(f"{name}_messages", text, metadata={JSON_FIELD: b""}), [one[0] for one in turns]))
        columns.append((pa.field(f"{name}_rejected", text), [one[1] for one in turns]))
    return pa.table([pa.array(held, field.type) for field, held in columns], pa.schema([field for field, _ in columns]))


def _in_order(one: Shown | None, value: str) -> tuple[str | None, str | None]:
    if one is None or value == "tie":
        return None, None
    other = "second" if value == "first" else "first"
    return one.data[value], one.data[other]


def _rewritten(turns: Sequence[dict[str, Any]] | None, value: str) -> tuple[str | None, str | None]:
    if not turns:
        return None, None
    *before, last = turns
    return dumps([*before, {**last, "content": value}]), last.get("content")
