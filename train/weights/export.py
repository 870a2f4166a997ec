"""Take a trained model out of its run: whole tensors, and a trunk to use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from curate.errors import CurateError
from curate.tokenize.roles import roles as known_roles
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.models.generate import translate
from curate.train.models.lora import merged
from curate.train.models.nf4 import is_packed, unpacked
from curate.train.models.trunk import build_trunk
from curate.train.settings.architecture import Architecture
from curate.train.settings.config import TrainConfig
from curate.train.settings.methods import MultiTokenSettings, Seq2SeqSettings
from curate.train.weights.checkpoint import describe_checkpoint, load_checkpoint, tensor_shapes
from curate.train.weights.origin import Stored, checkpoint_of, read_stored
from curate.train.weights.tokenizer_files import read_chat_template

__all__ = [
    "Trained",
    "load_trained",
    "plain",
    "read_trained",
    "stored_in",
    "targets_of",
    "trained_in",
    "translate_texts",
]

_CODES = {"uint8": torch.uint8, "int8": torch.int8}
"""Types of stored numbers that are no floats; all others are taken as float32."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A checkpoint's model, whole, on the CPU.

    Attributes:
        config: Settings of its run.
        sizes: Its architecture.
        tensors: Parameters by name (`model.*`, `head.*`).
        length: Most tokens in a sequence.
        tokenizer: Its tokenizer.json.
        labels: Names of its classes.
        chat_template: The template of the conversations that it was trained on, if it was.
    """

    config: TrainConfig
    sizes: Architecture
    tensors: dict[str, Tensor]
    length: int
    tokenizer: Path
    labels: list[str] | None
    chat_template: str | None = None

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return len(self.tensors["model.embedding.weight"])

    def trunk(self) -> nn.Module:
        """The trunk with its weights, for evaluation."""
        with torch.device("meta"):
            pooler = "model.pooler.weight" in self.tensors
            trunk = build_trunk(self.sizes, vocabulary=self.vocabulary, length=self.length, pooler=pooler)
        named = {name: self.tensors[f"model.{name}"] for name, _ in trunk.named_parameters()}
        trunk.load_state_dict(named, assign=True)
        return trunk.eval()


def load_trained(path: Path, *, average: bool | None = None) -> Trained:
    """The model of a run's folder or of one of its checkpoints, adapters merged into it.

    Args:
        path: The folder.
        average: Take the averaged parameters; None: where there are some.

    Raises:
        CurateError: There is none, it is damaged, or its model is one that transformers computes.
    """
    trained = read_trained(path, average=average)
    if trained.sizes.kind == "pretrained":
        raise CurateError("a `pretrained` model is computed by transformers: export it", str(path))
    return plain(trained)


def plain(trained: Trained) -> Trained:
    """Adapters merged, and one head of several."""
    sizes, tensors, config = trained.sizes, trained.tensors, trained.config
    if config.lora:
        tensors = merged(tensors, config.lora)
    if isinstance(config.objective, MultiTokenSettings):
        sizes, tensors = _first_head(sizes, tensors)
    return replace(trained, sizes=sizes, tensors=tensors)


def stored_in(path: Path) -> Stored:
    """What the checkpoint of a run's folder, or one that a folder is, says of its model.

    Raises:
        CurateError: There is none, or it is damaged.
    """
    checkpoint = checkpoint_of(path)
    if checkpoint is None:
        raise CurateError(
            "there is no trained model here"
            if not (path / "checkpoints").is_dir()
            else "the run has no checkpoint yet",
            str(path),
            "name the folder of a run, or one of its checkpoints",
        )
    return read_stored(checkpoint)


def read_trained(path: Path, stored: Stored | None = None, *, average: bool | None = None) -> Trained:
    """The model as it is in the checkpoint, adapters apart; one that transformers computes, too.

    Args:
        path: A run's folder, or one of its checkpoints.
        stored: What `stored_in` gives of it, where it was asked already: the files are then not hashed again.
        average: As of `load_trained`.

    Raises:
        CurateError: As `stored_in`.
    """
    stored = stored or stored_in(path)
    config = stored.config
    made_for = (stored.length or 0, stored.positions or 0)
    longest = max(config.batch.length, getattr(config.objective, "target_length", 0), *made_for)
    labels = list(stored.labels) or None
    tensors = _whole(stored.checkpoint, averaged=average)
    return Trained(config, stored.sizes, tensors, longest, stored.tokenizer, labels, stored.chat_template)


def trained_in(
    config: TrainConfig,
    objective: nn.Module,
    tensors: dict[str, Tensor],
    *,
    labels: Sequence[str | int],
    tokenizer: Path,
) -> Trained:
    """The model of a run in one process as it is now: what `load_trained` gives of a checkpoint of this moment.

    Args:
        config: The run's settings.
        objective: Its root module.
        tensors: All that training changes, by name; they are not copied.
        labels: Names of its classes.
        tokenizer: Its tokenizer.json.
    """
    whole = {name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor for name, tensor in tensors.items()}
    own = [name for name, _ in objective.named_parameters()] + [name for name in whole if is_packed(name)]
    named = unpacked({name: whole.get(f"average.{name}", whole[name]) for name in own})
    model: Any = objective.model
    positions = named.get("model.position_embedding.weight")
    longest = max(
        config.batch.length,
        getattr(config.objective, "target_length", 0),
        getattr(model, "length", None) or 0,
        0 if positions is None else len(positions),
    )
    names = [str(label) for label in labels] or None
    beside = read_chat_template(tokenizer.parent)
    return plain(Trained(config, model.sizes, named, longest, tokenizer, names, beside))


def _whole(checkpoint: Path, *, averaged: bool | None) -> dict[str, Tensor]:
    shapes = tensor_shapes(checkpoint)
    names = [name for name in shapes if not name.startswith(("optimizer.", "average."))]
    has = {name: f"average.{name}" for name in names if f"average.{name}" in shapes}
    if averaged and not has:
        raise CurateError("the checkpoint has no averaged parameters", str(checkpoint), "see `optimizer.average`")
    stored = {name: has.get(name, name) if averaged is not False else name for name in names}
    kinds = {name: kind for name, (kind, *_) in describe_checkpoint(checkpoint)["tensors"].items()}
    tensors = {
        place: torch.empty(shapes[place], dtype=_CODES.get(kinds[place], torch.float32)) for place in stored.values()
    }
    load_checkpoint(checkpoint, tensors, None)
    return unpacked({name: tensors[place] for name, place in stored.items()})


def _first_head(sizes: Architecture, tensors: dict[str, Tensor]) -> tuple[Architecture, dict[str, Tensor]]:
    """The next-token model in a multi-token one: its first head is the last block."""
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("heads.")}
    for name, tensor in tensors.items():
        if name.startswith("heads.0."):
            kept[f"model.blocks.{sizes.layers}.{name.removeprefix('heads.0.')}"] = tensor
    return replace(sizes, layers=sizes.layers + 1), kept


def translate_texts(path: Path, texts: list[str], *, beams: int = 1, rows: int = 32) -> list[str]:
    """Targets that a sequence-to-sequence model gives for some texts.

    Args:
        path: A run's folder, or one of its checkpoints.
        texts: The sources; what is longer than the run's `batch.length` is cut.
        beams: Beams of the search; 1 is greedy.
        rows: Texts at once.

    Raises:
        CurateError: The run's model does not translate.
    """
    trained = load_trained(path)
    settings = trained.config.objective
    if not isinstance(settings, Seq2SeqSettings):
        raise CurateError(f"the objective of the run is `{settings.kind}`, not `seq2seq`", str(path))
    tokenizer, trunk, most = load_tokenizer(trained.tokenizer), trained.trunk(), trained.config.batch.length
    found: list[str] = []
    for first in range(0, len(texts), rows):
        some = texts[first : first + rows]
        found += targets_of(trunk, tokenizer, some, length=most, target_length=settings.target_length, beams=beams)
    return found


@torch.no_grad()
def targets_of(
    trunk: nn.Module, tokenizer: Tokenizer, texts: list[str], *, length: int, target_length: int, beams: int = 1
) -> list[str]:
    """Targets that an encoder-decoder gives for a few texts, all at once.

    Args:
        trunk: The encoder-decoder.
        tokenizer: Its tokenizer.
        texts: The sources.
        length: Most tokens of a source, which is cut, the end included.
        target_length: Most tokens of a target.
        beams: Beams of the search; 1 is greedy.
    """
    known = known_roles(tokenizer)
    end, padding = known["end_of_text"], known["padding"]
    encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    sources = [torch.tensor([*one.ids[: length - 1], end]) for one in encoded]
    tokens = nn.utils.rnn.pad_sequence(sources, batch_first=True, padding_value=padding)
    lengths = torch.tensor([len(source) for source in sources])
    documents = torch.where(torch.arange(tokens.shape[1]) < lengths[:, None], 0, -1)
    limits: dict[str, int] = {"start": padding, "end": end, "most": target_length, "beams": beams}
    targets = translate(trunk, tokens, documents, **limits)  # pyright: ignore[reportArgumentType]
    return tokenizer.decode_batch([_until(row, end) for row in targets.tolist()])


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens
