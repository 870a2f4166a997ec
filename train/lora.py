"""Low-rank adapters (Hu et al. 2022): linear layers learn an update up @ down of small rank, and nothing else changes.

    add_lora        into the linear layers of a trunk's blocks; the trunk's own parameters are frozen
    disabled        the model as it was before, for a while
    merged          plain weights again, for export
    write_adapter   PEFT's files, which `peft.PeftModel` loads on the exported model with equal logits (adapter.py reads them)

An adapter's parameters are `lora_down` and `lora_up` of the layer, whose `weight` keeps its name. With adapters of rank 8
on query and value a Llama of 7 billion parameters trains 4 million: gradients and optimizer need 0.06% of their memory.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import CurateError
from curate.train.architecture import Architecture
from curate.train.methods import LoraSettings
from curate.train.models.build import families
from curate.train.models.family import Family, HeadKind, Source, few

__all__ = ["Lora", "add_lora", "disabled", "first_weights", "is_adapter", "merged", "write_adapter"]


# ---- the layers


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


# ---- PEFT's files

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What all names in PEFT's files begin with."""
_TASKS: dict[HeadKind, str] = {
    "causal": "CAUSAL_LM",
    "seq2seq": "SEQ_2_SEQ_LM",
    "classification": "SEQ_CLS",
    "token_classification": "TOKEN_CLS",
}


def write_adapter(
    folder: Path,
    sizes: Architecture,
    tensors: Mapping[str, Tensor],
    settings: LoraSettings,
    *,
    head: HeadKind,
    base: str | None = None,
) -> None:
    """Write the adapters alone, and the head that was trained with them, as PEFT does.

    Args:
        folder: Does not exist before; it is there when all of it is.
        sizes: Architecture of the model.
        tensors: Its parameters by our names (`model.*`, `head.*`), adapters among them, not merged.
        settings: Of the adapters.
        head: What the model predicts.
        base: Path or name of the model that the adapters belong to, for `peft.AutoPeftModel`.

    Raises:
        CurateError: transformers has no such model, PEFT's files cannot hold what was trained, or cannot be written.
    """
    if folder.exists():
        raise CurateError("the folder is there already", str(folder), "name another one, or remove it")
    family = family_of(sizes, head)
    sources = sources_of(family, sizes, head)
    trained = [name for name in tensors if is_adapter(name) or not name.startswith("model.")]
    _refuse_strange(trained, sources, head)
    adapters, patterns = _fused(sources, tensors, settings)
    heads = {sources[name].name: tensors[name] for name in trained if name.startswith("head.")}
    layers = [
        source.name.removesuffix(".weight") for name, source in sources.items() if name.startswith("model.blocks.")
    ]
    config = {
        "peft_type": "LORA",
        "task_type": _TASKS[head],
        "base_model_name_or_path": base,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": _targets({name.partition(".lora_")[0] for name in adapters}, layers),
        "modules_to_save": sorted({name.rpartition(".")[0] for name in heads}) or None,
        "fan_in_fan_out": any(source.transposed for source in sources.values()),
        "bias": "none",
        "inference_mode": True,
        **patterns,
    }
    held = {PREFIX + name: tensor.detach().cpu().contiguous() for name, tensor in {**adapters, **heads}.items()}
    _write(folder, config, held)


def _refuse_strange(trained: list[str], sources: Mapping[str, Source], head: HeadKind) -> None:
    strange = [
        name for name in trained if name.replace("lora_down", "weight").replace("lora_up", "weight") not in sources
    ]
    if strange or head == "masked":
        raise CurateError(
            "the model has trained parts that PEFT's files cannot hold: "
            + (few(strange) or "a head for masked tokens"),
            hint="export the whole model, without `--adapter`",
        )


def family_of(sizes: Architecture, head: HeadKind) -> Family:
    """The family in transformers of a model.

    Raises:
        CurateError: There is none.
    """
    for family in families():
        if family.accepts(sizes) and head in family.classes:
            return family
    raise CurateError(f"transformers has no model of this kind ({sizes.kind}) for {head}")


def sources_of(family: Family, sizes: Architecture, head: HeadKind) -> dict[str, Source]:
    """Where each parameter of ours (`model.*`, `head.*`) is in a file of transformers."""
    trunk = {f"model.{name}": source for name, source in family.names(sizes).items()}
    return trunk | {f"head.{name}": source for name, source in family.heads(head, sizes).items()}


def _fused(
    sources: Mapping[str, Source], tensors: Mapping[str, Tensor], settings: LoraSettings
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Adapters by their names, and the ranks and alphas of those that are not the settings'.

    Where several layers of ours are one of theirs (GPT-2), so are their adapters: one of the sum of their ranks, whose
    down is theirs one below the other, and whose up has each at its place.
    """
    parts: dict[str, list[tuple[Source, Tensor, Tensor]]] = {}
    for name, down in tensors.items():
        if name.endswith(".lora_down"):
            layer = name.removesuffix(".lora_down")
            source = sources[f"{layer}.weight"]
            parts.setdefault(source.name.removesuffix(".weight"), []).append(
                (source, down, tensors[f"{layer}.lora_up"])
            )
    found: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for module, several in parts.items():
        outputs, rank = several[0][2].shape
        up = torch.zeros(outputs * several[0][0].parts, rank * len(several), dtype=several[0][2].dtype)
        for number, (source, _, own) in enumerate(several):
            up[source.part * outputs : (source.part + 1) * outputs, number * rank : (number + 1) * rank] = own
        found[f"{module}.lora_A.weight"] = torch.cat([down for _, down, _ in several])
        found[f"{module}.lora_B.weight"] = up
        if len(several) > 1:
            ranks[module.rpartition(".")[2]] = rank * len(several)
    alphas = {name: settings.alpha * rank / settings.rank for name, rank in ranks.items()}
    return found, {"rank_pattern": ranks, "alpha_pattern": alphas}


def _targets(adapted: set[str], layers: list[str]) -> list[str]:
    """Last names of their layers, or whole names where a layer without an adapter has the same last name."""
    short = {name.rpartition(".")[2] for name in adapted}
    return sorted(adapted if any(name.rpartition(".")[2] in short for name in {*layers} - adapted) else short)


def _write(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    aside = folder.with_name(f"{folder.name}.writing")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        save_file(tensors, aside / TENSORS, metadata={"format": "pt"})
        (aside / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        for path in (aside / TENSORS, aside / CONFIG):
            with path.open("rb") as file:
                os.fsync(file.fileno())
        aside.rename(folder)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise CurateError(f"the adapter cannot be written: {error}", str(folder)) from error
