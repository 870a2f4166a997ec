"""Losses of log-probabilities, against trl."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from curate.train.objectives.policy import aggregated, clipped, divergence, group_advantages, policy_loss, ratios


def assert_same_gradients(found, wanted, leaves, **tolerances):
    """Two results have equal values and equal gradients at the leaves."""
    torch.testing.assert_close(found, wanted, **tolerances)
    pairs = (torch.autograd.grad(value.sum(), leaves) for value in (found, wanted))
    torch.testing.assert_close(*pairs, **tolerances)


ALONE = SimpleNamespace(
    device="cpu", num_processes=1, gather=lambda x: x, gather_for_metrics=lambda x: x, reduce=lambda x, reduction: x
)
"""An accelerator of one process."""


# ---- policies


@pytest.fixture
def rollout():
    """Log-probabilities of 4 sampled texts of 5 tokens now (a leaf) and before, by the reference, and advantages."""
    generator = torch.Generator().manual_seed(4)
    now, old, reference = (torch.randn(4, 5, generator=generator, dtype=torch.float64) * 0.3 - 2 for _ in range(3))
    return now.requires_grad_(), old, reference, torch.randn(4, generator=generator, dtype=torch.float64)


MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 0, 0, 0, 0]])


def trl_policy_loss(rollout, mask, *, kind="bnpo", level="token", kl=0.0, high=0.2, on_policy=False):
    """What trl's GRPOTrainer makes of these log-probabilities, and its metrics (`bnpo`: the mean over all tokens)."""
    from trl import GRPOTrainer

    now, old, reference, advantages = rollout
    metrics = defaultdict(list)
    trainer = SimpleNamespace(
        model=torch.nn.Linear(1, 1),
        accelerator=ALONE,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        _get_per_token_logps_and_entropies=lambda *_, **__: (now, torch.zeros_like(now), None),
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level=level,
        beta=kl,
        loss_type=kind,
        epsilon_low=0.2,
        epsilon_high=high,
        max_completion_length=7,
        use_vllm=False,
        current_gradient_accumulation_steps=1,
        _entropy_bonus_enabled=False,
        _metrics={"train": metrics},
    )
    inputs = {
        "prompt_ids": torch.zeros(4, 1, dtype=torch.int64),
        "prompt_mask": torch.ones(4, 1, dtype=torch.int64),
        "completion_ids": torch.zeros(4, 5, dtype=torch.int64),
        "completion_mask": mask,
        "advantages": advantages,
        "old_per_token_logps": None if on_policy else old,
        "ref_per_token_logps": reference,
        "num_items_in_batch": mask.sum(),
    }
    return GRPOTrainer._compute_loss(trainer, None, inputs), metrics


def policy_loss_of(rollout, mask, *, by="token", of="token", kl=0.0, high=None, on_policy=False):
    """Ours, divided as the objective divides it."""
    now, old, reference, advantages = rollout
    ratio = ratios(now, None if on_policy else old, mask=mask, of=of)
    losses = policy_loss(ratio, advantages[:, None], low=0.2, high=high) + kl * divergence(now, reference)
    size = {"token": mask.sum(), "sequence": len(mask), "constant": len(mask) * 7}[by]
    return aggregated(losses, mask, by=by).sum() / size


@pytest.mark.slow
@pytest.mark.parametrize("of", ["token", "sequence"])
@pytest.mark.parametrize(("by", "kind"), [("token", "dapo"), ("sequence", "grpo"), ("constant", "dr_grpo")])
@pytest.mark.parametrize(("kl", "high"), [(0.0, 0.2), (0.3, 0.28)])
def test_clipped_policy_losses_of_every_kind_are_trls(rollout, of, by, kind, kl, high):
    found = policy_loss_of(rollout, MASK, by=by, of=of, kl=kl, high=high)
    wanted, _ = trl_policy_loss(rollout, MASK, kind=kind, level=of, kl=kl, high=high)
    assert_same_gradients(found, wanted, (rollout[0],), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("of", ["token", "sequence"])
def test_the_policy_loss_of_texts_just_sampled_is_trls(rollout, of):
    found = policy_loss_of(rollout, MASK, of=of, on_policy=True)
    wanted, _ = trl_policy_loss(rollout, MASK, level=of, on_policy=True)
    assert_same_gradients(found, wanted, (rollout[0],), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_where_the_ratio_is_held_back_is_counted_as_in_trl(rollout):
    now, old, _, advantages = rollout
    held = clipped(ratios(now, old, mask=MASK, of="token"), advantages[:, None], low=0.2, high=0.28)
    _, metrics = trl_policy_loss(rollout, MASK, high=0.28)
    assert 0 < (held * MASK).sum().item() / MASK.sum().item() == pytest.approx(metrics["clip_ratio/region_mean"][0])


def test_another_bound_above_lets_good_texts_grow_further(rollout):
    ratio, good = torch.tensor([[1.25]]), torch.tensor([[1.0]])
    assert policy_loss(ratio, good, low=0.2).item() == pytest.approx(-1.2)
    assert policy_loss(ratio, good, low=0.2, high=0.28).item() == pytest.approx(-1.25)


def test_a_policy_loss_without_bounds_is_the_ratio_times_the_advantage(rollout):
    assert policy_loss(torch.tensor([[3.0]]), torch.tensor([[2.0]])).item() == -6


def test_the_divergence_is_never_negative_and_zero_at_the_reference(rollout):
    now, _, reference, _ = rollout
    assert (divergence(now, reference) > 0).all()
    assert not divergence(now, now).any()


def test_the_mean_of_the_divergence_is_that_of_the_distributions():
    generator = torch.Generator().manual_seed(5)
    model, reference = (torch.randn(5, generator=generator, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    wanted = functional.kl_div(reference, model, reduction="sum", log_target=True)
    torch.testing.assert_close((divergence(model, reference) * model.exp()).sum(), wanted)


def test_advantages_are_rewards_less_the_mean_of_their_group():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    assert group_advantages(rewards, scaled=False).tolist() == [[0.5, -0.5, -0.5, 0.5], [0, 0, 0, 0]]


@pytest.mark.slow
def test_scaled_advantages_are_divided_by_the_deviation_as_in_trl():
    from trl.trainer.utils import nanstd

    rewards = torch.rand(3, 4, generator=torch.Generator().manual_seed(6))
    wanted = (rewards - rewards.mean(1, keepdim=True)) / (nanstd(rewards, dim=1)[:, None] + 1e-4)
    torch.testing.assert_close(group_advantages(rewards, scaled=True), wanted)
