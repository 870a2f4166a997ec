"""Language models that our trunks compute: run folders, checkpoints, and Hugging Face folders of the families that we know."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from curate.errors import CurateError
from curate.evaluation.models.generation import Respond
from curate.evaluation.models.identity import template_hash
from curate.evaluation.models.tokens import TokenModel
from curate.tokenize.roles import roles, roles_of
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.models.cache import BackboneCache
from curate.train.models.trunk import build_trunk, logits_of
from curate.train.weights.origin import Origin, checkpoint_of, find_model, model_hash
from curate.train.weights.tokenizer_files import read_chat_template

if TYPE_CHECKING:
    from curate.train.weights.export import Trained

__all__ = ["TrunkModel", "open_trunk", "trunk_of"]


class TrunkModel(TokenModel):
    """A language model on one of our trunks, whole, without dropout."""

    backend = "ours"

    def __init__(self, trunk: nn.Module, **described: Any) -> None:
        super().__init__(**described)
        self.trunk: Any = trunk.eval()

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.trunk.embedding.weight.device

    def states(self, tokens: Tensor) -> Tensor:
        """See `TokenModel.states`."""
        return self.trunk(tokens)

    def logits(self, states: Tensor) -> Tensor:
        """See `TokenModel.logits`."""
        return logits_of(self.trunk, states)

    def respond(self) -> Respond:
        """See `TokenModel.respond`."""
        cache = self.trunk.new_cache()
        return _Reading(self, cache) if isinstance(cache, BackboneCache) else _Joining(self, cache)


class _Reading:
    """A trunk in the middle of some texts."""

    def __init__(self, model: TrunkModel, cache: Any) -> None:
        self.model, self.cache = model, cache

    def __call__(self, tokens: Tensor, real: Tensor) -> Tensor:
        """See `Respond`."""
        documents = torch.where(real, 0, -1)
        states = self.model.trunk(tokens, documents=documents, cache=self.cache)[:, -1]
        return self.model.sayable(self.model.logits(states))

    def keep(self, rows: Tensor) -> None:
        """See `Respond.keep`."""
        self.cache.select(rows)
        self.cache.trim()


class _Joining(_Reading):
    """One with a memory of ours, which takes in others."""

    def join(self, other: Any) -> None:
        """See `Joins.join`."""
        self.cache.join(other.cache)


def open_trunk(path: str, *, length: int | None = None) -> TrunkModel:
    """The language model of a folder.

    Args:
        path: Of a run, a checkpoint, or a Hugging Face model.
        length: Most tokens read at once; by default those of its learned positions or of its training.

    Raises:
        CurateError: There is none, it has no tokenizer, or it does not predict the next token.
    """
    checkpoint = checkpoint_of(Path(path))
    trunk, weights, tokenizer, longest, template = _of_run(path) if checkpoint else _of_folder(path)
    if tokenizer is None:
        raise CurateError(
            f"the model in `{path}` has no tokenizer.json beside it",
            hint="copy the tokenizer.json that it was trained with into its folder",
        )
    tokens = load_tokenizer(tokenizer)
    known = roles(tokens) if checkpoint else roles_of(tokens, Path(path))
    limit = longest if length is None else min(length, longest)
    return TrunkModel(
        trunk, name=path, weights=weights, tokenizer=tokens, prefix=known["start"],
        end=frozenset({known["end_of_text"], known.get("end", known["end_of_text"])}), length=limit,
        template=template,
    )  # fmt: skip


def trunk_of(trained: Trained, name: str, weights: str) -> TrunkModel:
    """The language model that a run has come to.

    Raises:
        CurateError: It does not predict the next token.
    """
    _check_predicts(trained, name)
    tokens = load_tokenizer(trained.tokenizer)
    known = roles(tokens)
    made = TrunkModel(
        trained.trunk(), name=name, weights=weights, tokenizer=tokens, prefix=known["start"],
        end=frozenset({known["end_of_text"], known.get("end", known["end_of_text"])}), length=trained.length,
    )  # fmt: skip
    made.training = trained.config.data, trained.chat_template
    return made


def _check_predicts(trained: Trained, name: str) -> None:
    kind = trained.config.objective.kind
    if kind in ("masked", "seq2seq", "classification", "token_classification", "reward"):
        raise CurateError(f"the model in `{name}` does not predict the next token: it was trained for `{kind}`")


def _of_run(path: str) -> tuple[nn.Module, str, Path | None, int, str | None]:
    from curate.train.weights.export import load_trained

    trained = load_trained(Path(path))
    _check_predicts(trained, path)
    found = checkpoint_of(Path(path))
    assert found is not None
    tokenizer = trained.tokenizer if trained.tokenizer.is_file() else None
    template = template_hash(trained.chat_template)
    return trained.trunk(), _hash(found), tokenizer, trained.length, template


def _hash(checkpoint: Path) -> str:
    return model_hash(Origin(checkpoint, "run", None, 0, None, None))


def _of_folder(path: str) -> tuple[nn.Module, str, Path | None, int, str | None]:
    from curate.train.weights.huggingface import read_huggingface

    origin = find_model(path, setting="MODEL")
    if not origin.predicts or origin.sizes is None:
        raise CurateError(f"the model in `{path}` does not predict the next token")
    found = read_huggingface(Path(path))
    with torch.device("meta"):
        trunk = build_trunk(origin.sizes, vocabulary=origin.vocabulary, length=origin.length or found.length)
    wanted = {f"model.{name}" for name, _ in trunk.named_parameters()}
    tensors = {name: tensor.float() for name, tensor in found.tensors if name in wanted}
    trunk.load_state_dict({name.removeprefix("model."): tensor for name, tensor in tensors.items()}, assign=True)
    tokenizer = origin.tokenizer / "tokenizer.json" if origin.tokenizer else None
    return trunk, model_hash(origin), tokenizer, found.length, template_hash(read_chat_template(Path(path)))
