"""Losses of a linear layer over the vocabulary, without ever holding all its logits; and losses of log-probabilities.

The last layer's logits are the largest thing in a small model's step. Here they are made for CHUNK positions at a time,
and their gradients at once with them, so that only the gradients of the hidden states and of the weight are held. On
2048 positions of width 384 with a vocabulary of 50,304 it holds at most 175 MiB above its inputs, of which 77 are the
gradients that it returns; matmul and `F.cross_entropy` hold 1179. The CPU time is the same (benchmarks/loss_memory.py),
and so are the numbers (float32, to 1e-6).

Sums are float32, of bfloat16 too; float64 stays. A sum and no mean: the caller divides by the valid targets of the
whole step, over processes and pieces, so that every target weighs the same however the step was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from curate.train.data.batch import IGNORED
from curate.train.models.layers import soft_cap

__all__ = [
    "linear_cross_entropy",
    "linear_distillation",
    "linear_log_probabilities",
]

CHUNK = 256
"""Positions at a time on the CPU; a GPU, which needs larger matrices, takes GPU_CHUNKS times as many (not measured)."""
GPU_CHUNKS = 8
_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
"""The other library of matrix products in PyTorch, which it takes by itself for halves only: in float32 it makes logits at
100 GFLOP/s on a core of an AMD EPYC where MKL makes 77 (256 x 384 by 384 x 8192); its other products are no faster."""

Terms = Callable[[Tensor, slice], Tensor]
"""From the logits of some positions, and where those are, to their summed loss. Where gradients are wanted it turns the
logits into their gradient, in place: that is the only large tensor."""


# ---- losses of a linear layer


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    weights: Tensor | None = None,
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
    cap: float | None = None,
) -> Tensor:
    """Sum over positions of the cross entropy, in nats, of `hidden @ weight.T + bias` against `targets`.

    Args:
        hidden: (positions, width).
        weight: (vocabulary, width).
        targets: (positions,) token numbers, or IGNORED.
        bias: (vocabulary,).
        weights: (positions,) float32, how much each target counts.
        z_loss: Adds this times the squared logarithm of the normalizer, at each valid target (Chowdhery et al. 2022).
        label_smoothing: Share of the target that is spread evenly over all tokens (Szegedy et al. 2016).
        cap: Of the logits (`soft_cap`).

    Returns:
        A float32 scalar.
    """
    differentiable = torch.is_grad_enabled()
    everywhere = label_smoothing / weight.shape[0]

    def terms(logits: Tensor, here: slice) -> Tensor:
        target, counts = _valid(targets[here], logits.dtype, weights, here)
        losses = (label_smoothing - 1) * logits.gather(-1, target)
        if label_smoothing:
            losses -= everywhere * logits.sum(-1, keepdim=True)
        largest = logits.amax(-1, keepdim=True)
        powers = logits.sub_(largest).exp_()  # the exponentials are a tenth of this layer: once for loss and gradient
        total = powers.sum(-1, keepdim=True)
        normalizer = largest + total.log()
        losses += normalizer + z_loss * normalizer.square()
        if differentiable:
            gradient = powers.mul_((1 + 2 * z_loss * normalizer) * counts / total)
            if label_smoothing:
                gradient.sub_(everywhere * counts)
            gradient.scatter_add_(-1, target, (label_smoothing - 1) * counts)
        return (losses * counts).sum()

    return _LinearSum.apply(hidden, weight, bias, terms, differentiable, cap)  # pyright: ignore[reportReturnType]


def linear_distillation(
    hidden: Tensor,
    weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    targets: Tensor,
    *,
    temperature: float,
    weights: Tensor | None = None,
    cap: float | None = None,
    teacher_cap: float | None = None,
) -> Tensor:
    """Sum over valid targets of temperature^2 * KL(teacher || student), both softened (Hinton et al. 2015).

    The square keeps the size of the gradients, which the temperature would divide by it. The teacher gets none.

    Args:
        hidden: (positions, width).
        weight: (vocabulary, width).
        teacher_hidden: (positions, teacher's width).
        teacher_weight: (vocabulary, teacher's width).
        targets: (positions,); only whether one is IGNORED counts.
        temperature: Logits of both are divided by it.
        weights: (positions,) float32, how much each target counts.
        cap: Of the logits (`soft_cap`).
        teacher_cap: Of the teacher's.

    Returns:
        A float32 scalar.
    """
    differentiable = torch.is_grad_enabled()
    teacher_hidden, teacher_weight = teacher_hidden.detach(), teacher_weight.detach()

    def terms(logits: Tensor, here: slice) -> Tensor:
        _, counts = _valid(targets[here], logits.dtype, weights, here)
        student = _log_softmax_(logits.div_(temperature))
        teacher = (teacher_hidden[here] @ teacher_weight.T).to(logits.dtype)
        teacher = _log_softmax_(soft_cap(teacher, teacher_cap).div_(temperature))
        probabilities = teacher.exp()
        losses = teacher.sub_(student).mul_(probabilities).sum(-1, keepdim=True)
        if differentiable:
            student.exp_().sub_(probabilities).mul_(temperature * counts)
        return temperature**2 * (losses * counts).sum()

    return _LinearSum.apply(hidden, weight, None, terms, differentiable, cap)  # pyright: ignore[reportReturnType]


def linear_log_probabilities(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, temperature: float = 1.0, cap: float | None = None
) -> Tensor:
    """Logarithm of the probability that softmax(hidden @ weight.T / temperature) gives each target, in nats.

    Unlike a sum's, its gradients are known only in the backward pass, so that the logits are made twice.

    Args:
        hidden: (positions, width).
        weight: (vocabulary, width).
        targets: (positions,) token numbers, or IGNORED.
        temperature: Logits are divided by it.
        cap: Of the logits (`soft_cap`), before that.

    Returns:
        (positions,) float32; 0 where the target is IGNORED.
    """
    found = _LinearLogProbabilities.apply(hidden, weight, targets, temperature, cap)
    return found  # pyright: ignore[reportReturnType]


def _pieces(hidden: Tensor) -> Iterator[slice]:
    size = CHUNK * GPU_CHUNKS if hidden.is_cuda else CHUNK
    return (slice(start, start + size) for start in range(0, hidden.shape[0], size))


class _LinearSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        terms: Terms,
        differentiable: bool,
        cap: float | None,
    ) -> Tensor:
        exact = _exact(hidden)
        total = torch.zeros((), dtype=exact, device=hidden.device)
        # a frozen layer needs no gradient; without gradients at all (`no_grad`) needs_input_grad does not know it
        for_hidden, for_weight, for_bias = (differentiable and needed for needed in ctx.needs_input_grad[:3])
        hidden_gradient = torch.empty_like(hidden) if for_hidden else None
        weight_gradient = torch.zeros_like(weight, dtype=exact) if for_weight else None
        bias_gradient = torch.zeros_like(bias, dtype=exact) if for_bias and bias is not None else None
        for here in _pieces(hidden):
            logits, slope = _capped(_logits(hidden[here], weight, bias), cap)
            total += terms(logits, here)
            if slope is not None:
                logits *= slope
            if bias_gradient is not None:
                bias_gradient += logits.sum(0)
            gradient = logits.to(weight.dtype)
            if hidden_gradient is not None:
                hidden_gradient[here] = gradient @ weight
            if weight_gradient is not None:
                _add_product_(weight_gradient, gradient.T, hidden[here])
            del logits, slope, gradient  # or the next ones would be made beside them
        ctx.save_for_backward(hidden_gradient, weight_gradient, bias_gradient)
        ctx.types = weight.dtype, None if bias is None else bias.dtype
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, outer: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None]:
        hidden, weight, bias = ctx.saved_tensors
        return (
            None if hidden is None else hidden * outer.to(hidden.dtype),
            None if weight is None else (weight * outer).to(ctx.types[0]),
            None if bias is None else (bias * outer).to(ctx.types[1]),
            None,
            None,
            None,
        )


class _LinearLogProbabilities(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, cap: float | None
    ) -> Tensor:
        found = torch.empty(targets.shape, dtype=_exact(hidden), device=hidden.device)
        normalizers = torch.empty_like(found)
        for here in _pieces(hidden):
            logits = _capped(_logits(hidden[here], weight, None), cap)[0].div_(temperature)
            target, counts = _valid(targets[here], logits.dtype)
            normalizer = logits.logsumexp(-1, keepdim=True)
            normalizers[here] = normalizer[:, 0]
            found[here] = ((logits.gather(-1, target) - normalizer) * counts)[:, 0]
        ctx.save_for_backward(hidden, weight, targets, normalizers)
        ctx.temperature, ctx.cap = temperature, cap
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, outer: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        hidden, weight, targets, normalizers = ctx.saved_tensors
        for_hidden, for_weight = ctx.needs_input_grad[:2]
        hidden_gradient = torch.empty_like(hidden) if for_hidden else None
        weight_gradient = torch.zeros_like(weight, dtype=outer.dtype) if for_weight else None
        for here in _pieces(hidden):
            logits, slope = _capped(_logits(hidden[here], weight, None), ctx.cap)
            logits.div_(ctx.temperature)
            target, counts = _valid(targets[here], logits.dtype)
            gradient = logits.sub_(normalizers[here, None]).exp_().neg_()
            gradient.scatter_add_(-1, target, torch.ones_like(target, dtype=logits.dtype))
            gradient = gradient.mul_(counts * outer[here, None] / ctx.temperature)
            gradient = (gradient if slope is None else gradient.mul_(slope)).to(weight.dtype)
            if hidden_gradient is not None:
                hidden_gradient[here] = gradient @ weight
            if weight_gradient is not None:
                _add_product_(weight_gradient, gradient.T, hidden[here])
            del logits, slope, gradient
        weight_gradient = None if weight_gradient is None else weight_gradient.to(weight.dtype)
        return hidden_gradient, weight_gradient, None, None, None


def _exact(hidden: Tensor) -> torch.dtype:
    """The type of sums: float32, or float64 where that is what comes in."""
    return torch.promote_types(hidden.dtype, torch.float32)


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if _ONEDNN and hidden.device.type == "cpu" and hidden.dtype == torch.float32 and len(hidden) > 1:
        logits = torch.ops.mkldnn._linear_pointwise(hidden, weight, None, "none", [], "")
    else:
        logits = (hidden @ weight.T).to(_exact(hidden))
    return logits if bias is None else logits.add_(bias)


def _capped(logits: Tensor, cap: float | None) -> tuple[Tensor, Tensor | None]:
    """`soft_cap` in place, and its derivative; the logits as they are, and none, where there is no cap."""
    if cap is None:
        return logits, None
    share = logits.div_(cap).tanh_()
    slope = 1 - share.square()
    return logits.mul_(cap), slope


def _valid(
    targets: Tensor, dtype: torch.dtype, weights: Tensor | None = None, here: slice | None = None
) -> tuple[Tensor, Tensor]:
    """Targets that can be looked up, and how much each counts (an IGNORED one 0), both (positions, 1)."""
    counts = (targets != IGNORED).to(dtype)
    if weights is not None:
        counts = counts * weights[here]
    return targets.clamp(min=0)[:, None], counts[:, None]


def _add_product_(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add `left @ right`, where types allow without a tensor of that size: the weight's is the largest that is held."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _log_softmax_(logits: Tensor) -> Tensor:
    """In place."""
    return logits.sub_(logits.logsumexp(-1, keepdim=True))
