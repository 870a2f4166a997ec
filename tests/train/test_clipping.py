"""The norm of all gradients together, and its limit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from curate.train.optimization.optimizer import clip_gradients
from curate.train.parallel.world import joined


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3, bias=False), nn.RMSNorm(3))


def test_clipping_gives_the_norm_before_and_scales_to_the_limit(layer):
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert clip_gradients(layer.parameters(), 1.0) == pytest.approx(12**0.5)
    assert clip_gradients(layer.parameters(), None) == pytest.approx(1.0, abs=1e-5)


def test_clipping_leaves_parameters_without_gradient_alone(layer):
    layer[0].weight.grad = torch.full((3, 3), 2.0)
    assert clip_gradients(layer.parameters(), 3.0) == pytest.approx(6.0)
    assert layer[0].weight.grad.norm().item() == pytest.approx(3.0)
    assert layer[1].weight.grad is None


def test_no_gradients_at_all_have_a_norm_of_zero(layer):
    assert clip_gradients(layer.parameters(), 1.0) == 0.0


@pytest.fixture
def world():
    with joined(0, 1, device="cpu") as found:
        yield found


def test_gradients_on_meshes_of_one_and_two_dimensions_are_clipped_together(world):
    mesh = init_device_mesh("cpu", (1, 1), mesh_dim_names=("shard", "tensor"))
    layouts = [(mesh["shard"], [Shard(0)]), (mesh, [Shard(0), Shard(1)]), None]
    parameters = []
    for layout in layouts:
        value = torch.full((2, 2), 1.0)
        parameter = nn.Parameter(distribute_tensor(value, *layout) if layout else value)
        parameter.grad = torch.ones_like(parameter)
        parameters.append(parameter)
    assert clip_gradients(parameters, 1.0) == pytest.approx(12**0.5)
    assert clip_gradients(parameters, None) == pytest.approx(1.0, abs=1e-5)


def test_a_norm_that_is_not_finite_is_told(layer):
    for parameter in layer.parameters():
        parameter.grad = torch.full_like(parameter, math.nan)
    assert math.isnan(clip_gradients(layer.parameters(), 1.0))
