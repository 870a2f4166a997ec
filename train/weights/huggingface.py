"""Models in Hugging Face's files: read to go on from them, written so that transformers computes the same.

    FOLDER/config.json                   family and sizes; every value is computed here, or refused (family.py)
    FOLDER/model.safetensors             tensors, or several files with model.safetensors.index.json
    FOLDER/tokenizer.json, ...           the tokenizer, and which tokens have a role (end, padding, mask, ...)
    FOLDER/generation_config.json        of models that write text
    FOLDER/chat_template.jinja           of models that converse

Tensors are read one at a time (pretrained.py) and written 5 GiB at a time, so memory holds no whole large model. Pickled
weights (pytorch_model.bin) can run code when they are read, and are refused. Our names of tensors begin with `model.` in
the trunk and `head.` in the head.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from curate.errors import CurateError
from curate.train.models.family import LABELED, Family, HeadKind, Source, few, matches
from curate.train.models.trunk import families, families_of
from curate.train.settings.architecture import Architecture
from curate.train.weights.pretrained import INDEX, Pretrained, read_huggingface
from curate.train.weights.tokenizer_files import write_tokenizer

__all__ = ["Pretrained", "family_of", "read_huggingface", "write_huggingface"]

SHARD = 5 * 2**30
"""Most bytes of one file of tensors."""


def write_huggingface(
    folder: Path,
    sizes: Architecture,
    tensors: Mapping[str, Tensor],
    *,
    head: HeadKind,
    vocabulary: int,
    length: int,
    tokenizer: Path | None = None,
    roles: Mapping[str, int] | None = None,
    chat_template: str | None = None,
    dtype: torch.dtype | None = None,
    labels: list[str] | None = None,
    pooling: str | None = None,
    turn_end: int | None = None,
) -> None:
    """Write a model such that `from_pretrained` of transformers gives one with the same logits.

    Args:
        folder: An empty one, made where it is missing.
        sizes: The architecture.
        tensors: The parameters by our names (`model.*`, `head.*`), perhaps loaded when asked for.
        head: What the model predicts.
        vocabulary: Tokens.
        length: Most positions.
        tokenizer: Its tokenizer.json, or a folder with it; a tokenizer_config.json beside it is taken over.
        roles: Tokens with a role, as `curate.tokenize.roles` names them; None: by their usual names.
        chat_template: A Jinja template of conversations.
        dtype: Of the numbers; None leaves them.
        labels: Names of the classes; None: numbered ones, or a single number (regression).
        pooling: What stood for the text; None is the trunk's own way.
        turn_end: Token that ends an answer of a conversation; generation stops there, too.

    Raises:
        CurateError: transformers has no such model.
        OSError: The folder cannot be written.
    """
    family = family_of(sizes, head, pooling)
    sources = _sources(family, sizes, head, tensors)
    named = _label_config(labels, len(tensors["head.weight"])) if head in LABELED else {}
    folder.mkdir(parents=True, exist_ok=True)
    tokens = write_tokenizer(folder, tokenizer, roles, length=length, chat_template=chat_template)
    written = str(_write_tensors(folder, sources, tensors, dtype)).removeprefix("torch.")
    config = {**_config(family, sizes, head, vocabulary, length, tokens), "dtype": written}
    if turn_end is not None:
        ends = [turn_end, config["eos_token_id"]]
        config["eos_token_id"] = list(dict.fromkeys(end for end in ends if end is not None))
    _write_configs(folder, config | named, head)


def _write_configs(folder: Path, config: dict[str, Any], head: HeadKind) -> None:
    if head in ("causal", "seq2seq"):
        tokens = {name: value for name, value in config.items() if "_token_id" in name}
        _write_json(folder / "generation_config.json", tokens)
    _write_json(folder / "config.json", config)


def family_of(sizes: Architecture, head: HeadKind, pooling: str | None = None) -> Family:
    """The family that a model of ours is written as.

    Raises:
        CurateError: transformers has no such model.
    """
    found = families_of(sizes)
    if not found:
        raise CurateError(
            f"transformers has no model with these switches of a {sizes.kind}",
            hint="what can be written are Llama, GPT-2, BERT and T5, as `model.style` or `model.kind` sets them, and what "
            f"began as a model of one of the families {', '.join(family.model_type for family in families())}",
        )
    family = found[0]
    if head not in family.classes:
        raise CurateError(
            f"transformers has no {family.model_type} model for {head}",
            hint=f"it has them for {', '.join(family.classes)}",
        )
    own = "first" if sizes.kind == "encoder" else "last"
    if head == "classification" and pooling not in (None, own):
        raise CurateError(
            f"{family.classes[head]} takes the {own} token for the text, and this model `{pooling}`",
            hint=f"train with `objective.pooling: {own}`",
        )
    return family


def _sources(
    family: Family, sizes: Architecture, head: HeadKind, tensors: Mapping[str, Tensor]
) -> dict[str, list[tuple[str, Source]]]:
    """Their names, and the tensors of ours that each is made of."""
    ours = {f"model.{name}": source for name, source in family.names(sizes).items()}
    if head in LABELED:
        ours.pop("model.output.weight", None)
    for name in [name for name in ours if matches(name, family.optional, "model.") and name not in tensors]:
        if head == "classification":
            raise CurateError(f"{family.classes[head]} has a pooler, and this model has none: no `{name}`")
        del ours[name]
    ours |= {f"head.{name}": source for name, source in family.heads(head, sizes).items()}
    missing = sorted(set(ours) - set(tensors))
    unknown = sorted(set(tensors) - set(ours) - {"model.output.weight"})
    if head == "classification" and unknown == ["head.bias"]:
        raise CurateError(f"the head of {family.classes[head]} has no bias, and this model's has")
    if missing or unknown:
        raise CurateError(f"the {family.model_type} model has other tensors: {few([*missing, *unknown])}")
    grouped: dict[str, list[tuple[str, Source]]] = {}
    for name, source in sorted(ours.items(), key=lambda item: item[1].part):
        grouped.setdefault(source.name, []).append((name, source))
    return grouped


def _write_tensors(
    folder: Path,
    sources: Mapping[str, list[tuple[str, Source]]],
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype | None,
) -> torch.dtype:
    """Write the files, and give the type of the numbers in them."""
    files: list[list[str]] = []
    held: dict[str, Tensor] = {}
    size, total, kind = 0, 0, torch.float32
    for name in sorted(sources):
        parts = [tensors[ours].detach() for ours, _ in sources[name]]
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
        tensor = (tensor.T if sources[name][0][1].transposed else tensor).to(device="cpu", dtype=dtype)
        bytes_ = tensor.numel() * tensor.element_size()
        if held and size + bytes_ > SHARD:
            files.append(_write_shard(folder, held, len(files)))
            held, size = {}, 0
        held[name] = tensor.clone(memory_format=torch.contiguous_format)
        size, total, kind = size + bytes_, total + bytes_, tensor.dtype
    files.append(_write_shard(folder, held, len(files)))
    if len(files) == 1:
        (folder / _shard(0)).rename(folder / "model.safetensors")
        return kind
    places: dict[str, str] = {}
    for number, names in enumerate(files):
        final = f"model-{number + 1:05}-of-{len(files):05}.safetensors"
        (folder / _shard(number)).rename(folder / final)
        places |= dict.fromkeys(names, final)
    _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})
    return kind


def _shard(number: int) -> str:
    return f"shard-{number}.safetensors"


def _write_shard(folder: Path, held: dict[str, Tensor], number: int) -> list[str]:
    save_file(held, folder / _shard(number), metadata={"format": "pt"})
    return list(held)


def _config(
    family: Family, sizes: Architecture, head: HeadKind, vocabulary: int, length: int, tokens: Mapping[str, int]
) -> dict[str, Any]:
    special = {f"{role}_token_id": tokens.get(role) for role in ("bos", "eos", "pad")}
    if head == "seq2seq":
        special["decoder_start_token_id"] = tokens.get("pad")  # as T5 begins a target
    kind = {"model_type": family.model_type, "architectures": [family.classes[head]]}
    return {**kind, **family.config(sizes, vocabulary, length), **special}


def _label_config(labels: list[str] | None, count: int) -> dict[str, Any]:
    if labels is not None and len(labels) != count:
        raise CurateError(f"{len(labels)} names of labels for a head of {count}")
    names = labels or [f"LABEL_{number}" for number in range(count)]
    kind = {"problem_type": "regression"} if labels is None and count == 1 else {}
    return {
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        **kind,
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
