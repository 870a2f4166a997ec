"""Low-rank adapters (Hu et al. 2022): linear layers learn an update up @ down of small rank, and nothing else changes.

    add_lora        into the linear layers of a trunk's blocks; the trunk's own parameters are frozen
    disabled        the model as it was before, for a while
    merged          plain weights again, for export (PEFT's files: weights/adapter.py)

An adapter's parameters are `lora_down` and `lora_up` of the layer, whose `weight` keeps its name. With adapters of rank 8
on query and value a Llama of 7 billion parameters trains 4 million: gradients and optimizer need 0.06% of their memory.

With `dora` (Liu et al. 2024) the sum of weight and update gives directions only: each of its rows is brought to a length
that is learned. `lora_magnitude` holds by how much that differs from the row of `weight`, not the length itself: so the
model begins as it was in any precision, and small changes are not lost where numbers are cast to bfloat16. It costs
two passes over the weights in each forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import CurateError
from curate.train.models.nf4 import Nf4, Nf4Linear
from curate.train.settings.methods import LoraSettings

__all__ = ["Lora", "add_lora", "disabled", "first_weights", "is_adapter", "merged", "row_lengths"]

PARTS = ("lora_down", "lora_up", "lora_magnitude")


class Lora(nn.Linear):
    """A linear layer with an adapter; it takes over the parameters of the layer that it replaces.

    Args:
        linear: The layer; its parameters are frozen by `add_lora`.
        settings: Rank, scale, dropout, and whether lengths are learned.

    Attributes:
        enabled: Whether the adapter counts.
        packed: The layer's weights in 4 bits, instead of `weight`; None but for `base: nf4`.
        lora_down: (rank, inputs).
        lora_up: (outputs, rank).
        lora_magnitude: (outputs,), what is added to the lengths of the rows of `weight`; None without `dora`.
    """

    lora_magnitude: nn.Parameter | None

    def __init__(self, linear: nn.Linear, settings: LoraSettings) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.packed = Nf4(linear.out_features, linear.in_features) if settings.base == "nf4" else None
        if self.packed is None:
            self.weight = linear.weight
        self.register_parameter("bias", linear.bias)
        self.scale, self.dropout, self.enabled = settings.scale, settings.dropout, True
        like = {"device": linear.weight.device, "dtype": torch.float32}
        self.lora_down = nn.Parameter(torch.empty(settings.rank, linear.in_features, **like))
        self.lora_up = nn.Parameter(torch.empty(linear.out_features, settings.rank, **like))
        magnitude = nn.Parameter(torch.empty(linear.out_features, **like)) if settings.dora else None
        self.register_parameter("lora_magnitude", magnitude)

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        if not self.enabled:
            return self._plain(input, self.bias)
        narrow = functional.linear(functional.dropout(input, self.dropout, self.training), self.lora_down)
        update = functional.linear(narrow, self.lora_up) * self.scale
        if self.lora_magnitude is None:
            return self._plain(input, self.bias) + update
        product = self._plain(input, None) + update
        found = (product * self._stretch(self.lora_magnitude)).to(product.dtype)
        return found if self.bias is None else found + self.bias  # pyright: ignore[reportUnnecessaryComparison]

    def _plain(self, input: Tensor, bias: Tensor | None) -> Tensor:
        if self.packed is None:
            return functional.linear(input, self.weight, bias)
        return self.packed(input) if bias is None else self.packed(input) + bias

    def _stretch(self, magnitude: Tensor) -> Tensor:
        """What brings each output's weights to their length, (outputs,) float32; their sum's counts as a constant."""
        with torch.no_grad():
            weight = self.weight if self.packed is None else self.packed.matrix(self.lora_up.dtype)
            before = row_lengths(weight)
            after = row_lengths(weight + self.scale * (self.lora_up @ self.lora_down))
        return (before + magnitude) / after


def row_lengths(matrix: Tensor) -> Tensor:
    """Euclidean norm of each row, float32; never 0, so that one may divide by it."""
    return torch.linalg.vector_norm(matrix, dim=1, dtype=torch.float32).clamp(min=torch.finfo(torch.float32).tiny)


def add_lora(trunk: nn.Module, settings: LoraSettings) -> None:
    """Freeze a trunk and put adapters, not filled, into the linear layers of its blocks that `targets` names.

    Adapters are float32, and so is the trunk but for `base`: with bf16 all of it is bfloat16, and with nf4 the linear layers
    of the blocks are in 4 bits and the rest is bfloat16. FSDP casts for the computation.

    Args:
        trunk: Changed in place; it may be on the meta device, and is not sharded yet.
        settings: Of the adapters; `targets` are the last names of the layers.

    Raises:
        CurateError: A target names no layer, and the names that exist are told; or a layer cannot be held in 4 bits.
    """
    inside = set(trunk.blocks.modules())  # pyright: ignore
    layers = {
        name: module for name, module in trunk.named_modules() if isinstance(module, nn.Linear) and module in inside
    }
    names = {name: name.rpartition(".")[2] for name in layers}
    existing = sorted(set(names.values()))
    targets = existing if settings.targets == "all-linear" else settings.targets
    unknown = sorted(set(targets) - set(existing))
    if unknown or not existing:
        raise CurateError(
            f"no linear layer of the model is named `{unknown[0]}`" if unknown else "the model has no linear layers",
            "lora.targets",
            f"names that exist: {', '.join(existing)}" if existing else "this model has no linear layers in its blocks",
        )
    odd = [name for name, layer in layers.items() if layer.in_features % 2]
    if odd and settings.base == "nf4":
        raise CurateError(
            f"`{odd[0]}` has {layers[odd[0]].in_features} inputs: 4 bits take an even number", "lora.base"
        )
    trunk.requires_grad_(False)
    if settings.base != "full":
        for parameter in trunk.parameters():
            parameter.data = parameter.data.bfloat16()
    for name, layer in layers.items():
        owner = trunk.get_submodule(name.rpartition(".")[0])
        if names[name] in targets:
            setattr(owner, names[name], Lora(layer, settings))
        elif settings.base == "nf4":
            setattr(owner, names[name], Nf4Linear(layer))


def is_adapter(name: str) -> bool:
    """The parameter belongs to an adapter."""
    return name.rpartition(".")[2] in PARTS


def first_weights(name: str, tensor: Tensor, generator: torch.Generator) -> None:
    """Fill an adapter's parameter with its first value, such that the model begins as it was.

    `lora_up` and `lora_magnitude` are zero, `lora_down` is uniform within 1 / root of the inputs, as in peft.

    Args:
        name: Of the parameter.
        tensor: The whole of it, on the CPU; changed.
        generator: Its randomness.
    """
    if name.endswith("lora_down"):
        bound = 1 / math.sqrt(tensor.shape[1])
        tensor.uniform_(-bound, bound, generator=generator)
    else:
        tensor.zero_()


@contextmanager
def disabled(model: nn.Module) -> Iterator[None]:
    """The model computes as without adapters for a while; one without any is as it is."""
    layers = [module for module in model.modules() if isinstance(module, Lora)]
    for layer in layers:
        layer.enabled = False
    try:
        yield
    finally:
        for layer in layers:
            layer.enabled = True


def merged(tensors: Mapping[str, Tensor], settings: LoraSettings) -> dict[str, Tensor]:
    """Named tensors with every adapter added to its weight, and without the adapters.

    Args:
        tensors: Parameters by name, whole; they are not changed.
        settings: Of the adapters.
    """
    plain = {name: tensor for name, tensor in tensors.items() if not is_adapter(name)}
    for name, down in tensors.items():
        if name.endswith(".lora_down"):
            layer = name.removesuffix(".lora_down")
            weight, up = tensors[f"{layer}.weight"], tensors[f"{layer}.lora_up"]
            total = weight.float() + up.float() @ down.float() * settings.scale
            magnitude = tensors.get(f"{layer}.lora_magnitude")
            if magnitude is not None:
                total *= ((row_lengths(weight) + magnitude) / row_lengths(total))[:, None]
            plain[f"{layer}.weight"] = total.to(weight.dtype)
    return plain
