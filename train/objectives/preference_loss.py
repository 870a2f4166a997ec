"""Losses of answers that are preferred or not, from their log-probabilities; each of shape (rows,), to be summed.

    dpo    -log sigmoid(beta * (lead of the chosen answer by the model - that by the reference))
    ipo    (the same lead, in means over tokens - 1 / (2 tau))^2
    simpo  -log sigmoid(beta * (lead of the chosen answer's mean over tokens - gamma / beta))
    orpo   -(chosen answer's mean over tokens) - weight * log sigmoid(log of the ratio of the odds)
    kto    weight * (1 - sigmoid(beta * (log-ratio of the model to the reference - z0))), of a bad answer turned round

Values and gradients equal those of trl's DPOTrainer (dpo, ipo), CPOTrainer (simpo), ORPOTrainer (the odds of orpo) and
KTOTrainer (tested). IPO's log-probabilities are means, not the sums of the paper's formula: its authors told trl's so.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["dpo_loss", "ipo_loss", "kto_loss", "orpo_loss", "simpo_loss"]


def dpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Direct preference optimization (Rafailov et al. 2023), of each pair; with label smoothing its conservative form.

    Args:
        policy_chosen: (rows,) summed log-probability of the better answer by the model.
        policy_rejected: (rows,) of the worse answer.
        reference_chosen: (rows,) of the better answer, by the model as it began.
        reference_rejected: (rows,) of the worse answer, by the model as it began.
        beta: How much a step away from the reference costs.
        label_smoothing: Probability that a preference is the wrong way round (Mitchell 2023).
    """
    margin = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    right, wrong = functional.logsigmoid(margin), functional.logsigmoid(-margin)
    return -(1 - label_smoothing) * right - label_smoothing * wrong


def ipo_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, *, tau: float
) -> Tensor:
    """Identity preference optimization (Azar et al. 2024, equation 17): the lead is drawn to 1 / (2 tau).

    Args:
        policy_chosen: (rows,) mean log-probability of a token of the better answer by the model; the others alike.
        policy_rejected: (rows,).
        reference_chosen: (rows,).
        reference_rejected: (rows,).
        tau: The larger, the nearer the model stays to the reference.
    """
    lead = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return (lead - 1 / (2 * tau)).square()


def simpo_loss(chosen: Tensor, rejected: Tensor, *, beta: float, gamma_beta_ratio: float) -> Tensor:
    """Simple preference optimization (Meng et al. 2024, equation 6): no reference, a lead that must be reached.

    Args:
        chosen: (rows,) mean log-probability of a token of the better answer.
        rejected: (rows,) of the worse answer.
        beta: Scale of the rewards.
        gamma_beta_ratio: The lead, in nats a token.
    """
    return -functional.logsigmoid(beta * (chosen - rejected - gamma_beta_ratio))


def orpo_loss(chosen: Tensor, rejected: Tensor, *, weight: float) -> Tensor:
    """Odds ratio preference optimization (Hong et al. 2024, equations 6 and 7): fine-tuning on the chosen answer, and the odds.

    Args:
        chosen: (rows,) mean log-probability of a token of the better answer.
        rejected: (rows,) of the worse answer.
        weight: Of the odds ratio, lambda.
    """
    ratio = (chosen - rejected) - (_log_of_the_rest(chosen) - _log_of_the_rest(rejected))
    return -chosen - weight * functional.logsigmoid(ratio)


def _log_of_the_rest(log_probability: Tensor) -> Tensor:
    """log(1 - p), exact where p is near 0 and where it is near 1; a p of 1 counts as the number below it."""
    least = torch.finfo(log_probability.dtype).eps / 2
    log_probability = log_probability.clamp(max=-least)
    near_one = (-torch.expm1(log_probability)).log()
    return torch.where(log_probability > -math.log(2), near_one, torch.log1p(-log_probability.exp()))


def kto_loss(log_ratios: Tensor, good: Tensor, z0: Tensor, *, beta: float, weights: tuple[float, float]) -> Tensor:
    """Kahneman-Tversky optimization (Ethayarajh et al. 2024, equation 8), of each answer.

    Args:
        log_ratios: (rows,) log-probability of the answer by the model less that by the model as it began.
        good: (rows,) bool.
        z0: (rows,) or a scalar: the divergence of the two models, which is the point of reference; no gradient.
        beta: How much is risked.
        weights: Of a good and of a bad answer.
    """
    gain = beta * (log_ratios - z0)
    return torch.where(good, weights[0] * torch.sigmoid(-gain), weights[1] * torch.sigmoid(gain))
