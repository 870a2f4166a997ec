from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from curate.errors import CurateError
from curate.train.data.loader import Loader
from curate.train.data.order import Order


class Numbers:
    """A source that remembers what was read in which thread."""

    def __init__(self, fails=()):
        self.cut, self.fails, self.read_in = 0, fails, []

    def __len__(self):
        return 100

    def read(self, numbers):
        self.read_in.append(threading.current_thread().name)
        if len(self.read_in) in self.fails:
            raise CurateError("this batch cannot be read")
        return {"tokens": np.tile(numbers[:, None], (1, 8)), "numbers": numbers}


@pytest.fixture
def order():
    return Order(100, sequences=8, seed=1)


def test_batches_are_those_of_the_order_with_their_samples(order):
    with Loader(Numbers(), order, rank=1, size=2) as loader:
        for step in (0, 1, 2, 7):
            batch = loader.step(step)
            samples, numbers = order.step(step, rank=1, size=2)
            assert batch["samples"].tolist() == samples.tolist()
            assert batch["tokens"][:, 0].tolist() == batch["numbers"].tolist() == numbers.tolist()
            assert all(isinstance(values, torch.Tensor) for values in batch.values())


def test_the_next_step_is_read_in_a_thread(order):
    source = Numbers()
    with Loader(source, order) as loader:
        loader.step(0)
        loader.step(1)
    assert source.read_in[0] == threading.current_thread().name
    assert source.read_in[1].startswith("loader")


def test_without_reading_ahead_there_is_no_thread(order):
    source = Numbers()
    with Loader(source, order, ahead=False) as loader:
        loader.step(0)
        loader.step(1)
    assert set(source.read_in) == {threading.current_thread().name}


def test_a_step_that_was_not_read_ahead_is_read_at_once(order):
    with Loader(Numbers(), order) as loader:
        loader.step(0)
        assert loader.step(5)["numbers"].tolist() == order.step(5)[1].tolist()
        assert loader.step(4)["numbers"].tolist() == order.step(4)[1].tolist()


def test_an_error_in_the_thread_is_raised_where_its_step_is_asked_for(order):
    with Loader(Numbers(fails={2}), order) as loader:
        loader.step(0)
        with pytest.raises(CurateError, match="this batch cannot be read"):
            loader.step(1)
        assert loader.step(2)["numbers"].tolist() == order.step(2)[1].tolist()


def test_closing_ends_the_thread(order):
    before = threading.active_count()
    loader = Loader(Numbers(), order)
    loader.step(0)
    assert threading.active_count() == before + 1
    loader.close()
    loader.close()
    assert threading.active_count() == before


def test_every_batch_is_prepared_in_the_thread(order):
    names = []

    def prepare(batch):
        names.append(threading.current_thread().name)
        return {**batch, "tokens": batch["tokens"] + 1000}

    with Loader(Numbers(), order, device_prepare=prepare) as loader:
        loader.step(0)
        assert loader.step(1)["tokens"].min() >= 1000
    assert names[1].startswith("loader")


def test_windows_are_cut_to_the_length_of_their_step(order):
    with Loader(Numbers(), order, length=lambda step: 4 if step < 2 else 8) as loader:
        assert [tuple(loader.step(step)["tokens"].shape) for step in range(4)] == [(16, 4), (16, 4), (8, 8), (8, 8)]
