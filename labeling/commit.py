"""A version with labels: columns beside its documents, and where each label comes from.

| column | what it says |
|---|---|
| `label` | the label (`column:` of the task calls it otherwise, and the others after it) |
| `label_source` | `human`, `aggregated` (of several people), `adjudicated` (a review), `weak`, `automatic` |
| `label_probability` | how sure: the share of the people, or the model's probability |
| `label_model`, `label_round`, `label_annotators` | which model, round and people |
| `label_chosen`, `label_rejected` | of a preference the two answers in their order; null for a tie |
| `label_messages` | of a rewrite the conversation up to the better turn; `label_rejected` is the old one |

Documents without a label have nulls. What people said goes before what models say. In a version of the labelled documents alone
the others leave in one more step of the ledger, `unlabelled`, so every document stays accounted for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.dataset.annotations import Annotated, annotation_objects, lineage, put_beside
from curate.dataset.fragments import Fragment, write_fragments, write_ledger
from curate.dataset.ledger import Shard, Step
from curate.dataset.manifest import splits_of
from curate.dataset.reader import Dataset
from curate.dataset.refs import Reference
from curate.dataset.schema import JSON_FIELD
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.jsontext import dumps
from curate.labeling.decide import Method, labels
from curate.labeling.documents import Shown, conversations, find
from curate.labeling.log import LOGS, Decision, value_of
from curate.labeling.task import Task
from curate.labeling.values import up_to
from curate.pipeline.task import document_bytes
from curate.stages.decide import verdict_table

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

ENDS = ("source", "probability", "model", "round", "annotators", "chosen", "rejected", "messages")
__all__ = ["Committed", "labelled_only", "unlabelled", "with_labels"]
REASON = "unlabelled"


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
        turns = [
            _rewritten(up_to(task.turn, conversations.get(one.id) or ()), value)
            for one, value in zip(found, values, strict=True)
        ]
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


def labelled_only(dataset: Dataset, column: str) -> str:
    """Derive the version of the documents that have a value in a column that lies beside them; its id."""
    store, before = dataset.store, dataset.manifest
    fragments, shards, left = iter(dataset.fragments), list[Shard](), list[Fragment]()
    for shard in dataset.ledger():
        if not shard.kept:
            shards.append(shard)
            continue
        fragment = next(fragments)
        mask = _mask(store, fragment)
        stay = mask & _has_value(store, fragment, column)
        gone = (mask & ~stay).nonzero()[0]
        shards.append(shard.after([_step(store, shard, fragment, gone)]) if len(gone) else shard)
        if stay.any():
            left.append(_narrowed(store, fragment, mask, stay))
    kept = sum(fragment.documents for fragment in left)
    removed = before["documents"]["kept"] - kept
    documents = {**before["documents"], "kept": kept, "dropped": before["documents"]["dropped"] + removed}
    manifest = {
        **before, "documents": documents, "splits": splits_of(left), "stages": [*before["stages"], _row(before, removed)],
        "bytes": sum(one.bytes for one in left), "text_bytes": sum(one.text_bytes for one in left),
        "fragments": write_fragments(store, left), "ledger": write_ledger(store, shards),
    }  # fmt: skip
    return store.write_manifest(manifest)


def _mask(store: Store, fragment: Fragment) -> np.ndarray:
    import numpy as np

    if fragment.kept is None:
        return np.ones(fragment.rows, dtype=bool)
    return store.read_table(fragment.kept).column("kept").to_numpy()


def _has_value(store: Store, fragment: Fragment, column: str) -> np.ndarray:
    import numpy as np

    has = np.zeros(fragment.rows, dtype=bool)
    holder = next((one.object for one in reversed(fragment.sidecars) if column in one.columns), None)
    if holder:
        given = store.read_table(holder, ["row", column])
        has[given.column("row").to_numpy()[given.column(column).is_valid().to_numpy()]] = True
    return has


def _step(store: Store, shard: Shard, fragment: Fragment, gone: np.ndarray) -> Step:
    import pyarrow as pa

    said = verdict_table(gone, "dropped", REASON)
    ids = store.read_table(shard.object, ["id"]).column("id").combine_chunks().take(pa.array(gone))
    name = store.write_table(said.append_column("id", ids))
    return Step(REASON, shard.kept, fragment.text_bytes, verdicts=name, reasons={"dropped": {REASON: len(gone)}})


def _narrowed(store: Store, before: Fragment, mask: np.ndarray, stay: np.ndarray) -> Fragment:
    import numpy as np
    import pyarrow as pa

    sizes = document_bytes(store.read_table(before.object)).to_numpy()
    names = np.full(before.rows, next(iter(before.splits), "train"), dtype=object)
    holder = next((one.object for one in reversed(before.sidecars) if "split" in one.columns), None)
    if holder:
        given = store.read_table(holder, ["row", "split"])
        names[given.column("row").to_numpy()] = given.column("split").to_pylist()
    splits: dict[str, dict[str, int]] = {}
    for split, counts in before.splits.items():
        mine = names == split
        if (stay & mine).any():
            less = int(sizes[mask & ~stay & mine].sum())
            splits[split] = {"documents": int((stay & mine).sum()), "text_bytes": counts["text_bytes"] - less}
    kept = store.write_table(pa.table({"kept": pa.array(stay)}))
    size = before.text_bytes - int(sizes[mask & ~stay].sum())
    return replace(before, kept=kept, documents=int(stay.sum()), text_bytes=size, splits=splits)


def _row(before: dict[str, Any], removed: int) -> dict[str, Any]:
    """The row of the manifest's stages."""
    count: int = before["documents"]["kept"]
    return {
        "id": REASON, "stage": REASON, "kind": "labels", "in": count, "made": 0, "kept": count - removed,
        "dropped": removed, "edited": 0, "quarantined": 0, "expanded": 0, "bytes": before["text_bytes"],
        "reasons": {"dropped": {REASON: removed}}, "settings": {}, "artifacts": {}, "passed": {},
    }  # fmt: skip
