"""Labels by labeling functions: what each function does, what they say together, and, where it is wanted, their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.audit.bias.statistics import Estimate, wilson
from curate.dataset.reader import Dataset
from curate.errors import CurateError
from curate.labeling.commit import labels
from curate.labeling.functions import LabelingFunction, load_functions, votes
from curate.labeling.log import Decision, append, text_of, value_of
from curate.labeling.task import Task
from curate.labeling.weak import function_quality, label_model, weak_majority

__all__ = ["weakly"]

Integers = NDArray[np.int64]


def weakly(
    dataset: Dataset, task: Task, folder: Path, *, method: str = "majority", least: float = 0.0, write: bool = False
) -> dict[str, Any]:
    """Ask the functions in functions.yaml about every document.

    Args:
        dataset: The version.
        task: The task.
        folder: The task's, with functions.yaml.
        method: `majority`, or `label-model`, which learns from agreement how good each function is.
        least: The probability below which a document has no label.
        write: Whether to write the labels; those of people go before them.

    Raises:
        CurateError: There is no such method, no file of functions, or something is wrong with one.
    """
    if method not in ("majority", "label-model"):
        raise CurateError(f"there is no method `{method}`", "--method", "there are: majority, label-model")
    path = folder / "functions.yaml"
    if not path.is_file():
        raise CurateError(
            f"`{task.name}` has no labeling functions", str(path), "write them there: docs/labeling.md has some"
        )
    functions = load_functions(path, task)
    found = votes(dataset, task, functions, folder)
    number = {name: place for place, name in enumerate(task.label_names)}
    said = {
        (one.id, one.hash): number[value_of(one)]
        for one in labels(dataset, task).decisions
        if one.source not in ("weak", "automatic")
    }
    gold = np.array([said.get(key, -1) for key in found.keys], np.int64)
    given, classes = found.votes.astype(np.int64), len(number)
    made = weak_majority(given, classes) if method == "majority" else label_model(given, classes)
    voted = (given >= 0).any(axis=1)
    probable = made.probabilities.max(axis=1, initial=0)
    labelled = voted & (made.labels >= 0) & (probable >= least)
    judged = labelled & (gold >= 0)
    right = int((made.labels == gold)[judged].sum())
    if write:
        names = [task.label_names[number] if number >= 0 else None for number in made.labels.tolist()]
        rows = [(*found.keys[row], names[row], float(probable[row])) for row in np.flatnonzero(labelled).tolist()]
        _write(dataset, task, rows, method, functions)
    told = {
        "task": task.name, "documents": len(found.keys), "covered": int(voted.sum()), "labelled": int(labelled.sum()),
        "tied": int((voted & (made.labels < 0)).sum()), "written": write, "method": method,
        "accuracy": _interval(wilson(right, int(judged.sum())) if judged.any() else None, int(judged.sum())),
        "labels": {name: int((made.labels == place)[labelled].sum()) for name, place in number.items()},
    }  # fmt: skip
    return {**told, "functions": _functions(found.names, given, gold, task)}


def _write(
    dataset: Dataset,
    task: Task,
    rows: list[tuple[str, str, str | None, float]],
    method: str,
    rules: Sequence[LabelingFunction],
) -> None:
    written = [
        Decision(identity, digest, text_of(name), "weak", sure, f"functions-{method}", None, None)
        for identity, digest, name, sure in rows
    ]
    told = [one.model_dump(exclude_defaults=True) for one in rules]
    append(dataset.store, task, "decisions", written, {"functions": told, "method": method})


def _functions(names: list[str], given: Integers, gold: Integers, task: Task) -> list[dict[str, Any]]:
    return [
        {
            "name": name, "coverage": one.coverage, "overlap": one.overlap, "conflict": one.conflict,
            "labels": [task.label_names[label] for label in one.labels], "accuracy": _interval(one.accuracy, one.gold),
        }
        for name, one in zip(names, function_quality(given, gold=gold), strict=True)
    ]  # fmt: skip


def _interval(one: Estimate | None, count: int) -> dict[str, Any] | None:
    return None if one is None else {"value": one.value, "low": one.low, "high": one.high, "n": count}
