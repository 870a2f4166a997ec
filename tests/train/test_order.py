from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.train.data.order import Order, permuted, uniforms


@settings(derandomize=True, max_examples=60, deadline=None)
@given(count=st.integers(1, 700), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 1000))
def test_an_epochs_order_is_a_permutation(count, seed, epoch):
    order = permuted(np.arange(count), count, seed=seed, epoch=epoch)
    assert sorted(order) == list(range(count))


def test_the_order_is_the_same_on_every_machine_for_ever():
    assert permuted(np.arange(10), 10, seed=1, epoch=0).tolist() == [1, 6, 3, 5, 2, 4, 9, 0, 8, 7]


def test_a_position_has_the_same_place_whatever_is_asked_beside_it():
    whole = permuted(np.arange(1000), 1000, seed=5, epoch=2)
    assert permuted(np.array([17, 3]), 1000, seed=5, epoch=2).tolist() == whole[[17, 3]].tolist()


def test_epochs_and_seeds_differ_in_their_order():
    orders = {tuple(permuted(np.arange(50), 50, seed=seed, epoch=epoch)) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4


def test_neighbours_do_not_stay_neighbours():
    order = permuted(np.arange(10_000), 10_000, seed=1, epoch=0)
    assert (np.abs(np.diff(order)) == 1).mean() < 0.01


@pytest.mark.parametrize("size", [1, 2, 4])
def test_processes_together_see_the_same_global_batch_whatever_their_number(size):
    order = Order(37, sequences=8, seed=1)
    for step in range(12):
        shares = [order.step(step, rank=rank, size=size) for rank in range(size)]
        for part, whole in zip(zip(*shares, strict=True), order.step(step), strict=True):
            assert np.stack(part, axis=1).ravel().tolist() == whole.tolist()


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    examples=st.integers(1, 60),
    sequences=st.integers(1, 20),
    size=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_example_is_seen_once_in_an_epoch_and_samples_are_counted_through(examples, sequences, size, seed):
    order = Order(examples, sequences=sequences, seed=seed)
    steps = range(-(-3 * examples // sequences))
    parts = [order.step(step, rank=rank, size=size) for step in steps for rank in range(size)]
    samples, numbers = (np.concatenate(some) for some in zip(*parts, strict=True))
    assert sorted(samples) == list(range(len(samples)))
    for epoch in range(3):
        here = samples // examples == epoch
        assert sorted(numbers[here]) == list(range(examples))


# ---- uniform numbers


def test_uniform_numbers_are_the_same_on_every_machine_for_ever():
    wanted = [[0.76332799, 0.41681468, 0.15119077], [0.94590635, 0.23857245, 0.16209006]]
    assert np.round(uniforms(1, "masks", np.array([0, 1]), 3), 8).tolist() == wanted


def test_uniform_numbers_are_spread_evenly():
    drawn = uniforms(1, "masks", np.arange(500), 400)
    assert drawn.min() >= 0 and drawn.max() < 1
    counts = np.histogram(drawn, bins=100, range=(0, 1))[0]
    expected = drawn.size / 100
    assert ((counts - expected) ** 2 / expected).sum() < 149  # chi-square of 99 degrees, 0.1%
    for other in (drawn[1:], drawn[:, 1:]):
        correlation = np.corrcoef(drawn[: len(other), : other.shape[1]].ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 0.01


def test_a_longer_row_begins_as_a_shorter_one_and_depends_on_no_other():
    drawn = uniforms(1, "masks", np.array([5, 9, 7]), 20)
    assert uniforms(1, "masks", np.array([7]), 8).tolist() == drawn[2:, :8].tolist()


def test_seeds_and_purposes_have_other_numbers():
    rows = [uniforms(seed, purpose, np.array([3]), 4)[0].tolist() for seed in (1, 2) for purpose in ("a", "b")]
    assert len({tuple(row) for row in rows}) == 4
