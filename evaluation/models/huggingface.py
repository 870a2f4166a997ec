"""Language models that transformers computes, from a local folder; nothing is fetched and no code of the folder is run.

Used for families that our trunks do not compute, and where it is asked for. Logits are made for all positions of a batch at
once (some models scale or cap them in ways of their own), so that it needs 4096 x vocabulary x 4 bytes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.evaluation.models.generation import Respond
from curate.evaluation.models.identity import template_hash
from curate.evaluation.models.tokens import TokenModel
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.weights.origin import Origin, model_hash
from curate.train.weights.tokenizer_files import read_chat_template

__all__ = ["TransformersModel", "open_transformers"]

LONGEST = 2048
"""Tokens read at once where a model says of no limit."""


class TransformersModel(TokenModel):
    """A causal language model of transformers, whole, without dropout."""

    backend = "transformers"

    def __init__(self, model: Any, **described: Any) -> None:
        super().__init__(**described)
        self.model = model.eval()
        self._numbers_positions = "position_ids" in inspect.signature(model.forward).parameters

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.device

    def states(self, tokens: Tensor) -> Tensor:
        """See `TokenModel.states`; these are the logits."""
        return self.model(input_ids=tokens, use_cache=False).logits

    def logits(self, states: Tensor) -> Tensor:
        """See `TokenModel.logits`."""
        return states.float()

    def respond(self) -> Respond:
        """See `TokenModel.respond`."""
        return _Reading(self.model, self.sayable, numbers_positions=self._numbers_positions)


class _Reading:
    """A model in the middle of some texts; one that keeps no keys and values reads all again for each token."""

    def __init__(self, model: Any, sayable: Callable[[Tensor], Tensor], *, numbers_positions: bool) -> None:
        self.model, self.sayable, self.numbers_positions = model, sayable, numbers_positions
        self.cache: Any = None
        self.seen = self.read = torch.zeros(0)

    def __call__(self, tokens: Tensor, real: Tensor) -> Tensor:
        """See `Respond`."""
        self.read = torch.cat([self.read, real.long()], 1) if len(self.read) else real.long()
        positions = (self.read.cumsum(1) - 1).clamp(min=0)
        self.seen = torch.cat([self.seen, tokens], 1) if len(self.seen) else tokens
        if self.cache is None:
            tokens = self.seen
        more = {"position_ids": positions[:, -tokens.shape[1] :]} if self.numbers_positions else {}
        found = self.model(
            input_ids=tokens, attention_mask=self.read, past_key_values=self.cache, use_cache=True, **more
        )
        self.cache = getattr(found, "past_key_values", None)
        return self.sayable(found.logits[:, -1].float())

    def keep(self, rows: Tensor) -> None:
        """See `Respond.keep`."""
        self.seen, self.read = self.seen[rows], self.read[rows]
        if self.cache is not None:
            self.cache.batch_select_indices(rows)


def open_transformers(path: str, *, length: int | None = None) -> TransformersModel:
    """The causal language model in a Hugging Face folder.

    Args:
        path: The folder.
        length: Most tokens read at once; by default what its configuration says.

    Raises:
        CurateError: It cannot be loaded, has no tokenizer, or no token to begin a text with.
    """
    try:
        import transformers
    except ImportError:
        raise CurateError("transformers is not installed", hint="pip install 'curate-lm[eval]'") from None
    folder = Path(path)
    if not (folder / "tokenizer.json").is_file():
        raise CurateError(
            f"the model in `{path}` has no tokenizer.json beside it",
            hint="copy the tokenizer.json that it was trained with into its folder",
        )
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        made: Any = transformers.AutoModelForCausalLM.from_pretrained(
            path, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
        words: Any = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise CurateError(f"transformers cannot load it: {str(error).splitlines()[0]}", path) from None
    prefix = words.bos_token_id if words.bos_token_id is not None else words.eos_token_id
    if prefix is None:
        raise CurateError("its tokenizer has no token that begins or ends a text", f"{path}/tokenizer_config.json")
    limit = getattr(made.config.get_text_config(), "max_position_embeddings", None) or LONGEST
    vocabulary = made.config.get_text_config().vocab_size
    return TransformersModel(
        made.to("cuda" if torch.cuda.is_available() else "cpu"), name=path,
        weights=model_hash(Origin(folder, "foreign", None, vocabulary, limit, folder)),
        tokenizer=load_tokenizer(folder / "tokenizer.json"), prefix=prefix, end=_ends(made, words),
        length=limit if length is None else min(length, limit), template=template_hash(read_chat_template(folder)),
    )  # fmt: skip


def _ends(made: Any, words: Any) -> frozenset[int]:
    """Tokens that end a text, as the model is generated with."""
    given = getattr(made.generation_config, "eos_token_id", None)
    named = given if isinstance(given, list) else [given, words.eos_token_id]
    return frozenset(one for one in named if one is not None)
