"""Low-rank adapters (Hu et al. 2022): linear layers learn an update up @ down of small rank, and nothing else changes.

    add_lora        into the linear layers of a trunk's blocks; the trunk's own parameters are frozen
    disabled        the model as it was before, for a while
    merged          plain weights again, for export (PEFT's files: weights/adapter.py)

An adapter's parameters are `lora_down` and `lora_up` of the layer, whose `weight` keeps its name. With adapters of rank 8
on query and value a Llama of 7 billion parameters trains 4 million: gradients and optimizer need 0.06% of their memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import CurateError
from curate.train.settings.methods import LoraSettings

__all__ = ["Lora", "add_lora", "disabled", "first_weights", "is_adapter", "merged"]


class Lora(nn.Linear):
    """A linear layer with an adapter; it takes over the parameters of the layer that it replaces.

    Args:
        linear: The layer; its parameters are frozen by `add_lora`.
        rank: Of the update.
        alpha: The update is scaled by alpha / rank.
        dropout: Share of the adapter's inputs set to zero in training.

    Attributes:
        enabled: Whether the adapter counts.
        lora_down: (rank, inputs).
        lora_up: (outputs, rank).
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, dropout: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = linear.weight
        self.register_parameter("bias", linear.bias)
        self.scale, self.dropout, self.enabled = alpha / rank, dropout, True
        like = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.lora_down = nn.Parameter(torch.empty(rank, linear.in_features, **like))
        self.lora_up = nn.Parameter(torch.empty(linear.out_features, rank, **like))

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        result = functional.linear(input, self.weight, self.bias)
        if not self.enabled:
            return result
        narrow = functional.linear(functional.dropout(input, self.dropout, self.training), self.lora_down)
        return result + functional.linear(narrow, self.lora_up) * self.scale


def add_lora(trunk: nn.Module, settings: LoraSettings) -> None:
    """Freeze a trunk and put adapters, not filled, into the linear layers of its blocks that `targets` names.

    Args:
        trunk: Changed in place; it may be on the meta device, and is not sharded yet.
        settings: Rank, alpha, dropout, and the last names of the layers.

    Raises:
        CurateError: A target names no layer; the names that exist are told.
    """
    inside = set(trunk.blocks.modules())  # pyright: ignore
    layers = {
        name: module for name, module in trunk.named_modules() if isinstance(module, nn.Linear) and module in inside
    }
    names = {name: name.rpartition(".")[2] for name in layers}
    unknown = sorted(set(settings.targets) - set(names.values()))
    if unknown:
        existing = ", ".join(sorted(set(names.values())))
        raise CurateError(
            f"no linear layer of the model is named `{unknown[0]}`",
            "lora.targets",
            f"names that exist: {existing}" if existing else "this model has no linear layers in its blocks",
        )
    trunk.requires_grad_(False)
    for name, layer in layers.items():
        if names[name] in settings.targets:
            owner = trunk.get_submodule(name.rpartition(".")[0])
            setattr(owner, names[name], Lora(layer, settings.rank, settings.alpha, settings.dropout))


def is_adapter(name: str) -> bool:
    """The parameter belongs to an adapter."""
    return name.endswith((".lora_down", ".lora_up"))


def first_weights(name: str, tensor: Tensor, generator: torch.Generator) -> None:
    """Fill an adapter's parameter with its first value: `lora_up` is zero, so that the model begins as it was.

    `lora_down` is uniform within 1 / root of the inputs, as in peft.

    Args:
        name: Of the parameter.
        tensor: The whole of it, on the CPU; changed.
        generator: Its randomness.
    """
    if name.endswith("lora_up"):
        tensor.zero_()
    else:
        bound = 1 / math.sqrt(tensor.shape[1])
        tensor.uniform_(-bound, bound, generator=generator)


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
        settings: Rank and alpha of the adapters.
    """
    plain = {name: tensor for name, tensor in tensors.items() if not is_adapter(name)}
    for name, down in tensors.items():
        if name.endswith(".lora_down"):
            layer = name.removesuffix(".lora_down")
            weight, up = tensors[f"{layer}.weight"], tensors[f"{layer}.lora_up"]
            update = up.float() @ down.float() * (settings.alpha / settings.rank)
            plain[f"{layer}.weight"] = (weight.float() + update).to(weight.dtype)
    return plain
