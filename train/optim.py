"""AdamW (Loshchilov and Hutter 2019), and the learning rate as a function of the step.

The rate is set before every step from its number alone, so that there is no scheduler whose state could be lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from curate.train.config import OptimizerSettings, ScheduleSettings

__all__ = ["allocate_state", "build_optimizer", "clip_gradients", "learning_rate"]


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """AdamW whose decay leaves norms alone."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
    )


def learning_rate(step: int, steps: int, highest: float, settings: ScheduleSettings) -> float:
    """The rate of step `step` (from 1) of `steps`: a linear rise, then a fall to `floor` of the highest."""
    if step <= settings.warmup:
        return highest * step / (settings.warmup + 1)
    if settings.kind == "constant" or steps <= settings.warmup + 1:
        return highest
    done = (step - settings.warmup - 1) / (steps - settings.warmup - 1)
    left = 0.5 * (1 + math.cos(math.pi * done)) if settings.kind == "cosine" else 1 - done
    return highest * (settings.floor + (1 - settings.floor) * left)


def clip_gradients(parameters: Iterable[nn.Parameter], most: float | None) -> float:
    """Scale all gradients down to a norm of `most` together (None: leave them); returns the norm that they had."""
    norm = nn.utils.clip_grad_norm_(list(parameters), math.inf if most is None else most)
    return float(_whole(norm))


def _whole(value: Tensor) -> Tensor:
    from torch.distributed.tensor import DTensor

    return value.full_tensor() if isinstance(value, DTensor) else value


def allocate_state(optimizer: torch.optim.Optimizer) -> None:
    """Make the optimizer's tensors without changing a parameter, for a checkpoint to be loaded into."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
