"""Losses of log-probabilities, against trl."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from curate.train.objectives.loss import divergence, group_advantages, policy_loss


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


def trl_policy_loss(rollout, mask, *, kl, on_policy=False):
    """What trl's GRPOTrainer makes of these log-probabilities (`bnpo`: the mean over all tokens of the batch)."""
    from trl import GRPOTrainer

    now, old, reference, advantages = rollout
    trainer = SimpleNamespace(
        model=torch.nn.Linear(1, 1),
        accelerator=ALONE,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False),
        _get_per_token_logps_and_entropies=lambda *_, **__: (now, torch.zeros_like(now), None),
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        beta=kl,
        loss_type="bnpo",
        epsilon_low=0.2,
        epsilon_high=0.2,
        use_vllm=False,
        current_gradient_accumulation_steps=1,
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
    )
    inputs = {
        "prompt_ids": torch.zeros(4, 1, dtype=torch.int64),
        "prompt_mask": torch.ones(4, 1, dtype=torch.int64),
        "completion_ids": torch.zeros(4, 5, dtype=torch.int64),
        "completion_mask": mask,
        "advantages": advantages,
        "old_per_token_logps": None if on_policy else old,
        "ref_per_token_logps": reference,
    }
    return GRPOTrainer._compute_loss(trainer, None, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("kl", [0.0, 0.3])
def test_the_clipped_policy_loss_and_its_divergence_are_trls(rollout, kl):
    now, old, reference, advantages = rollout
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 0, 0, 0, 0]])
    losses = policy_loss(now, advantages[:, None], old=old, clip=0.2) + kl * divergence(now, reference)
    found = (losses * mask).sum() / mask.sum()
    assert_same_gradients(found, trl_policy_loss(rollout, mask, kl=kl), (now,), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_the_policy_loss_of_texts_just_sampled_is_trls(rollout):
    now, _, _, advantages = rollout
    mask = torch.ones(4, 5, dtype=torch.int64)
    found = policy_loss(now, advantages[:, None], clip=0.2).mean()
    wanted = trl_policy_loss(rollout, mask, kl=0.0, on_policy=True)
    assert_same_gradients(found, wanted, (now,), rtol=1e-12, atol=1e-12)


def test_without_a_clip_the_gradient_is_that_of_reinforce(rollout):
    now, _, _, advantages = rollout
    found = torch.autograd.grad(policy_loss(now, advantages[:, None]).sum(), now)
    wanted = torch.autograd.grad(-(now * advantages[:, None]).sum(), now)
    torch.testing.assert_close(found, wanted)


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
