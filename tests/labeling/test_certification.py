"""Certified thresholds: exact bounds, known sizes of audits, and that certificates are true as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from curate.labeling.certification import (
    allowed_errors,
    audit_size,
    certify,
    choose_threshold,
    error_of_attempt,
    precision_bound,
)


@pytest.mark.parametrize(
    ("target", "sizes"), [(0.9, [29, 46, 61, 103]), (0.95, [59, 93, 124, 208]), (0.98, [149, 236, 313, 523])]
)
def test_audits_are_as_large_as_clopper_and_pearson_ask(target, sizes):
    assert [audit_size(wrong, target=target, error=0.05) for wrong in (0, 1, 2, 5)] == sizes
    assert allowed_errors(sizes[2], target=target, error=0.05) == 2
    assert allowed_errors(sizes[0] - 1, target=target, error=0.05) is None


def test_the_bound_is_scipys():
    theirs = stats.binomtest(140, 150, alternative="greater").proportion_ci(0.95, "exact").low
    assert precision_bound(140, 150, error=0.05) == pytest.approx(theirs)


def test_the_bound_of_what_was_not_audited_is_exact():
    assert precision_bound(98, 100, error=0.05, pool=10**7) == pytest.approx(
        precision_bound(98, 100, error=0.05), abs=1e-5
    )
    assert precision_bound(98, 100, error=0.05, pool=200) < precision_bound(98, 100, error=0.05)
    assert precision_bound(98, 100, error=0.05, pool=100) == 1  # nothing is left to label
    for right in range(150, 201, 5):
        drawn = np.arange(101)
        bounds = np.array([precision_bound(int(one), 100, error=0.05, pool=200) for one in drawn])
        wrong = stats.hypergeom.pmf(drawn, 200, right, 100)[bounds > (right - drawn) / 100].sum()
        assert wrong <= 0.05 + 1e-9


def test_attempts_together_spend_no_more_than_the_error():
    spent = [error_of_attempt(0.95, attempt) for attempt in range(1, 30)]
    assert spent[:2] == pytest.approx([0.025, 0.0125])
    assert sum(spent) <= 0.05


def test_a_certificate_says_what_was_proven():
    passed = certify(150, 150, target=0.95, confidence=0.95, attempt=1)
    assert passed.certified
    assert passed.bound == pytest.approx(0.025 ** (1 / 150))
    failed = certify(140, 150, target=0.95, confidence=0.95, attempt=1)
    assert not failed.certified
    assert failed.precision == pytest.approx(140 / 150)


def test_an_empty_audit_proves_nothing():
    assert certify(0, 0, target=0.5, confidence=0.95, attempt=1)[:3] == (False, 0.0, None)
    assert certify(0, 30, target=0.5, confidence=0.95, attempt=1).bound == 0


def world(random, count):
    """Scores that are too sure: .87 of all are right, and .95 of the better third."""
    scores = random.beta(2, 0.8, count) / 2 + 0.5
    return scores, random.random(count) < 0.53 + 0.45 * (2 * scores - 1) ** 1.3


def test_a_higher_threshold_is_chosen_after_a_failure():
    scores, correct = world(np.random.default_rng(0), 400)
    pool, _ = world(np.random.default_rng(1), 4000)
    first = choose_threshold(scores, correct, pool, target=0.9, audit=150, error=0.025)
    second = choose_threshold(scores, correct, pool, target=0.9, audit=150, error=0.0125, above=first.value)
    assert first.value < second.value
    assert first.share > second.share
    assert first.share == pytest.approx((pool >= first.value).mean())


def test_no_threshold_is_chosen_where_none_can_pass():
    scores, pool = np.linspace(0.5, 1, 100), np.linspace(0.5, 1, 500)
    wrong, right, none = np.zeros(100, bool), np.ones(100, bool), np.zeros(0)
    assert choose_threshold(scores, wrong, pool, target=0.9, audit=150, error=0.05) is None
    assert choose_threshold(scores, right, pool, target=0.9, audit=20, error=0.05) is None
    assert choose_threshold(none, none.astype(bool), pool, target=0.9, audit=150, error=0.05) is None
    assert choose_threshold(scores, right, none, target=0.9, audit=150, error=0.05) is None
    assert choose_threshold(scores, right, pool, target=0.9, audit=150, error=0.05).share == 1
    assert choose_threshold(scores, right, pool[:150], target=0.9, audit=150, error=0.05) is None


def certified(seed, *, attempts=3, audit=150, target=0.95):
    """The share that is labelled in one run, and whether its true precision is below the target."""
    random = np.random.default_rng(seed)
    scores, correct = world(random, 300)
    pool, truth = world(random, 4000)
    above = None
    for attempt in range(1, attempts + 1):
        error = error_of_attempt(0.95, attempt)
        chosen = choose_threshold(scores, correct, pool, target=target, audit=audit, error=error, above=above)
        if chosen is None:
            return 0.0, False
        over = np.flatnonzero(pool >= chosen.value)
        drawn = random.choice(over, min(audit, len(over)), replace=False)
        found = certify(
            int(truth[drawn].sum()), len(drawn), target=target, confidence=0.95, attempt=attempt, pool=len(over)
        )
        if found.certified:
            rest = np.setdiff1d(over, drawn)  # the others have people's labels
            return len(rest) / len(pool), bool(truth[rest].mean() < target)
        scores, correct, above = np.append(scores, pool[drawn]), np.append(correct, truth[drawn]), chosen.value
    return 0.0, False


@pytest.mark.slow
def test_what_is_certified_is_true_and_something_is():
    runs = [certified(seed) for seed in range(200)]
    assert np.mean([below for _, below in runs]) <= 0.02
    assert np.mean([share > 0 for share, _ in runs]) > 0.05  # the best texts here are right in 96 of 100


@pytest.mark.slow
def test_at_the_very_target_an_audit_passes_no_more_often_than_the_error():
    right = np.random.default_rng(0).binomial(150, 0.95, 20_000)
    wrongly = np.mean(right >= 150 - (allowed_errors(150, target=0.95, error=0.05) or 0))
    assert wrongly <= 0.05
