"""Suggestions for what is to be labelled, by whatever answers: the task's model, labeling functions, a language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curate.dataset.reader import Dataset
from curate.labeling.documents import Shown, find, text_to_learn
from curate.labeling.functions import load_functions, votes_on
from curate.labeling.log import Suggestion, answers, append, items, suggestions, text_of
from curate.labeling.model import answer_of, load_model
from curate.labeling.task import Task
from curate.labeling.values import checked
from curate.labeling.weak import weak_majority

__all__ = ["Suggest", "by_functions", "by_model", "suggest"]

BATCH = 200
Suggest = Callable[[Sequence[Shown]], list[tuple[Any, float | None] | None]]
"""From documents to answers with probabilities; None where nothing is suggested."""


def by_model(task: Task, folder: Path) -> tuple[str, Suggest]:
    """The name of the task's model, and what asks it."""
    model = load_model(task, folder)

    def of(some: Sequence[Shown]) -> list[tuple[Any, float | None] | None]:
        rows = model.classifier.predict_proba([text_to_learn(task, one.data) for one in some])
        return [answer_of(task, row) for row in rows]

    return model.name, of


def by_functions(task: Task, folder: Path) -> tuple[str, Suggest]:
    """The labeling functions of functions.yaml, by majority; a tie, or none that says anything, is no suggestion."""
    functions = load_functions(folder / "functions.yaml", task)

    def of(some: Sequence[Shown]) -> list[tuple[Any, float | None] | None]:
        texts = [text_to_learn(task, one.data) for one in some]
        made = weak_majority(votes_on(texts, functions, task, folder).astype(np.int64), len(task.label_names))
        voted = [None if label < 0 else task.label_names[label] for label in made.labels.tolist()]
        sure = made.probabilities.max(axis=1, initial=0).tolist()
        return [None if name is None else (name, share) for name, share in zip(voted, sure, strict=True)]

    return "functions", of


def suggest(
    dataset: Dataset, task: Task, name: str, of: Suggest, tell: Callable[[int], None] | None = None
) -> dict[str, int]:
    """Suggest answers for all items that are still open and not blind; numbers of `suggested`, `blind`, `abstained`, `again`.

    What the same model has said of a document is not written again; each batch is written when it is there. `tell` is called
    with the documents of each.
    """
    store = dataset.store
    wanted = items(store, task)
    blind = {(one.id, one.hash) for one in wanted if one.blind}
    said = {(one.id, one.hash) for one in answers(store, task)}
    there = find(dataset, task, {one.id for one in wanted})
    known = {(one.id, one.hash) for one in suggestions(store, task) if one.model == name}
    open_keys = list(dict.fromkeys((one.id, one.hash) for one in wanted if (one.id, one.hash) not in said))
    asked = [
        there[identity]
        for identity, digest in open_keys
        if (identity, digest) not in blind | known and identity in there and there[identity].hash == digest
    ]
    suggested = 0
    for start in range(0, len(asked), BATCH):
        part = asked[start : start + BATCH]
        made: list[Suggestion] = []
        for one, answer in zip(part, of(part), strict=True):
            if answer is not None:
                value = checked(task, answer[0], one.data)
                made.append(Suggestion(one.id, one.hash, text_of(value), answer[1], name))
        append(store, task, "suggestions", made, {"model": name})
        suggested += len(made)
        if tell:
            tell(len(part))
    return {
        "suggested": suggested, "abstained": len(asked) - suggested,
        "blind": len([key for key in open_keys if key in blind]), "again": len([key for key in open_keys if key in known]),
    }  # fmt: skip
