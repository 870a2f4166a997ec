from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.train.data import Order, Windows, permuted
from curate.train.loss import IGNORED


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
        assert np.stack(shares, axis=1).ravel().tolist() == order.step(step).tolist()


def test_every_window_is_seen_once_in_an_epoch():
    order = Order(40, sequences=8, seed=1)
    seen = np.concatenate([order.step(step) for step in range(5)])
    assert sorted(seen) == list(range(40))


def stream(pack, split):
    dtype = pack.manifest["dtype"]
    return np.concatenate([
        np.fromfile(pack.folder / shard["file"], dtype) for shard in pack.manifest["splits"][split]["shards"]
    ])  # fmt: skip


def test_every_token_of_a_split_is_a_target_once(text_pack):
    pack = text_pack(train=["some words", "and some more words of text", ""])
    windows = Windows(pack, "train", 8)
    _, targets = windows.read(np.arange(len(windows)))
    assert targets[targets != IGNORED].tolist() == stream(pack, "train").tolist()


def test_inputs_are_the_targets_one_before_and_the_first_is_an_end_of_text(text_pack):
    pack = text_pack(train=["some words", "and some more words of text"])
    windows = Windows(pack, "train", 8)
    inputs, targets = windows.read(np.arange(len(windows)))
    count = windows.tokens
    assert inputs.ravel()[:count].tolist() == [pack.end_of_text, *targets.ravel()[: count - 1].tolist()]


def test_windows_read_over_the_borders_of_shards(text_pack, monkeypatch):
    texts = [f"document {number} has a few words" for number in range(20)]
    whole = text_pack(train=texts)
    monkeypatch.setattr("curate.tokenize.pack.TOKENS_PER_SHARD", 30)
    cut = text_pack(train=texts, validation=["x"])
    assert len(cut.manifest["splits"]["train"]["shards"]) > 3
    found, wanted = Windows(cut, "train", 16), Windows(whole, "train", 16)
    numbers = np.arange(len(wanted))
    assert [part.tolist() for part in found.read(numbers)] == [part.tolist() for part in wanted.read(numbers)]


def test_a_window_numbered_minus_one_has_no_targets(text_pack):
    windows = Windows(text_pack(train=["some words"]), "train", 4)
    _, targets = windows.read(np.array([-1]))
    assert (targets == IGNORED).all()


def test_a_split_that_is_not_there_is_told_with_those_that_are(text_pack):
    with pytest.raises(CurateError, match=r"no tokens in a split `test`") as error:
        Windows(text_pack(train=["some words"]), "test", 4)
    assert error.value.hint == "its splits: train"
