"""Labeling functions together: what each covers and is worth, one label out of their votes, and the labels of a task.

Votes are items by functions; -1 abstains. `label_model` is Dawid and Skene's model with abstaining as one more answer: a
function that knows one label only is right whenever it votes, and what it tells is where it does not (taken as missing,
abstentions made everything one class: benchmarks/LOG.md). It learns from agreement alone which function errs how (Ratner et
al. 2016, "Data programming"), given the balance of classes or estimating it; `gold` takes labels that people gave.

`weak_majority` is the default: on SMS spam it is as good, and simpler (benchmarks/RESULTS.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.audit.bias.statistics import Estimate, wilson
from curate.dataset.reader import Dataset
from curate.errors import CurateError
from curate.labeling.aggregation import Aggregated, dawid_skene, majority_vote
from curate.labeling.decide import labels
from curate.labeling.functions import LabelingFunction, load_functions, votes
from curate.labeling.log import Decision, append, text_of, value_of
from curate.labeling.task import Task

__all__ = ["FunctionQuality", "function_quality", "label_model", "weak_majority", "weakly"]

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
SMOOTHING = 10.0
"""Functions are few and have thousands of votes; what draws them to each other keeps one that errs from being turned over."""


class FunctionQuality(NamedTuple):
    """What a labeling function does.

    Attributes:
        coverage: The share of items that it votes on.
        overlap: The share that another votes on, too.
        conflict: The share that another votes otherwise on.
        labels: The labels that it gives.
        accuracy: On gold, with Wilson's interval; None where it votes on none of it.
        gold: How many votes that rests on.
    """

    coverage: float
    overlap: float
    conflict: float
    labels: tuple[int, ...]
    accuracy: Estimate | None
    gold: int


def function_quality(votes: Integers, *, gold: Integers | None = None) -> list[FunctionQuality]:
    """What each function does; `gold` is the truth of items, -1 where nobody knows it."""
    items = max(len(votes), 1)
    voted = votes >= 0
    truth = np.full(len(votes), -1) if gold is None else gold
    found: list[FunctionQuality] = []
    for number, own in enumerate(votes.T):
        others = np.delete(votes, number, axis=1)
        does = voted[:, number]
        overlap = does & (others >= 0).any(1)
        conflict = does & ((others >= 0) & (others != own[:, None])).any(1)
        judged = does & (truth >= 0)
        of, right = int(judged.sum()), int((own == truth)[judged].sum())
        labels = tuple(int(one) for one in np.unique(own[does]))
        accuracy = wilson(right, of) if of else None
        found.append(
            FunctionQuality(does.sum() / items, overlap.sum() / items, conflict.sum() / items, labels, accuracy, of)
        )
    return found


def _answers(votes: Integers) -> tuple[Integers, Integers, Integers]:
    items, functions = np.nonzero(votes >= 0)
    return items, functions, votes[items, functions]


def weak_majority(votes: Integers, classes: int) -> Aggregated:
    """The label with most votes; -1 where it is tied or all abstain."""
    return majority_vote(*_answers(votes), classes, count=len(votes))


def label_model(
    votes: Integers,
    classes: int,
    *,
    balance: Numbers | None = None,
    gold: Integers | None = None,
    smoothing: float = SMOOTHING,
) -> Aggregated:
    """The posterior of each item's label; -1 and the balance of classes where all abstain.

    Args:
        votes: Items by functions, -1 abstains.
        classes: How many labels there are.
        balance: Their shares, if known; estimated otherwise.
        gold: Labels that are known, -1 where none is.
        smoothing: How many votes everybody's errors weigh in those of one function.
    """
    items, functions = np.indices(votes.shape).reshape(2, -1)
    return dawid_skene(
        items, functions, np.where(votes < 0, classes, votes).ravel(), classes, answers=classes + 1,
        count=len(votes), annotators=votes.shape[1], balance=balance, gold=gold, smoothing=smoothing,
    )  # fmt: skip


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
