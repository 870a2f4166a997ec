"""What the label of a document is, after people have answered: the review's word, one person's, or that of several together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import median_low
from typing import Any, NamedTuple

from curate.labeling.log import Answer, Decision, Item, text_of, value_of
from curate.labeling.task import Task

__all__ = ["Decided", "decided"]

Key = tuple[str, str]


class Decided(NamedTuple):
    """Labels by document, and those that are tied: no answer of several is said more often than another."""

    decisions: list[Decision]
    ties: list[Key]


def decided(task: Task, wanted: Iterable[Item], said: Iterable[Answer]) -> Decided:
    """The decision on each document that somebody answered, by majority; a tie has none.

    A review's answer (the last one after it was asked for) goes before all others. Of free texts the last one holds, of
    ratings the lower median, of labels of `multilabel`, and spans, those that more than half have given.
    """
    reviewed = {(one.id, one.hash): one.asked for one in wanted if one.role == "review"}
    rounds = {(one.id, one.hash): one.round for one in wanted}
    by: dict[Key, list[Answer]] = defaultdict(list)
    for one in said:
        if one.value is not None:
            by[one.id, one.hash].append(one)
    found, ties = list[Decision](), list[Key]()
    for key, given in by.items():
        given.sort(key=lambda one: (one.created, one.source))
        asked = reviewed.get(key)
        if asked is not None and given[-1].created > asked:
            last = given[-1]
            value, share, source, given = value_of(last), None, "adjudicated", [last]
        else:
            value, share = _together(task, [value_of(one) for one in given])
            source = "human" if len(given) == 1 else "aggregated"
        if value is None:
            ties.append(key)
            continue
        people = ",".join(sorted(one.annotator for one in given))
        found.append(Decision(*key, text_of(value), source, share, None, rounds.get(key), people))
    return Decided(found, ties)


def _together(task: Task, values: Sequence[Any]) -> tuple[Any, float | None]:
    """One answer of several, and the share that gave it; None for a tie."""
    if task.kind in ("answer", "rewrite"):
        return values[-1], None
    if task.kind == "rating":
        return median_low(values), None
    if task.kind in ("multilabel", "spans"):
        votes = Counter(text_of(one) for value in values for one in value)
        kept = [one for value in values for one in value if 2 * votes[text_of(one)] > len(values)]
        unique = list({text_of(one): one for one in kept}.values())
        if task.kind == "spans":
            return sorted(unique, key=lambda one: (one["start"], one["end"], one["label"])), None
        return [name for name in task.label_names if name in unique], None
    votes = Counter(values)
    (first, most), *rest = votes.most_common()
    if rest and rest[0][1] == most:
        return None, None
    return first, most / len(values)
