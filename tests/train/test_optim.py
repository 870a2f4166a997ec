from __future__ import annotations

import pytest
import torch
from torch import nn

from curate.train.config import OptimizerSettings, ScheduleSettings
from curate.train.optim import allocate_state, build_optimizer, clip_gradients, learning_rate


def rates(kind, steps=10, warmup=2, floor=0.1):
    schedule = ScheduleSettings(kind=kind, warmup=warmup, floor=floor)
    return [learning_rate(step, steps, 1.0, schedule) for step in range(1, steps + 1)]


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant"])
def test_the_rate_rises_to_its_highest_just_after_the_warm_up(kind):
    assert rates(kind)[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])


@pytest.mark.parametrize(("kind", "last"), [("cosine", 0.1), ("linear", 0.1), ("constant", 1.0)])
def test_the_last_step_has_the_floors_share_of_the_rate(kind, last):
    assert rates(kind)[-1] == pytest.approx(last)


def test_the_cosine_is_half_way_down_in_the_middle():
    assert rates("cosine", steps=12, warmup=1, floor=0.0)[6] == pytest.approx(0.5)


def test_a_warm_up_longer_than_the_run_only_rises():
    found = rates("cosine", steps=3, warmup=10)
    assert found == sorted(found)


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3, bias=False), nn.RMSNorm(3))


def test_norms_are_not_decayed(layer):
    optimizer = build_optimizer(layer, OptimizerSettings(weight_decay=0.3))
    decays = {
        parameter.ndim: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]
    }
    assert decays == {2: 0.3, 1: 0.0}


def test_allocating_state_changes_no_parameter(layer):
    before = [parameter.clone() for parameter in layer.parameters()]
    optimizer = build_optimizer(layer, OptimizerSettings())
    allocate_state(optimizer)
    assert all(map(torch.equal, before, layer.parameters()))
    assert all("exp_avg" in optimizer.state[parameter] for parameter in layer.parameters())


def test_clipping_gives_the_norm_before_and_scales_to_the_limit(layer):
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert clip_gradients(layer.parameters(), 1.0) == pytest.approx(12**0.5)
    assert clip_gradients(layer.parameters(), None) == pytest.approx(1.0, abs=1e-5)
