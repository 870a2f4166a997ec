"""A trained model as a Hugging Face folder, or its adapters in PEFT's files; read again, and compared.

A whole model is computed by transformers, where that is installed, from the files that were written, and its logits are
compared with those of our own forward pass; else the files are read by our own reader. With `--half` both compute
with the rounded weights in float32, so that rounding does not hide a difference. Costs the memory of a second float32 model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.tokenize.chat import ChatTemplate
from curate.tokenize.roles import roles as known_roles
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.export.formats import Form, Made
from curate.train.export.forward import TOLERANCE, Forward, check_tokens, head_of, refuse_difference
from curate.train.models.lora import is_adapter
from curate.train.settings.config import TrainConfig
from curate.train.weights.adapter import read_adapter, write_adapter
from curate.train.weights.export import Trained, plain
from curate.train.weights.huggingface import family_of, read_huggingface, write_huggingface
from curate.train.weights.origin import Stored, checkpoint_of
from curate.train.weights.tokenizer_files import write_tokenizer

__all__ = ["base_of", "refuse", "turn_end", "write", "write_whole"]


def refuse(stored: Stored, path: Path) -> None:
    """Refuse a model that transformers has not, before it is read.

    Raises:
        CurateError: It says what there is.
    """
    objective = stored.config.objective
    if stored.sizes.kind != "pretrained":
        family_of(stored.sizes, head_of(objective.kind), getattr(objective, "pooling", None))


def write(trained: Trained, path: Path, folder: Path, form: Form) -> Made:
    """Write the files, and compare them with the model.

    Args:
        trained: As it is in the checkpoint, adapters not merged.
        path: Where it is from, for messages.
        folder: An empty one.
        form: Which files.

    Raises:
        CurateError: There is no such form of the model, or what was written is not the model.
    """
    if form.adapter:
        return Made(*_write_adapter(trained, path, folder))
    whole = plain(trained)
    if whole.sizes.kind == "pretrained":
        return Made(whole, _write_pretrained(whole, path, folder, half=form.half))
    write_whole(whole, folder, half=form.half)
    return Made(whole, _compare(whole, folder, half=form.half))


def write_whole(trained: Trained, folder: Path, *, half: bool = False) -> None:
    """Write a model of ours, adapters merged, in the class of transformers that computes it.

    Raises:
        CurateError: There is none.
    """
    kind = trained.config.objective.kind
    roles = known_roles(load_tokenizer(trained.tokenizer))
    write_huggingface(
        folder,
        trained.sizes,
        trained.tensors,
        head=head_of(kind),
        vocabulary=trained.vocabulary,
        length=trained.length,
        tokenizer=trained.tokenizer,
        roles=roles,
        chat_template=trained.chat_template,
        dtype=torch.bfloat16 if half else None,
        labels=["reward"] if kind == "reward" else trained.labels,
        pooling=getattr(trained.config.objective, "pooling", None),
        turn_end=turn_end(trained, roles),
    )


def turn_end(trained: Trained, roles: dict[str, int]) -> int | None:
    """The token that ends an answer of a conversation; None of a model that does not converse, or has none."""
    if trained.chat_template is None:
        return None
    return ChatTemplate(load_tokenizer(trained.tokenizer), roles, trained.chat_template).turn_end


def base_of(config: TrainConfig) -> str | None:
    """The model that adapters belong to, where it is one that PEFT can load."""
    path = config.model.path
    return path if path and (Path(path) / "config.json").is_file() and checkpoint_of(Path(path)) is None else None


# ---- whole models


@torch.no_grad()
def _compare(trained: Trained, folder: Path, *, half: bool) -> dict[str, Any]:
    wanted = trained
    if half:
        wanted = replace(trained, tensors={name: some.bfloat16().float() for name, some in trained.tensors.items()})
    tokens, forward = check_tokens(trained), Forward(wanted)
    logits = forward(tokens)
    if find_spec("transformers") is None:
        found, by = Forward(_read_again(trained, folder))(tokens), "curate"
    else:
        found, by = (
            _theirs(folder, tokens, seq2seq=forward.kind == "seq2seq"),
            f"transformers {version('transformers')}",
        )
    largest = refuse_difference(found, logits, what="the exported model")
    return {
        "compared": "logits", "by": by, "tokens": tokens.numel(), "largest_difference": largest, "tolerance": TOLERANCE
    }  # fmt: skip


def _read_again(trained: Trained, folder: Path) -> Trained:
    found = read_huggingface(folder)
    return replace(trained, sizes=found.sizes, tensors={name: tensor.float() for name, tensor in found.tensors})


def _theirs(folder: Path, tokens: Tensor, *, seq2seq: bool) -> Tensor:
    """Logits that transformers computes from the files, in float32."""
    import transformers

    from curate.train.models.backbone import quiet

    (name,) = json.loads((folder / "config.json").read_bytes())["architectures"]
    with quiet():
        made: Any = getattr(transformers, name)
        model = made.from_pretrained(folder, local_files_only=True, trust_remote_code=False, dtype=torch.float32).eval()
    inputs = {"decoder_input_ids": tokens} if seq2seq else {}
    return model(input_ids=tokens, **inputs).logits.float()


def _write_pretrained(trained: Trained, path: Path, folder: Path, *, half: bool) -> dict[str, Any]:
    """One that transformers computes: it is the run's model if every parameter is, in the same class."""
    from curate.train.models.backbone import load_pretrained
    from curate.train.weights.backbone_files import write_pretrained

    kind, tensors = trained.config.objective.kind, trained.tensors
    strange = [name for name in tensors if not name.startswith("model.")]
    if strange:
        raise CurateError(f"a `pretrained` model with a head for {kind} has no form that transformers reads", str(path))
    roles = known_roles(load_tokenizer(trained.tokenizer))
    own, dtype = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}, torch.bfloat16
    write_pretrained(
        folder,
        Path(trained.config.model.path or ""),
        own,
        tokenizer=trained.tokenizer,
        roles=roles,
        length=trained.length,
        chat_template=trained.chat_template,
        turn_end=turn_end(trained, roles),
        dtype=dtype if half else None,
    )
    found = {name: value.detach().float() for name, value in load_pretrained(folder, "auto")[1].items()}
    wanted = {name: value.to(dtype).float() for name, value in own.items()} if half else own
    return _same(found, wanted, f"transformers {version('transformers')}")


# ---- adapters


def _write_adapter(trained: Trained, path: Path, folder: Path) -> tuple[Trained, dict[str, Any]]:
    """The adapters alone; gives what was written."""
    settings, head = trained.config.lora, head_of(trained.config.objective.kind)
    if settings is None:
        raise CurateError(
            "the run has trained no adapters", str(path), "leave out --adapter: the model is exported whole"
        )
    if trained.sizes.kind == "pretrained":
        raise CurateError("adapters of a `pretrained` model are exported merged only", str(path), "leave out --adapter")
    write_adapter(folder, trained.sizes, trained.tensors, settings, head=head, base=base_of(trained.config))
    roles = known_roles(load_tokenizer(trained.tokenizer))
    write_tokenizer(folder, trained.tokenizer, roles, length=trained.length, chat_template=trained.chat_template)
    own = {name: tensor for name, tensor in trained.tensors.items() if is_adapter(name)}
    _, again = read_adapter(folder, trained.sizes, head=head, weight=trained.tensors.__getitem__)
    return replace(trained, tensors=own), _same({name: again[name] for name in again if name in own}, own, "curate")


def _same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], by: str) -> dict[str, Any]:
    """Parameters that were read again are those that were written."""
    if found.keys() != wanted.keys() or any(found[name].shape != wanted[name].shape for name in wanted):
        raise CurateError("the export has other parameters than the run's model", hint="nothing was written")
    largest = max(
        (float((found[name] - wanted[name]).abs().max()) for name in wanted if wanted[name].numel()), default=0.0
    )
    if not largest <= TOLERANCE:
        raise CurateError(f"the export's parameters are up to {largest:.2g} from the run's", hint="nothing was written")
    return {"compared": "parameters", "by": by, "largest_difference": largest, "tolerance": TOLERANCE}
