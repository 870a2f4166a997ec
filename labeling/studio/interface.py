"""A task in Label Studio's words: its configuration (XML), its tasks, and answers as `result`, both ways.

Measured on Label Studio 1.23.2 in Chromium: the offsets of spans count code points, as ours do, and a line break of two
characters as two; releases that count UTF-16 units are told by the text that each span carries. `$name` in a label is replaced
by the task's data: a zero-width space behind the sign stops it, and an alias says what the label is called.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast
from xml.etree.ElementTree import Element, SubElement, tostring

from curate.errors import CurateError
from curate.labeling.task import CHOICES, Label, Task
from curate.labeling.values import checked, swapped

__all__ = ["ANSWER", "configuration", "from_result", "instructions", "shown_at", "studio_task", "to_result"]

ANSWER = "answer"
"""Name of the control that takes the answer."""
SIDES = ("left", "right", "tie")
TYPES = {
    "classification": "choices", "multilabel": "choices", "preference": "choices", "spans": "labels", "answer": "textarea",
    "rewrite": "textarea", "rating": "rating",
}  # fmt: skip
DIGITS = "123456789"
BREAKS = re.compile(r"[\r\n]|\\n")
"""What a span's text does not have as the document has it."""


def configuration(task: Task) -> str:
    """The labeling configuration of a task, as XML.

    Raises:
        CurateError: The task has what Label Studio cannot show.
    """
    if task.kind == "spans" and task.is_dialogue(task.text):
        raise CurateError(
            f"the task `{task.name}` marks spans in conversations; Label Studio has them in texts alone",
            hint="`text: ...`",
        )
    view = Element("View")
    for place, column in enumerate(task.context):
        SubElement(view, "Header", value=_plain(column), size="5")
        SubElement(view, "Text", name=f"context{place}", value=f"$context{place}")
    if task.kind == "spans":
        _labels(SubElement(view, "Labels", name=ANSWER, toName="text"), "Label", _keyed(task.labels))
    columns = dict(task.main)
    if task.kind == "preference":
        if "prompt" in columns:
            _object(view, task, "prompt", columns["prompt"])
        sides = SubElement(view, "View", style="display: flex; gap: 2em")
        for side, title, name in (("left", "Left", "first"), ("right", "Right", "second")):
            half = SubElement(sides, "View", style="flex: 1 1 0; min-width: 0")
            SubElement(half, "Header", value=title, size="5")
            _object(half, task, side, columns[name])
    else:
        for name, column in columns.items():
            _object(view, task, name, column)
    if task.kind != "spans":
        _control(view, task)
    return tostring(view, encoding="unicode")


def _object(view: Element, task: Task, name: str, column: str) -> None:
    if task.is_dialogue(column):
        SubElement(
            view, "Paragraphs", name=name, value=f"${name}", layout="dialogue", nameKey="role", textKey="content"
        )
    else:
        SubElement(view, "Text", name=name, value=f"${name}")


def _control(view: Element, task: Task) -> None:
    to = _shown_in(task)
    if task.kind in ("classification", "multilabel"):
        choices = SubElement(view, "Choices", name=ANSWER, toName=to, showInLine="true")
        one = task.kind == "classification"
        choices.attrib.update({"choice": "single-radio", "required": "true"} if one else {"choice": "multiple"})
        _labels(choices, "Choice", _keyed(task.labels))
    elif task.kind == "preference":
        choices = SubElement(
            view, "Choices", name=ANSWER, toName=to, choice="single-radio", showInLine="true", required="true"
        )
        for key, side in zip(DIGITS, SIDES, strict=False):
            SubElement(choices, "Choice", value=side, hotkey=key)
    elif task.kind == "rating":
        SubElement(view, "Rating", name=ANSWER, toName=to, maxRating="5", required="true")
    else:
        SubElement(
            view, "TextArea", name=ANSWER, toName=to, rows="8", editable="true", maxSubmissions="1", required="true"
        )  # fmt: skip


def _shown_in(task: Task) -> str:
    return "left" if task.kind == "preference" else task.main[0][0]


def _labels(parent: Element, tag: str, labels: Sequence[tuple[Label, str | None]]) -> None:
    for label, key in labels:
        if not label.name.isprintable():
            raise CurateError(f"the label {label.name!r} has signs that Label Studio cannot show")
        one = SubElement(parent, tag, value=_plain(label.name))
        if "$" in label.name:
            one.set("alias", label.name)
        if label.description:
            one.set("hint", _plain(label.description))
        if key:
            one.set("hotkey", key)


def _keyed(labels: Sequence[Label]) -> list[tuple[Label, str | None]]:
    free = iter([digit for digit in DIGITS if digit not in {label.key for label in labels}])
    return [(label, label.key or next(free, None)) for label in labels]


def _plain(text: str) -> str:
    return text.replace("$", "$\u200b")


def instructions(task: Task) -> str:
    """What people are told, as HTML."""
    return html.escape(task.instructions.strip()).replace("\n", "<br>")


def studio_task(task: Task, id: str, digest: str, round: int, data: Mapping[str, Any]) -> dict[str, Any]:
    """A document as a task of Label Studio.

    Args:
        task: The task.
        id: The document.
        digest: Hash of what is shown of it.
        round: Which round asks for it.
        data: What is shown (`values.shown`).

    Returns:
        `data`, what people see, and `meta`, whose answer it will be. Why it is asked for (audit, gold, ...) is in neither.
    """
    seen: dict[str, Any] = {"document": id, **{name: value for name, value in data.items() if name != "context"}}
    if task.kind == "preference":
        first, second = seen.pop("first"), seen.pop("second")
        seen["left"], seen["right"] = (second, first) if swapped(digest) else (first, second)
    seen |= {f"context{place}": data["context"][column] for place, column in enumerate(task.context)}
    return {"data": seen, "meta": {"document": id, "hash": digest, "round": round}}


def shown_at(task: Task, digest: str, seen: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of a document (`values.shown`), from the `data` of its task at Label Studio."""
    names = {"first": "left", "second": "right"} if task.kind == "preference" else {}
    if names and swapped(digest):
        names = {"first": "right", "second": "left"}
    data = {name: seen[names.get(name, name)] for name, _ in task.main}
    if task.context:
        data["context"] = {column: seen[f"context{place}"] for place, column in enumerate(task.context)}
    return data


def to_result(task: Task, value: Any, digest: str, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An answer as `result` of a prediction or annotation.

    Args:
        task: The task.
        value: The answer.
        digest: Hash of what is shown, which says how the sides of a preference stand.
        data: What is shown (`values.shown`).

    Raises:
        CurateError: It is no answer to this task.
    """
    value = checked(task, value, data)
    to, kind = _shown_in(task), TYPES[task.kind]
    if task.kind == "spans":
        values: list[dict[str, Any]] = [
            {"start": one["start"], "end": one["end"], "text": data["text"][one["start"] : one["end"]],
             "labels": [one["label"]]}
            for one in value
        ]  # fmt: skip
    elif task.kind == "multilabel":
        values = [{"choices": value}] if value else []
    elif task.kind == "classification":
        values = [{"choices": [value]}]
    elif task.kind == "preference":
        values = [{"choices": [_side(value, digest)]}]
    else:
        values = [{"rating": value} if task.kind == "rating" else {"text": [value]}]
    return [
        {"id": f"{ANSWER}{place}", "from_name": ANSWER, "to_name": to, "type": kind, "value": one}
        for place, one in enumerate(values)
    ]


def _side(value: str, digest: str) -> str:
    place = CHOICES.index(value)
    return SIDES[1 - place if place < 2 and swapped(digest) else place]


def from_result(task: Task, result: Any, digest: str, data: Mapping[str, Any]) -> tuple[Any, int]:
    """The answer that a `result` holds, and how many of its entries are not about it.

    Args:
        task: The task.
        result: Of an annotation or prediction.
        digest: Hash of what was shown.
        data: The task's `data` at Label Studio.

    Raises:
        CurateError: It holds no answer to this task.
    """
    entries = (
        [cast("dict[str, Any]", one) for one in result if isinstance(one, dict)] if isinstance(result, list) else []
    )
    ours = [one for one in entries if one.get("from_name") == ANSWER and one.get("type") == TYPES[task.kind]]
    ignored = len(result) - len(ours) if isinstance(result, list) else 1
    if ignored and not ours:
        raise CurateError(f"the result has no `{TYPES[task.kind]}` of `{ANSWER}`")
    values = [one["value"] if isinstance(one.get("value"), dict) else {} for one in ours]
    if task.kind == "spans":
        return checked(task, [span for one in values for span in _spans(one, data.get("text"))], data), ignored
    if task.kind == "multilabel" and not values:
        return [], ignored
    if len(values) != 1:
        raise CurateError(f"{len(values)} answers where one is wanted")
    value = values[0]
    if task.kind == "multilabel":
        return checked(task, value.get("choices")), ignored
    if task.kind == "rating":
        return checked(task, value.get("rating")), ignored
    given = value.get("text" if TYPES[task.kind] == "textarea" else "choices")
    if isinstance(given, list):
        if len(given) != 1:
            raise CurateError(f"{len(given)} answers where one is wanted")
        given = given[0]
    if task.kind == "preference" and given in SIDES:
        place = SIDES.index(given)
        given = CHOICES[1 - place if place < 2 and swapped(digest) else place]
    return checked(task, given), ignored


def _spans(value: Mapping[str, Any], text: Any) -> list[dict[str, Any]]:
    start, end, labels = value.get("start"), value.get("end"), value.get("labels")
    if not isinstance(text, str) or not isinstance(labels, list):
        raise CurateError("a span without text or labels")
    if isinstance(start, int) and isinstance(end, int) and isinstance(value.get("text"), str):
        start, end = _characters(text, start, end, value["text"])
    return [{"start": start, "end": end, "label": label} for label in labels]


def _characters(text: str, start: int, end: int, said: str) -> tuple[int, int]:
    """Offsets in code points, from those or from UTF-16 units, whichever give what was said to stand there."""
    if _same(text[start:end], said):
        return start, end
    units = text.encode("utf-16-le", "surrogatepass")
    found = units[2 * start : 2 * end].decode("utf-16-le", "replace")
    if not _same(found, said):
        raise CurateError(f"a span from {start} to {end} that says to hold other text than stands there")
    first = len(units[: 2 * start].decode("utf-16-le", "replace"))
    return first, first + len(found)


def _same(one: str, other: str) -> bool:
    return BREAKS.sub("", one) == BREAKS.sub("", other)
