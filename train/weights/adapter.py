"""Adapters in PEFT's files: written, so that `peft.PeftModel` loads them on the exported model with equal logits, and read.

They are read to go on from them, or to merge them: every setting in an adapter_config.json that changes what is computed
is computed here, or refused by name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from curate.errors import CurateError
from curate.train.models.family import Family, HeadKind, Source, few, keys_of
from curate.train.models.lora import is_adapter, row_lengths
from curate.train.models.trunk import build_trunk, families_of
from curate.train.settings.architecture import Architecture
from curate.train.settings.methods import LoraSettings

__all__ = ["read_adapter", "write_adapter"]

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What all names in PEFT's files begin with."""
_TASKS: dict[HeadKind, str] = {
    "causal": "CAUSAL_LM",
    "seq2seq": "SEQ_2_SEQ_LM",
    "classification": "SEQ_CLS",
    "token_classification": "TOKEN_CLS",
}
_READ = keys_of("r use_dora use_rslora peft_type")
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


# ---- writing


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
        folder: An empty one, made where it is missing.
        sizes: Architecture of the model.
        tensors: Its parameters by our names (`model.*`, `head.*`), adapters among them, not merged.
        settings: Of the adapters.
        head: What the model predicts.
        base: Path or name of the model that the adapters belong to, for `peft.AutoPeftModel`.

    Raises:
        CurateError: transformers has no such model, or PEFT's files cannot hold what was trained.
        OSError: The folder cannot be written.
    """
    family = _family_of(sizes, head)
    sources = _sources_of(family, sizes, head)
    trained = [name for name in tensors if is_adapter(name) or not name.startswith("model.")]
    _refuse_strange(trained, sources, head)
    _refuse_routers(trained, settings)
    adapters, patterns = _fused(sources, tensors, settings)
    if settings.dora:
        adapters |= _magnitudes(sources, tensors)
    heads = {sources[name].name: tensors[name] for name in trained if name.startswith("head.")}
    layers = [
        source.name.removesuffix(".weight") for name, source in sources.items() if name.startswith("model.blocks.")
    ]
    config = {
        **_method(settings),
        "task_type": _TASKS[head],
        "base_model_name_or_path": base,
        "target_modules": _targets({name.partition(".lora_")[0] for name in adapters}, layers),
        "modules_to_save": sorted({name.rpartition(".")[0] for name in heads}) or None,
        "fan_in_fan_out": any(source.transposed for source in sources.values()),
        **patterns,
    }
    held = {PREFIX + name: tensor.detach().cpu().contiguous() for name, tensor in {**adapters, **heads}.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(held, folder / TENSORS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _method(settings: LoraSettings) -> dict[str, Any]:
    """What an adapter_config.json says of the computation."""
    return {
        "peft_type": "LORA",
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "use_rslora": settings.scaling == "rank_stabilized",
        "use_dora": settings.dora,
        "bias": "none",
        "inference_mode": True,
    }


def _refuse_strange(trained: list[str], sources: Mapping[str, Source], head: HeadKind) -> None:
    if any(".experts." in name for name in trained):
        raise CurateError(
            "PEFT's files have no place for adapters of single experts",
            hint="export the whole model, without `--adapter`, or leave `gate`, `up` and `down` out of `lora.targets`",
        )
    strange = [name for name in trained if (_weight_of(name) if is_adapter(name) else name) not in sources]
    if strange or head == "masked":
        raise CurateError(
            "the model has trained parts that PEFT's files cannot hold: "
            + (few(strange) or "a head for masked tokens"),
            hint="export the whole model, without `--adapter`",
        )


def _refuse_routers(trained: list[str], settings: LoraSettings) -> None:
    """Refuse what peft has for layers alone: a router is a bare matrix in transformers."""
    asked = [name for name, there in (("lora.dropout", settings.dropout), ("lora.dora", settings.dora)) if there]
    if asked and any(".router." in name for name in trained):
        raise CurateError(
            f"PEFT cannot load adapters of routers with `{asked[0]}`",
            hint="export the whole model, without `--adapter`, or leave `router` out of `lora.targets`",
        )


def _weight_of(name: str) -> str:
    """The weight that an adapter's parameter belongs to."""
    return f"{name.rpartition('.')[0]}.weight"


def _family_of(sizes: Architecture, head: HeadKind) -> Family:
    """The family in transformers of a model.

    Raises:
        CurateError: There is none.
    """
    for family in families_of(sizes):
        if head in family.classes:
            return family
    raise CurateError(f"transformers has no model of this kind ({sizes.kind}) for {head}")


def _sources_of(family: Family, sizes: Architecture, head: HeadKind) -> dict[str, Source]:
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
    stabilized = settings.scaling == "rank_stabilized"
    alphas = {name: settings.scale * (math.sqrt(rank) if stabilized else rank) for name, rank in ranks.items()}
    return found, {"rank_pattern": ranks, "alpha_pattern": alphas}


def _magnitudes(sources: Mapping[str, Source], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Lengths of the rows of each layer with an adapter; of parts without one, those that they have."""
    adapted = {sources[_weight_of(name)].name for name in tensors if name.endswith(".lora_magnitude")}
    parts: dict[str, list[Tensor]] = {}
    for name, source in sorted(sources.items(), key=lambda item: item[1].part):
        if source.name in adapted:
            change = tensors.get(f"{name.removesuffix('.weight')}.lora_magnitude")
            lengths = row_lengths(tensors[name])
            parts.setdefault(source.name, []).append(lengths if change is None else lengths + change)
    return {f"{name.removesuffix('.weight')}.lora_magnitude_vector": torch.cat(some) for name, some in parts.items()}


def _targets(adapted: set[str], layers: list[str]) -> list[str]:
    """Last names of their layers, or whole names where a layer without an adapter has the same last name."""
    short = {name.rpartition(".")[2] for name in adapted}
    return sorted(adapted if any(name.rpartition(".")[2] in short for name in {*layers} - adapted) else short)


# ---- reading


def read_adapter(
    folder: Path, sizes: Architecture, *, head: HeadKind, weight: Callable[[str], Tensor]
) -> tuple[LoraSettings, dict[str, Tensor]]:
    """The adapters in PEFT's files, and the head that was trained with them, by our names.

    An adapter of smaller rank than another is padded with zeros, and one of another scale scaled, so that all have the
    settings' rank and alpha.

    Args:
        folder: With adapter_config.json and adapter_model.safetensors.
        sizes: Architecture of the model that they belong to.
        head: What it predicts.
        weight: Gives a weight of that model by our name; of adapters with lengths (DoRA), which are held as changes.

    Raises:
        CurateError: They are not there, are pickled, belong to another model, or are computed in another way.
    """
    config = _config(folder)
    family = _family_of(sizes, head)
    ours: dict[str, list[tuple[str, Source]]] = {}
    for name, source in _sources_of(family, sizes, head).items():
        ours.setdefault(source.name, []).append((name, source))
    stored = {name.removeprefix(PREFIX): tensor for name, tensor in _tensors(folder).items()}
    heads = {theirs: name for theirs, ((name, _), *_) in ours.items() if name.startswith("head.")}
    places = _layers_of(folder, stored, family, ours, heads, dora=bool(config.get("use_dora")))
    _compare_sizes(folder, stored, places, sizes)
    settings = LoraSettings(
        rank=max(len(stored[f"{module}.lora_A.weight"]) for module in places),
        alpha=float(config["lora_alpha"]),
        dropout=config.get("lora_dropout", 0.0),
        scaling="rank_stabilized" if config.get("use_rslora") else "standard",
        dora=bool(config.get("use_dora")),
    )
    found = {name: stored[theirs] for theirs, name in heads.items() if theirs in stored}
    for module, several in sorted(places.items()):
        down, up = stored[f"{module}.lora_A.weight"], stored[f"{module}.lora_B.weight"]
        padding, up = settings.rank - len(down), up * (_scale(config, module, len(down)) / settings.scale)
        for name, source in several:
            layer, outputs = name.removesuffix(".weight"), len(up) // source.parts
            part = slice(source.part * outputs, (source.part + 1) * outputs)
            found[f"{layer}.lora_down"] = functional.pad(down, (0, 0, 0, padding))
            found[f"{layer}.lora_up"] = functional.pad(up[part], (0, padding))
            if settings.dora:
                lengths = stored[f"{module}.lora_magnitude_vector"][part]
                found[f"{layer}.lora_magnitude"] = lengths - row_lengths(weight(name))
    targets = tuple(sorted({name.split(".")[-2] for name in found if is_adapter(name)}))
    return settings.model_copy(update={"targets": targets}), found


def _layers_of(
    folder: Path,
    stored: Mapping[str, Tensor],
    family: Family,
    ours: Mapping[str, list[tuple[str, Source]]],
    heads: Mapping[str, str],
    *,
    dora: bool,
) -> dict[str, list[tuple[str, Source]]]:
    """The layers that have adapters, and the weights of ours that each is.

    Raises:
        CurateError: There are none, or something else is in the file.
    """
    downs = {name.removesuffix(".lora_A.weight") for name in stored if name.endswith(".lora_A.weight")}
    parts = ["lora_A.weight", "lora_B.weight", *(["lora_magnitude_vector"] if dora else [])]
    known = {f"{module}.{part}" for module in downs for part in parts}
    places = {module: _places(family, ours, module) for module in downs}
    strange = {name for name in stored if name not in known and name not in heads}
    strange |= {name.rpartition(".lora_")[0] for name in known - set(stored)}
    strange |= {module for module in downs if not _fits(stored, module, places[module])}
    if strange or not downs:
        raise CurateError(f"the adapter has other layers than the model: {few(sorted(strange)) or 'none'}", str(folder))
    return places


def _compare_sizes(
    folder: Path,
    stored: Mapping[str, Tensor],
    places: Mapping[str, list[tuple[str, Source]]],
    sizes: Architecture,
) -> None:
    """Refuse an adapter of a model with layers of the same names and other sizes."""
    with torch.device("meta"):
        trunk = build_trunk(sizes, vocabulary=1, length=1)
    for module, ((name, source), *_) in sorted(places.items()):
        outputs, inputs = trunk.get_parameter(name.removeprefix("model.")).shape
        own = (outputs * source.parts, inputs)
        found = (len(stored[f"{module}.lora_B.weight"]), stored[f"{module}.lora_A.weight"].shape[1])
        lengths = stored.get(f"{module}.lora_magnitude_vector")
        if found != own or (lengths is not None and lengths.shape != own[:1]):
            raise CurateError(
                f"the adapter of `{module}` is for {found[0]} x {found[1]} weights, and the model has {own[0]} x {own[1]}",
                str(folder),
                "it belongs to another model",
            )


def _places(family: Family, ours: Mapping[str, list[tuple[str, Source]]], module: str) -> list[tuple[str, Source]]:
    """Our weights that one of their layers holds; an adapter of a bare model has names without the trunk's prefix."""
    return ours.get(f"{module}.weight") or ours.get(f"{family.prefix}{module}.weight") or []


def _fits(stored: Mapping[str, Tensor], module: str, places: list[tuple[str, Source]]) -> bool:
    """There is such a layer, and the two matrices can be multiplied and cut for it."""
    down, up = stored[f"{module}.lora_A.weight"], stored.get(f"{module}.lora_B.weight")
    if not places or up is None or (down.ndim, up.ndim) != (2, 2):
        return False
    return 0 < up.shape[1] == down.shape[0] and up.shape[0] % places[0][1].parts == 0


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    patterns = (config.get("alpha_pattern") or {}).items()
    fitting = (value for name, value in patterns if f".{module}".endswith(f".{name}"))
    alpha = next(fitting, config["lora_alpha"])  # the first, as peft
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise CurateError(f"the adapter's {CONFIG} cannot be read: {error}", str(folder)) from None
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise CurateError(f"adapters of the type `{kind}` are not computed here", str(folder / CONFIG))
    for key, value in {"lora_alpha": None, **config}.items():
        if not _known(key, value):
            raise CurateError(f"`{key}: {value}` of this adapter is not computed here", str(folder / CONFIG))
    return config


def _known(key: str, value: Any) -> bool:
    """Nothing but low-rank updates comes of this setting."""
    match key:
        case "lora_alpha":
            return _is_positive(value)
        case "lora_dropout":
            return value == 0 or (_is_positive(value) and value < 1)
        case "bias":
            return value == "none"
        case "init_lora_weights":
            return not str(value).startswith(_OWN_BASE)
        case "alpha_pattern":
            patterns = value or {}
            # a name's end, and no other regular expression
            return isinstance(patterns, dict) and all(
                re.fullmatch(r"[\w.]+", name) and _is_positive(alpha) for name, alpha in patterns.items()
            )
        case _:
            return key in _READ | _INERT or value in (None, False, {}, [], "")


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


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
