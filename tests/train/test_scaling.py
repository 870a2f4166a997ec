"""The laws of `curate.train.planner.scaling`: published numbers, brute force, and limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.train.planner import scaling
from curate.train.planner.scaling import (
    REFIT,
    Law,
    best_parameters,
    best_tokens,
    effective,
    flop_of_epochs,
    loss,
    optimum,
    sampled_laws,
    useful_flop,
    useful_tokens,
)

HOFFMANN = Law(1.69, 406.4, 410.7, 0.34, 0.28)
SIZES = st.floats(1e6, 1e11)


def brute_force(flop, unique=math.inf):
    """The least loss among 400,000 sizes."""
    start = float(optimum(flop)[0])
    sizes = np.geomspace(start / 1000, start * 1000, 400_001)
    losses = loss(sizes, flop / (6 * sizes), unique)
    return sizes[losses.argmin()], losses.min()


@pytest.mark.parametrize(
    ("flop", "parameters", "tokens"),
    [
        (1e17, 24.7e6, 674e6),
        (1e18, 80.5e6, 2.07e9),
        (1e19, 262e6, 6.36e9),
        (1e20, 853e6, 19.5e9),
        (1e21, 2.78e9, 60.0e9),
    ],
)
def test_the_optimum_is_that_of_the_published_constants(flop, parameters, tokens):
    assert [float(value) for value in optimum(flop)] == pytest.approx([parameters, tokens], rel=3e-3)


def test_the_replication_gives_about_70_billion_parameters_at_chinchillas_budget():
    parameters, tokens = optimum(5.76e23)
    assert 60e9 < parameters < 80e9
    assert 18 < tokens / parameters < 22  # 20 tokens a parameter, as Besiroglu et al. say


def test_hoffmanns_own_constants_give_the_optimum_of_their_third_approach():
    parameters, _ = optimum(5.76e23, law=HOFFMANN)
    assert parameters == pytest.approx(32e9, rel=0.2)  # 40 billion with the unrounded constants of their table A3


@pytest.mark.parametrize("flop", [1e17, 1e19, 1e21])
def test_no_other_size_has_a_lower_loss(flop):
    size, least = brute_force(flop)
    parameters, tokens = optimum(flop)
    assert float(parameters) == pytest.approx(size, rel=1e-3)
    assert loss(parameters, tokens) <= least + 1e-9


@pytest.mark.parametrize("unique", [1e6, 1e8, 1e10])
@pytest.mark.parametrize("times", [0.5, 1, 4, 20, 100])
def test_no_other_size_has_a_lower_loss_where_tokens_repeat(unique, times):
    flop = 6 * best_parameters(unique) * unique * times
    size, least = brute_force(flop, unique)
    parameters, tokens = optimum(flop, unique)
    assert float(parameters) == pytest.approx(size, rel=1e-3)
    assert loss(parameters, tokens, unique) <= least + 1e-9


def test_the_whole_budget_is_spent_where_repeats_are_worth_something():
    parameters, tokens = optimum(1e19, 1e9)
    assert 6 * parameters * tokens == pytest.approx(1e19)


def test_a_budget_that_repeats_cannot_use_is_not_spent():
    parameters, tokens = optimum(1e24, 1e6)
    assert 6 * parameters * tokens < 1e20


def test_scarce_tokens_are_repeated_more_than_the_model_grows():
    """Muennighoff et al. 2023, figure 1: excess compute goes to epochs rather than to parameters."""
    unique = 1e9
    parameters, tokens = optimum(6 * best_parameters(unique) * unique * 100, unique)
    assert tokens / unique > parameters / best_parameters(unique)


def test_four_epochs_are_worth_nearly_as_much_as_new_tokens():
    """Muennighoff et al. 2023: repeating up to four times changes the loss by next to nothing."""
    worth = effective(1e8, 4e9, 1e9)[1]
    assert 3.6e9 < worth < 4e9


@given(parameters=SIZES, unique=SIZES)
def test_tokens_that_are_seen_once_are_worth_themselves(parameters, unique):
    assert effective(parameters, unique, unique)[1] == pytest.approx(unique)


@given(parameters=SIZES, unique=SIZES)
def test_endless_repeats_are_worth_a_fixed_number_of_epochs(parameters, unique):
    assert effective(parameters, unique * 1e6, unique)[1] == pytest.approx(unique * (1 + scaling.REPEATS))


@given(unique=SIZES)
def test_endless_parameters_are_worth_a_fixed_multiple_of_those_that_fit(unique):
    fitting = best_parameters(unique)
    assert effective(fitting * 1e6, unique, unique)[0] == pytest.approx(fitting * (1 + scaling.EXCESS))


@given(parameters=SIZES, tokens=SIZES, unique=SIZES)
def test_repeats_never_make_tokens_worth_more(parameters, tokens, unique):
    worth = effective(parameters, tokens, unique)
    assert worth[0] <= parameters * (1 + 1e-9)
    assert worth[1] <= tokens * (1 + 1e-9)


@given(tokens=SIZES)
def test_best_tokens_undoes_best_parameters(tokens):
    assert best_tokens(best_parameters(tokens)) == pytest.approx(tokens)


@settings(max_examples=20, deadline=None)
@given(flop=st.floats(1e16, 1e22), unique=SIZES)
def test_more_unique_tokens_never_hurt(flop, unique):
    few, many = (loss(*optimum(flop, count), count) for count in (unique, 2 * unique))
    assert many <= few + 1e-9


@pytest.mark.parametrize("epochs", [1, 4, 16])
def test_the_flop_of_epochs_give_so_many_epochs(epochs):
    _, tokens = optimum(flop_of_epochs(epochs, 1e9), 1e9)
    assert float(tokens) / 1e9 == pytest.approx(epochs, rel=1e-4)


def test_beyond_the_useful_flop_nothing_is_gained():
    useful = useful_flop(1e8, 0.01)
    gained = loss(*optimum(useful, 1e8), 1e8) - loss(*optimum(useful * 1e4, 1e8), 1e8)
    assert gained == pytest.approx(0.01, rel=0.02)
    assert useful_flop(math.inf, 0.01) == math.inf


def test_beyond_the_useful_tokens_a_model_gains_nothing():
    useful = useful_tokens(1e7, 1e8, 0.01)
    gained = loss(1e7, useful, 1e8) - loss(1e7, useful * 1e3, 1e8)
    assert gained == pytest.approx(0.01, rel=0.02)
    assert useful_tokens(1e7, math.inf, 0.01) == math.inf


def test_sampled_laws_have_the_published_standard_errors():
    """Besiroglu et al. 2024, table 1: E 0.03, A 124.58, B 1293.23, both exponents 0.02, the share of N in log C 0.02."""
    laws = sampled_laws()
    errors = [float(np.std(field)) for field in laws]
    assert errors[0] == pytest.approx(0.03, abs=0.008)
    assert errors[1] == pytest.approx(124.58, rel=0.1)
    assert 700 < errors[2] < 1600  # that of B is of a long tail, which a normal logarithm has less of
    assert errors[3:] == pytest.approx([0.02, 0.02], abs=0.006)
    share = laws.token_exponent / (laws.parameter_exponent + laws.token_exponent)
    assert float(np.std(share)) == pytest.approx(0.02, abs=0.003)


def test_sampled_laws_are_the_same_each_time():
    first = [field.tobytes() for field in sampled_laws()]
    sampled_laws.cache_clear()
    assert [field.tobytes() for field in sampled_laws()] == first


def test_sampled_laws_agree_where_the_runs_were():
    losses = loss(1e9, 2e10, law=sampled_laws())
    assert float(np.std(losses)) < 0.005
    assert float(np.median(losses)) == pytest.approx(loss(1e9, 2e10, law=REFIT), abs=0.003)
