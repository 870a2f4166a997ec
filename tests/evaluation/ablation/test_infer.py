"""What seeds tell: false positives at most as often as said, real effects found, diverged seeds never dropped in silence."""

from __future__ import annotations

import math

import numpy as np
import pytest

from curate.evaluation.ablation.infer import AA, compare_arms, home_advantage, macro, t_interval, welch
from curate.evaluation.statistics import detectable

SPREAD = 0.0035
"""Of the bits per byte of equal settings over seeds, as measured for small models."""


def trained(random, effect=0.0, seeds=5):
    """What a stub of a trainer says of two held-out sets: a value each, a draw for each seed."""
    draws = random.normal(effect, SPREAD, seeds)
    return {name: (at + draws + random.normal(0, SPREAD / 4, seeds)).tolist() for name, at in (("a", 2.5), ("b", 3.0))}


def judged(random, effect):
    arms = {"v1": trained(random), AA: trained(random), "v2": trained(random, effect)}
    found, calibrated = compare_arms(arms, ["a", "b"])
    return next(one for one in found if (one.arm, one.task) == ("v2", "macro")), calibrated


def test_of_40_experiments_on_equal_data_at_most_4_find_a_difference():
    random = np.random.default_rng(0)
    found = [judged(random, 0.0)[0].verdict for _ in range(40)]
    assert sum(one in ("better", "worse") for one in found) <= 4


def test_the_a_a_arm_of_equal_data_disagrees_in_at_most_4_of_40():
    random = np.random.default_rng(1)
    assert sum(not judged(random, 0.0)[1] for _ in range(40)) <= 4


@pytest.mark.parametrize(("effect", "verdict"), [(0.0137, "worse"), (-0.0137, "better")])
def test_an_effect_as_large_as_that_of_boilerplate_is_found_in_its_direction(effect, verdict):
    random = np.random.default_rng(2)
    found = [judged(random, effect)[0].verdict for _ in range(20)]
    assert found.count(verdict) >= 16
    assert set(found) <= {verdict, "unstable", "no difference shown"}


def test_a_diverged_seed_makes_its_arm_unstable_and_is_kept_as_missing():
    random = np.random.default_rng(3)
    broken = trained(random, 0.5)
    broken["a"][2] = None
    (first, *_), _ = compare_arms({"v1": trained(random), "v2": broken}, ["a", "b"])
    assert (first.verdict, first.differences[2]) == ("unstable", None)


def test_an_a_a_arm_that_differs_makes_every_verdict_unstable():
    random = np.random.default_rng(4)
    arms = {"v1": trained(random), AA: trained(random, 0.5), "v2": trained(random, 0.5)}
    found, calibrated = compare_arms(arms, ["a", "b"])
    assert calibrated is False
    assert {one.verdict for one in found} == {"unstable"}


def test_one_seed_tells_nothing():
    (first, *_), _ = compare_arms({"v1": {"a": [2.5]}, "v2": {"a": [2.0]}}, ["a"])
    assert (first.verdict, first.low) == ("unstable", None)


def test_equal_models_differ_by_nothing():
    (first, *_), _ = compare_arms({"v1": {"a": [2.5, 2.6]}, "v2": {"a": [2.5, 2.6]}}, ["a"])
    assert (first.verdict, first.low, first.high, first.p) == ("no difference shown", 0.0, 0.0, 1.0)


def test_the_interval_of_the_measured_seeds_is_that_of_the_notes():
    found = t_interval([0.0137, 0.0128, 0.0143, 0.0298, 0.0105])
    assert (round(found.low, 4), round(found.high, 4)) == (0.0066, 0.0258)


def test_the_primary_endpoint_is_the_mean_over_its_sets():
    assert macro({"a": [1.0, None], "b": [3.0, 2.0]}, ["a", "b"]) == [2.0, None]


def test_home_advantage_is_what_arms_gain_on_their_own_sets_and_not_what_they_are_worth():
    arms = {
        "v1": {"one": [2.0, 2.02, 2.01], "two": [2.5, 2.5, 2.51]},
        "v2": {"one": [1.96, 1.97, 1.99], "two": [2.26, 2.25, 2.27]},
    }
    found = home_advantage(arms, {"v1": "one", "v2": "two"})
    assert found.value == pytest.approx(((-0.04 + 0.24) + (-0.05 + 0.25) + (-0.02 + 0.24)) / 3 / 2)
    assert found.low < found.value < found.high and found.low > 0


def test_home_advantage_needs_two_homes_and_two_seeds_that_ended():
    arms = {"v1": {"one": [2.0, None], "two": [2.5, 2.5]}, "v2": {"one": [1.9, 1.9], "two": [2.2, 2.2]}}
    assert home_advantage(arms, {"v1": "one"}) is None
    assert home_advantage(arms, {"v1": "one", "v2": "two"}) is None


# ---- corrections, cross-check and power


def shifted(*shifts):
    """Arms of one held-out set whose differences from the first have a mean of `shift` and all the same spread."""
    first = [2.50, 2.51, 2.49, 2.50, 2.52]
    wobble = [0.004, -0.004, 0.002, -0.002, 0.0]
    others = {
        f"v{at}": {"a": [one + shift + part for one, part in zip(first, wobble, strict=True)]}
        for at, shift in enumerate(shifts, 2)
    }
    return {"v1": {"a": first}, **others}


def test_all_arms_are_corrected_together_on_the_endpoint():
    alone = compare_arms(shifted(0.0045), ["a"])[0][0]
    assert (alone.verdict, alone.holm) == ("worse", alone.p) and 0.025 < alone.p < 0.05
    found, _ = compare_arms(shifted(0.0045, 0.0), ["a"])
    one = next(one for one in found if (one.arm, one.task) == ("v2", "macro"))
    assert (one.p, one.holm, one.verdict) == (alone.p, 2 * alone.p, "no difference shown")


def test_the_held_out_sets_of_an_arm_are_corrected_together():
    arms = shifted(0.0045, 0.0)
    two = {"v1": {"a": arms["v1"]["a"], "b": arms["v1"]["a"]}, "v2": {"a": arms["v2"]["a"], "b": arms["v3"]["a"]}}
    found = {one.task: one for one in compare_arms(two, ["a"])[0]}
    assert found["macro"].verdict == "worse", "the endpoint is a family of its own"
    assert found["a"].holm == 2 * found["a"].p and found["a"].verdict == "no difference shown"


def test_the_cross_check_holds_for_arms_of_different_spread():
    calm, wild = [2.50, 2.501, 2.499, 2.5005, 2.4995, 2.5002, 2.4998, 2.5001], [2.53, 2.60, 2.47, 2.64]
    assert welch(calm, wild) == pytest.approx(0.2092, abs=1e-4)


def test_what_would_be_found_is_of_the_spread_of_both_arms():
    first, other = [2.50, 2.51, 2.49, 2.50, 2.52], [2.56, 2.44, 2.50, 2.58, 2.42]
    error = math.sqrt((np.var(first, ddof=1) + np.var(other, ddof=1)) / 5)
    expected = detectable(error, 4, 8)
    assert expected == pytest.approx(4.2 * error, rel=0.01)
    for arms in ({"v1": {"a": first}, "v2": {"a": other}}, {"v1": {"a": other}, "v2": {"a": first}}):
        assert compare_arms(arms, ["a"])[0][0].mde == pytest.approx(expected)


# ---- what the A/A arm is good for


@pytest.mark.parametrize("arm", ["v1", AA])
def test_with_a_diverged_seed_the_a_a_arm_calibrates_nothing(arm):
    random = np.random.default_rng(5)
    arms = {"v1": trained(random), AA: trained(random), "v2": trained(random, 0.5)}
    for values in arms[arm].values():
        values[1] = values[2] = values[3] = None
    found, calibrated = compare_arms(arms, ["a", "b"])
    assert calibrated is False
    assert {one.verdict for one in found} == {"unstable"}
