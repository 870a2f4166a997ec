"""Where the first weights come from: a seed, a run of ours, or a Hugging Face model; and what shape that makes the model.

Each parameter's seeded values depend on the seed and the parameter's name alone, so that a head, an adapter or another
number of processes does not change them. Of a run its best checkpoint is taken, where training ended early, else its
newest; averaged parameters, where it has some. A head that tells other classes apart than this run's is not taken.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from curate.errors import CurateError
from curate.files import file_hash
from curate.tokenize.chat import DEFAULT_TEMPLATE
from curate.tokenize.turns import template_source
from curate.train.models.lora import first_weights, is_adapter
from curate.train.models.nf4 import Nf4, packed_in
from curate.train.objectives.contract import Objective
from curate.train.parallel.shard import fill, make_room, place
from curate.train.parallel.world import World
from curate.train.settings.architecture import Architecture, ModelSettings
from curate.train.settings.methods import LoraSettings
from curate.train.weights.adapter import read_adapter
from curate.train.weights.checkpoint import checkpoints, load_checkpoint, read_checkpoint, tensor_shapes
from curate.train.weights.stored import StoredTensor, place_stored
from curate.train.weights.tokenizer_files import CHAT_TEMPLATE, read_chat_template

if TYPE_CHECKING:
    from curate.train.settings.config import TrainConfig

__all__ = [
    "Origin",
    "Stored",
    "checkpoint_of",
    "fill_first",
    "find_model",
    "find_origin",
    "folder_hash",
    "model_hash",
    "read_stored",
]

_POSITIONS = "model.position_embedding.weight"


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
        labels: Names of the classes that its head tells apart; none where it has no such head.
        predicts: It has learned to predict the next token.
        context: Tokens of a sequence that it was made for, where more are no error.
        chat_template: The template of the conversations that it was trained on, if it was.
    """

    path: Path
    kind: Literal["run", "huggingface", "foreign"]
    sizes: Architecture | None
    vocabulary: int
    length: int | None
    tokenizer: Path | None
    labels: tuple[str, ...] = ()
    predicts: bool = True
    context: int | None = None
    chat_template: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What a checkpoint of ours says of its model.

    Attributes:
        checkpoint: Its folder.
        config: Settings of its run.
        sizes: Architecture of the trunk; of several heads in layers of their own, without those.
        shapes: Of its tensors, by name.
        labels: Names of its classes.
        length: Tokens of a sequence that it was made for; None in checkpoints of older versions.
    """

    checkpoint: Path
    config: TrainConfig
    sizes: Architecture
    shapes: dict[str, tuple[int, ...]]
    labels: tuple[str, ...]
    length: int | None

    @property
    def positions(self) -> int | None:
        """Most tokens in a sequence, where positions are learned."""
        return self.shapes[_POSITIONS][0] if _POSITIONS in self.shapes else None

    @property
    def tokenizer(self) -> Path:
        """Where the run's folder has its tokenizer."""
        return self.checkpoint.parent.parent / "tokenizer.json"

    @property
    def chat_template(self) -> str | None:
        """The template that its conversations were written with; None where it was trained on none.

        Raises:
            CurateError: A run of an older version names a file that cannot be read.
        """
        path = self.checkpoint.parent.parent / CHAT_TEMPLATE
        if path.is_file():
            return path.read_text()
        if self.config.objective.kind != "sft":
            return None
        return template_source(self.config.data.chat_template, None) or DEFAULT_TEMPLATE


def checkpoint_of(path: Path) -> Path | None:
    """The checkpoint that a folder is, or that its run has come to: the best or the newest; None where there is none."""
    if (path / "checkpoint.json").is_file():
        return path
    result = path / "result.json"
    if result.is_file():
        return path / "checkpoints" / Path(json.loads(result.read_bytes())["checkpoint"]).name
    found = checkpoints(path / "checkpoints")
    return found[-1] if found else None


def read_stored(checkpoint: Path) -> Stored:
    """What a checkpoint says of its model, after comparing its files with their hashes.

    Raises:
        CurateError: It is no checkpoint, is damaged, or has settings that are not known here.
    """
    from curate.train.settings.config import TrainConfig

    description = read_checkpoint(checkpoint)
    try:
        config = TrainConfig.model_validate(description["config"])
        sizes = Architecture.read(description["sizes"])
        labels = tuple(str(label) for label in description["labels"])
    except (KeyError, TypeError, ValueError):
        raise CurateError(
            "the settings in the checkpoint are not those of this curate",
            str(checkpoint),
            "it was made by another version",
        ) from None
    return Stored(checkpoint, config, sizes, tensor_shapes(checkpoint), labels, description.get("length"))


def find_origin(settings: ModelSettings) -> Origin | None:
    """The model that `model.path` names; None where it names none.

    Raises:
        CurateError: There is none, or one that cannot be used.
    """
    if settings.path is None:
        return None
    found = find_model(settings.path, foreign=settings.kind == "pretrained")
    if found.sizes and found.sizes.kind != settings.kind:
        raise CurateError(
            f"the model in `{settings.path}` is of the kind {found.sizes.kind}, not {settings.kind}",
            "model.kind",
            f"set `model.kind: {found.sizes.kind}`",
        )
    return found


def find_model(folder: str, *, foreign: bool = False, setting: str = "model.path") -> Origin:
    """The model in a folder.

    Args:
        folder: Of a run, a checkpoint, or a Hugging Face model.
        foreign: transformers computes it, if it is no run of ours.
        setting: Which setting names it.

    Raises:
        CurateError: There is none, or one that cannot be used.
    """
    path = Path(folder)
    checkpoint = checkpoint_of(path)
    if checkpoint:
        return _ours(read_stored(checkpoint))
    if not (path / "config.json").is_file():
        raise CurateError(
            f"there is no model in `{folder}`",
            setting,
            "name a run folder, one of its checkpoints, or a Hugging Face model's folder",
        )
    tokenizer = path if (path / "tokenizer.json").is_file() else None
    if foreign:
        from curate.train.models.backbone import pretrained_limits

        vocabulary, limit = pretrained_limits(path)
        return Origin(path, "foreign", None, vocabulary, limit, tokenizer, chat_template=read_chat_template(path))
    from curate.train.weights.huggingface import read_huggingface

    found = read_huggingface(path)
    limit = None if found.sizes.positions == "relative" else found.length
    # a single name is that of a number (regression)
    labels = found.labels if len(found.labels) > 1 else ()
    predicts = found.sizes.kind == "decoder" and found.head in (None, "causal")
    return Origin(
        path, "huggingface", found.sizes, found.vocabulary, limit, tokenizer, labels, predicts, found.length,
        read_chat_template(path),
    )  # fmt: skip


def _ours(stored: Stored) -> Origin:
    sizes, config, where = stored.sizes, stored.config, str(stored.checkpoint)
    if sizes.kind == "pretrained":
        raise CurateError(
            "no run goes on from one of a `pretrained` model", where, "name the folder that it began with"
        )
    if config.lora or config.objective.kind == "multi_token":
        also = "adapters" if config.lora else "several heads"
        raise CurateError(f"the run's model has {also}", where, "`curate export` makes a plain model of it: name that")
    vocabulary = stored.shapes["model.embedding.weight"][0]
    tokenizer = stored.tokenizer if stored.tokenizer.is_file() else None
    kinds = {task.objective.kind for task in (config.tasks or {"": config}).values()}
    predicts = bool(kinds - {"masked", "seq2seq", "classification", "token_classification", "reward"})
    return Origin(
        stored.checkpoint, "run", sizes, vocabulary, stored.positions, tokenizer, stored.labels, predicts, stored.length,
        stored.chat_template,
    )  # fmt: skip


def model_hash(origin: Origin) -> str:
    """sha256 over a model's files, at about 1 GB/s; a checkpoint of ours has those of its shards in its description."""
    if origin.kind == "run":
        return _hash_of([origin.path / "checkpoint.json"])
    return _hash_of([origin.path / "config.json", *sorted(origin.path.glob("*.safetensors"))])


def folder_hash(folder: Path) -> str:
    """sha256 over the files of PEFT's adapters."""
    return _hash_of(sorted([*folder.glob("*.json"), *folder.glob("*.safetensors")]))


def _hash_of(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(bytes.fromhex(file_hash(path)))
    return digest.hexdigest()


def fill_first(
    objective: Objective,
    origin: Origin | None,
    *,
    seed: int,
    world: World,
    labels: Sequence[str | int] = (),
    lora: LoraSettings | None = None,
) -> None:
    """Give a sharded objective on the meta device its first weights.

    Args:
        objective: What is filled.
        origin: The model to begin with; None: everything is seeded.
        seed: Of the run.
        world: The processes.
        labels: Names of the classes that the objective's head tells apart.
        lora: Of its adapters; they may begin with those of a file.

    Raises:
        CurateError: The origin, or the file of adapters, has other tensors than the model.
    """

    def seeded(name: str, shape: torch.Size) -> Tensor:
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        values = torch.empty(shape)
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        (first_weights if is_adapter(name) else objective.first_weights)(name, values, generator)
        return values

    make_room(objective, world.device)
    known: set[str] = set()
    packed = packed_in(objective)
    if origin:
        same = tuple(map(str, labels)) == origin.labels
        parameters = {name: p for name, p in objective.named_parameters() if same or not name.startswith("head.")}
        known = _from_origin(parameters, packed, origin, world)
    fill(objective, world.device, seeded, known=known)
    if origin and lora and lora.path:
        assert origin.sizes, "of a foreign model the settings are refused"
        _from_adapter(dict(objective.named_parameters()), packed, lora, Path(lora.path), origin.sizes)


def _from_origin(parameters: dict[str, nn.Parameter], packed: dict[str, Nf4], origin: Origin, world: World) -> set[str]:
    """Fill the parameters that the origin has, and matrices in 4 bits by their names as weights; gives all their names."""
    if origin.kind == "run":
        return _from_run(parameters, packed, origin, world)
    found: set[str] = set()
    for name, stored in _foreign_tensors(origin):
        parameter = parameters.get(name)
        if parameter is not None and tuple(parameter.shape) == stored.shape:
            place_stored(parameter, stored)
            found.add(name)
        elif name in packed and tuple(packed[name].shape) == stored.shape:
            packed[name].pack(stored.whole())
            found.add(name)
    _refuse_missing([*parameters, *packed], found, None)
    return found


def _from_adapter(
    parameters: dict[str, nn.Parameter], packed: dict[str, Nf4], lora: LoraSettings, path: Path, sizes: Architecture
) -> None:
    """Fill adapters from PEFT's files; those that the files have not stay as they begin."""

    def weight(name: str) -> Tensor:
        return packed[name].matrix().cpu() if name in packed else _whole(parameters[name])

    head = "seq2seq" if sizes.kind == "encoder_decoder" else "causal"
    found, tensors = read_adapter(path, sizes, head=head, weight=weight)
    other = [name for name in ("rank", "alpha", "scaling", "dora") if getattr(found, name) != getattr(lora, name)]
    if other:
        own = ", ".join(f"`lora.{name}: {str(getattr(found, name)).lower()}`" for name in other)
        raise CurateError("the adapters in the folder have other settings than `lora`", str(path), f"set {own}")
    missing = sorted({name.split(".")[-2] for name in tensors if name not in parameters})
    if missing:
        raise CurateError(
            f"the folder has adapters of `{missing[0]}`, and the run has none", str(path), "add it to `lora.targets`"
        )
    for name, tensor in tensors.items():
        place(parameters[name], tensor)


def _whole(parameter: Tensor) -> Tensor:
    return (parameter.full_tensor() if isinstance(parameter, DTensor) else parameter).detach().cpu()


def _from_run(parameters: dict[str, nn.Parameter], packed: dict[str, Nf4], origin: Origin, world: World) -> set[str]:
    shapes, targets = tensor_shapes(origin.path), {**parameters, **packed}
    both = {name: target for name, target in targets.items() if shapes.get(name) == tuple(target.shape)}
    _refuse_missing(targets, both, origin.path)
    averages = {name: f"average.{name}" for name in both if f"average.{name}" in shapes}
    plain = {averages.get(name, name): p.detach() for name, p in both.items() if isinstance(p, Tensor)}
    load_checkpoint(origin.path, plain, world)
    for name, target in both.items():
        if isinstance(target, Nf4):
            matrix = torch.empty(target.shape)
            load_checkpoint(origin.path, {averages.get(name, name): matrix}, world)
            target.pack(matrix)
    return set(both)


def _foreign_tensors(origin: Origin) -> Iterator[tuple[str, StoredTensor]]:
    if origin.kind == "foreign":
        from curate.train.weights.backbone_files import pretrained_tensors

        return ((f"model.{name}", stored) for name, stored in pretrained_tensors(origin.path))
    from curate.train.weights.huggingface import read_huggingface

    return read_huggingface(origin.path).stored


def _refuse_missing(parameters: Iterable[str], found: Container[str], path: Path | None) -> None:
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
