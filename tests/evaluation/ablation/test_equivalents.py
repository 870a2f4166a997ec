"""Worth in compute: read off a power law through whole trainings, with an interval that holds, and never beyond them."""

from __future__ import annotations

import numpy as np
import pytest

from curate.evaluation.ablation.equivalents import BUDGETS, equivalents, fieller

EXPONENT = 0.08


def trained(random, times, seeds=5, spread=0.002):
    """The endpoint of models that were given so many times the compute, by a law."""
    return (2.5 * times**-EXPONENT * (1 + random.normal(0, spread, seeds))).tolist()


def worth(random, times, **options):
    budgets = {budget: trained(random, budget, **options) for budget in BUDGETS}
    found = equivalents(trained(random, 1, **options), budgets, {"v2": trained(random, times, **options)})
    return found["arms"]["v2"], found


def test_an_arm_that_is_as_good_as_more_compute_is_worth_that_much():
    one, found = worth(np.random.default_rng(0), 1.5)
    assert one["low"] < 1.5 < one["high"] and abs(one["times"] - 1.5) < 0.1
    assert found["exponent"] == pytest.approx(EXPONENT, rel=0.1) and not found["bends"]


def test_the_interval_holds_the_truth_in_at_least_36_of_40():
    random = np.random.default_rng(1)
    held = [one["low"] <= 1.3 <= one["high"] for one, _ in (worth(random, 1.3) for _ in range(40)) if one]
    assert len(held) == 40 and sum(held) >= 36


def test_nothing_is_told_beyond_the_budgets():
    one, _ = worth(np.random.default_rng(2), 8)
    assert (one["times"], one["high"], one["beyond"]) == (2.0, 2.0, ["times", "low", "high"])


def test_where_more_tokens_are_not_shown_to_help_nothing_is_told():
    one, _ = worth(np.random.default_rng(3), 1.5, spread=0.2)
    assert one is None


def test_a_diverged_seed_is_left_out_of_all_budgets():
    random = np.random.default_rng(4)
    budgets = {budget: trained(random, budget) for budget in BUDGETS}
    budgets[2.0][1] = None
    other = trained(random, 1.5)
    first = trained(random, 1)
    whole = equivalents(first, budgets, {"v2": other})["arms"]["v2"]
    four = {budget: [value for at, value in enumerate(values) if at != 1] for budget, values in budgets.items()}
    without = [[value for at, value in enumerate(values) if at != 1] for values in (first, other)]
    assert whole == equivalents(without[0], four, {"v2": without[1]})["arms"]["v2"]


def test_budgets_that_lie_on_no_power_law_are_told():
    random = np.random.default_rng(5)
    budgets = {0.5: trained(random, 0.5), 2.0: trained(random, 1.01)}
    assert equivalents(trained(random, 1), budgets, {})["bends"]


def test_fieller_gives_the_quotient_and_the_plain_interval_where_the_lower_mean_is_certain():
    value, low, high = fieller([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    half = 4.302652729911275 / 3**0.5 / 2
    assert (value, low, high) == (1.0, pytest.approx(1 - half), pytest.approx(1 + half))


def test_fieller_tells_nothing_of_one_seed():
    assert fieller([1.0], [2.0]) is None
