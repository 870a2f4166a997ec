"""The four logs of a task: rounds, answers, suggestions, decisions. Append-only; each an annotation project of the store.

An answer counts once: it has a `source` (which annotation of which server in which state), so whatever was pulled before is
not written again. Of one person on one document, as it was shown, the last answer holds; all are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from curate.dataset.annotations import annotate, annotation_objects, entries, read_annotations
from curate.dataset.reader import Dataset
from curate.dataset.runs import Kind, Thing, record, run_id
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.jsontext import dumps, loads
from curate.labeling.task import Task
from curate.labeling.values import checked

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "LOGS",
    "Answer",
    "Decision",
    "Item",
    "Suggestion",
    "answers",
    "append",
    "append_answers",
    "decisions",
    "items",
    "note",
    "outdated",
    "suggestions",
    "text_of",
    "value_of",
]  # fmt: skip

LOGS = {"rounds": ".rounds", "answers": "", "suggestions": ".predictions", "decisions": ".decided"}
"""Suffix of the annotation project's name."""


class Item(NamedTuple):
    """A document that is to be labelled.

    Attributes:
        id: Its id.
        hash: Of what is shown of it.
        round: Which round asked for it, from 1.
        role: Why: `label`, `audit`, `gold` or `review`.
        annotators: How many people are to answer.
        blind: Whether nobody may see a suggestion.
        place: Where it stands in its round, from 0.
        drawn: How it was chosen: `random`, `margin`, ...
        gold: The right answer as JSON, where it is known.
        asked: When, in UTC: what was answered before is no answer to a review.
    """

    id: str
    hash: str
    round: int
    role: str
    annotators: int
    blind: bool
    place: int
    drawn: str
    gold: str | None = None
    asked: datetime | None = None


class Answer(NamedTuple):
    """What a person said.

    Attributes:
        id: The document.
        hash: Of what was shown of it.
        value: The answer as JSON; None: skipped.
        annotator: Who: an e-mail address or a name.
        origin: `manual`, `prediction` (a suggestion taken as it is) or `prediction-changed`.
        suggested: The suggestion that was shown, as JSON.
        model: Its model.
        seconds: Lead time.
        created: When, in UTC.
        source: What makes it this answer and no other one: `terminal/...`, `studio/...`.
    """

    id: str
    hash: str
    value: str | None
    annotator: str
    origin: str
    suggested: str | None
    model: str | None
    seconds: float | None
    created: datetime
    source: str


class Suggestion(NamedTuple):
    """What a model says: `value` as JSON, its probability (None: it gives none), the model's version."""

    id: str
    hash: str
    value: str
    probability: float | None
    model: str


class Decision(NamedTuple):
    """The label of a document: `value` as JSON, whose it is, how sure, by what.

    Attributes:
        source: `human`, `aggregated`, `weak`, `automatic` or `adjudicated`.
        annotators: Names, with commas; None where nobody was asked.
        certificate: Of automatic ones: the run record that proves them.
    """

    id: str
    hash: str
    value: str
    source: str
    probability: float | None
    model: str | None
    round: int | None
    annotators: str | None
    certificate: str | None = None


_T = TypeVar("_T")
Row = Item | Answer | Suggestion | Decision


def _types(log: str) -> pa.Schema:
    import pyarrow as pa

    text, number, real, time = pa.string(), pa.int32(), pa.float64(), pa.timestamp("us", tz="UTC")
    columns: dict[str, list[tuple[str, pa.DataType]]] = {
        "rounds": [("round", number), ("role", text), ("annotators", number), ("blind", pa.bool_()), ("place", number),
                   ("drawn", text), ("gold", text), ("asked", time)],
        "answers": [("value", text), ("annotator", text), ("origin", text), ("suggested", text), ("model", text),
                    ("seconds", real), ("created", time), ("source", text)],
        "suggestions": [("value", text), ("probability", real), ("model", text)],
        "decisions": [("value", text), ("source", text), ("probability", real), ("model", text), ("round", number),
                      ("annotators", text), ("certificate", text)],
    }  # fmt: skip
    return pa.schema([("id", text), ("hash", text), *columns[log]])


def append(
    store: Store,
    task: Task,
    log: str,
    rows: Sequence[Row],
    facts: dict[str, Any] | None = None,
    *,
    after: int | None = None,
) -> str | None:
    """Add rows to a log, all or none; the name of the entry.

    None where there is nothing to add, or where the log has not `after` entries any more: what it says now is to be read first.
    """
    import pyarrow as pa

    if not rows:
        return None
    about = next((entry["facts"].get("turn") for _, entry in entries(store, task.name + LOGS[log])), task.turn)
    if about != task.turn:
        was = f"turn {about}" if about else "the last turn"
        raise CurateError(
            f"what was said for `{task.name}` is about {was}", "turn", "make another task for another turn"
        )
    table = pa.Table.from_pylist([row._asdict() for row in rows], schema=_types(log))
    return annotate(
        store,
        task.name + LOGS[log],
        table,
        on=task.on,
        facts={"kind": task.kind, "turn": task.turn, **(facts or {})},
        after=after,
    )


def append_answers(store: Store, task: Task, given: Sequence[Answer], facts: dict[str, Any]) -> int:
    """Add the answers whose source the log has not yet, also where somebody else brings the same at the same time; how many."""
    while True:
        there = len(annotation_objects(store, task.name))
        known = {one.source for one in answers(store, task, every=True)}
        new = [one for one in given if one.source not in known]
        if not new or append(store, task, "answers", new, facts, after=there):
            return len(new)


def _read(store: Store, task: Task, log: str) -> list[dict[str, Any]]:
    project = task.name + LOGS[log]
    return read_annotations(store, project).to_pylist() if annotation_objects(store, project) else []


def items(store: Store, task: Task) -> list[Item]:
    """What is to be labelled, in order; a document that stands in several rounds, several times."""
    return [Item(**row) for row in _read(store, task, "rounds")]


def answers(store: Store, task: Task, *, every: bool = False) -> list[Answer]:
    """The last answer of each person on each document as it was shown; all there are with `every`, oldest first.

    A skip never goes before an answer. What is no answer to the task as it is now (a label was renamed, the kind changed) is
    left out; `outdated` counts it.
    """
    found = sorted((Answer(**row) for row in _read(store, task, "answers")), key=lambda one: (one.created, one.source))
    if every:
        return found
    current = [one for one in found if one.value is None or _fits(task, one)]
    return _last(sorted(current, key=lambda one: one.value is not None), lambda one: (one.id, one.hash, one.annotator))


def outdated(store: Store, task: Task) -> int:
    """How many answers are none to the task as it is now."""
    return sum(one.value is not None and not _fits(task, one) for one in answers(store, task, every=True))


def _fits(task: Task, one: Answer | Suggestion | Decision) -> bool:
    try:
        checked(task, value_of(one))
    except CurateError:
        return False
    return True


def suggestions(store: Store, task: Task, *, model: str | None = None) -> list[Suggestion]:
    """The last suggestion for each document as it was shown; of one model where it is named."""
    found = [Suggestion(**row) for row in _read(store, task, "suggestions")]
    return _last(
        (one for one in found if model in (None, one.model) and _fits(task, one)), lambda one: (one.id, one.hash)
    )


def decisions(store: Store, task: Task) -> list[Decision]:
    """The last decision on each document as it was shown; a certified automatic label before any other."""
    found = [one for one in (Decision(**row) for row in _read(store, task, "decisions")) if _fits(task, one)]
    return _last(sorted(found, key=lambda one: one.certificate is not None), lambda one: (one.id, one.hash))


def _last(rows: Iterable[_T], key: Callable[[_T], Hashable]) -> list[_T]:
    return list({key(row): row for row in rows}.values())


def value_of(row: Answer | Suggestion | Decision) -> Any:
    """The answer that a row holds; None for one that was skipped."""
    return None if row.value is None else loads(row.value)


def text_of(value: Any) -> str:
    """An answer as it stands in a log."""
    return dumps(value)


def note(
    dataset: Dataset,
    task: Task,
    began: str,
    facts: dict[str, Any],
    *,
    outputs: Sequence[Thing] = (),
    identity: str | None = None,
    kind: Kind = "labeling",
) -> None:
    """Write the record of something done to a version of a task, begun at `began`; `identity` is its id, if it has one."""
    source: Thing = {
        "kind": "version",
        "id": dataset.version,
        "name": f"{dataset.name}@{dataset.tag or dataset.version[:12]}",
    }
    record(
        dataset.store, kind, identity or run_id(), name=task.name, state="done", began=began, inputs=[source],
        outputs=[*outputs], facts=facts,
    )  # fmt: skip
