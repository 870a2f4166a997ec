"""What the label of a document is, after people have answered: the review's word, one person's, or that of several together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median_low
from typing import Any, Literal, NamedTuple

from curate.dataset.reader import Dataset
from curate.labeling.aggregation import dawid_skene, for_each_label, for_spans, majority_vote
from curate.labeling.crowd import Crowd, Key, classes, crowd, tokens_of
from curate.labeling.documents import find
from curate.labeling.log import Answer, Decision, Item, answers, decisions, items, text_of, value_of
from curate.labeling.task import Task

__all__ = ["METHODS", "Decided", "Method", "decided", "labels"]

Method = Literal["majority", "dawid-skene"]
METHODS: dict[str, Any] = {"majority": majority_vote, "dawid-skene": dawid_skene}


class Decided(NamedTuple):
    """Labels by document, and those that are tied: several answers, of which none goes before the others."""

    decisions: list[Decision]
    ties: list[Key]


def labels(dataset: Dataset, task: Task, method: Method = "majority") -> Decided:
    """The label of every document that has one, people before models, and the documents whose answers are tied."""
    store = dataset.store
    wanted, said = items(store, task), answers(store, task)
    there = find(dataset, task, {one.id for one in said}) if task.kind == "spans" else {}
    texts = {(one.id, one.hash): one.data["text"] for one in there.values()}
    people = decided(task, wanted, said, texts, method)
    known = {(one.id, one.hash) for one in people.decisions} | {*people.ties}
    models = [one for one in decisions(store, task) if (one.id, one.hash) not in known]
    return Decided([*models, *people.decisions], people.ties)


def decided(
    task: Task, wanted: Iterable[Item], said: Sequence[Answer], texts: Mapping[Key, str], method: Method = "majority"
) -> Decided:
    """The decision on each document that somebody answered; a tie has none.

    A review's answer (the last one after it was asked for) goes before all others. Of free texts the last one holds, of
    ratings the lower median; all else is aggregated by `method`, where several have answered.

    Args:
        task: The task.
        wanted: What was asked for: rounds, and reviews.
        said: The answers.
        texts: For spans, the texts by document.
        method: How several answers become one.
    """
    reviews: dict[Key, Item] = {(one.id, one.hash): one for one in wanted if one.role == "review"}
    rounds = {(one.id, one.hash): one.round for one in wanted}
    by: dict[Key, list[Answer]] = defaultdict(list)
    for one in said:
        if one.value is not None:
            by[one.id, one.hash].append(one)
    found, several, ties = list[Decision](), dict[Key, list[Answer]](), list[Key]()
    for key, given in by.items():
        last = max(given, key=lambda one: (one.created, one.source))
        review = reviews.get(key)
        if review is not None and review.asked is not None and last.created > review.asked:
            found.append(_decision(key, value_of(last), "adjudicated", None, rounds, [last]))
        elif len(given) == 1:
            found.append(_decision(key, value_of(last), "human", None, rounds, given))
        elif task.kind in ("answer", "rewrite"):
            found.append(_decision(key, value_of(last), "aggregated", None, rounds, given))
        elif task.kind == "rating":
            middle = median_low([value_of(one) for one in given])
            found.append(_decision(key, middle, "aggregated", None, rounds, given))
        else:
            several[key] = given
    if several:
        for key, (value, probability) in _together(task, said, texts, method).items():
            if key in several and value is None:
                ties.append(key)
            elif key in several:
                found.append(_decision(key, value, "aggregated", probability, rounds, several[key]))
    return Decided(found, ties)


def _decision(
    key: Key, value: Any, source: str, probability: float | None, rounds: Mapping[Key, int], given: Sequence[Answer]
) -> Decision:
    people = ",".join(sorted({one.annotator for one in given}))
    return Decision(*key, text_of(value), source, probability, None, rounds.get(key), people)


def _together(
    task: Task, said: Iterable[Answer], texts: Mapping[Key, str], method: Method
) -> dict[Key, tuple[Any, float | None]]:
    """The aggregated answer of every item and how sure it is; None for a tie. All answers tell of the annotators."""
    all_of_them, names = crowd(task, said), classes(task)
    count, how = len(all_of_them.keys), METHODS[method]
    if task.kind == "spans":
        return _spans(all_of_them, names, texts, how)
    if task.kind == "multilabel":
        made = for_each_label(all_of_them.items, all_of_them.workers, all_of_them.sets, how, count=count)
        values = [[name for name, held in zip(names, row, strict=True) if held == 1] for row in made.labels]
        sure = [abs(row - (row < 0.5) * 1.0) for row in made.probabilities]
        return {
            key: (None if made.tied[place] else values[place], float(sure[place].min()) if len(names) else None)
            for place, key in enumerate(all_of_them.keys)
        }
    made = how(all_of_them.items, all_of_them.workers, all_of_them.labels, len(names), count=count)
    return {
        key: (None if made.tied[place] else names[made.labels[place]], float(made.probabilities[place].max()))
        for place, key in enumerate(all_of_them.keys)
    }


def _spans(
    given: Crowd, names: Sequence[str], texts: Mapping[Key, str], how: Any
) -> dict[Key, tuple[Any, float | None]]:
    made = for_spans(given.items, given.workers, given.spans, tokens_of(given.keys, texts), len(names), how)
    spans: dict[int, list[dict[str, Any]]] = defaultdict(list)
    sure: dict[int, float] = {}
    for (item, start, end, label), probability in zip(made.spans.tolist(), made.probabilities.tolist(), strict=True):
        spans[item].append({"start": start, "end": end, "label": names[label]})
        sure[item] = min(probability, sure.get(item, 1.0))
    tied = {int(item) for item in made.tied}
    return {key: (None if item in tied else spans[item], sure.get(item)) for item, key in enumerate(given.keys)}
