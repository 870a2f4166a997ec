"""Take a trained model out of its run: whole tensors, a trunk to use, a Hugging Face folder, or a PEFT adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from curate.errors import CurateError
from curate.files import replacing_folder
from curate.tokenize.chat import ChatTemplate
from curate.tokenize.roles import roles as known_roles
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.models.family import HeadKind
from curate.train.models.generate import translate
from curate.train.models.lora import is_adapter, merged
from curate.train.models.nf4 import is_packed, unpacked
from curate.train.models.trunk import build_trunk
from curate.train.settings.architecture import Architecture
from curate.train.settings.config import TrainConfig
from curate.train.settings.methods import MultiTokenSettings, Seq2SeqSettings
from curate.train.weights.adapter import write_adapter
from curate.train.weights.checkpoint import describe_checkpoint, load_checkpoint, tensor_shapes
from curate.train.weights.huggingface import write_huggingface
from curate.train.weights.origin import checkpoint_of, read_stored
from curate.train.weights.tokenizer_files import read_chat_template, write_tokenizer

__all__ = ["Trained", "export_run", "load_trained", "targets_of", "trained_in", "translate_texts"]

_HEADS: dict[str, HeadKind] = {
    "causal": "causal",
    "multi_token": "causal",
    "sft": "causal",
    "preference": "causal",
    "reinforcement": "causal",
    "distillation": "causal",
    "masked": "masked",
    "seq2seq": "seq2seq",
    "classification": "classification",
    "reward": "classification",
    "token_classification": "token_classification",
}

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
    trained = _read(path, average=average)
    if trained.sizes.kind == "pretrained":
        raise CurateError("a `pretrained` model is computed by transformers: export it", str(path))
    return _plain(trained)


def _plain(trained: Trained) -> Trained:
    """Adapters merged, and one head."""
    sizes, tensors, config = trained.sizes, trained.tensors, trained.config
    if config.lora:
        tensors = merged(tensors, config.lora)
    if isinstance(config.objective, MultiTokenSettings):
        sizes, tensors = _first_head(sizes, tensors)
    return replace(trained, sizes=sizes, tensors=tensors)


def _read(path: Path, *, average: bool | None = None) -> Trained:
    """The model as it is in the checkpoint; one that transformers computes, too."""
    checkpoint = checkpoint_of(path)
    if checkpoint is None:
        raise CurateError(
            "there is no trained model here"
            if not (path / "checkpoints").is_dir()
            else "the run has no checkpoint yet",
            str(path),
            "name the folder of a run, or one of its checkpoints",
        )
    stored = read_stored(checkpoint)
    config = stored.config
    made_for = (stored.length or 0, stored.positions or 0)
    longest = max(config.batch.length, getattr(config.objective, "target_length", 0), *made_for)
    labels = list(stored.labels) or None
    tensors = _whole(checkpoint, averaged=average)
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
    return _plain(Trained(config, model.sizes, named, longest, tokenizer, names, beside))


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


def export_run(path: Path, out: Path, *, adapter: bool = False, half: bool = False) -> dict[str, Any]:
    """Write a run's model as a Hugging Face folder that transformers loads with equal logits.

    Args:
        path: A run's folder, or one of its checkpoints.
        out: The folder to make.
        adapter: Write only the adapters of a LoRA run, in PEFT's format.
        half: Write bfloat16, not float32.

    Returns:
        What was written, for `--json`.

    Raises:
        CurateError: There is no such format for the model, or the folder is there.
    """
    trained = _read(path)
    kind = trained.config.objective.kind
    if trained.config.tasks:
        raise CurateError(
            "a model of several tasks has no Hugging Face class",
            str(path),
            "train one task, or begin with it: `model.path`",
        )
    if trained.config.data.features:
        raise CurateError(
            "a model that reads the numbers of a table has no Hugging Face class",
            str(path),
            "`curate predict` takes the run itself",
        )
    with _new_folder(out) as folder:
        if adapter:
            trained = _write_adapter(trained, path, folder)
        elif (trained := _plain(trained)).sizes.kind == "pretrained":
            _write_pretrained(trained, path, folder, half=half)
        else:
            _write_plain(trained, folder, half=half)
    written = {
        "schema": 1,
        "folder": str(out),
        "objective": kind,
        "parameters": sum(tensor.numel() for tensor in trained.tensors.values()),
        "bytes": sum(file.stat().st_size for file in out.iterdir()),
        "notes": _notes(trained.config, adapter=adapter),
    }
    return {**written, "base": _base(trained.config)} if adapter else written


def _notes(config: TrainConfig, *, adapter: bool) -> list[str]:
    """What is not seen from the files: where the model under the adapters was held in fewer bits than it may have had."""
    if config.lora is None or config.lora.base == "full":
        return []
    held = f"the model under the adapters was held in {config.lora.base} (`lora.base`)"
    if adapter:
        return [f"{held}: beside a finer one these give other logits than were trained; load it in {config.lora.base}"]
    return [f"{held}: all weights are those so rounded, not the original's, with what was learned added"]


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    if path.exists():
        raise CurateError("the folder is there already", str(path), "name another one, or remove it")
    try:
        with replacing_folder(path.absolute()) as folder:
            yield folder
    except OSError as error:
        raise CurateError(f"the model cannot be written: {error}", str(path)) from error


def _write_plain(trained: Trained, folder: Path, *, half: bool) -> None:
    kind = trained.config.objective.kind
    roles = known_roles(load_tokenizer(trained.tokenizer))
    write_huggingface(
        folder,
        trained.sizes,
        trained.tensors,
        head=_HEADS[kind],
        vocabulary=trained.vocabulary,
        length=trained.length,
        tokenizer=trained.tokenizer,
        roles=roles,
        chat_template=trained.chat_template,
        dtype=torch.bfloat16 if half else None,
        labels=["reward"] if kind == "reward" else trained.labels,
        pooling=getattr(trained.config.objective, "pooling", None),
        turn_end=_turn_end(trained, roles),
    )


def _turn_end(trained: Trained, roles: dict[str, int]) -> int | None:
    if trained.chat_template is None:
        return None
    return ChatTemplate(load_tokenizer(trained.tokenizer), roles, trained.chat_template).turn_end


def _write_pretrained(trained: Trained, path: Path, folder: Path, *, half: bool) -> None:
    from curate.train.weights.backbone_files import write_pretrained

    kind, tensors = trained.config.objective.kind, trained.tensors
    strange = [name for name in tensors if not name.startswith("model.")]
    if strange:
        raise CurateError(f"a `pretrained` model with a head for {kind} has no form that transformers reads", str(path))
    roles = known_roles(load_tokenizer(trained.tokenizer))
    write_pretrained(
        folder,
        Path(trained.config.model.path or ""),
        {name.removeprefix("model."): tensor for name, tensor in tensors.items()},
        tokenizer=trained.tokenizer,
        roles=roles,
        length=trained.length,
        chat_template=trained.chat_template,
        turn_end=_turn_end(trained, roles),
        dtype=torch.bfloat16 if half else None,
    )


def _write_adapter(trained: Trained, path: Path, folder: Path) -> Trained:
    """The adapters alone; gives what was written."""
    settings, kind = trained.config.lora, trained.config.objective.kind
    if settings is None:
        raise CurateError(
            "the run has trained no adapters", str(path), "leave out --adapter: the model is exported whole"
        )
    if trained.sizes.kind == "pretrained":
        raise CurateError("adapters of a `pretrained` model are exported merged only", str(path), "leave out --adapter")
    write_adapter(folder, trained.sizes, trained.tensors, settings, head=_HEADS[kind], base=_base(trained.config))
    roles = known_roles(load_tokenizer(trained.tokenizer))
    write_tokenizer(folder, trained.tokenizer, roles, length=trained.length, chat_template=trained.chat_template)
    return replace(trained, tensors={name: tensor for name, tensor in trained.tensors.items() if is_adapter(name)})


def _base(config: TrainConfig) -> str | None:
    """The model that adapters belong to, where it is one that PEFT can load."""
    path = config.model.path
    return path if path and (Path(path) / "config.json").is_file() and checkpoint_of(Path(path)) is None else None


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
