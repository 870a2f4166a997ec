"""The learning rate over the steps."""

from __future__ import annotations

import pytest

from curate.train.optimization.optimizer import learning_rate
from curate.train.settings.blocks import ScheduleSettings


def rates(kind, steps=10, warmup=2, floor=0.1, decay=0.2):
    schedule = ScheduleSettings(kind=kind, warmup=warmup, floor=floor, decay=decay)
    return [learning_rate(step, steps, 1.0, schedule) for step in range(1, steps + 1)]


@pytest.mark.parametrize("kind", ["cosine", "linear", "wsd", "constant"])
def test_the_rate_rises_to_its_highest_just_after_the_warm_up(kind):
    assert rates(kind)[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])


@pytest.mark.parametrize(("kind", "last"), [("cosine", 0.1), ("linear", 0.1), ("wsd", 0.1), ("constant", 1.0)])
def test_the_last_step_has_the_floors_share_of_the_rate(kind, last):
    assert rates(kind)[-1] == pytest.approx(last)


def test_the_cosine_is_half_way_down_in_the_middle():
    assert rates("cosine", steps=12, warmup=1, floor=0.0)[6] == pytest.approx(0.5)


def test_wsd_stays_at_its_highest_and_falls_evenly_at_the_end():
    found = rates("wsd", steps=20, warmup=2, floor=0.0, decay=0.2)
    assert found[2:16] == [1.0] * 14
    assert found[16:] == pytest.approx([0.75, 0.5, 0.25, 0.0])


def test_wsd_that_falls_all_the_time_is_linear():
    assert rates("wsd", decay=1.0) == rates("linear")


@pytest.mark.parametrize("kind", ["cosine", "wsd"])
def test_a_warm_up_longer_than_the_run_only_rises(kind):
    found = rates(kind, steps=3, warmup=10)
    assert found == sorted(found)
