"""Where the first weights come from: a seed, a run of ours, or a Hugging Face model; and what shape that makes the model.

Each parameter's seeded values depend on the seed and the parameter's name alone, so that a head, an adapter or another
number of processes does not change them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from curate.errors import CurateError
from curate.train.architecture import Architecture, ModelSettings
from curate.train.checkpoint import checkpoints, load_checkpoint, read_checkpoint, tensor_shapes
from curate.train.lora import first_weights, is_adapter
from curate.train.objectives.contract import Objective
from curate.train.shard import fill, place
from curate.train.world import World

__all__ = ["Origin", "fill_first", "find_origin"]


@dataclass(frozen=True, slots=True)
class Origin:
    """An existing model to begin with.

    Attributes:
        path: Its folder: a checkpoint of ours, or a Hugging Face model.
        kind: Which of them; `foreign` is a model that we do not implement, run through transformers.
        sizes: Its architecture; None for a foreign one.
        vocabulary: Its tokens.
        length: Most tokens in a sequence; None where there is no limit.
        tokenizer: Its tokenizer's file or folder, if it has one.
    """

    path: Path
    kind: Literal["run", "huggingface", "foreign"]
    sizes: Architecture | None
    vocabulary: int
    length: int | None
    tokenizer: Path | None


def find_origin(settings: ModelSettings) -> Origin | None:
    """The model that `model.path` names; None where it names none.

    Raises:
        CurateError: There is none, or one that cannot be used.
    """
    if settings.path is None:
        return None
    path = Path(settings.path)
    checkpoint = _checkpoint_of(path)
    if checkpoint:
        return _ours(checkpoint)
    if not (path / "config.json").is_file():
        raise CurateError(
            f"there is no model in `{settings.path}`",
            "model.path",
            "name a run folder, one of its checkpoints, or a Hugging Face model's folder",
        )
    tokenizer = path if (path / "tokenizer.json").is_file() else None
    if settings.kind == "pretrained":
        from curate.train.models.backbone import pretrained_limits

        vocabulary, limit = pretrained_limits(path)
        return Origin(path, "foreign", None, vocabulary, limit, tokenizer)
    from curate.train.models.huggingface import read_huggingface

    found = read_huggingface(path)
    if found.sizes.kind != settings.kind:
        raise CurateError(
            f"the model in `{settings.path}` is of the kind {found.sizes.kind}, not {settings.kind}",
            "model.kind",
            f"set `model.kind: {found.sizes.kind}`",
        )
    limit = None if found.sizes.positions == "relative" else found.length
    return Origin(path, "huggingface", found.sizes, found.vocabulary, limit, tokenizer)


def _checkpoint_of(path: Path) -> Path | None:
    if (path / "checkpoint.json").is_file():
        return path
    found = checkpoints(path / "checkpoints")
    return found[-1] if found else None


def _ours(checkpoint: Path) -> Origin:
    from curate.train.config import TrainConfig

    config = TrainConfig.model_validate(read_checkpoint(checkpoint)["config"])
    shapes = tensor_shapes(checkpoint)
    tokenizer = checkpoint.parent.parent / "tokenizer.json"
    if "model.embedding.weight" not in shapes or config.objective.kind == "multi_token":
        raise CurateError("the run's model cannot be taken over", str(checkpoint), "export it, and name the export")
    sizes = config.model.architecture
    limit = config.batch.length if sizes.positions == "learned" else None
    return Origin(
        checkpoint, "run", sizes, shapes["model.embedding.weight"][0], limit, tokenizer if tokenizer.is_file() else None
    )


def fill_first(objective: Objective, origin: Origin | None, *, seed: int, world: World) -> None:
    """Give a sharded objective on the meta device its first weights.

    Raises:
        CurateError: The origin has other tensors than the model.
    """

    def seeded(name: str, shape: torch.Size) -> Tensor:
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        values = torch.empty(shape)
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        (first_weights if is_adapter(name) else objective.first_weights)(name, values, generator)
        return values

    fill(objective, world.device, seeded)
    if origin is None:
        return
    parameters = dict(objective.named_parameters())
    if origin.kind == "run":
        _from_run(parameters, origin, world)
    else:
        _from_tensors(parameters, _foreign_tensors(origin))


def _from_run(parameters: dict[str, nn.Parameter], origin: Origin, world: World) -> None:
    shapes = tensor_shapes(origin.path)
    both = {name: p.detach() for name, p in parameters.items() if shapes.get(name) == tuple(p.shape)}
    _refuse_missing(parameters, both, origin.path)
    load_checkpoint(origin.path, both, world)


def _foreign_tensors(origin: Origin) -> Iterator[tuple[str, Tensor]]:
    if origin.kind == "foreign":
        from curate.train.models.backbone import pretrained_tensors

        return ((f"model.{name}", tensor) for name, tensor in pretrained_tensors(origin.path))
    from curate.train.models.huggingface import read_huggingface

    return read_huggingface(origin.path).tensors


def _from_tensors(parameters: dict[str, nn.Parameter], tensors: Iterator[tuple[str, Tensor]]) -> None:
    placed: dict[str, Any] = {}
    for name, tensor in tensors:
        parameter = parameters.get(name)
        if parameter is not None and parameter.shape == tensor.shape:
            place(parameter, tensor)
            placed[name] = True
    _refuse_missing(parameters, placed, None)


def _refuse_missing(parameters: dict[str, nn.Parameter], found: dict[str, Any], path: Path | None) -> None:
    """Every parameter of the trunk must have been found; heads and adapters may be new."""
    missing = [name for name in parameters if name.startswith("model.") and name not in found and not _new(name)]
    if missing:
        raise CurateError(
            f"the model to begin with has no `{missing[0]}` of this shape" + f" ({len(missing)} in all)",
            str(path) if path else "model.path",
            "its sizes and vocabulary must be those of this run's model",
        )


def _new(name: str) -> bool:
    """Parts of a trunk that fine-tuning may add."""
    return is_adapter(name) or ".pooler." in name
