"""Low-rank adapters (Hu et al. 2022): linear layers learn an update up @ down of small rank, and nothing else changes.

    add_lora        into the linear layers of a trunk's blocks; the trunk's own parameters are frozen
    disabled        the model as it was before, for a while
    merged          plain weights again, for export
    write_adapter   PEFT's files, which `peft.PeftModel` loads on the exported model with equal logits; and read_adapter

An adapter's parameters are `lora_down` and `lora_up` of the layer, whose `weight` keeps its name. With adapters of rank 8
on query and value a Llama of 7 billion parameters trains 4 million: gradients and optimizer need 0.06% of their memory.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import CurateError
from curate.train.architecture import Architecture
from curate.train.methods import LoraSettings
from curate.train.models.build import families
from curate.train.models.family import Family, HeadKind, Source, few, keys_of

__all__ = ["Lora", "add_lora", "disabled", "first_weights", "is_adapter", "merged", "read_adapter", "write_adapter"]


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
_PREFIX = "base_model.model."
_TASKS: dict[HeadKind, str] = {
    "causal": "CAUSAL_LM",
    "seq2seq": "SEQ_2_SEQ_LM",
    "classification": "SEQ_CLS",
    "token_classification": "TOKEN_CLS",
}
_READ = keys_of("r lora_alpha lora_dropout alpha_pattern use_rslora peft_type bias")
_INERT = keys_of(
    """
    auto_mapping base_model_name_or_path corda_config ensure_weight_tying eva_config exclude_modules fan_in_fan_out
    inference_mode init_lora_weights layers_pattern layers_to_transform loftq_config megatron_config megatron_core
    modules_to_save monteclora_config peft_version qalora_group_size rank_pattern revision runtime_config target_modules
    task_type
    """
)
"""Keys of an adapter_config.json that only say how the tensors beside it were made, or where they belong."""
_OWN_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""First weights for which peft changes the model itself: on the unchanged one such an adapter is wrong."""


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
    family = _family(sizes, head)
    sources = _sources(family, sizes, head)
    trained = [name for name in tensors if is_adapter(name) or not name.startswith("model.")]
    strange = [
        name for name in trained if name.replace("lora_down", "weight").replace("lora_up", "weight") not in sources
    ]
    if strange or head == "masked":
        raise CurateError(
            "the model has trained parts that PEFT's files cannot hold: "
            + (few(strange) or "a head for masked tokens"),
            hint="export the whole model, without `--adapter`",
        )
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
    held = {_PREFIX + name: tensor.detach().cpu().contiguous() for name, tensor in {**adapters, **heads}.items()}
    _write(folder, config, held)


def _family(sizes: Architecture, head: HeadKind) -> Family:
    for family in families():
        if family.accepts(sizes) and head in family.classes:
            return family
    raise CurateError(f"transformers has no model of this kind ({sizes.kind}) for {head}")


def _sources(family: Family, sizes: Architecture, head: HeadKind) -> dict[str, Source]:
    """Where each parameter of ours (`model.*`, `head.*`) is in their file."""
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
    same = [name for name in layers if name.rpartition(".")[2] in short and name not in adapted]
    return sorted(adapted) if same else sorted(short)


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


def read_adapter(folder: Path, sizes: Architecture, *, head: HeadKind) -> tuple[LoraSettings, dict[str, Tensor]]:
    """The adapters in PEFT's files, and the head that was trained with them, by our names.

    An adapter of smaller rank than another is padded with zeros, and one of another scale scaled, so that all have the
    settings' rank and alpha.

    Args:
        folder: With adapter_config.json and adapter_model.safetensors.
        sizes: Architecture of the model that they belong to.
        head: What it predicts.

    Raises:
        CurateError: They are not there, are pickled, belong to another model, or are computed in another way.
    """
    config = _config(folder)
    family = _family(sizes, head)
    ours: dict[str, list[tuple[str, Source]]] = {}
    for name, source in _sources(family, sizes, head).items():
        ours.setdefault(source.name, []).append((name, source))
    stored = {name.removeprefix(_PREFIX): tensor for name, tensor in _tensors(folder).items()}
    downs = {name.removesuffix(".lora_A.weight") for name in stored if name.endswith(".lora_A.weight")}
    rank = max((len(stored[f"{module}.lora_A.weight"]) for module in downs), default=0)
    known = {f"{module}.lora_{side}.weight" for module in downs for side in "AB"}
    strange = [name for name in stored if name not in known and name not in ours]
    strange += [module for module in downs if not _fits(stored, module, _places(family, ours, module))]
    if strange or not downs:
        raise CurateError(f"the adapter has other layers than the model: {few(sorted(strange)) or 'none'}", str(folder))
    found = {name: stored[theirs] for theirs in stored for name, _ in ours.get(theirs, [])}
    alpha = float(config["lora_alpha"])
    for module in sorted(downs):
        down, up = stored[f"{module}.lora_A.weight"], stored[f"{module}.lora_B.weight"]
        padding = rank - len(down)
        up = up * (_scale(config, module, len(down)) * rank / alpha)
        for name, source in _places(family, ours, module):
            layer, outputs = name.removesuffix(".weight"), len(up) // source.parts
            own = up[source.part * outputs : (source.part + 1) * outputs]
            found[f"{layer}.lora_down"] = functional.pad(down, (0, 0, 0, padding))
            found[f"{layer}.lora_up"] = functional.pad(own, (0, padding))
    targets = sorted({name.split(".")[-2] for name in found if is_adapter(name)})
    dropout = config.get("lora_dropout", 0.0)
    return LoraSettings(rank=rank, alpha=alpha, dropout=dropout, targets=tuple(targets)), found


def _places(family: Family, ours: Mapping[str, list[tuple[str, Source]]], module: str) -> list[tuple[str, Source]]:
    """Our weights that one of their layers holds; an adapter of a bare model has names without the trunk's prefix."""
    return ours.get(f"{module}.weight") or ours.get(f"{family.prefix}{module}.weight") or []


def _fits(stored: Mapping[str, Tensor], module: str, places: list[tuple[str, Source]]) -> bool:
    """There is such a layer, and the two matrices can be multiplied and cut for it."""
    down, up = stored[f"{module}.lora_A.weight"], stored.get(f"{module}.lora_B.weight")
    if not places or up is None or (down.ndim, up.ndim) != (2, 2):
        return False
    return up.shape[1] == down.shape[0] and up.shape[0] % places[0][1].parts == 0


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    alpha = config["lora_alpha"]
    for name, value in (config.get("alpha_pattern") or {}).items():
        if f".{module}".endswith(f".{name}"):
            alpha = value
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise CurateError(f"the adapter's {CONFIG} cannot be read: {error}", str(folder)) from None
    if config.get("peft_type") != "LORA":
        raise CurateError(
            f"adapters of the type `{config.get('peft_type')}` are not computed here", str(folder / CONFIG)
        )
    for key, value in config.items():
        odd = key == "bias" and value != "none"
        odd |= key == "init_lora_weights" and str(value).startswith(_OWN_BASE)
        odd |= key == "alpha_pattern" and any(not re.fullmatch(r"[\w.]+", name) for name in value or ())
        odd |= key not in _READ | _INERT and value not in (None, False, {}, [], "")
        if odd:
            raise CurateError(f"`{key}: {value}` of this adapter is not computed here", str(folder / CONFIG))
    return config


def _tensors(folder: Path) -> dict[str, Tensor]:
    if not (folder / TENSORS).is_file() and (folder / "adapter_model.bin").is_file():
        raise CurateError(
            "the adapter is pickled (adapter_model.bin), which can run code when it is read",
            str(folder),
            "load it once with peft where you trust it, and save it with `save_pretrained`",
        )
    try:
        with safe_open(folder / TENSORS, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CurateError(f"the adapter's {TENSORS} cannot be read: {error}", str(folder)) from None
