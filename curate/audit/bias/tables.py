"""What an audit wants to know, and the tables that it counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import polars

__all__ = ["ALL", "Corpus", "Example", "Wanted"]

ALL = "all stages"
"""What stands for the whole pipeline among the stages."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look at.

    Attributes:
        on: Selectors of the strings that are looked at.
        by: Columns (as read, or given by a stage) whose values are groups, too.
        scores: Numbers that are compared: columns, or features as `stage.feature`.
        columns: Other columns that are kept of measured documents (labels).
        cluster: Column whose equal values are one observation (an author, a host); by default documents that a stage made of
            one are one, and all others each.
        weight: Column of how much each document of the version counts; None is alike.
        one_in: Measure one of so many documents, by a hash of their ids, so that two versions have the same ones measured; 0 is
            shards at even distances.
    """

    on: tuple[str, ...] = ("text",)
    by: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    cluster: str | None = None
    weight: str | None = None
    one_in: int = 0


@dataclass(frozen=True, slots=True)
class Example:
    """A removed document: where it is, its id, and why."""

    shard: int
    row: int
    id: str
    reason: str


@dataclass
class Corpus:
    """What was counted.

    Attributes:
        groups: Axis and group, in the order of all tables; those of columns stand last.
        stages: Stages that removed something, in their order, and `ALL`.
        read: Documents of each group, and in all, as read (or made).
        kept: The same of those that the version has.
        mentions: How often kept documents mention each group.
        shares: (3, groups): of kept documents of each group the sums of weights, of their squares, and of those times the
            groups of the axis that the document mentions.
        axis_shares: By axis, of kept documents: the sum of weights times groups mentioned, and of the squares of that.
        left_out: By column whose values are groups: values that are none, for there are too many, and their documents.
        foreign: Measured documents of some length, and how many of them have none of the commonest English words.
        rewritten: Kept documents whose strings a stage changed after they were looked at.
        weights: How much each measured document counts (0: not in the version); None where all count alike.
        terms: How often each term of the lexicon was found, in all documents.
        removal: By stage: (strata, groups + 1, 2) kept and removed of each group, and of all documents.
        examples: By stage and group, removed documents.
        looked: Columns that were looked at; `unseen`: columns with strings that were not.
        members: (measured, groups) bool; which measured documents are in which group.
        values: By name, of measured documents (nan: none).
        alive: Whether the measured documents are in the version.
        clusters: Number of the observation that each measured document belongs to.
        labels: Other columns, of measured documents.
        sentences: By kept measured document and group (or axis, as group -1 - axis): sentences.
        joint: By kept measured document, group and attribute: sentences with both.
        measured: How many documents scores and sentences were looked at.
    """

    groups: list[tuple[str, str]]
    attributes: list[tuple[str, str]]
    stages: list[str]
    read: np.ndarray = field(default_factory=lambda: np.zeros(0))
    kept: np.ndarray = field(default_factory=lambda: np.zeros(0))
    axis_kept: dict[str, int] = field(default_factory=dict)
    shares: np.ndarray = field(default_factory=lambda: np.zeros((3, 0)))
    axis_shares: dict[str, np.ndarray] = field(default_factory=dict)
    left_out: dict[str, tuple[int, int]] = field(default_factory=dict)
    foreign: tuple[int, int] = (0, 0)
    rewritten: int = 0
    weights: np.ndarray | None = None
    mentions: np.ndarray = field(default_factory=lambda: np.zeros(0))
    terms: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    removal: dict[str, np.ndarray] = field(default_factory=dict)
    examples: dict[tuple[str, int], list[Example]] = field(default_factory=dict)
    looked: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    without_text: int = 0
    members: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), bool))
    values: dict[str, np.ndarray] = field(default_factory=dict)
    alive: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    clusters: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    labels: dict[str, list[Any]] = field(default_factory=dict)
    sentences: polars.DataFrame | None = None
    joint: polars.DataFrame | None = None
    measured: int = 0
