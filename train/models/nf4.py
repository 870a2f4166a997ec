"""Weights in 4 bits: NormalFloat with double quantization, as QLoRA has it (Dettmers et al. 2023, sections 3 and E).

A matrix is cut into blocks of 64 numbers, row after row. Each is divided by its largest absolute value, and each number
becomes the nearest of 16 levels, which lie where a normal distribution has equal shares. The largest values lose their mean and
are held as 8-bit integers, with one float32 for 256 of them (the paper has 8-bit floats there). That is 4.13 bits a number:

    4 + 8 / 64 + 32 / (64 * 256)

Products put the matrix together in the numbers of what they multiply, and once more for the backward pass: no layer's
matrix stays in memory between the two. The codes equal those of bitsandbytes 0.50.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["LEVELS", "Nf4", "Nf4Linear", "is_packed", "packed_in", "unpacked"]

LEVELS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""The levels, of the paper's appendix E."""
BLOCK = 64
GROUP = 256
"""Blocks whose largest values share a scale."""
_CODES, _SCALES, _GROUPS, _MEAN = "codes", "scales", "groups", "mean"


class Nf4(nn.Module):
    """One matrix in 4 bits; its buffers are no parameters, so that every process has the whole of them.

    Args:
        outputs: Rows.
        inputs: Columns, an even number.

    Attributes:
        codes: (outputs, inputs / 2) uint8, two numbers each, the first in the higher bits.
        scales: (blocks,) int8, of the blocks' largest absolute values less their mean.
        groups: (groups of blocks,) float32, what an int8 of the group counts.
        mean: (1,) float32, of the blocks' largest absolute values.
    """

    codes: Tensor
    scales: Tensor
    groups: Tensor
    mean: Tensor

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.shape = torch.Size((outputs, inputs))
        blocks = -(-outputs * inputs // BLOCK)
        self.register_buffer(_CODES, torch.empty(outputs, inputs // 2, dtype=torch.uint8))
        self.register_buffer(_SCALES, torch.empty(blocks, dtype=torch.int8))
        self.register_buffer(_GROUPS, torch.empty(-(-blocks // GROUP)))
        self.register_buffer(_MEAN, torch.empty(1))

    @torch.no_grad()
    def pack(self, matrix: Tensor) -> None:
        """Hold the nearest to a matrix, (outputs, inputs) of any numbers."""
        blocks = _cut(matrix.detach().to(self.codes.device).float().flatten(), BLOCK)
        largest = blocks.abs().amax(1)
        relative = blocks / largest.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
        codes = torch.bucketize(relative, _midpoints(relative.device), out_int32=True).to(torch.uint8).flatten()
        codes = codes[: self.shape.numel()].view(*self.codes.shape, 2)
        self.codes.copy_(codes[..., 0] << 4 | codes[..., 1])
        self.mean.copy_(largest.mean())
        left = _cut(largest - self.mean, GROUP)
        self.groups.copy_(left.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127)
        self.scales.copy_((left / self.groups[:, None]).round().flatten()[: len(largest)])

    def matrix(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The matrix that is held, (outputs, inputs)."""
        return _matrix(self.codes, self.scales, self.groups, self.mean, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """The product with it, (..., inputs) to (..., outputs)."""
        return _Product.apply(input, self)  # pyright: ignore[reportReturnType]


class Nf4Linear(nn.Module):
    """A linear layer that is not trained, its weights in 4 bits.

    Args:
        linear: Says the sizes; its bias is taken over.
    """

    bias: nn.Parameter | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.packed = Nf4(linear.out_features, linear.in_features)
        self.register_parameter("bias", linear.bias)

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        product = self.packed(input)
        return product if self.bias is None else product + self.bias


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, packed: Nf4) -> Tensor:
        ctx.packed = packed
        return functional.linear(input, packed.matrix(input.dtype))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradient @ ctx.packed.matrix(gradient.dtype), None


def _matrix(codes: Tensor, scales: Tensor, groups: Tensor, mean: Tensor, dtype: torch.dtype) -> Tensor:
    outputs, half = codes.shape
    values = _pairs(codes.device).index_select(0, codes.flatten().int()).flatten()
    largest = (_cut(scales.float(), GROUP) * groups[:, None]).flatten()[: len(scales)] + mean
    found = _cut(values, BLOCK).mul_(largest[:, None]).flatten()[: len(values)]
    return found.view(outputs, 2 * half).to(dtype)


def _cut(values: Tensor, size: int) -> Tensor:
    """(count, size), the last filled up with zeros; where nothing is to be filled it shares the memory."""
    missing = -len(values) % size
    return (functional.pad(values, (0, missing)) if missing else values).view(-1, size)


@cache
def _midpoints(device: torch.device) -> Tensor:
    levels = torch.tensor(LEVELS, dtype=torch.float64)
    return ((levels[1:] + levels[:-1]) / 2).float().to(device)


@cache
def _pairs(device: torch.device) -> Tensor:
    """The two numbers of each byte, (256, 2)."""
    levels = torch.tensor(LEVELS)
    return torch.cartesian_prod(levels, levels).to(device)


def packed_in(module: nn.Module) -> dict[str, Nf4]:
    """All matrices in 4 bits inside a module, by the names that they have as weights."""
    found = ((name, one) for name, one in module.named_modules() if isinstance(one, Nf4))
    return {f"{name.removesuffix('.packed')}.weight": one for name, one in found}


def is_packed(name: str) -> bool:
    """The buffer belongs to a matrix in 4 bits."""
    return ".packed." in name


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Named tensors with each matrix in 4 bits as the float32 weight of its layer, and without its buffers."""
    found = {name: tensor for name, tensor in tensors.items() if not is_packed(name)}
    for name in tensors:
        layer, _, part = name.partition(".packed.")
        if part == _CODES:
            codes, scales, groups, mean = (
                tensors[f"{layer}.packed.{part}"] for part in (_CODES, _SCALES, _GROUPS, _MEAN)
            )
            found[f"{layer}.weight"] = _matrix(codes, scales, groups, mean, torch.float32)
    return found
