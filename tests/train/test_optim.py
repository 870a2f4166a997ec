"""Optimizers, on whole parameters and on shards."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn import functional

from curate.train.optimization import optimizer as optim
from curate.train.optimization.optimizer import (
    Average,
    allocate_state,
    build_optimizer,
    clip_gradients,
    orthogonal,
    set_learning_rates,
    state_tensors,
)
from curate.train.parallel.world import joined
from curate.train.settings.blocks import OptimizerSettings, ScheduleSettings
from tests.train.forked import call_each

KINDS = ("adamw", "sgd", "muon")


# ---- a small model, whole or in shards


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.RMSNorm(8)
        self.wide = nn.Linear(8, 24)
        self.narrow = nn.Linear(24, 8)
        self.distances = nn.Embedding(4, 8)

    def forward(self, states):
        states = states + self.distances.weight.sum(0)
        return states + self.narrow(functional.gelu(self.wide(self.norm(states))))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embedding = nn.Embedding(20, 8)
        self.blocks = nn.ModuleList(Layer() for _ in range(2))
        self.head = nn.Linear(8, 5)
        for parameter in self.parameters():
            parameter.data.normal_(0, 0.3, generator=generator)

    def forward(self, tokens, labels):
        states = self.embedding(tokens)
        for block in self.blocks:
            states = block(states)
        return functional.cross_entropy(self.head(states), labels, reduction="sum")


def sharded(model):
    for block in (*model.blocks, model):
        fully_shard(block)
    return model


@pytest.fixture
def world():
    with joined(0, 1, device="cpu") as found:
        yield found


def batch(step, rank=0, size=1):
    generator = torch.Generator().manual_seed(step)
    tokens = torch.randint(0, 20, (12,), generator=generator)
    labels = torch.randint(0, 5, (12,), generator=generator)
    return tokens[rank::size], labels[rank::size]


def settings_of(kind, **given):
    return OptimizerSettings(kind=kind, learning_rate=0.05, **given)


def train(model, optimizer, steps, *, rank=0, size=1, average=None):
    """The loss of each step; shards get the mean of the processes' gradients, so it is their sum times `size`."""
    losses = []
    for step in steps:
        loss = model(*batch(step, rank, size))
        (loss * size / 12).backward()
        clip_gradients(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if average:
            average.update()
        losses.append(loss.item())
    return losses


def whole(tensors):
    return {
        name: (value.full_tensor() if isinstance(value, DTensor) else value).detach().clone()
        for name, value in tensors.items()
    }


def assert_same_bits(found, wanted):
    assert list(found) == list(wanted)
    assert [name for name in found if not torch.equal(found[name], wanted[name])] == []


# ---- which parameters are moved, and how


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3, bias=False), nn.RMSNorm(3))


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_norms_are_not_decayed(layer, kind):
    optimizer = build_optimizer(layer, OptimizerSettings(kind=kind, weight_decay=0.3))
    decays = {
        parameter.ndim: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]
    }
    assert decays == {2: 0.3, 1: 0.0}


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_that_are_frozen_are_not_optimized(kind):
    model = Model()
    model.embedding.requires_grad_(False)
    model.blocks[0].requires_grad_(False)
    optimizer = build_optimizer(model, settings_of(kind))
    found = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    assert found == {parameter for parameter in model.parameters() if parameter.requires_grad}


def test_muon_moves_the_matrices_of_the_blocks_and_leaves_tables_heads_and_vectors_to_adamw():
    model = Model()
    names = {parameter: name for name, parameter in model.named_parameters()}
    muon, adamw = build_optimizer(model, settings_of("muon")).parts
    assert {names[parameter] for group in muon.param_groups for parameter in group["params"]} == {
        f"blocks.{number}.{layer}.weight" for number in range(2) for layer in ("wide", "narrow")
    }
    assert sum(len(group["params"]) for part in (muon, adamw) for group in part.param_groups) == len(names)


def test_every_group_has_its_own_highest_rate():
    settings = settings_of("muon", matrix_learning_rate=0.4)
    optimizer = build_optimizer(Model(), settings)
    schedule = ScheduleSettings(kind="constant", warmup=1)
    assert set_learning_rates(optimizer, 1, 10, settings, schedule) == pytest.approx(0.025)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.2, 0.025, 0.025])


def test_adamw_is_pytorchs():
    model, other = Model(), Model()
    train(model, build_optimizer(model, settings_of("adamw", weight_decay=0.0)), range(5))
    train(other, torch.optim.AdamW(other.parameters(), lr=0.05, betas=(0.9, 0.95), weight_decay=0.0), range(5))
    torch.testing.assert_close(model.state_dict(), other.state_dict(), rtol=1e-5, atol=1e-6)


def test_sgd_is_pytorchs_with_momentum():
    model, other = Model(), Model()
    train(model, build_optimizer(model, settings_of("sgd", weight_decay=0.0)), range(5))
    train(other, torch.optim.SGD(other.parameters(), lr=0.05, momentum=0.95), range(5))
    assert_same_bits(model.state_dict(), other.state_dict())


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this version of PyTorch has no Muon")
def test_muon_is_pytorchs_but_for_its_precision(monkeypatch):
    from torch.optim._muon import _zeropower_via_newtonschulz

    def in_bfloat16(matrix):
        return _zeropower_via_newtonschulz(matrix, optim.NEWTON_SCHULZ, optim.ITERATIONS, 1e-7)

    monkeypatch.setattr(optim, "orthogonal", in_bfloat16)
    model, other = Model().blocks[0].wide, Model().blocks[0].wide
    model.bias.requires_grad_(False)
    group = nn.Module()
    group.blocks = nn.ModuleList([model])
    found = build_optimizer(group, settings_of("muon", weight_decay=0.2, matrix_learning_rate=0.1))
    wanted = torch.optim.Muon([other.weight], lr=0.1, weight_decay=0.2, momentum=0.95)
    for step in range(4):
        for layer, optimizer in ((model, found), (other, wanted)):
            layer.weight.grad = torch.randn(24, 8, generator=torch.Generator().manual_seed(step))
            optimizer.step()
    torch.testing.assert_close(model.weight, other.weight, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_an_orthogonal_matrix_has_the_directions_of_its_origin_and_singular_values_near_1(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    values = left.T @ orthogonal(matrix) @ right.T
    assert values.diagonal().min() > 0.4
    assert values.diagonal().max() < 1.3
    torch.testing.assert_close(values, values.diagonal().diag(), rtol=0, atol=1e-5)


def test_a_gradient_of_zero_has_no_orthogonal_direction():
    assert not orthogonal(torch.zeros(3, 4)).any()


# ---- state


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shards", [False, True])
def test_allocated_state_is_zero_and_has_the_names_of_a_step_and_changes_no_parameter(kind, shards, world):
    model = sharded(Model()) if shards else Model()
    before = whole(dict(model.named_parameters()))
    optimizer = build_optimizer(model, settings_of(kind))
    allocate_state(optimizer)
    allocated = state_tensors(model, optimizer)
    assert not any(value.any() for value in whole(allocated).values())
    assert_same_bits(whole(dict(model.named_parameters())), before)
    plain = Model()
    stepped = build_optimizer(plain, settings_of(kind))
    train(plain, stepped, range(1))
    shapes = {name: (value.shape, value.dtype) for name, value in allocated.items()}
    assert shapes == {name: (value.shape, value.dtype) for name, value in state_tensors(plain, stepped).items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shards", [False, True])
def test_a_run_whose_state_was_allocated_equals_one_whose_was_not(kind, shards, world):
    found = []
    for allocate in (False, True):
        model = sharded(Model()) if shards else Model()
        optimizer = build_optimizer(model, settings_of(kind))
        if allocate:
            allocate_state(optimizer)
        train(model, optimizer, range(4))
        found.append(whole({**dict(model.named_parameters()), **state_tensors(model, optimizer)}))
    assert_same_bits(*found)


def test_sgd_without_momentum_has_no_state():
    model = Model()
    optimizer = build_optimizer(model, settings_of("sgd", momentum=0.0))
    allocate_state(optimizer)
    train(model, optimizer, range(2))
    assert state_tensors(model, optimizer) == {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shards", [False, True])
def test_state_that_is_loaded_in_place_goes_on_to_the_same_bits(kind, shards, world):
    def begun():
        model = sharded(Model()) if shards else Model()
        optimizer = build_optimizer(model, settings_of(kind))
        allocate_state(optimizer)
        average = Average(model, 0.9)

        def tensors():
            named = {name: parameter.detach() for name, parameter in model.named_parameters()}
            return {**named, **state_tensors(model, optimizer), **average.tensors()}

        return model, optimizer, average, tensors

    model, optimizer, average, straight = begun()
    train(model, optimizer, range(3), average=average)
    saved = whole(straight())
    train(model, optimizer, range(3, 6), average=average)
    model, optimizer, average, resumed = begun()
    for name, value in resumed().items():
        (value.to_local() if isinstance(value, DTensor) else value).copy_(saved[name])
    train(model, optimizer, range(3, 6), average=average)
    assert_same_bits(whole(resumed()), whole(straight()))


def test_state_is_found_after_a_forward_pass_without_a_backward_one(world):
    model = sharded(Model())
    optimizer = build_optimizer(model, settings_of("adamw"))
    allocate_state(optimizer)
    before = list(state_tensors(model, optimizer))
    with torch.no_grad():
        model(*batch(0))
    assert list(state_tensors(model, optimizer)) == before


# ---- the average of the parameters


def test_the_average_weighs_the_parameters_after_each_step_by_powers_of_its_decay():
    layer = nn.Linear(1, 1, bias=False)
    average = Average(layer, 0.5)
    for value in (1.0, 2.0, 4.0):
        layer.weight.data.fill_(value)
        average.update()
    assert average.tensors()["average.weight"].item() == pytest.approx((0.25 * 1 + 0.5 * 2 + 4) / 1.75)


def test_only_what_is_trained_is_averaged():
    model = Model()
    model.embedding.requires_grad_(False)
    assert "average.embedding.weight" not in Average(model, 0.5).tensors()


@pytest.mark.parametrize("shards", [False, True])
def test_a_model_has_its_averages_for_a_while_and_its_parameters_again_afterwards(shards, world):
    model = sharded(Model()) if shards else Model()
    average = Average(model, 0.5)
    optimizer = build_optimizer(model, settings_of("adamw"))
    train(model, optimizer, range(4), average=average)
    averaged = Model()
    found = whole({name.removeprefix("average."): value for name, value in average.tensors().items()})
    del found["steps"]
    averaged.load_state_dict(found)
    own, before = Model(), whole(dict(model.named_parameters()))
    own.load_state_dict(before)
    with torch.no_grad():
        own_loss, wanted = own(*batch(9)), averaged(*batch(9))
        assert model(*batch(9)) == own_loss
        with average.swapped():
            assert model(*batch(9)) == wanted
        assert model(*batch(9)) == own_loss
    assert own_loss != wanted
    assert_same_bits(whole(dict(model.named_parameters())), before)


# ---- two processes


def summed_losses(folder, kind, size):
    """The losses of 6 steps by `size` processes, summed over them, and the average of the parameters at the end."""
    meeting = folder / f"meeting-{kind}-{size}"
    results = [folder / f"{kind}-{size}-{rank}" for rank in range(size)]
    call_each(process, [(rank, size, meeting, kind, results[rank]) for rank in range(size)])
    found = [torch.load(path, weights_only=True) for path in results]
    return torch.tensor([one["losses"] for one in found]).sum(0), found[0]["tensors"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_come_to_the_losses_and_parameters_of_one(kind, tmp_path):
    one, two = (summed_losses(tmp_path, kind, size) for size in (1, 2))
    torch.testing.assert_close(two[0], one[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(two[1], one[1], rtol=1e-4, atol=1e-4)


def process(rank, size, meeting, kind, result):
    torch.set_num_threads(1)
    with joined(rank, size, device="cpu", meeting=meeting if size > 1 else None):
        model = sharded(Model())
        optimizer = build_optimizer(model, settings_of(kind))
        allocate_state(optimizer)
        average = Average(model, 0.9)
        losses = train(model, optimizer, range(6), rank=rank, size=size, average=average)
        with average.swapped():
            tensors = whole(dict(model.named_parameters()))
        torch.save({"losses": losses, "tensors": tensors}, result)
