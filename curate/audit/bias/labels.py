"""Labels and annotators by group: are documents that mention a group labelled otherwise, and do annotators agree on them.

Label rates are compared by odds ratio, value by value. Of annotations in the store: Krippendorff's alpha of the documents that
mention a group beside that of all others; for every annotator the odds with which they give a label to documents of the group
beside the odds of the other annotators on the same; and alpha without each annotator. What is said of one document (or of one
cluster) is one observation.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from curate.audit.bias.measure import LEAST_DOCUMENTS, LEAST_JOINT, Measure, decide
from curate.audit.bias.scores import krippendorff
from curate.audit.bias.statistics import by_cluster, clustered_odds, detectable_ratio, weighted, wilson
from curate.audit.bias.tables import Corpus
from curate.audit.bias.values import is_missing

__all__ = ["MOST_VALUES", "agreement", "annotators", "labels"]

MOST_VALUES = 10
Said = tuple[int, Any, Any]
"""A measured document, the annotator, the label."""


def labels(corpus: Corpus, column: str, values: Sequence[Any]) -> list[Measure]:
    """For every value of a label and every group: how often the version's documents of the group have it, by their weights."""
    there = np.array([not is_missing(value) for value in values], bool) & corpus.alive
    counts = Counter(str(value) for value, some in zip(values, there, strict=True) if some)
    common = [value for value, _ in counts.most_common(MOST_VALUES)]
    if len(counts) > MOST_VALUES:
        corpus.left_out[column] = (len(counts) - MOST_VALUES, counts.total() - sum(counts[one] for one in common))
    common = common[1:] if len(counts) == 2 else common  # the other one of two says the same
    found, of = [], np.arange(len(values))
    for value in common:
        has = np.array([str(one) == value for one in values], bool)
        for number, pair in enumerate(corpus.groups):
            member = corpus.members[:, number]
            found.append(
                _measure("labels", f"{column} = {value}", pair, has, there & member, there & ~member, corpus, of)
            )
    return decide(found)


def _measure(
    family: str, subject: str, pair: tuple[str, str], has: np.ndarray, mine: np.ndarray, others: np.ndarray,
    corpus: Corpus, of: np.ndarray, *, weigh: bool = True,
) -> Measure:  # fmt: skip
    """`of` is the measured document of each row."""
    n, n_other, hits, hits_other = (int(one.sum()) for one in (mine, others, has & mine, has & others))
    rows = np.flatnonzero(mine | others)
    table = np.zeros((len(rows), 4))
    table[np.arange(len(rows)), 2 * others[rows] + (~has[rows])] = 1
    table = by_cluster(weighted(table, corpus, of[rows]) if weigh else table, corpus.clusters[of[rows]])
    cells = table.sum(axis=0)
    rates = {
        "rate": wilson(cells[0], cells[0] + cells[1])._asdict() | {"p": None},
        "rate_others": wilson(cells[2], cells[2] + cells[3])._asdict() | {"p": None},
    }
    measure = Measure(family, subject, *pair, n, n_other, "odds ratio", facts=rates)
    if min(n, n_other) < LEAST_DOCUMENTS or min(hits + hits_other, n + n_other - hits - hits_other) < LEAST_JOINT:
        return measure
    least = detectable_ratio((cells[0] + cells[2]) / cells.sum(), cells[0] + cells[1], cells[2] + cells[3])
    return replace(measure, estimate=clustered_odds(table), detectable=least)


def agreement(corpus: Corpus, said: Sequence[Said]) -> list[dict[str, Any]]:
    """Alpha by group, of its documents and of the others, and without each annotator; nan is left out."""
    by_document: dict[int, list[tuple[Any, Any]]] = defaultdict(list)
    for document, annotator, label in said:
        by_document[document].append((annotator, label))
    told = [_alpha("all", "all", list(by_document.values()), None)]
    for number, (axis, group) in enumerate(corpus.groups):
        mine = [units for document, units in by_document.items() if corpus.members[document, number]]
        others = [units for document, units in by_document.items() if not corpus.members[document, number]]
        if sum(len(units) > 1 for units in mine) >= LEAST_DOCUMENTS:
            told.append(_alpha(axis, group, mine, others))
    return told


def _alpha(
    axis: str, group: str, mine: list[list[tuple[Any, Any]]], others: list[list[tuple[Any, Any]]] | None
) -> dict[str, Any]:
    names = sorted({name for units in mine for name, _ in units}, key=str)
    without = {
        str(left): krippendorff([[label for name, label in units if name != left] for units in mine]) for left in names
    }
    return {
        "axis": axis, "group": group, "documents": len(mine), "alpha": krippendorff([[one for _, one in u] for u in mine]),
        "alpha_others": None if others is None else krippendorff([[one for _, one in units] for units in others]),
        "without": {name: value for name, value in without.items() if not math.isnan(value)},
    }  # fmt: skip


def annotators(corpus: Corpus, said: Sequence[Said]) -> list[Measure]:
    """For every annotator, label and group: whether they give it to the group's documents more often than the others do."""
    documents = np.array([one[0] for one in said], np.int64)
    by = np.array([str(one[1]) for one in said])
    given = np.array([str(one[2]) for one in said])
    common = [value for value, _ in Counter(given.tolist()).most_common(MOST_VALUES)]
    common = common[1:] if len(common) == 2 else common
    found = []
    for number, (axis, group) in enumerate(corpus.groups):
        member = corpus.members[documents, number]
        for name in sorted(set(by.tolist())) if member.any() else ():
            for value in common:
                mine, others = member & (by == name), member & (by != name)
                has, subject = given == value, f"{name}: {value}"
                measure = _measure(
                    "annotators", subject, (axis, group), has, mine, others, corpus, documents, weigh=False
                )
                found.append(measure)
    return decide(found)
