from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.tokenize.pack import Fields
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.data.batch import IGNORED
from curate.train.data.packed import Packed, best_fit

SIZES = st.lists(st.integers(0, 50), max_size=60)


LETTERS = "acegikmoqsuwyzxvtrpnljhfdb"


def talk(size):
    return [{"role": "user", "content": LETTERS[:size]}, {"role": "assistant", "content": LETTERS[-size - 1 :]}]


TALKS = [talk(size) for size in (9, 1, 4, 2, 7, 3)]


@pytest.fixture
def pack(column_pack):
    numbers = {"weight": "weight", "difficulty": "level"}
    fields = Fields(texts={}, messages="messages", numbers=numbers)
    count = len(TALKS)
    columns = {"messages": TALKS, "weight": np.arange(1.0, count + 1), "level": np.arange(count) * 2.0}
    return column_pack(fields, train=columns)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(sizes=SIZES, room=st.integers(50, 80))
def test_each_item_is_in_one_row_and_every_row_fits(sizes, room):
    rows = best_fit(np.array(sizes, dtype=np.int64), room)
    assert sorted(item for row in rows for item in row) == list(range(len(sizes)))
    assert all(sum(sizes[item] for item in row) <= room for row in rows)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(sizes=SIZES, room=st.integers(50, 80))
def test_rows_are_those_of_best_fit_decreasing(sizes, room):
    left: list[int] = []
    for size in sorted(sizes, reverse=True):
        fitting = [row for row in range(len(left)) if left[row] >= size]
        row = min(fitting, key=lambda one: left[one], default=None)
        if row is None:
            left.append(room - size)
        else:
            left[row] -= size
    rows = best_fit(np.array(sizes, dtype=np.int64), room)
    assert sorted(room - sum(sizes[item] for item in row) for row in rows) == sorted(left)


def test_whole_conversations_stand_beside_each_other_with_their_own_places(pack):
    source, tokenizer = Packed(pack, "train", 32), load_tokenizer(pack.tokenizer_path)
    batch = source.read(np.arange(len(source)))
    found = []
    for row in range(len(source)):
        for document in range(batch["documents"][row].max() + 1):
            here = batch["documents"][row] == document
            assert batch["positions"][row, here].tolist() == list(range(here.sum()))
            targets = batch["targets"][row, here]
            said = targets[targets != IGNORED]
            found.append(tokenizer.decode(said.tolist(), skip_special_tokens=False))
            assert batch["tokens"][row, here][0] == pack.roles["user"]
    assert sorted(found) == sorted(f"{one[1]['content']}<|end|>" for one in TALKS)
    assert source.cut == 0


def test_targets_are_the_tokens_one_later_where_the_assistant_speaks(pack):
    source, rows = Packed(pack, "train", 200), pack.rows("train")
    batch = source.read(np.array([0]))
    for document, number in enumerate(source.rows[0]):
        here = batch["documents"][0] == document
        tokens, mask = rows.tokens("messages", number), rows.mask("messages", number)
        assert batch["tokens"][0, here].tolist() == tokens[:-1].tolist()
        assert batch["targets"][0, here].tolist() == np.where(mask, tokens, IGNORED)[1:].tolist()


def test_a_conversation_longer_than_a_row_is_cut_and_counted(pack):
    sizes = pack.rows("train").lengths("messages") - 1
    most = int(np.median(sizes))
    source = Packed(pack, "train", most)
    assert source.cut == (sizes > most).sum() > 0
    assert source.read(np.arange(len(source)))["tokens"].shape[1] <= most


def test_targets_have_the_weights_of_their_conversations(pack):
    source = Packed(pack, "train", 40)
    batch = source.read(np.arange(len(source)))
    for row in range(len(source)):
        for document, number in enumerate(source.rows[row]):
            assert set(batch["weights"][row, batch["documents"][row] == document]) == {number + 1.0}


def test_a_rows_difficulty_is_the_mean_over_its_tokens(pack):
    source = Packed(pack, "train", 200)
    sizes = pack.rows("train").lengths("messages") - 1
    wanted = np.average(np.arange(len(TALKS)) * 2.0, weights=sizes)
    assert source.difficulty() == pytest.approx([wanted])


def test_an_empty_row_has_no_targets(pack):
    batch = Packed(pack, "train", 32).read(np.array([-1]))
    assert (batch["targets"] == IGNORED).all()
    assert (batch["documents"] == -1).all()


def test_conversations_may_have_rows_of_their_own(pack):
    source, together = Packed(pack, "train", 32, alone=True), Packed(pack, "train", 32)
    batch = source.read(np.arange(len(source)))
    assert len(source) == len(TALKS) > len(together)
    assert batch["documents"].max() == 0
    assert (batch["documents"] == 0).sum(1).tolist() == source.sizes.tolist()
    both = [one.read(np.arange(len(one)))["targets"] for one in (source, together)]
    found, wanted = (sorted(targets[targets != IGNORED].tolist()) for targets in both)
    assert found == wanted
    assert source.difficulty().tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
