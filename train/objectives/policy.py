"""Losses of policies: what of log-probabilities, advantages and ratios is made the loss of each sampled token.

    clipped ratio      PPO (Schulman et al. 2017), which GRPO takes (Shao et al. 2024)
    clip higher        another bound above than below (DAPO, Yu et al. 2025)
    sequence ratio     the geometric mean of the ratios of a text's tokens (GSPO, Zheng et al. 2025)
    aggregation        by tokens (DAPO), by sequences (GRPO), by a constant (Dr. GRPO, Liu et al. 2025)

All are equal to trl's GRPOTrainer, loss and gradients (tested).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["aggregated", "clipped", "divergence", "group_advantages", "policy_loss", "ratios"]

SPREAD = 1e-4
"""Added to the deviation of a group's rewards, which may be zero; as in trl."""


def ratios(log_probabilities: Tensor, old: Tensor | None, *, mask: Tensor, of: Literal["token", "sequence"]) -> Tensor:
    """How much likelier a text is now than when it was sampled.

    Args:
        log_probabilities: (rows, length) of the sampled tokens.
        old: (rows, length) by the model that sampled; None: by the same model, so that all are 1.
        mask: (rows, length), 1 where a token was sampled.
        of: Of each token, or of each sequence: the geometric mean of those of its tokens.

    Returns:
        (rows, length), or (rows, 1) of sequences.
    """
    difference = log_probabilities - (log_probabilities if old is None else old).detach()
    if of == "sequence":
        difference = (difference * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
    return difference.exp()


def policy_loss(ratio: Tensor, advantages: Tensor, *, low: float | None = None, high: float | None = None) -> Tensor:
    """Policy gradient: -advantage * ratio of the probabilities now and when it was sampled.

    Without bounds its gradient at a ratio of 1 is that of the log-probability: REINFORCE (Williams 1992). With them the
    ratio is kept within 1 - low and 1 + high where leaving it would pay (Schulman et al. 2017).

    Args:
        ratio: Of `ratios`.
        advantages: (rows, length), or (rows, 1).
        low: How far below 1 the ratio may pay.
        high: How far above 1; as far as below where it is not given.

    Returns:
        As `ratio`.
    """
    if low is None:
        return -ratio * advantages
    bounded = ratio.clamp(1 - low, 1 + (low if high is None else high))
    return -torch.minimum(ratio * advantages, bounded * advantages)


def clipped(ratio: Tensor, advantages: Tensor, *, low: float, high: float) -> Tensor:
    """Where the bounds of `policy_loss` hold the ratio back, so that nothing is learned; as `ratio`, bool."""
    return ((ratio < 1 - low) & (advantages < 0)) | ((ratio > 1 + high) & (advantages > 0))


def aggregated(losses: Tensor, mask: Tensor, *, by: Literal["token", "sequence", "constant"]) -> Tensor:
    """The loss of each row, from those of its tokens.

    Args:
        losses: (rows, length), or (rows, 1).
        mask: (rows, length), 1 where a token counts.
        by: sequence: their mean; else their sum, for tokens and constants divide by what all rows have.

    Returns:
        (rows,).
    """
    summed = (losses * mask).sum(-1)
    return summed / mask.sum(-1).clamp(min=1) if by == "sequence" else summed


def divergence(log_probabilities: Tensor, reference: Tensor) -> Tensor:
    """Estimate at each sampled token of KL(model || reference), never negative (k3 of Schulman 2020; as in GRPO).

    Args:
        log_probabilities: By the model, any shape.
        reference: By the reference, of the same shape.
    """
    difference = reference - log_probabilities
    return difference.exp() - difference - 1


def group_advantages(rewards: Tensor, *, scaled: bool) -> Tensor:
    """How much better each completion is than the others of its prompt.

    Args:
        rewards: (prompts, group), group at least 2.
        scaled: Divide by the deviation of the group (GRPO, Shao et al. 2024).

    Returns:
        (prompts, group).
    """
    advantages = rewards - rewards.mean(1, keepdim=True)
    return advantages / (rewards.std(1, keepdim=True) + SPREAD) if scaled else advantages
