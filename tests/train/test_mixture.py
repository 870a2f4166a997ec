from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.tokenize.pack import Fields
from curate.train.data.examples import Labelled, Prompts
from curate.train.data.mixture import Mixture, Schedule, apportioned, tempered
from curate.train.data.windows import Windows

SHARES = st.lists(st.floats(0.01, 10), min_size=1, max_size=6)


# ---- whose a place is


@settings(derandomize=True, max_examples=80, deadline=None)
@given(shares=SHARES, cuts=st.lists(st.integers(0, 400), min_size=1, max_size=5))
def test_places_do_not_depend_on_where_one_begins_to_count(shares, cuts):
    whole, nth = apportioned(shares, 0, 400)
    borders = sorted({0, 400, *cuts})
    for start, stop in pairwise(borders):
        who, which = apportioned(shares, start, stop)
        assert (who.tolist(), which.tolist()) == (whole[start:stop].tolist(), nth[start:stop].tolist())


@settings(derandomize=True, max_examples=80, deadline=None)
@given(shares=SHARES, count=st.integers(1, 500))
def test_every_beginning_holds_the_shares_and_each_counts_from_zero(shares, count):
    who, nth = apportioned(shares, 0, count)
    parts = np.array(shares) / sum(shares)
    for source in range(len(shares)):
        here = nth[who == source]
        assert here.tolist() == list(range(len(here)))
        assert abs(len(here) - parts[source] * count) <= len(shares) / 2 + 0.5


def test_places_far_along_are_found_as_fast_as_the_first():
    who, nth = apportioned([0.7, 0.2, 0.1], 10**12, 10**12 + 10)
    assert np.bincount(who).tolist() == [7, 2, 1]
    assert abs(nth[who == 0][0] - 7 * 10**11) <= 2


# ---- mixtures


@pytest.fixture
def windows(text_pack):
    def build(*texts):
        return Windows(text_pack(train=list(texts)), "train", 4)

    return build


@pytest.fixture
def mixture(windows):
    few = windows("a few words")
    many = windows(*[f"document {number} with words" for number in range(9)])
    return Mixture({"few": few, "many": many}, {"many": 1, "few": 3}, sequences=8, seed=1)


def test_every_step_holds_the_shares(mixture):
    for step in range(10):
        _, numbers = mixture.step(step)
        assert (numbers < len(mixture.sources[0])).sum() == 6


def test_each_source_is_gone_through_in_its_own_epochs(mixture):
    count = len(mixture.sources[0])
    found = np.concatenate([mixture.step(step)[1] for step in range(30)])
    for offset, size in ((0, count), (count, len(mixture.sources[1]))):
        own = found[(found >= offset) & (found < offset + size)] - offset
        for epoch in range(len(own) // size):
            assert sorted(own[epoch * size : (epoch + 1) * size]) == list(range(size))


@pytest.mark.parametrize("size", [2, 4])
def test_processes_together_see_the_same_global_batch_whatever_their_number(mixture, size):
    for step in (0, 3, 11):
        shares = [mixture.step(step, rank=rank, size=size) for rank in range(size)]
        for part, whole in zip(zip(*shares, strict=True), mixture.step(step), strict=True):
            assert np.stack(part, axis=1).ravel().tolist() == whole.tolist()


def test_examples_are_read_from_their_sources_in_the_order_asked_for(mixture):
    first, second = mixture.sources
    batch = mixture.read(np.array([len(first), 0, -1, len(first) + 2]))
    assert batch["numbers"].tolist() == [len(first), 0, -1, len(first) + 2]
    wanted = [second.read(np.array([0])), first.read(np.array([0, -1])), second.read(np.array([2]))]
    for name in ("tokens", "targets", "documents", "positions"):
        assert batch[name].tolist() == np.concatenate([one[name] for one in wanted]).tolist()
    assert len(mixture) == len(first) + len(second)


def test_rows_of_other_widths_and_without_weights_are_filled_up(column_pack):
    short = {"text": ["ab"], "label": ["x"], "weight": [2.0]}
    long = {"text": ["abcdefghijkl"], "label": ["x"], "second": ["m"]}
    first = column_pack(Fields(labels="label", numbers={"weight": "weight"}), train=short)
    second = column_pack(Fields(texts={"text": "text", "second": "second"}, labels="label"), train=long)
    sources = {"a": Labelled(first, "train", 32), "b": Labelled(second, "train", 32)}
    batch = Mixture(sources, {"a": 1, "b": 1}, sequences=2, seed=1).read(np.array([1, 0]))
    assert batch["tokens"].shape == batch["segments"].shape == (2, 16)
    assert batch["documents"][1].tolist() == [0] * 4 + [-1] * 12
    assert batch["segments"][1].tolist() == [0] * 16
    assert batch["weights"].tolist() == [1.0, 2.0]


def test_prompts_of_other_widths_stay_at_the_right_end(column_pack):
    fields = Fields(texts={"prompt": "prompt", "answer": "answer"})
    packs = [column_pack(fields, train={"prompt": [text], "answer": ["x"]}) for text in ("ab", "acegikmoqs")]
    sources = {str(number): Prompts(pack, "train", 32) for number, pack in enumerate(packs)}
    batch = Mixture(sources, {"0": 1, "1": 1}, sequences=2, seed=1).read(np.array([0, 1]))
    assert batch["documents"].tolist() == [[-1] * 13 + [0] * 3, [-1] * 5 + [0] * 11]
    assert batch["tokens"][0, 13] == batch["tokens"][1, 5] == packs[0].roles["start"]


def test_sources_with_other_labels_are_refused(column_pack):
    sources = {
        name: Labelled(column_pack(Fields(labels="label"), train={"text": ["t"] * 2, "label": labels}), "train", 32)
        for name, labels in (("a", ["x", "y"]), ("b", ["x", "z"]))
    }
    with pytest.raises(CurateError, match="`a` and `b` have different labels: y, z"):
        Mixture(sources, {"a": 1, "b": 1}, sequences=2, seed=1)


# ---- tasks


def test_each_task_has_its_share_of_the_steps_and_counts_its_own():
    schedule = Schedule([2, 1, 1])
    found = [schedule.step(step) for step in range(40)]
    for task, share in ((0, 20), (1, 10), (2, 10)):
        assert [own for which, own in found if which == task] == list(range(share))


def test_a_temperature_brings_the_weights_of_tasks_together():
    assert tempered([100, 400], 1.0) == [100, 400]
    assert tempered([100, 400], 2.0) == [10, 20]
