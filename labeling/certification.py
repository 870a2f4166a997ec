"""Automatic labels with a certificate: a threshold is chosen on some labels and proven on others, drawn blindly above it.

To choose and to prove on the same labels is a coin flip: the lowest threshold whose validation precision is .95 has a true
precision below that in about half of all runs. So:

1. choose_threshold   on held-out scores of the labelled texts: what certifies most texts in expectation
2. draw an audit      a random sample of the pool above it, labelled by people who see no suggestion
3. certify            an exact one-sided bound of the share that is right (Clopper and Pearson 1934); with the size of the
                      pool, of those texts in it that nobody looked at (after Wright 1991): they alone are labelled
4. after a failure    a higher threshold may be chosen, also on the audit's labels, and is proven on a new audit. Each
                      attempt has half of the error that is left (Bonferroni with weights): all together are wrong in at
                      most 1 - confidence of all runs, however many they are

In simulations at a confidence of 95 % truth is below the target in at most 1 of 100 runs
(tests/labeling/test_certification.py); halves certify as much as equal parts of three attempts, and more than two or one.
Labels of an audit that failed prove nothing any more.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "Certificate",
    "Threshold",
    "allowed_errors",
    "audit_size",
    "certify",
    "choose_threshold",
    "error_of_attempt",
    "precision_bound",
]

Numbers = NDArray[np.float64]
LEAST_CHANCE = 0.05
"""A threshold that is less likely to be certified than this is not worth an audit."""


class Threshold(NamedTuple):
    """A threshold and what to expect of it.

    Attributes:
        value: Texts whose score is this and more are labelled.
        share: Of the pool.
        precision: Of the labelled texts above it, in those that it was chosen on.
        chance: That an audit will certify it.
    """

    value: float
    share: float
    precision: float
    chance: float


class Certificate(NamedTuple):
    """What an audit proves.

    Attributes:
        certified: Whether the bound reaches the target.
        bound: The precision is at least this, with the confidence that is left for this attempt.
        precision: Of the audit; None of an empty one.
        error: How often such a bound is wrong.
        audited: How many texts were audited.
    """

    certified: bool
    bound: float
    precision: float | None
    error: float
    audited: int


def error_of_attempt(confidence: float, attempt: int) -> float:
    """The share of 1 - confidence that the first (1), second, ... attempt may spend: a half, a quarter, ..."""
    return (1 - confidence) / 2**attempt


def precision_bound(correct: int, audited: int, *, error: float, pool: int | None = None) -> float:
    """The least precision that is not refuted, by an exact one-sided test; of a pool, that of what was not audited.

    Args:
        correct: How many of the audit are right.
        audited: How many there are.
        error: How often the bound may be above the truth.
        pool: How many texts the audit was drawn from without replacement; infinitely many unless given. What people looked
            at has their label: the bound is of the others, which nobody looked at. 1 where there is no other.
    """
    if pool is not None and pool <= audited:
        return 1.0
    if correct == 0:
        return 0.0
    infinite = float(stats.beta.ppf(error, correct, audited - correct + 1))
    if pool is None:
        return infinite
    # the least number of right texts in the pool with which so many in the audit are not too unlikely
    low, high = correct, pool - (audited - correct)
    while low < high:
        middle = (low + high) // 2
        if stats.hypergeom.sf(correct - 1, pool, middle, audited) > error:
            high = middle
        else:
            low = middle + 1
    return (low - correct) / (pool - audited)


def allowed_errors(audited: int, *, target: float, error: float, pool: int | None = None) -> int | None:
    """The most wrong texts with which an audit certifies; None where it cannot."""
    found = None
    for wrong in range(audited + 1):
        if precision_bound(audited - wrong, audited, error=error, pool=pool) < target:
            return found
        found = wrong
    return found


def audit_size(wrong: int, *, target: float, error: float) -> int:
    """The least audit that certifies in spite of so many wrong texts: 59, 93, 124 for none, one, two at .95 and .05."""
    low, high = wrong + 1, 2 * (wrong + 1)
    while precision_bound(high - wrong, high, error=error) < target:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        if precision_bound(middle - wrong, middle, error=error) < target:
            low = middle + 1
        else:
            high = middle
    return low


def _allowed(pools: NDArray[np.int64], *, target: float, audit: int, error: float) -> NDArray[np.int64]:
    """How many of an audit may be wrong, by the size of the pool; -1 where it cannot certify. Grows with the pool."""
    most = allowed_errors(audit, target=target, error=error)
    allowed = np.full(len(pools), -1)
    for wrong in range(-1 if most is None else most, -1, -1):
        # the smallest pool in which so many may be wrong
        sizes = np.unique(pools[pools > audit])
        low, high = 0, len(sizes)
        while low < high:
            middle = (low + high) // 2
            enough = precision_bound(audit - wrong, audit, error=error, pool=int(sizes[middle])) >= target
            low, high = (low, middle) if enough else (middle + 1, high)
        if low < len(sizes):
            allowed[(pools >= sizes[low]) & (allowed < 0)] = wrong
    return allowed


def choose_threshold(
    scores: Numbers, correct: NDArray[np.bool_], pool: Numbers, *,
    target: float, audit: int, error: float, above: float | None = None,
) -> Threshold | None:  # fmt: skip
    """The threshold that certifies most texts in expectation: the share above it times the chance that an audit passes.

    Args:
        scores: Of labelled texts, by a model that did not learn from them.
        correct: Whether the model is right there.
        pool: Scores of what would be labelled.
        target: The precision to certify.
        audit: How many texts will be audited.
        error: What the attempt may spend (`error_of_attempt`).
        above: The threshold that failed before, if one did.

    Returns:
        None where no threshold has a chance of .05, or no more texts are above it than would be audited.
    """
    if not len(scores) or not len(pool):
        return None
    order = np.argsort(-scores, kind="stable")
    wrong = np.cumsum(~correct[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    values, wrong, right = scores[order][last], wrong[last], last + 1 - wrong[last]
    above_it = len(pool) - np.searchsorted(np.sort(pool), values, "left")
    allowed = _allowed(above_it, target=target, audit=audit, error=error)
    chances = stats.betabinom.cdf(allowed, audit, wrong + 0.5, right + 0.5)
    shares = above_it / len(pool)
    expected = np.where((chances >= LEAST_CHANCE) & (above_it > audit), shares * chances, 0)
    if above is not None:
        expected[values <= above] = 0
    best = int(np.argmax(expected))
    if expected[best] <= 0:
        return None
    return Threshold(
        float(values[best]), float(shares[best]), float(right[best] / (last[best] + 1)), float(chances[best])
    )


def certify(
    correct: int, audited: int, *, target: float, confidence: float, attempt: int, pool: int | None = None
) -> Certificate:
    """What an audit proves about the texts that it was drawn from.

    Args:
        correct: How many of the audit are right.
        audited: How many there are.
        target: The precision to certify.
        confidence: Of all attempts together.
        attempt: The number of this one, from 1.
        pool: How many texts it was drawn from.
    """
    error = error_of_attempt(confidence, attempt)
    if audited == 0:
        return Certificate(False, 0.0, None, error, 0)
    bound = precision_bound(correct, audited, error=error, pool=pool)
    return Certificate(bound >= target, bound, correct / audited, error, audited)
