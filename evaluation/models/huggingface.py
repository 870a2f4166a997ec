"""Language models that transformers computes, from a local folder; nothing is fetched and no code of the folder is run.

Used for families that our trunks do not compute, and where it is asked for. Logits are made for all positions of a batch at
once (some models scale or cap them in ways of their own), so that it needs 4096 x vocabulary x 4 bytes.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.evaluation.models.tokens import Respond, TokenModel
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.weights.origin import Origin, model_hash

__all__ = ["TransformersModel", "open_transformers"]

LONGEST = 2048
"""Tokens read at once where a model says of no limit."""


class TransformersModel(TokenModel):
    """A causal language model of transformers, whole, without dropout."""

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
        """See `TokenModel.respond`; a model that keeps no keys and values reads all again for each token."""
        cache: Any = None
        seen = read = torch.zeros(0)

        def after(tokens: Tensor, real: Tensor) -> Tensor:
            nonlocal cache, seen, read
            read = torch.cat([read, real.long()], 1) if len(read) else real.long()
            positions = (read.cumsum(1) - 1).clamp(min=0)
            if cache is None:
                seen = torch.cat([seen, tokens], 1) if len(seen) else tokens
                tokens = seen
            more = {"position_ids": positions[:, -tokens.shape[1] :]} if self._numbers_positions else {}
            found = self.model(input_ids=tokens, attention_mask=read, past_key_values=cache, use_cache=True, **more)
            cache = getattr(found, "past_key_values", None)
            return found.logits[:, -1].float()

        return after


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
        identity=model_hash(Origin(folder, "foreign", None, vocabulary, limit, folder)),
        tokenizer=load_tokenizer(folder / "tokenizer.json"), prefix=prefix, end=_ends(made, words),
        length=limit if length is None else min(length, limit),
    )  # fmt: skip


def _ends(made: Any, words: Any) -> frozenset[int]:
    """Tokens that end a text, as the model is generated with."""
    given = getattr(made.generation_config, "eos_token_id", None)
    named = given if isinstance(given, list) else [given, words.eos_token_id]
    return frozenset(one for one in named if one is not None)
