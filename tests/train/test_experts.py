"""Layers of which a router chooses some for each token."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from curate.errors import CurateError
from curate.train.models.feed_forward import Experts, balance_of
from curate.train.models.trunk import build_trunk
from curate.train.parallel.shard import _check_balance, shard_model
from curate.train.settings.architecture import Architecture
from curate.train.settings.config import TrainConfig
from curate.train.settings.methods import LoraSettings
from curate.train.weights.adapter import write_adapter

SIZES = Architecture(
    layers=2, width=16, heads=2, key_value_heads=1, head_width=8, feed_forward=12, experts=5, active_experts=2
)


@pytest.fixture
def layer():
    """`layer(balance=0.1)`: experts with random weights."""

    def build(**settings):
        made = Experts(replace(SIZES, **settings))
        generator = torch.Generator().manual_seed(0)
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.5, generator=generator)
        return made

    return build


@pytest.fixture
def states():
    return torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("normed", [True, False])
def test_a_token_gets_the_mixture_of_its_own_experts(layer, states, normed):
    made = layer(experts_normed=normed).eval()
    token = states[1, 3]
    shares = made.router(token).softmax(-1)
    weights, chosen = shares.topk(2)
    weights = weights / weights.sum() if normed else weights
    wanted = sum(weight * made.experts[number](token) for weight, number in zip(weights, chosen.tolist(), strict=True))
    torch.testing.assert_close(made(states)[1, 3], wanted, rtol=0, atol=1e-6)


def test_the_balance_is_that_of_transformers(layer, states):
    from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

    logits = layer().router(states.flatten(0, 1))
    shares = logits.softmax(-1)
    wanted = load_balancing_loss_func((logits,), 5, 2)
    torch.testing.assert_close(balance_of(shares, shares.topk(2).indices), wanted)
    even = torch.tensor([[0, 1], [2, 3], [4, 0], [1, 2], [3, 4]])
    assert balance_of(torch.full((5, 5), 0.2), even).item() == pytest.approx(2.0)


def test_training_adds_the_gradient_of_the_balance_by_tokens_and_tells_the_loss_without(layer, states):
    plain, balanced = layer(), layer(balance=0.3)
    balanced.per_token = 1 / 20  # of a step of 20 tokens these are 14
    assert torch.equal(plain(states), balanced(states))
    balanced(states).square().sum().backward()
    shares = plain.router(states.flatten(0, 1)).softmax(-1)
    uneven = balance_of(shares, shares.topk(2).indices)
    (plain(states).square().sum() + 14 / 20 * 0.3 / 2 * uneven).backward()
    for one, other in zip(balanced.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_padding_has_no_balance(layer, states):
    """8 tokens, and the same with 24 of padding beside them, have the same gradient."""
    gradients, padded = [], torch.cat([states[:1], torch.randn(1, 24, 16)], dim=1)
    for tokens, read in ((states[:1], None), (padded, torch.arange(31)[None] < 7)):
        made = layer(balance=0.3)
        made.per_token = 1 / 7
        mixed = made(tokens, read)
        (mixed[:, :7] * 0).sum().backward()
        gradients.append(made.router.weight.grad)
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)
    made(torch.zeros(1, 2, 16), torch.zeros(1, 2, dtype=torch.bool)).sum().backward()
    assert made.router.weight.grad.isfinite().all()


def test_an_expert_that_no_token_has_chosen_has_a_gradient_of_zeros(layer, states):
    made = layer()
    with torch.no_grad():
        made.router.weight[3] = -made.router.weight[0] * 0 - 50 * states[0, 0]
    made(states[:1, :1]).sum().backward()
    assert not made.experts[3].up.weight.grad.any()
    assert all(parameter.grad is not None for parameter in made.parameters())


@pytest.mark.parametrize(
    "settings", [{"compile": True}, {"precision": "fp8"}, {"parallel": {"tensor": 2}, "processes": 2}]
)
def test_settings_that_have_no_room_for_experts_are_refused(settings):
    config = TrainConfig.model_validate({"dataset": "tiny", "run": "small", **settings})
    root = torch.nn.Module()
    root.model = build_trunk(SIZES, vocabulary=10, length=8)
    with pytest.raises(CurateError, match="is not there for models with experts"):
        shard_model(root, SimpleNamespace(), config)


def test_shared_matrices_are_refused_where_queries_and_keys_are_normed():
    config = TrainConfig.model_validate({"dataset": "tiny", "run": "a", "parallel": {"tensor": 2}, "processes": 2})
    root = torch.nn.Module()
    root.model = build_trunk(replace(SIZES, experts=0, query_key_norm="head"), vocabulary=10, length=8)
    with pytest.raises(CurateError, match=r"`parallel\.tensor` is not there for models with norms of queries and keys"):
        shard_model(root, SimpleNamespace(), config)


def test_adapters_of_single_experts_have_no_place_in_pefts_files(tmp_path):
    sizes = replace(SIZES, query_key_norm="width", norm_epsilon=1e-5)
    name = "model.blocks.0.feed_forward.experts.1.up.lora_down"
    with pytest.raises(CurateError, match="no place for adapters of single experts"):
        write_adapter(tmp_path / "m", sizes, {name: torch.ones(2, 16)}, LoraSettings(rank=2), head="causal")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"objective": {"kind": "multi_token"}}, "`objective.kind: multi_token`"),
        ({"adversarial": {"kind": "fgm", "epsilon": 1.0}}, "`adversarial`"),
    ],
)
def test_a_balance_is_refused_where_its_gradient_would_weigh_something_else(settings, named):
    config = TrainConfig.model_validate({"dataset": "tiny", "run": "small", **settings})
    root = torch.nn.Module()
    root.model = build_trunk(replace(SIZES, balance=0.1), vocabulary=10, length=8)
    with pytest.raises(CurateError, match=f"{named} is not there for experts with a balance") as caught:
        shard_model(root, SimpleNamespace(), config)
    assert "`router_aux_loss_coef` to 0" in str(caught.value.hint)
    _check_balance(build_trunk(SIZES, vocabulary=10, length=8).blocks, config)


@pytest.mark.parametrize("settings", [{"dropout": 0.1}, {"dora": True}])
def test_adapters_of_routers_that_peft_cannot_load_are_refused(tmp_path, settings):
    sizes = replace(SIZES, query_key_norm="width", norm_epsilon=1e-5)
    names = [f"model.blocks.0.feed_forward.router.{part}" for part in ("lora_down", "lora_up")]
    settings = LoraSettings(rank=2, targets=("router",), **settings)
    tensors = dict(zip(names, (torch.ones(2, 16), torch.ones(5, 2)), strict=True))
    with pytest.raises(CurateError, match=r"cannot load adapters of routers with `lora\.(dropout|dora)`") as caught:
        write_adapter(tmp_path / "m", sizes, tensors, settings, head="causal")
    assert "leave `router` out" in str(caught.value.hint)
    write_adapter(tmp_path / "m", sizes, tensors, LoraSettings(rank=2, targets=("router",)), head="causal")
