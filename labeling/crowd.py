"""The answers of a log as arrays, in the form that agreement and aggregation take."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.labeling.log import Answer, value_of
from curate.labeling.spans import Tokens
from curate.labeling.task import CHOICES, RATINGS, Task

__all__ = ["Crowd", "Key", "classes", "crowd", "tokens_of"]

Key = tuple[str, str]
"""A document's id and the hash of what was shown of it."""
Integers = NDArray[np.int64]
TOKEN = re.compile(r"\w+|[^\w\s]")


class Crowd(NamedTuple):
    """Answers, skipped ones left out.

    Attributes:
        keys: The items.
        people: The annotators.
        items: The item of each answer.
        workers: Its annotator.
        labels: Of `classification`, `preference` and `rating` its class; else empty.
        sets: Of `multilabel` which labels it has (answers by labels); else empty.
        spans: Of `spans` answer, start, end and label of each; else empty.
    """

    keys: list[Key]
    people: list[str]
    items: Integers
    workers: Integers
    labels: Integers
    sets: NDArray[np.bool_]
    spans: Integers


def classes(task: Task) -> list[Any]:
    """The answers that a class number stands for."""
    if task.kind == "preference":
        return list(CHOICES)
    return list(RATINGS) if task.kind == "rating" else list(task.label_names)


def crowd(task: Task, said: Iterable[Answer]) -> Crowd:
    """The answers as arrays; of free texts only who answered what."""
    given = [one for one in said if one.value is not None]
    keys = {key: number for number, key in enumerate(dict.fromkeys((one.id, one.hash) for one in given))}
    people = {name: number for number, name in enumerate(sorted({one.annotator for one in given}))}
    number = {value: place for place, value in enumerate(classes(task))}
    values = [value_of(one) for one in given]
    single = task.kind in ("classification", "preference", "rating")
    spans = [
        (answer, span["start"], span["end"], number[span["label"]])
        for answer, value in enumerate(values if task.kind == "spans" else [])
        for span in value
    ]
    sets = np.array([[name in value for name in number] for value in values] if task.kind == "multilabel" else [], bool)
    return Crowd(
        list(keys),
        list(people),
        np.array([keys[one.id, one.hash] for one in given], np.int64),
        np.array([people[one.annotator] for one in given], np.int64),
        np.array([number[value] for value in values] if single else [], np.int64),
        sets.reshape(len(given) if task.kind == "multilabel" else 0, len(number)),
        np.array(spans, np.int64).reshape(-1, 4),
    )


def tokens_of(keys: Sequence[Key], texts: Mapping[Key, str]) -> Tokens:
    """Words and signs of the items' texts; an item whose text is not known has none."""
    found = [
        (item, match.start(), match.end())
        for item, key in enumerate(keys)
        for match in TOKEN.finditer(texts.get(key, ""))
    ]
    columns = np.array(found, np.int64).reshape(-1, 3)
    return Tokens(columns[:, 0], columns[:, 1], columns[:, 2])
