"""Tests of two models against formulas written out, and what they promise in simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from curate.evaluation.metrics import METRICS
from curate.evaluation.statistics import (
    detectable,
    detectable_share,
    exchanged,
    holm,
    least_p,
    matched_difference,
    mcnemar,
    paired,
    unpaired,
    wide,
)

BITS, MEAN = METRICS["bits_per_byte"].value, METRICS["token_f1"].value


def _two_models(random, n, *, better=0.0):
    """Documents of very different lengths, read by two draws of one model (the other better by a share)."""
    sizes = random.lognormal(6, 1, n)
    hardness = sizes * random.gamma(20, 0.05, n)
    nats = [hardness * (1 + 0.05 * random.standard_normal(n)) * factor for factor in (1.0, 1 - better)]
    return [np.column_stack([one, sizes]) for one in nats]


def test_holm_rejects_step_by_step():
    values = [0.01, 0.04, 0.03, 0.005]
    rejected, left = set(), sorted(range(4), key=values.__getitem__)
    for step, number in enumerate(
        left
    ):  # as Holm (1979) writes it: the smallest against alpha / m, the next / (m - 1), ...
        if values[number] > 0.05 / (4 - step):
            break
        rejected.add(number)
    adjusted = holm(values)
    assert {number for number, p in enumerate(adjusted) if p <= 0.05} == rejected == {0, 3}
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (5, 5), (12, 3), (3, 12), (40, 22)])
def test_mcnemar_is_the_exact_binomial_test(wins, losses):
    n = wins + losses
    tail = sum(math.comb(n, count) for count in range(min(wins, losses) + 1)) / 2**n
    assert mcnemar(wins, losses) == pytest.approx(min(1.0, 2 * tail))


def test_exchanging_right_and_wrong_items_is_mcnemar():
    first, other = np.array([1.0] * 30 + [0.0] * 14), np.array([1.0] * 26 + [0.0] * 4 + [1.0] * 11 + [0.0] * 3)
    rows = [np.column_stack([one, np.ones(44)]) for one in (first, other)]
    assert exchanged(*rows, MEAN, exchanges=20_000) == pytest.approx(mcnemar(11, 4), abs=0.015)


def test_exchanging_can_only_say_as_much_as_there_are_items():
    rows = [np.column_stack([np.full(5, one), np.full(5, 10.0)]) for one in (20.0, 10.0)]
    assert exchanged(*rows, BITS) == pytest.approx(2 / 2**5, abs=0.02)
    assert exchanged(rows[0], rows[0], BITS) == 1.0
    assert exchanged(rows[0], np.full((5, 2), np.nan), BITS) is None


@pytest.mark.slow
@pytest.mark.parametrize("n", [12, 30, 200])
def test_two_draws_of_one_model_are_seldom_called_different_and_their_interval_holds_zero(n):
    random, tries, held, called = np.random.default_rng(n), 400, 0, 0
    for seed in range(tries):
        first, other = _two_models(random, n)
        found = paired(first, other, BITS, seed=seed, resamples=600)
        inside = found.low <= 0 <= found.high
        held += inside
        called += exchanged(first, other, BITS, seed=seed, exchanges=400) < 0.05 and not inside
    assert 0.92 <= held / tries <= 0.98  # 95%, with the chance of 400 tries
    assert called / tries <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / tries)


@pytest.mark.parametrize("n", [6, 12])
def test_a_model_that_is_worse_by_the_margin_is_seldom_taken_for_not_worse(n):
    """Nominally 2.5 of 100 tries; of 2, 3 and 4 items it is 23, 15 and 7, which is why gates ask for 6."""
    passed, tries = 0, 200
    for seed in range(tries):
        random = np.random.default_rng(seed * 1000 + n)
        first = random.uniform(90, 110, n)
        other = first * (1.005 + 0.03 * random.standard_normal(n))
        rows = [np.column_stack([one, np.full(n, 100.0)]) for one in (first, other)]
        passed += paired(*rows, BITS, resamples=400).high <= 0.005 * BITS(rows[0].sum(0, keepdims=True))[0]
    assert passed / tries <= 0.025 + 2 * math.sqrt(0.025 * 0.975 / tries)


@pytest.mark.slow
def test_an_interval_holds_a_true_difference():
    random, tries, held = np.random.default_rng(5), 400, 0
    first, other = _two_models(random, 200_000, better=0.03)
    truth = float((BITS(other.sum(0, keepdims=True)) - BITS(first.sum(0, keepdims=True)))[0])
    for seed in range(tries):
        found = paired(*_two_models(random, 60, better=0.03), BITS, seed=seed, resamples=600)
        held += found.low <= truth <= found.high
    assert 0.92 <= held / tries <= 0.98


@pytest.mark.parametrize(("first", "other", "n"), [(0.8, 0.8, 50), (0.9, 0.7, 40), (0.97, 0.99, 100)])
def test_the_interval_of_two_shares_holds_the_truth_also_near_one(first, other, n):
    random, held, tries = np.random.default_rng(n), 0, 2000
    for _ in range(tries):
        easy = random.random(n)  # the same items are easy for both
        one, two = (((easy + 0.3 * random.random(n)) / 1.3 < share) for share in (first, other))
        found = matched_difference(int((two & ~one).sum()), int((one & ~two).sum()), n)
        truth = _share(other) - _share(first)
        held += found.low <= truth <= found.high
    assert held / tries >= 0.93


def _share(limit):
    """The share of the sum of two uniform numbers, 1 and 0.3 wide, that is below 1.3 times a limit."""
    grid = (np.arange(200_000) + 0.5) / 200_000
    return float(np.clip((1.3 * limit - grid) / 0.3, 0, 1).mean())


def test_models_that_agree_on_all_items_may_still_differ_on_others():
    found = matched_difference(0, 0, 100)
    assert (found.value, round(found.high, 3), round(found.low, 3)) == (0.0, 0.019, -0.019)


def test_percentiles_are_wider_for_few_items():
    assert wide(2) > wide(10) > wide(100) > 0.95
    assert wide(100_000) == pytest.approx(0.95, abs=1e-4)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("level", [0.05, 0.05 / 3])
def test_a_difference_as_large_as_detectable_is_found_in_eight_of_ten_t_tests(seeds, level):
    """The spread comes from two arms, the test is of other seeds: as in an ablation that is done again."""
    random, tries = np.random.default_rng(seeds), 6000
    arms = random.standard_normal((tries, 2, seeds))
    errors = np.sqrt(arms.var(axis=2, ddof=1).sum(axis=1) / seeds)
    least = errors * detectable(1.0, seeds - 1, 2 * (seeds - 1), level=level)
    again = random.standard_normal((tries, 2, seeds))
    p = stats.ttest_1samp(again[:, 1] - again[:, 0] + least[:, None], 0, axis=1).pvalue
    assert (p < level).mean() == pytest.approx(0.8, abs=0.025)


@pytest.mark.parametrize(("n", "alone", "tests"), [(40, 0.1, 1), (200, 0.02, 1), (200, 0.1, 6), (1000, 0.2, 1)])
def test_a_share_as_much_better_as_detectable_is_found_in_eight_of_ten_exact_tests(n, alone, tests):
    random, found, tries = np.random.default_rng(n), 0, 100
    for _ in range(tries):
        wins, losses, _same = random.multinomial(n, [alone, alone, 1 - 2 * alone])
        least = detectable_share(wins, losses, n, level=0.05 / tests)
        shares = [alone + least, alone, max(1 - 2 * alone - least, 0)]
        for wins, losses, _same in random.multinomial(n, shares, size=10):
            found += mcnemar(wins, losses) * tests < 0.05 and matched_difference(wins, losses, n).low > 0
    assert 0.75 <= found / tries / 10 <= 0.85


def test_a_share_is_not_found_better_by_fewer_than_six_items():
    assert detectable_share(0, 0, 40) * 40 > 6 and detectable_share(0, 0, 40, level=0.05 / 6) * 40 > 8
    assert detectable_share(0, 0, 5) is None
    assert least_p(5) == 1 / 16 and least_p(200) == 1 / 5001


def test_two_samples_of_few_items_have_a_wide_difference():
    random = np.random.default_rng(0)
    rows = [np.column_stack([random.random(4), np.ones(4)]) for _ in range(2)]
    found, value = unpaired(*rows, MEAN), MEAN
    means = [random.choice(one[:, 0], (20_000, 4)).mean(1) for one in rows]
    low, high = np.quantile(value(np.column_stack([means[1] - means[0], np.ones(20_000)])), [0.025, 0.975])
    assert found.high - found.low > 1.1 * (high - low)


def test_an_exchange_is_never_impossible():
    rows = [np.column_stack([np.full(40, one), np.ones(40)]) for one in (0.0, 1.0)]
    assert exchanged(*rows, MEAN, exchanges=50) == 1 / 51


def test_one_item_has_no_interval():
    assert paired(np.ones((1, 2)), np.ones((1, 2)), BITS) is None
