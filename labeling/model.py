"""The model of a task: fitted to what people said, kept beside task.yaml, asked about other documents.

    model.safetensors   the weights (labeling/classifier.py)
    model.json          labels, hash of the weights, what it was fitted to, and how good it was on texts that it did not see

A model that was fitted to other labels than the task has now is refused. It learns from people's labels alone: labels that a
model gave would only tell it what it knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.audit.bias.statistics import Estimate, wilson
from curate.dataset.reader import Dataset
from curate.dataset.runs import Thing, now
from curate.errors import CurateError
from curate.files import file_hash, write_durably
from curate.jsontext import dumps, loads
from curate.labeling.agreement import bootstrap
from curate.labeling.calibration import brier, expected_calibration_error, probabilities
from curate.labeling.classifier import Classifier, Fitted, fit, load, save
from curate.labeling.column import held_out
from curate.labeling.crowd import Key
from curate.labeling.decide import labels
from curate.labeling.documents import Shown, documents, find, text_to_learn
from curate.labeling.features import hashed
from curate.labeling.learning_curve import learning_curve, macro_f1, outcomes
from curate.labeling.log import items, note, value_of
from curate.labeling.task import Task

__all__ = [
    "FittedTask",
    "LearnedFrom",
    "TaskModel",
    "answer_of",
    "fit_model",
    "has_model",
    "learned_from",
    "load_model",
    "predicted",
]

SIZES = (25, 50, 100, 200, 400, 800, 1600, 3200, 6400)
BATCH = 10_000


class LearnedFrom(NamedTuple):
    """Labelled texts.

    Attributes:
        keys: The documents.
        texts: What is read of each.
        labels: Their labels (n,), or for `multilabel` 0 and 1 (n, labels).
    """

    keys: list[Key]
    texts: list[str]
    labels: NDArray[np.int64]


class TaskModel(NamedTuple):
    """A model with its name (`linear-` and the beginning of its hash) and what model.json says."""

    name: str
    classifier: Classifier
    facts: dict[str, Any]


def learned_from(dataset: Dataset, task: Task, *, automatic: bool = False) -> LearnedFrom:
    """What people said of documents as they are, in an order that does not depend on who labelled first.

    Args:
        dataset: The version.
        task: The task.
        automatic: Take certified automatic labels, too (self-training).

    Raises:
        CurateError: The task has no model.
    """
    if task.kind not in ("classification", "multilabel"):
        raise CurateError(
            f"there is no model for {task.kind}",
            hint="`classification` and `multilabel` have one; suggest with --endpoint",
        )
    without = {"weak"} if automatic else {"weak", "automatic"}
    found = labels(dataset, task).decisions
    said = {(one.id, one.hash): value_of(one) for one in found if one.source not in without}
    there = find(dataset, task, {identity for identity, _ in said})
    texts = sorted((one for one in there.values() if (one.id, one.hash) in said), key=lambda one: one.id)
    number = {name: place for place, name in enumerate(task.label_names)}
    values = [said[one.id, one.hash] for one in texts]
    if task.kind == "multilabel":
        encoded = np.array([[name in value for name in number] for value in values], np.int64).reshape(-1, len(number))
    else:
        encoded = np.array([number[value] for value in values], np.int64)
    return LearnedFrom([(one.id, one.hash) for one in texts], [text_to_learn(task, one.data) for one in texts], encoded)


class FittedTask(NamedTuple):
    """What model.json says, what was learned from, and what cross-validation says of it."""

    facts: dict[str, Any]
    learned: LearnedFrom
    fitted: Fitted


def fit_model(
    dataset: Dataset, task: Task, folder: Path, *, seed: int = 0, automatic: bool = False, characters: bool = True
) -> FittedTask:
    """Fit a model, write it beside the task, and record it.

    Args:
        dataset: The version.
        task: The task.
        folder: Of the task.
        seed: Of the folds.
        automatic: Learn from certified automatic labels, too.
        characters: Look at runs of characters, too, not at words and pairs alone.

    Raises:
        CurateError: There is nothing to learn.
    """
    began, classes = now(), len(task.label_names)
    learned = learned_from(dataset, task, automatic=automatic)
    counts = hashed(learned.texts, characters=characters)
    fitted = fit(counts, learned.labels, classes, seed=seed)
    path = folder / "model.safetensors"
    save(fitted.model, path, task.label_names)
    digest, before = file_hash(path), probabilities(fitted.held_out, multilabel=fitted.model.multilabel)
    after = fitted.out_of_fold()
    chosen = (after > 0.5).astype(np.int64) if learned.labels.ndim == 2 else after.argmax(1)
    curve = learning_curve(counts, learned.labels, classes, sizes=SIZES, penalty=fitted.model.penalty, seed=seed)
    facts: dict[str, Any] = {
        "schema": 1, "task": task.name, "kind": task.kind, "labels": list(task.label_names), "sha256": digest,
        "name": f"linear-{digest[:12]}", "dataset": dataset.name, "version": dataset.version, "seed": seed,
        "documents": len(learned.keys), "penalty": fitted.model.penalty, "temperature": fitted.model.temperature,
        "accuracy": float((chosen == learned.labels).reshape(len(chosen), -1).all(1).mean()),
        "macro_f1": float(macro_f1(outcomes(chosen, learned.labels, classes).sum(0, keepdims=True))[0]),
        "calibration_error": {"before": expected_calibration_error(before, learned.labels),
                              "after": expected_calibration_error(after, learned.labels)},
        "brier": {"before": brier(before, learned.labels), "after": brier(after, learned.labels)},
        **held_out(fitted, learned.labels, list(task.label_names)),
        "random": _random_part(dataset, task, learned, chosen, seed),
        "learning_curve": [
            {"labels": one.labels, "accuracy": _plain(one.accuracy), "macro_f1": _plain(one.macro_f1)} for one in curve
        ],
    }  # fmt: skip
    write_durably(folder / "model.json", (dumps(facts) + "\n").encode())
    made: Thing = {"kind": "model", "id": digest, "name": str(path)}
    told = {key: facts[key] for key in ("task", "documents", "accuracy", "macro_f1")}
    note(dataset, task, began, {"fit": facts["name"], **told}, outputs=[made])
    return FittedTask(facts, learned, fitted)


def _random_part(
    dataset: Dataset, task: Task, learned: LearnedFrom, chosen: NDArray[np.int64], seed: int
) -> dict[str, Any] | None:
    """How good held-out predictions are on the documents that were drawn at random, which alone are like the rest.

    Others were chosen because the model was unsure, an audit was sure, or somebody knew the answer.
    """
    first = {(one.id, one.hash): one.drawn for one in reversed(items(dataset.store, task))}
    rows = np.array([first.get(key) == "random" for key in learned.keys], bool)
    if not rows.any():
        return None
    right = (chosen[rows] == learned.labels[rows]).reshape(int(rows.sum()), -1).all(1)
    f1 = bootstrap(outcomes(chosen[rows], learned.labels[rows], len(task.label_names)), macro_f1, seed=seed)
    return {"documents": len(right), "accuracy": _plain(wilson(int(right.sum()), len(right))), "macro_f1": _plain(f1)}


def has_model(folder: Path) -> bool:
    """Whether a model lies beside a task."""
    return (folder / "model.safetensors").is_file()


def load_model(task: Task, folder: Path) -> TaskModel:
    """The model of a task.

    Raises:
        CurateError: There is none, it is of other labels, or its files do not go together.
    """
    path = folder / "model.safetensors"
    if not path.is_file() or not (folder / "model.json").is_file():
        raise CurateError(f"`{task.name}` has no model yet", hint="`curate label fit` makes one of what people said")
    facts = loads((folder / "model.json").read_bytes())
    if facts["labels"] != list(task.label_names):
        raise CurateError(
            f"the model of `{task.name}` has other labels: {', '.join(facts['labels'])}",
            str(path),
            "`curate label fit` again",
        )
    if file_hash(path) != facts["sha256"]:
        raise CurateError("model.json is of another model", str(path), "`curate label fit` again")
    return TaskModel(facts["name"], load(path), facts)


def predicted(dataset: Dataset, task: Task, model: TaskModel) -> Iterator[tuple[list[Shown], NDArray[np.float64]]]:
    """All documents of a version, some at a time, with the probability of each label (documents, labels)."""
    for _, some in documents(dataset, task):
        for start in range(0, len(some), BATCH):
            part = some[start : start + BATCH]
            yield part, model.classifier.predict_proba([text_to_learn(task, one.data) for one in part])


def answer_of(task: Task, row: NDArray[np.float64]) -> tuple[Any, float]:
    """The answer of one row of probabilities, and how probable it is; of sets the product over labels."""
    if task.kind == "multilabel":
        held = row > 0.5
        names: Sequence[str] = [name for name, one in zip(task.label_names, held, strict=True) if one]
        return names, float(np.where(held, row, 1 - row).prod())
    return task.label_names[int(row.argmax())], float(row.max())


def _plain(one: Estimate | None) -> dict[str, float] | None:
    return None if one is None else {"value": one.value, "low": one.low, "high": one.high}
