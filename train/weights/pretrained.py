"""A model in Hugging Face's files, read to go on from it (huggingface.py says what the files are).

Names and shapes of all tensors are compared with the config.json before one is read; then they come one at a time,
and of each only what is asked for (stored.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from curate.errors import CurateError
from curate.train.models.family import LABELED, Family, HeadKind, Source, few, matches, refuse_unknown
from curate.train.models.trunk import build_trunk, families
from curate.train.settings.architecture import Architecture
from curate.train.weights.stored import StoredTensor, stored_tensors

__all__ = ["INDEX", "Pretrained", "read_huggingface", "tensor_files"]

INDEX = "model.safetensors.index.json"
"""Says which file a tensor is in, where there are several."""


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A model in Hugging Face's files; its tensors are still there.

    Attributes:
        family: Which it belongs to.
        sizes: Its architecture.
        vocabulary: Its tokens.
        length: Most positions.
        head: What its head predicts; None for a bare trunk.
        labels: Names of the classes that it was trained to tell apart.
        places: For each name of ours, the file and where it is in it.
        ignored: Their names of tensors that are not read.
    """

    family: Family
    sizes: Architecture
    vocabulary: int
    length: int
    head: HeadKind | None
    labels: tuple[str, ...]
    places: Mapping[str, tuple[Path, Source]]
    ignored: tuple[str, ...]

    @property
    def stored(self) -> Iterator[tuple[str, StoredTensor]]:
        """Our name and the tensor in its file, to be read before the next is asked for."""
        return stored_tensors(self.places)

    @property
    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Our name and the tensor, one at a time, with the numbers as they are stored."""
        return ((name, stored.whole()) for name, stored in self.stored)


def read_huggingface(path: Path) -> Pretrained:
    """The model in a folder; its tensors are compared with what its sizes ask for, by name and shape.

    Raises:
        CurateError: It is not there, is damaged or pickled, or is not computed here in the same way.
    """
    where = path / "config.json"
    config = _json(where)
    family = next((one for one in families() if one.model_type == config.get("model_type")), None)
    if family is None:
        raise CurateError(
            f"models of the type `{config.get('model_type')}` are not computed here",
            str(where),
            f"families that are: {', '.join(one.model_type for one in families())}; with `model.kind: pretrained` the model "
            "is loaded and computed by transformers",
        )
    refuse_unknown(family, config, str(where))
    try:
        sizes = family.architecture(config)
        vocabulary, length = config["vocab_size"], config.get(family.length_key, family.length)
        _check_sizes(sizes, vocabulary, length)
    except KeyError as error:
        raise CurateError(f"the file does not say {error}", str(where)) from None
    except CurateError as error:
        raise CurateError(error.problem, str(where), error.hint) from None
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise CurateError(f"the file has a value that is no size: {error}", str(where)) from None
    files = tensor_files(path)
    head = _head(family, sizes, config, _plain(family, files))
    if head in LABELED and "lm_head.weight" not in files:
        sizes = replace(sizes, tied=True)  # a model that writes no text has no output
    places, ignored = _places(family, sizes, head, files, path)
    labels = _labels(config) if head in LABELED else ()
    found = Pretrained(family, sizes, vocabulary, length, head, labels, places, ignored)
    _compare_shapes(found, path)
    return found


def _check_sizes(sizes: Architecture, vocabulary: Any, length: Any) -> None:
    """Refuse sizes of which no model can be made; they come from a file, and may be anything."""
    named = {"vocabulary": vocabulary, "length": length} | {
        field.name: getattr(sizes, field.name) for field in fields(sizes) if field.type == "int"
    }
    for name, value in named.items():
        if not isinstance(value, int) or value < (0 if name in ("segments", "experts", "active_experts") else 1):
            raise ValueError(f"{name} {value}")
    if sizes.active_experts > sizes.experts or bool(sizes.experts) > sizes.active_experts:
        raise ValueError(f"{sizes.active_experts} of {sizes.experts} experts")
    for name in ("window", "window_theta", "query_scalar", "attention_cap", "logit_cap"):
        value = getattr(sizes, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} {value}")
    odd = sizes.positions == "rotary" and sizes.head_width % 2
    if sizes.heads % sizes.key_value_heads or odd:
        raise ValueError(f"{sizes.heads} heads of {sizes.head_width}, and {sizes.key_value_heads} for keys")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CurateError(f"the file cannot be read: {error}", str(path)) from None
    if not isinstance(found, dict):
        raise CurateError("the file is no JSON object", str(path))
    return found


def tensor_files(path: Path) -> dict[str, Path]:
    """Their names of all tensors in a folder, and the file that each is in.

    Raises:
        CurateError: They are not there, cannot be read, or are pickled.
    """
    if (path / INDEX).is_file():
        names = {str(name) for name in _json(path / INDEX).get("weight_map", {}).values()}
        found = [path / Path(name).name for name in sorted(names)]
    elif (path / "model.safetensors").is_file():
        found = [path / "model.safetensors"]
    elif list(path.glob("pytorch_model*.bin")):
        raise CurateError(
            "the weights are pickled (pytorch_model.bin), which can run code when it is read",
            str(path),
            "load it once with transformers where you trust it, and save it with `save_pretrained`",
        )
    else:
        raise CurateError("there is no model.safetensors in the folder", str(path))
    tensors: dict[str, Path] = {}
    for file in found:
        try:
            with safe_open(file, framework="pt") as opened:
                tensors |= dict.fromkeys(opened.keys(), file)
        except (OSError, SafetensorError) as error:
            raise CurateError(f"the file of tensors cannot be read: {error}", str(file)) from None
    return tensors


def _plain(family: Family, files: Mapping[str, Path]) -> dict[str, str]:
    """Names as we expect them, to names as they are: with the trunk's prefix, and norms' weight and bias."""
    bare = not any(name.startswith(family.prefix) for name in files)
    plain: dict[str, str] = {}
    for name in files:
        modern = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name))
        plain[family.prefix + modern if bare else modern] = name
    return plain


def _head(family: Family, sizes: Architecture, config: Mapping[str, Any], plain: Mapping[str, str]) -> HeadKind | None:
    """The head that the file has the tensors of; of several, or without tensors, the one that it names."""
    named: list[HeadKind] = [
        head for head, name in family.classes.items() if name in (config.get("architectures") or ())
    ]
    there: list[HeadKind] = [
        head
        for head in family.classes
        if (sources := family.heads(head, sizes)) and all(source.name in plain for source in sources.values())
    ]
    for head in named:
        if head in there or not family.heads(head, sizes):
            return head
    return there[0] if there else None


def _places(
    family: Family, sizes: Architecture, head: HeadKind | None, files: Mapping[str, Path], path: Path
) -> tuple[dict[str, tuple[Path, Source]], tuple[str, ...]]:
    plain = _plain(family, files)
    sources = {f"model.{name}": source for name, source in family.names(sizes).items()}
    if head:
        sources |= {f"head.{name}": source for name, source in family.heads(head, sizes).items()}
    absent = {name for name, source in sources.items() if source.name not in plain}
    missing = sorted(sources[name].name for name in absent if not matches(name, family.optional, "model."))
    wanted = {source.name for source in sources.values()}
    left = set(plain) - wanted
    ignored = {name for name in left if name in family.same or matches(name, family.ignored)}
    for problem, names in (("misses", missing), ("has unknown", sorted(left - ignored))):
        if names:
            raise CurateError(
                f"the {family.model_type} model {problem} tensors: {few(names)}",
                str(path),
                "with `model.kind: pretrained` the model is loaded and computed by transformers",
            )
    for name in ignored & set(family.same):
        _compare(files, plain[name], plain.get(family.same[name]), path)
    found = {
        name: (files[plain[source.name]], replace(source, name=plain[source.name]))
        for name, source in sources.items()
        if name not in absent
    }
    return found, tuple(sorted(plain[name] for name in ignored))


def _compare(files: Mapping[str, Path], one: str, other: str | None, path: Path) -> None:
    """Two names of what the configuration says is one tensor must hold the same."""
    values: list[Tensor] = []
    for name in (one, other) if other else ():
        with safe_open(files[name], framework="pt") as file:
            values.append(file.get_tensor(name))
    if len(values) < 2 or not torch.equal(*values):
        raise CurateError(
            f"`{one}` is not the same as `{other}`, though the model's output is said to be tied",
            str(path),
            "set `tie_word_embeddings: false` in config.json if the model has an output of its own",
        )


def _compare_shapes(found: Pretrained, path: Path) -> None:
    with torch.device("meta"):
        pooler = "model.pooler.weight" in found.places
        trunk = build_trunk(found.sizes, vocabulary=found.vocabulary, length=found.length, pooler=pooler)
    for name, parameter in trunk.named_parameters():
        place, source = found.places[f"model.{name}"]
        with safe_open(place, framework="pt") as file:
            shape = list(file.get_slice(source.name).get_shape())
        wanted = list(parameter.shape)
        wanted[0] *= source.parts
        if shape != (wanted[::-1] if source.transposed else wanted):
            raise CurateError(
                f"`{source.name}` has the shape {shape}, which is not that of the sizes in config.json", str(path)
            )


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    names = config.get("id2label") or {}
    return tuple(str(names[number]) for number in sorted(names, key=int))
