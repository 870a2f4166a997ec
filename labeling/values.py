"""Answers: what a person or a model may say of a document, by kind; checked in one place, whoever says it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from curate.errors import CurateError, did_you_mean
from curate.labeling.task import CHOICES, RATINGS, Task

__all__ = ["checked", "shown", "swapped", "up_to"]

MOST_CHARACTERS = 1_000_000
SURROGATE = re.compile("[\ud800-\udfff]")


def checked(task: Task, value: Any, data: Mapping[str, Any] | None = None) -> Any:
    """An answer in its one form: labels in the task's order, spans by start, end and label.

    Args:
        task: The task.
        value: The answer (labeling/task.py has its form by kind).
        data: What was shown (`shown`), for spans: they must lie in the text.

    Raises:
        CurateError: It is no answer to this task.
    """
    if task.kind == "classification":
        return _label(task, value)
    if task.kind == "multilabel":
        if not isinstance(value, list):
            raise _refused(task, value, "a list of labels")
        given = {_label(task, one) for one in value}
        return [name for name in task.label_names if name in given]
    if task.kind == "spans":
        return _spans(task, value, data)
    if task.kind == "preference":
        if value not in CHOICES:
            raise _refused(task, value, "`first`, `second` or `tie`")
        return value
    if task.kind == "rating":
        if isinstance(value, bool) or value not in RATINGS:
            raise _refused(task, value, "a number from 1 to 5")
        return int(value)
    if not isinstance(value, str) or not value.strip() or len(value) > MOST_CHARACTERS or SURROGATE.search(value):
        raise _refused(task, value, f"a text of at most {MOST_CHARACTERS:,} characters")
    return value


def _label(task: Task, value: Any) -> str:
    if not isinstance(value, str) or value not in task.label_names:
        hint = did_you_mean(value, task.label_names) if isinstance(value, str) else None
        raise CurateError(
            f"`{_short(value)}` is no label of the task `{task.name}`",
            hint=hint or f"there are: {', '.join(task.label_names)}",
        )
    return value


def _spans(task: Task, value: Any, data: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise _refused(task, value, "a list of spans")
    length = len(data["text"]) if data is not None else None
    found: set[tuple[int, int, str]] = set()
    for span in cast("list[Any]", value):
        if not isinstance(span, dict) or not {"start", "end", "label"} <= span.keys():
            raise _refused(task, span, "a span with `start`, `end` and `label`")
        start, end = span["start"], span["end"]
        if any(isinstance(one, bool) or not isinstance(one, int) for one in (start, end)) or not 0 <= start < end:
            raise _refused(task, span, "`start` and `end` as characters, the end behind the start")
        if length is not None and end > length:
            raise _refused(task, span, f"a span in the text, which has {length:,} characters")
        found.add((start, end, _label(task, span["label"])))
    return [{"start": start, "end": end, "label": label} for start, end, label in sorted(found)]


def _refused(task: Task, value: Any, wanted: str) -> CurateError:
    return CurateError(
        f"`{_short(value)}` is no answer to the task `{task.name}` ({task.kind})", hint=f"it takes {wanted}"
    )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def shown(task: Task, document: Mapping[str, Any]) -> dict[str, Any]:
    """What people see of a document: `text`, `prompt`, `first`, `second` or `messages`, and `context`.

    A missing text is an empty one; of messages, role and content of each.
    """
    data: dict[str, Any] = {}
    for name, column in task.main:
        value = document.get(column)
        data[name] = _turns(value, task.turn) if task.is_dialogue(column) else "" if value is None else str(value)
    if task.context:
        data["context"] = {
            column: "" if document.get(column) is None else str(document[column]) for column in task.context
        }
    return data


def _turns(value: Any, judged: int | None) -> list[dict[str, str]]:
    turns = cast("list[Any]", value) if isinstance(value, list) else []
    turns = up_to(judged, [turn for turn in turns if isinstance(turn, dict)])
    return [
        {"role": str(turn.get("role", "")), "content": "" if turn.get("content") is None else str(turn["content"])}
        for turn in turns
    ]


def up_to(judged: int | None, turns: Sequence[Any]) -> Sequence[Any]:
    """The turns up to the assistant's with this number, from 1 (None: all of them); none where there is no such one."""
    places = [place for place, turn in enumerate(turns) if turn.get("role") == "assistant"] if judged else []
    if judged is None:
        return turns
    return turns[: places[judged - 1] + 1] if judged <= len(places) else []


def swapped(digest: str) -> bool:
    """Whether the two answers of a preference change sides: by the hash of what is shown, so half of them, for good."""
    return int(digest[:2], 16) % 2 == 1
