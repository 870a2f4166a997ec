"""Which of some answers a model holds for likeliest: by their log-probabilities, whole and for each byte."""

from __future__ import annotations

from typing import Any

import numpy as np

from curate.errors import CurateError, did_you_mean
from curate.evaluation.models.contract import LanguageModel
from curate.evaluation.tasks.data import Rows, column
from curate.evaluation.tasks.prompts import prompts
from curate.evaluation.tasks.settings import ChoiceTask

__all__ = ["choices"]


def choices(task: ChoiceTask, rows: Rows, model: LanguageModel) -> dict[str, list[Any]]:
    """Facts of each row: `gold`, `predicted`, `accuracy`, `accuracy_normalized` (by bytes), `confidence`, `nats`, `bytes`.

    `nats` and `bytes` are of the right answer: bits per byte is the smooth companion of accuracy. `confidence` is the share
    of the chosen answer's probability among the choices.

    Raises:
        CurateError: A row has fewer than two choices, or an empty one, or its answer is none of them.
    """
    offered = _offered(task, rows)
    right = [_right(task, row, some) for row, some in zip(rows.rows, offered, strict=True)]
    by_row = {id(row): some[number] for row, some, number in zip(rows.rows, offered, right, strict=True)}
    asked = prompts(task, rows, lambda row: by_row.get(id(row)) or _answer_of(task, row))
    pairs = [(prompt, choice) for prompt, some in zip(asked, offered, strict=True) for choice in some]
    scored = model.score(pairs)
    facts: dict[str, list[Any]] = {name: [] for name in _NAMES}
    place = 0
    for prompt, some, gold in zip(asked, offered, right, strict=True):
        found = scored[place : place + len(some)]
        place += len(some)
        logs, sizes = np.array([one.nats for one in found]), np.array([len(one.encode()) for one in some])
        best, normalized = int(logs.argmax()), int((logs / np.maximum(sizes, 1)).argmax())
        facts["gold"].append(_name(task, some, gold))
        facts["predicted"].append(_name(task, some, best))
        facts["accuracy"].append(float(best == gold))
        facts["accuracy_normalized"].append(float(normalized == gold))
        facts["confidence"].append(float(np.exp(logs[best] - np.logaddexp.reduce(logs))))
        facts["nats"].append(-float(logs[gold]))
        facts["bytes"].append(int(sizes[gold]))
        facts["cut"].append(max(one.cut for one in found))
        facts["prompt"].append(prompt)
        facts["choices"].append(list(some))
        facts["log_probabilities"].append(logs.tolist())
    return facts


_NAMES = (
    "gold", "predicted", "accuracy", "accuracy_normalized", "confidence", "nats", "bytes", "cut", "prompt", "choices",
    "log_probabilities",
)  # fmt: skip


def _offered(task: ChoiceTask, rows: Rows) -> list[tuple[str, ...]]:
    if not isinstance(task.choices, str):
        offered = [task.choices] * len(rows.rows)
    else:
        given = column(rows, task.choices, task.name, "choices")
        offered = [tuple(map(str, some)) if isinstance(some, list) else () for some in given]
    for row, some in zip(rows.rows, offered, strict=True):
        if len(some) < 2:
            raise CurateError(f"the row {row['id']} has fewer than two choices", f"task {task.name}: choices")
        if not all(some):
            raise CurateError(f"the row {row['id']} has an empty choice", f"task {task.name}: choices")
    return offered


def _answer_of(task: ChoiceTask, row: dict[str, Any]) -> str:
    """The right answer of a row that is only shown."""
    some = task.choices if not isinstance(task.choices, str) else tuple(map(str, row.get(task.choices) or ()))
    return some[_right(task, row, some)]


def _right(task: ChoiceTask, row: dict[str, Any], some: tuple[str, ...]) -> int:
    given = row.get(task.answer)
    said = str(given).strip()
    for known in (task.labels, tuple(one.strip() for one in some)):
        if said in known:
            return known.index(said)
    if said.isdigit() and int(said) < len(some):
        return int(said)
    names = task.labels or some
    where = f"task {task.name}: answer"
    if given is None:
        raise CurateError(f"the row {row['id']} has no `{task.answer}`", where, did_you_mean(task.answer, row))
    raise CurateError(
        f"the row {row['id']} has the answer {given!r}, which is none of: {', '.join(map(repr, names))}",
        where,
        "`labels` says what the data calls the choices, in their order",
    )


def _name(task: ChoiceTask, some: tuple[str, ...], number: int) -> str:
    """What a choice is called over all rows: its label, or its words where all rows have the same, else its number."""
    if task.labels:
        return task.labels[number]
    return some[number].strip() if not isinstance(task.choices, str) else str(number)
