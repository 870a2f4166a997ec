"""Losses of preferred answers, against trl's; of orpo, whose first term is another there, the written-out formula, too."""

from __future__ import annotations

import math
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from curate.train.objectives.preference_loss import dpo_loss, ipo_loss, kto_loss, orpo_loss, simpo_loss
from tests.oracles import library
from tests.train.test_policy_loss import ALONE, assert_same_gradients

EXACT = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture
def pairs():
    """Summed log-probabilities of 6 pairs: by the policy (two leaves) and by the reference."""
    generator = torch.Generator().manual_seed(3)
    values = [torch.randn(6, generator=generator, dtype=torch.float64) * 5 - 20 for _ in range(4)]
    return [value.requires_grad_() for value in values[:2]] + values[2:]


def trl_loss(pairs, kind, *, beta, label_smoothing=0.0):
    """What trl's DPOTrainer makes of these log-probabilities: its own method, on a trainer without a model."""
    trl = library("trl")

    def chosen_then_rejected(chosen, rejected):
        tokens = torch.cat([chosen, rejected])[:, None]
        same = torch.zeros_like(tokens)
        return SimpleNamespace(log_probs=tokens, entropy=same, mean_logits=same, is_top1=same.bool())

    policy, references = chosen_then_rejected(*pairs[:2]), chosen_then_rejected(*pairs[2:])
    rows = 2 * len(pairs[0])
    trainer = SimpleNamespace(
        model=torch.nn.Linear(1, 1),
        ref_model=lambda **_: references,
        accelerator=ALONE,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None, gradient_checkpointing=False),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=False,
        f_divergence_type="reverse_kl",
        loss_types=[kind],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=label_smoothing,
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    trainer.model.is_gradient_checkpointing = False
    inputs = {
        "input_ids": torch.zeros(rows, 2, dtype=torch.int64),
        "attention_mask": torch.ones(rows, 2, dtype=torch.int64),
        "completion_mask": torch.tensor([[0, 1]]).repeat(rows, 1),
    }
    return trl.DPOTrainer._compute_loss(trainer, lambda **_: policy, inputs, False)


@pytest.mark.slow
def test_the_preference_loss_is_trls(pairs):
    found = dpo_loss(*pairs, beta=0.1).mean()
    wanted = trl_loss(pairs, "sigmoid", beta=0.1)
    assert_same_gradients(found, wanted, pairs[:2], rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_the_conservative_preference_loss_is_trls(pairs):
    """Of trl's losses `aot` has the conservative form; at one pair its sorting does nothing."""
    pairs = [part[:1].detach().requires_grad_(part.requires_grad) for part in pairs]
    found = dpo_loss(*pairs, beta=0.1, label_smoothing=0.2).mean()
    wanted = trl_loss(pairs, "aot", beta=0.1, label_smoothing=0.2)
    assert_same_gradients(found, wanted, pairs[:2], rtol=1e-12, atol=1e-12)


def test_a_model_that_is_its_reference_has_a_preference_loss_of_log_2(pairs):
    found = dpo_loss(*pairs[2:], *pairs[2:], beta=0.5, label_smoothing=0.1)
    torch.testing.assert_close(found, torch.full((6,), 2.0, dtype=torch.float64).log())


@pytest.mark.slow
def test_the_ipo_loss_is_trls(pairs):
    """Answers of one token: their mean is their sum."""
    found = ipo_loss(*pairs, tau=0.3).mean()
    assert_same_gradients(found, trl_loss(pairs, "ipo", beta=0.3), pairs[:2], **EXACT)


@pytest.fixture
def means():
    """Mean log-probabilities of the tokens of 6 pairs, two leaves."""
    generator = torch.Generator().manual_seed(5)
    return [(-2 * torch.rand(6, generator=generator, dtype=torch.float64) - 0.01).requires_grad_() for _ in range(2)]


@pytest.mark.slow
def test_the_simpo_loss_is_trls(means):
    cpo = library("trl.experimental.cpo.cpo_trainer")
    trainer = SimpleNamespace(
        alpha=0.0, accelerator=ALONE, loss_type="simpo", simpo_gamma=0.8, beta=2.0, label_smoothing=0.0
    )
    wanted, *_ = cpo.CPOTrainer.cpo_loss(trainer, *means)
    assert_same_gradients(simpo_loss(*means, beta=2.0, gamma_beta_ratio=0.4), wanted, means, **EXACT)


@pytest.mark.slow
def test_the_odds_of_orpo_are_trls(means):
    """trl computes in float32."""
    orpo = library("trl.experimental.orpo.orpo_trainer")
    losses, *_ = orpo.ORPOTrainer.odds_ratio_loss(SimpleNamespace(accelerator=ALONE, beta=0.25), *means)
    found = orpo_loss(*means, weight=0.25)
    assert_same_gradients(found.float(), (-means[0] - losses).float(), means, rtol=1e-6, atol=1e-6)


def test_the_orpo_loss_is_that_of_the_paper(means):
    """Equations 4, 6 and 7 as they stand, with probabilities."""
    odds = [one.exp() / (1 - one.exp()) for one in means]
    wanted = -means[0] - 0.25 * (1 / (1 + torch.exp(-(odds[0] / odds[1]).log()))).log()
    assert_same_gradients(orpo_loss(*means, weight=0.25), wanted, means, **EXACT)


@pytest.mark.parametrize("log_probability", [-1e-9, 0.0, -90.0])
def test_the_odds_of_answers_that_are_certain_or_impossible_are_finite(log_probability):
    chosen = torch.tensor([log_probability], requires_grad=True)
    loss = orpo_loss(chosen, torch.tensor([-1.0]), weight=0.1)
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(chosen.grad).all()


def test_a_good_answer_gains_and_a_bad_one_loses_beyond_the_point_of_reference():
    ratios = torch.tensor([3.0, 3.0, 1.0])
    good = torch.tensor([True, False, True])
    found = kto_loss(ratios, good, torch.tensor(1.0), beta=0.5, weights=(2.0, 3.0))
    gain = 1 / (1 + math.exp(-0.5 * 2))
    assert found.tolist() == pytest.approx([2 * (1 - gain), 3 * gain, 2 * 0.5])
