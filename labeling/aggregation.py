"""One label out of several people's: majority vote, and Dawid and Skene's model of who confuses what.

majority_vote   the label with most answers
dawid_skene     EM for the truth of items and the confusion of each annotator (Dawid and Skene 1979), in logarithms,
                started at the shares of votes
for_each_label  either of them for sets of labels, one label at a time
for_spans       either of them for spans, token by token, and back to spans

Answers are three arrays of one length, as in `agreement.py`; items and annotators are numbered from 0. Where no label is ahead
of all others, or nobody answered, the label is -1 and somebody has to decide: no tie is broken by order.

With `smoothing` the confusion of an annotator is drawn to that of all together, as by so many answers for each label: who
answered ten items cannot have a confusion of nine numbers. With 0 it is the plain model, which crowd-kit's equals (test).
Dawid-Skene over majority: benchmarks/RESULTS.md. Cost: a million answers in five classes, 20 rounds: 2 CPU seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from curate.labeling.spans import Tokens, spans_of_tokens, token_labels

__all__ = ["Aggregated", "AggregatedSpans", "dawid_skene", "for_each_label", "for_spans", "majority_vote"]

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
SMOOTHING = 1.0
_TINY = 1e-10
_SAME = 1e-9


class Aggregated(NamedTuple):
    """Labels of items, and what they rest on.

    Attributes:
        labels: Of each item; -1 where it is tied or nobody answered.
        probabilities: Items by classes: shares of votes, or the posterior.
        tied: Whether somebody has to decide (bool).
        confusion: For Dawid-Skene: annotators by true label by answer, rows that sum to 1; else None.
        prior: For Dawid-Skene: the shares of true labels; else None.
        converged: Whether the rounds came to rest before their limit.
        rounds: How many there were.
    """

    labels: Integers
    probabilities: Numbers
    tied: NDArray[np.bool_]
    confusion: Numbers | None = None
    prior: Numbers | None = None
    converged: bool = True
    rounds: int = 0


def majority_vote(items: Integers, workers: Integers, labels: Integers, classes: int, *, count: int) -> Aggregated:
    """The label that most people gave each of `count` items; the probabilities of one that nobody answered are all the same."""
    votes = np.bincount(items * classes + labels, minlength=count * classes).reshape(count, classes)
    shares = votes / np.maximum(votes.sum(1, keepdims=True), 1)
    shares[votes.sum(1) == 0] = 1 / classes
    return _decided(shares)


def dawid_skene(
    items: Integers, workers: Integers, labels: Integers, classes: int, *,
    count: int, annotators: int | None = None, answers: int | None = None,
    smoothing: float = SMOOTHING, balance: Numbers | None = None,
    gold: Integers | None = None, rounds: int = 200, tolerance: float = 1e-5,
) -> Aggregated:  # fmt: skip
    """Dawid and Skene's posterior of the labels of `count` items.

    Args:
        items: The item of each answer.
        workers: Its annotator.
        labels: Its label.
        classes: How many labels there are.
        count: How many items there are.
        annotators: How many annotators; as many as there are in `workers` unless given.
        answers: How many different answers there are: more than classes where those beyond are no labels (abstaining).
        smoothing: The weight of everybody's confusion in that of one, in answers for each true label.
        balance: The shares of true labels, if they are known; estimated otherwise.
        gold: What is known of the items, -1 where nothing is; it is held fast.
        rounds: Most rounds of EM.
        tolerance: The greatest change of a probability at which they end.
    """
    workers_count = annotators if annotators is not None else int(workers.max(initial=-1)) + 1
    width, voted = answers or classes, labels < classes
    places = (np.ones(len(items)), (items, workers * width + labels))
    given: Any = sparse.csr_array(places, shape=(count, workers_count * width))
    turned = given.T.tocsr()
    votes = majority_vote(items[voted], workers[voted], labels[voted], classes, count=count)
    posterior, answered = _held(votes.probabilities, gold), np.isin(np.arange(count), items[voted])
    if not answered.any():
        return _decided(posterior)._replace(tied=np.ones(count, bool), labels=np.full(count, -1))
    number, change, prior, confusion = 0, np.inf, np.ones(classes), np.ones((workers_count, width, classes))
    while number < rounds and change > tolerance:
        prior = balance if balance is not None else posterior[answered].mean(0)
        counts = (turned @ posterior).reshape(workers_count, width, classes)
        confusion = _confusion(counts, smoothing)
        evidence = given @ np.log(confusion).reshape(-1, classes) + np.log(np.maximum(prior, _TINY))
        evidence = np.exp(evidence - evidence.max(1, keepdims=True))
        fresh = _held(evidence / evidence.sum(1, keepdims=True), gold)
        change, posterior, number = float(np.abs(fresh - posterior).max()), fresh, number + 1
    found = _decided(posterior)
    known = answered if gold is None else answered | (gold >= 0)
    labels_found = np.where(known, found.labels, -1)
    return Aggregated(
        labels_found, posterior, labels_found < 0, confusion.transpose(0, 2, 1), prior, change <= tolerance, number
    )


def _confusion(counts: Numbers, smoothing: float) -> Numbers:
    """Chances of an answer (second axis) by the truth (third), for each annotator (first)."""
    everybody = counts.sum(0) + _TINY
    drawn = np.maximum(counts + smoothing * everybody / everybody.sum(0), _TINY)
    return drawn / drawn.sum(1, keepdims=True)


def _held(probabilities: Numbers, gold: Integers | None) -> Numbers:
    if gold is not None:
        known = np.flatnonzero(gold >= 0)
        probabilities[known] = 0
        probabilities[known, gold[known]] = 1
    return probabilities


def _decided(probabilities: Numbers) -> Aggregated:
    ahead = probabilities >= probabilities.max(1, keepdims=True, initial=0) - _SAME
    tied = ahead.sum(1) != 1
    return Aggregated(np.where(tied, -1, ahead.argmax(1)), probabilities, tied)


def for_each_label(
    items: Integers, workers: Integers, sets: NDArray[np.bool_], method: Callable[..., Aggregated], *, count: int
) -> Aggregated:
    """Sets of labels (answers by labels), each label by itself.

    Returns:
        `labels` and `probabilities` are items by labels: whether each is in (1, 0, or -1 where it is tied), and how probable
        that is. An item is tied if one of its labels is. Confusions are none: they are of each label.
    """
    each = [method(items, workers, own.astype(np.int64), 2, count=count) for own in sets.T]
    labels = np.column_stack([one.labels for one in each])
    return Aggregated(
        labels, np.column_stack([one.probabilities[:, 1] for one in each]), labels.min(axis=1, initial=0) < 0,
        converged=all(one.converged for one in each), rounds=max(one.rounds for one in each),
    )  # fmt: skip


class AggregatedSpans(NamedTuple):
    """Spans out of several people's.

    Attributes:
        spans: Item, start, end and label.
        probabilities: Of each, the mean over its tokens.
        tied: Items with a token that is tied; it is in no span, and somebody has to decide.
        tokens: What the spans were made of.
    """

    spans: Integers
    probabilities: Numbers
    tied: Integers
    tokens: Aggregated


def for_spans(
    items: Integers, workers: Integers, spans: Integers, tokens: Tokens, labels: int, method: Callable[..., Aggregated]
) -> AggregatedSpans:
    """Spans (answer, start, end, label) by the labels of their tokens; their ends are those of tokens."""
    of_tokens, annotators, given = token_labels(items, workers, spans, tokens)
    found = method(of_tokens, annotators, given, labels + 1, count=len(tokens.items))
    decided = np.maximum(found.labels, 0)
    made = spans_of_tokens(decided, tokens)
    probable = found.probabilities[np.arange(len(decided)), decided]
    total = np.concatenate([[0], np.cumsum(probable)])
    first, last = _bounds(made, tokens)
    answered = np.isin(tokens.items, items)
    return AggregatedSpans(
        made,
        (total[last] - total[first]) / np.maximum(last - first, 1),
        np.unique(tokens.items[found.tied & answered]),
        found,
    )


def _bounds(spans: Integers, tokens: Tokens) -> tuple[Integers, Integers]:
    """The first token of each span, and the one after its last."""
    width = int(tokens.ends.max(initial=0)) + 1
    places = tokens.items * width + tokens.starts
    return np.searchsorted(places, spans[:, 0] * width + spans[:, 1]), np.searchsorted(
        places, spans[:, 0] * width + spans[:, 2]
    )
