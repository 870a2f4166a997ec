"""How far the people of a task agree, each with the others and with gold, which items divide them, which labels they confuse.

Functions of arrays take three of one length, as in `agreement.py`; annotators are numbered from 0. Who has no answer to judge
by has None. Intervals on gold are Wilson's (1927), since answers of one person are independent; those of agreement with others
are a bootstrap over items.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.audit.bias.statistics import Estimate, wilson
from curate.dataset.reader import Dataset
from curate.jsontext import loads
from curate.labeling.agreement import (
    bootstrap,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    label_counts,
    masi_alpha,
    observed_agreement,
)
from curate.labeling.crowd import Crowd, classes, crowd, tokens_of
from curate.labeling.documents import find
from curate.labeling.log import Answer, answers, items, value_of
from curate.labeling.spans import span_agreement
from curate.labeling.task import Task

__all__ = [
    "accuracy_on_gold", "agreement", "agreement_with_others", "confused_labels", "confusion", "most_disputed",
]  # fmt: skip

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
WORST = 20
MOST_PAIRS = 20
"""Pairs of people with a kappa of their own, those with most items in common first."""


def agreement(dataset: Dataset, task: Task, *, seed: int = 0) -> dict[str, Any]:
    """Agreement with 95% intervals (a bootstrap over documents); null where the answers cannot say.

    Returns:
        `answers, items, several` (items with two answers and more), `measures` (by name: value, low, high), `pairs` of
        people with Cohen's kappa, `annotators` (with the others, on gold), `worst` items with their answers, `confused` labels,
        `gold`: the `labels` and how often each (rows) was answered as each (columns); null where no gold was answered.
    """
    said = answers(dataset.store, task)
    given = crowd(task, said)
    several = int((np.bincount(given.items, minlength=1) > 1).sum()) if len(given.items) else 0
    told: dict[str, Any] = {
        "task": task.name, "kind": task.kind, "answers": len(given.items), "items": len(given.keys), "several": several,
        "measures": {name: _plain(one) for name, one in _measures(dataset, task, given, seed).items()},
        "pairs": _pairs(given, seed), "annotators": _people(dataset, task, said, given, seed), "worst": [], "confused": [],
        "gold": _on_gold(dataset, task, given),
    }  # fmt: skip
    if len(given.labels):
        names = classes(task)
        worst, shares = most_disputed(given.items, given.labels, len(names), WORST)
        told["worst"] = [
            {
                "id": given.keys[item][0], "differing": round(float(share), 3),
                "answers": {given.people[given.workers[place]]: names[given.labels[place]]
                            for place in np.flatnonzero(given.items == item)},
            }
            for item, share in zip(worst, shares, strict=True)
        ]  # fmt: skip
        pairs = confused_labels(given.items, given.labels, len(names))
        found = [
            (int(pairs[one, other]), names[one], names[other]) for one, other in combinations(range(len(names)), 2)
        ]
        ordered = sorted(found, key=lambda row: -row[0])
        told["confused"] = [{"labels": [one, other], "pairs": count} for count, one, other in ordered if count][:WORST]
    return told


def _measures(dataset: Dataset, task: Task, given: Crowd, seed: int) -> dict[str, Estimate | None]:
    if task.kind == "spans":
        there = find(dataset, task, {identity for identity, _ in given.keys})
        texts = {(one.id, one.hash): one.data["text"] for one in there.values()}
        found = span_agreement(
            given.items, given.workers, given.spans, tokens_of(given.keys, texts), len(task.labels), seed=seed
        )
        return {"span_f1_strict": found.strict, "span_f1_overlapping": found.overlapping, "token_alpha": found.alpha}
    if task.kind == "multilabel":
        return {"masi_alpha": masi_alpha(given.items, given.sets, seed=seed)}
    if task.kind in ("answer", "rewrite"):
        return {}
    names, level = len(classes(task)), "ordinal" if task.kind == "rating" else "nominal"
    return {
        "observed": observed_agreement(given.items, given.labels, names, seed=seed),
        "krippendorff_alpha": krippendorff_alpha(given.items, given.labels, names, level=level, seed=seed),
        "fleiss_kappa": fleiss_kappa(given.items, given.labels, names, seed=seed),
    }


def _pairs(given: Crowd, seed: int) -> list[dict[str, Any]]:
    """Cohen's kappa of two people who answered the same items."""
    if not len(given.labels):
        return []
    names = int(given.labels.max()) + 1
    of = [dict(zip(given.items[given.workers == one].tolist(), given.labels[given.workers == one].tolist(), strict=True))
          for one in range(len(given.people))]  # fmt: skip
    shared = [(sorted(of[one].keys() & of[other].keys()), one, other) for one, other in combinations(range(len(of)), 2)]
    found: list[dict[str, Any]] = []
    for both, one, other in sorted(shared, key=lambda row: -len(row[0]))[:MOST_PAIRS]:
        if both:
            first, second = (np.array([of[who][item] for item in both], np.int64) for who in (one, other))
            kappa = cohen_kappa(first, second, max(names, 2), seed=seed)
            found.append(
                {
                    "annotators": [given.people[one], given.people[other]],
                    "items": len(both),
                    "cohen_kappa": _plain(kappa),
                }
            )
    return found


def _people(dataset: Dataset, task: Task, said: list[Answer], given: Crowd, seed: int) -> list[dict[str, Any]]:
    gold = {(one.id, one.hash): one.gold for one in items(dataset.store, task) if one.gold is not None}
    tested = [one for one in said if one.value is not None and (one.id, one.hash) in gold]
    number = {name: place for place, name in enumerate(given.people)}
    right = np.array(
        [value_of(one) == value_of(one._replace(value=gold[one.id, one.hash])) for one in tested], np.int64
    )
    workers = np.array([number[one.annotator] for one in tested], np.int64)
    accuracy = accuracy_on_gold(workers, right, np.ones(len(right), np.int64), len(number))
    names = len(classes(task))
    alike = (
        agreement_with_others(given.items, given.workers, given.labels, names, len(number), seed=seed)
        if len(given.labels)
        else [None] * len(number)
    )
    return [
        {
            "annotator": name, "answers": int((given.workers == place).sum()), "with_others": _plain(alike[place]),
            "on_gold": _plain(accuracy[place]),
        }
        for name, place in number.items()
    ]  # fmt: skip


def _on_gold(dataset: Dataset, task: Task, given: Crowd) -> dict[str, Any] | None:
    """Which label of gold was taken for which."""
    known = {(one.id, one.hash): one for one in items(dataset.store, task) if one.gold is not None}
    number = {value: place for place, value in enumerate(classes(task))}
    truth = [number.get(loads(str(known[key].gold)), -1) if key in known else -1 for key in given.keys]
    if not len(given.labels) or max(truth) < 0:
        return None
    gold = np.array(truth, np.int64)[given.items]
    counts = confusion(gold[gold >= 0], given.labels[gold >= 0], len(number))
    return {"labels": list(number), "answered_as": counts.tolist()}


def _plain(one: Estimate | None) -> dict[str, float] | None:
    return None if one is None else {"value": one.value, "low": one.low, "high": one.high}


def accuracy_on_gold(workers: Integers, labels: Integers, gold: Integers, annotators: int) -> list[Estimate | None]:
    """The share of each annotator's answers to gold items that are right; `gold` is the truth for each answer."""
    answers = np.bincount(workers, minlength=annotators)
    right = np.bincount(workers, labels == gold, minlength=annotators)
    return [wilson(int(hits), int(of)) if of else None for hits, of in zip(right, answers, strict=True)]


def agreement_with_others(
    items: Integers, workers: Integers, labels: Integers, classes: int, annotators: int, *, seed: int
) -> list[Estimate | None]:
    """The share of other people's answers to the same items that are like each annotator's own; chance is not taken off."""
    if not len(items):
        return [None] * annotators
    counts = label_counts(items, labels, classes)
    _, rows = np.unique(items, return_inverse=True)
    alike = np.asarray(counts[rows, labels], np.float64).ravel() - 1
    others = np.asarray(counts.sum(axis=1), np.float64)[rows] - 1
    found: list[Estimate | None] = []
    for annotator in range(annotators):
        own = np.flatnonzero((workers == annotator) & (others > 0))
        sums = np.column_stack([alike[own], others[own]])
        found.append(bootstrap(sums, lambda drawn: drawn[:, 0] / drawn[:, 1], seed=seed + annotator))
    return found


def most_disputed(items: Integers, labels: Integers, classes: int, limit: int) -> tuple[Integers, Numbers]:
    """Items whose answers differ most, and the share of pairs of answers that differ.

    Of equal shares the item with more answers comes first, then the lower number. Items that nobody disputes
    are not among them.
    """
    if not len(items):
        return np.zeros(0, np.int64), np.zeros(0)
    counts = label_counts(items, labels, classes)
    answers = np.asarray(counts.sum(axis=1), np.float64)
    same = np.asarray(counts.multiply(counts).sum(axis=1), np.float64) - answers
    differing = 1 - same / np.maximum(answers * (answers - 1), 1)
    differing[answers < 2] = 0
    order = np.lexsort([-answers, -differing])
    order = order[differing[order] > 0][:limit]
    return np.unique(items)[order], differing[order]


def confused_labels(items: Integers, labels: Integers, classes: int) -> Integers:
    """How many pairs of answers to one item have these two labels (classes by classes, symmetric).

    On the diagonal stands twice the number of pairs that agree, so that a row's sum is how many comparisons the label was in.
    """
    counts = label_counts(items, labels, classes)
    pairs = (counts.T @ counts).toarray()
    return (pairs - np.diag(np.bincount(labels, minlength=classes))).astype(np.int64)


def confusion(gold: Integers, labels: Integers, classes: int) -> Integers:
    """How many answers have this label (columns) where that is the truth (rows)."""
    return np.bincount(gold * classes + labels, minlength=classes**2).reshape(classes, classes)
