"""Spans of text as labels: how far annotators agree on them, and spans as labels of tokens and back.

Answers are `items` and `workers` of one length; spans are an array of four columns: which answer, first character, character
after the last, label. An answer without a span says that there is none.

strict        F1 of two annotators' spans, equal in place and label, pooled over all pairs who had the same item
overlapping   the same, a span being found where another of its label shares a character
alpha         Krippendorff's alpha over tokens, "none" being a label, drawn by item (a span is many tokens)

F1 takes no chance off, which for spans hardly matters, for most of a text is in none (Hripcsak and Rothschild 2005). The
bootstrap is over items. Of spans that nest, a token has the label of the shortest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.audit.bias.statistics import Estimate
from curate.labeling.agreement import bootstrap, krippendorff_alpha

__all__ = ["SpanAgreement", "Tokens", "span_agreement", "spans_of_tokens", "token_labels"]

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]


class Tokens(NamedTuple):
    """Where the tokens of items stand, in order of items and of places.

    Attributes:
        items: The item of each token.
        starts: Its first character.
        ends: The character after its last.
    """

    items: Integers
    starts: Integers
    ends: Integers


class SpanAgreement(NamedTuple):
    """Three views of how far annotators agree on spans; None where nobody shares an item, or nobody marked anything."""

    strict: Estimate | None
    overlapping: Estimate | None
    alpha: Estimate | None


def span_agreement(
    items: Integers, workers: Integers, spans: Integers, tokens: Tokens, labels: int, *, seed: int
) -> SpanAgreement:
    """How far annotators agree; a span that an answer has twice counts once.

    Args:
        items: The item of each answer.
        workers: Its annotator.
        spans: Answer, start, end and label of each span.
        tokens: Of the items, for alpha.
        labels: How many labels there are, "none" not among them.
        seed: Of the bootstraps.
    """
    strict, overlapping = _pairs(items, np.unique(spans.reshape(-1, 4), axis=0))
    of_tokens, _, given = token_labels(items, workers, spans, tokens)
    documents = tokens.items[of_tokens]
    return SpanAgreement(
        bootstrap(strict, _f1, seed=seed),
        bootstrap(overlapping, _f1, seed=seed),
        krippendorff_alpha(of_tokens, given, labels + 1, groups=documents, seed=seed),
    )


def _f1(sums: Numbers) -> Numbers:
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)


def _pairs(items: Integers, spans: Integers) -> tuple[Numbers, Numbers]:
    """For each item with two answers and more: spans found in another answer, and spans compared; strictly and by overlap."""
    kept, rows, answers = np.unique(items, return_inverse=True, return_counts=True)
    strict, overlapping = np.zeros((len(kept), 2)), np.zeros((len(kept), 2))
    row = rows[spans[:, 0]]
    order = np.argsort(row, kind="stable")
    bounds = np.searchsorted(row[order], np.arange(len(kept) + 1))
    for item in np.flatnonzero(answers > 1):
        own = spans[order[bounds[item] : bounds[item + 1]]]
        compared = len(own) * (answers[item] - 1)
        answer, start, end, label = own.T[:, :, None]
        candidates = (answer != answer.T) & (label == label.T)
        equal = candidates & (start == start.T) & (end == end.T)
        meets = candidates & (start < end.T) & (end > start.T)
        # an answer counts once for a span, however many of its spans meet it
        _, columns = np.unique(own[:, 0], return_inverse=True)
        found = sum(meets[:, columns == other].any(1).sum() for other in range(columns.max(initial=-1) + 1))
        strict[item], overlapping[item] = (equal.sum(), compared), (found, compared)
    return strict[answers > 1], overlapping[answers > 1]


def token_labels(
    items: Integers, workers: Integers, spans: Integers, tokens: Tokens
) -> tuple[Integers, Integers, Integers]:
    """Answers about tokens: for each answer and each token of its item the token, the annotator, and the label.

    Label 0 is none, label + 1 that of the shortest span which shares a character with the token.
    """
    first = np.searchsorted(tokens.items, items, "left")
    sizes = np.searchsorted(tokens.items, items, "right") - first
    begins = np.cumsum(sizes) - sizes
    of_tokens = np.arange(sizes.sum()) + np.repeat(first - begins, sizes)
    labels = np.zeros(len(of_tokens), np.int64)
    ordered = spans[np.argsort(spans[:, 1] - spans[:, 2], kind="stable")]
    for answer, start, end, label in ordered:
        own = slice(first[answer], first[answer] + sizes[answer])
        low = np.searchsorted(tokens.ends[own], start, "right")
        high = np.searchsorted(tokens.starts[own], end, "left")
        labels[begins[answer] + low : begins[answer] + high] = label + 1
    return of_tokens, np.repeat(workers, sizes), labels


def spans_of_tokens(labels: Integers, tokens: Tokens) -> Integers:
    """Spans of runs of tokens with one label (0 is none): item, start, end and label, in order.

    Two spans of one label that touch become one: labels of tokens cannot tell them apart.
    """
    if not len(labels):
        return np.zeros((0, 4), np.int64)
    changes = (np.diff(labels) != 0) | (np.diff(tokens.items) != 0)
    first = np.flatnonzero(np.concatenate([[True], changes]))
    last = np.concatenate([first[1:], [len(labels)]]) - 1
    spans = np.column_stack([tokens.items[first], tokens.starts[first], tokens.ends[last], labels[first] - 1])
    return spans[labels[first] > 0]
