"""Linear layers whose products are computed in 8-bit floats (Micikevicius et al. 2022), scaled by tensor at each use.

Values and weights are e4m3, gradients e5m2; sums, results and everything else stay as they are. It pays on GPUs with
8-bit units (compute capability 8.9 and newer) and large matrices; elsewhere `use_fp8` refuses, but the numbers are
computed on any device (tested on the CPU).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from curate.errors import CurateError

__all__ = ["check_fp8", "fp8_linear", "use_fp8"]

MULTIPLE = 16
"""Sizes of the matrices that the hardware takes."""


def use_fp8(block: nn.Module, device: torch.device) -> None:
    """Let all linear layers of a block compute in 8-bit floats; it is changed in place.

    Raises:
        CurateError: The device has no 8-bit units, or a layer's sizes do not suit them.
    """
    check_fp8(device)
    for name, layer in block.named_modules():
        if not isinstance(layer, nn.Linear):
            continue
        if layer.in_features % MULTIPLE or layer.out_features % MULTIPLE:
            raise CurateError(
                f"`{name}` is {layer.in_features} x {layer.out_features}: fp8 takes multiples of {MULTIPLE}",
                "precision",
            )
        layer.forward = partial(_forward, layer)


def check_fp8(device: torch.device) -> None:
    """Refuse a device without 8-bit units.

    Raises:
        CurateError: It has none.
    """
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 9):
        raise CurateError(
            "this machine cannot compute in fp8",
            "precision",
            "it takes a GPU of compute capability 8.9; bf16 runs here",
        )


def _forward(layer: nn.Linear, values: Tensor) -> Tensor:
    result = fp8_linear(values, layer.weight)
    return result if layer.bias is None else result + layer.bias  # pyright: ignore[reportUnnecessaryComparison]


def fp8_linear(values: Tensor, weight: Tensor) -> Tensor:
    """`values @ weight.T` with both in e4m3; gradients in e5m2.

    Args:
        values: (..., in), bfloat16 or float32.
        weight: (out, in), of the same type.

    Returns:
        (..., out), of the same type.
    """
    flat = values.reshape(-1, values.shape[-1])
    return _Fp8Linear.apply(flat, weight).view(*values.shape[:-1], weight.shape[0])  # pyright: ignore


class _Fp8Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(values, weight)
        return _product(values, weight, torch.float8_e4m3fn)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        values, weight = ctx.saved_tensors
        return (
            _product(gradient, weight.T, torch.float8_e5m2),
            _product(gradient.T, values.T, torch.float8_e5m2),
        )


def _product(left: Tensor, right: Tensor, kind: torch.dtype) -> Tensor:
    """`left @ right.T`, left of the given 8-bit type and right e4m3; rows and inner size are padded with zeros."""
    rows, inner = left.shape
    pad_rows, pad_inner = -rows % MULTIPLE, -inner % MULTIPLE
    if pad_rows or pad_inner:
        left = nn.functional.pad(left, (0, pad_inner, 0, pad_rows))
        right = nn.functional.pad(right, (0, pad_inner))
    (a, a_scale), (b, b_scale) = _scaled(left, kind), _scaled(right, torch.float8_e4m3fn)
    multiply = torch._scaled_mm  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
    product = multiply(a, b.T, scale_a=a_scale, scale_b=b_scale, out_dtype=torch.bfloat16)
    return product[:rows].to(left.dtype)


def _scaled(values: Tensor, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """The values in 8 bits, row after row in memory, and what to multiply them with."""
    scale = values.detach().abs().amax().float().clamp(min=1e-12) / torch.finfo(kind).max
    return (values.float() / scale).to(kind).contiguous(), scale
