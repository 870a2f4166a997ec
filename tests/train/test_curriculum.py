from __future__ import annotations

import numpy as np
import pytest

from curate.train.data.batch import IGNORED
from curate.train.data.curriculum import CurriculumOrder, length_at, shortened
from curate.train.data.order import Order
from curate.train.data.windows import Windows
from curate.train.settings.methods import CurriculumSettings

DIFFICULTY = np.random.default_rng(1).random(500)


def order(steps=100, **settings):
    given = CurriculumSettings(difficulty=True, **{"start": 0.2, "share": 0.5, **settings})
    return CurriculumOrder(DIFFICULTY, sequences=16, seed=1, steps=steps, settings=given)


def drawn(made, steps):
    return np.concatenate([made.step(step)[1] for step in steps])


# ---- by difficulty


@pytest.mark.parametrize(
    ("pacing", "competence"),
    [("sqrt", lambda time: np.sqrt(time * (1 - 0.2**2) + 0.2**2)), ("linear", lambda time: 0.2 + time * 0.8)],
)
def test_the_share_of_examples_grows_as_the_paper_says(pacing, competence):
    made = order(pacing=pacing)
    for step in (0, 10, 25, 49):
        assert set(made.eligible(made.step(step)[0])) == {int(np.ceil(competence(step / 50) * 500))}


def test_only_the_easiest_examples_are_drawn():
    made = order()
    ranks = np.argsort(np.argsort(DIFFICULTY))
    for step in range(50):
        samples, numbers = made.step(step)
        assert (ranks[numbers] < made.eligible(samples)).all()
    assert ranks[drawn(made, range(4))].max() < 200 < ranks[drawn(made, range(40, 50))].max()


def test_after_the_pacing_come_ordinary_epochs():
    made, usual = order(), Order(500, sequences=16, seed=1)
    for step in (50, 60, 99):
        assert made.step(step)[1].tolist() == usual.step(step - 50)[1].tolist()


@pytest.mark.parametrize("size", [2, 4])
def test_processes_together_see_the_same_global_batch_whatever_their_number(size):
    made = order()
    for step in (0, 30, 49, 50):
        shares = [made.step(step, rank=rank, size=size) for rank in range(size)]
        for part, whole in zip(zip(*shares, strict=True), made.step(step), strict=True):
            assert np.stack(part, axis=1).ravel().tolist() == whole.tolist()


def test_a_step_is_the_same_whatever_was_asked_before():
    made = order()
    wanted = made.step(7)[1].tolist()
    made.step(80)
    assert order().step(7)[1].tolist() == made.step(7)[1].tolist() == wanted


# ---- by length


def test_lengths_come_one_after_the_other_and_then_the_whole():
    settings = CurriculumSettings(lengths=(8, 16), share=0.4)
    found = [length_at(step, length=32, steps=20, settings=settings) for step in range(20)]
    assert found == [8] * 4 + [16] * 4 + [32] * 12


def test_without_lengths_it_is_always_the_whole():
    assert length_at(0, length=32, steps=20, settings=CurriculumSettings(difficulty=True)) == 32


@pytest.fixture
def batch(text_pack):
    texts = ["some words", "", "and some more words of text", "x", "a last document of several words"]
    windows = Windows(text_pack(train=texts), "train", 16)
    return {**windows.read(np.array([1, 0, len(windows) - 1, -1])), "samples": np.arange(4) + 40}


def test_shorter_windows_hold_the_same_tokens_and_targets(batch):
    short = shortened(batch, 4)
    for name in ("tokens", "targets"):
        assert short[name].shape == (16, 4)
        assert short[name].ravel().tolist() == batch[name].ravel().tolist()


def test_documents_and_positions_of_shorter_windows_are_those_of_windows_of_that_length(text_pack):
    pack = text_pack(train=["some words", "", "and some more words of text", "x", "a last document"])
    long, short = Windows(pack, "train", 16), Windows(pack, "train", 4)
    found = shortened(long.read(np.arange(len(long))), 4)
    wanted = short.read(np.arange(len(short)))
    for name in ("documents", "positions"):
        assert found[name][: len(short)].tolist() == wanted[name].tolist()
    assert (found["documents"][len(short) :] == -1).all()


def test_shorter_windows_have_their_own_samples_and_their_windows_numbers(batch):
    short = shortened(batch, 8)
    assert short["samples"].tolist() == list(range(80, 88))
    assert short["numbers"].tolist() == np.repeat(batch["numbers"], 2).tolist()
    assert (short["targets"][-2:] == IGNORED).all()
