"""Who is written about: the share of each group among the documents that mention anybody of its axis.

A document may mention several groups, so the shares of documents add up to more than one. What is held against equal shares,
or those that the lexicon expects (`reference`), is the share of mentions, where each document mentions a group once or not at
all: these add up to one. Flagged is more than twice or less than half of what is expected. Documents count by their weights.
The evenness of an axis is the entropy of its mentions over that of equal ones: 1 is even, 0 is one group alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curate.audit.bias.lexicon import Lexicon
from curate.audit.bias.measure import LEAST_DOCUMENTS, Measure, decide
from curate.audit.bias.statistics import Estimate, Z, normal_p, wilson
from curate.audit.bias.tables import Corpus

__all__ = ["Evenness", "evenness", "representation"]


@dataclass(frozen=True, slots=True)
class Evenness:
    """How evenly the groups of an axis are mentioned: from 0 to 1; and in how many documents any is."""

    axis: str
    documents: int
    groups: int
    value: float

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"axis": self.axis, "documents": self.documents, "groups": self.groups, "value": self.value}


def representation(corpus: Corpus, lexicon: Lexicon) -> list[Measure]:
    """A measure for every group of the lexicon, of the documents that the version has."""
    found = []
    for number, (axis, group) in enumerate(corpus.groups):
        if axis not in lexicon.axes:
            continue
        of, hits = corpus.axis_kept[axis], int(corpus.kept[number])
        names = lexicon.axes[axis]
        expected = lexicon.reference.get(axis, {}).get(group, 1 / len(names))
        facts = {
            "expected": expected,
            "given": axis in lexicon.reference,
            "share": wilson(hits, of)._asdict() | {"p": None},
            "share_of_mentions": None,
            "mentions": int(corpus.mentions[number]),
            "read": int(corpus.read[number]),
            "of_all": hits / max(int(corpus.kept[-1]), 1),
        }
        measure = Measure("representation", axis, axis, group, hits, of, "ratio", facts=facts)
        if of >= LEAST_DOCUMENTS and len(names) > 1:
            share, worth = _share(corpus, axis, number)
            estimate, least = _ratio(share, worth, expected)
            facts["share_of_mentions"] = share
            measure = replace(measure, estimate=estimate, detectable=least)
        found.append(measure)
    return decide(found)


def _share(corpus: Corpus, axis: str, number: int) -> tuple[float, float]:
    """The group's share of the axis's mentions, and how many mentions of one document each would be as sure.

    The variance is that of a ratio of sums over documents.
    """
    (mentions, squares), (mine, mine_squared, mine_times) = corpus.axis_shares[axis], corpus.shares[:, number]
    share = mine / mentions
    spread = mine_squared - 2 * share * mine_times + share**2 * squares
    likely = mentions**2 / squares
    return share, share * (1 - share) * mentions**2 / spread if spread > 0 and share < 1 else likely


def _ratio(of_mentions: float, worth: float, expected: float) -> tuple[Estimate, float]:
    """A share over the expected one, with Wilson's interval; and the least ratio that would be found."""
    share = wilson(of_mentions * worth, worth)
    deviation = math.sqrt(expected * (1 - expected) / worth)
    p = normal_p((of_mentions - expected) / deviation)
    ratio = Estimate(share.value / expected, share.low / expected, share.high / expected, p)
    return ratio, 1 + (Z + 0.841621) * deviation / expected


def evenness(corpus: Corpus, lexicon: Lexicon) -> list[Evenness]:
    """Of every axis with enough documents."""
    found = []
    for axis, names in lexicon.axes.items():
        counts = np.array(
            [corpus.shares[0, at] for at, (name, _) in enumerate(corpus.groups) if name == axis], np.float64
        )
        if corpus.axis_kept[axis] >= LEAST_DOCUMENTS and len(names) > 1:
            shares = counts[counts > 0] / counts.sum()
            value = max(0.0, float(-(shares * np.log(shares)).sum()) / math.log(len(names)))
            found.append(Evenness(axis, corpus.axis_kept[axis], len(names), value))
    return found
