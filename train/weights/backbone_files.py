"""A `pretrained` model that was trained here, written by transformers itself, in the class of the folder that it began with.

Only models that write text: a head for labels has another form in each of transformers' classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.train.models.backbone import load_pretrained
from curate.train.weights.tokenizer_files import write_tokenizer

__all__ = ["write_pretrained"]


@torch.no_grad()
def write_pretrained(
    folder: Path,
    source: Path,
    tensors: Mapping[str, Tensor],
    *,
    tokenizer: Path,
    roles: Mapping[str, int],
    length: int,
    chat_template: str | None = None,
    turn_end: int | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model such that `from_pretrained` of transformers gives one with the same logits.

    Args:
        folder: An empty one, made where it is missing.
        source: The folder that training began with.
        tensors: Parameters by their names in a `Backbone`, whole.
        tokenizer: Its tokenizer.json.
        roles: Tokens with a role, by number, as `curate.tokenize.roles` names them.
        length: Most positions.
        chat_template: A Jinja template of conversations.
        turn_end: Token that ends an answer of a conversation; generation stops there, too.
        dtype: Of the numbers in the file; None: float32.

    Raises:
        CurateError: `source` is not there any more or is another model.
        OSError: The folder cannot be written.
    """
    gone = CurateError("the model that training began with is not in its folder any more", str(source))
    if not (source / "config.json").is_file():
        raise gone
    whole, parameters = load_pretrained(source)
    shapes = {name: parameter.shape for name, parameter in parameters.items()}
    if shapes != {name: tensor.shape for name, tensor in tensors.items()}:
        raise gone
    for name, parameter in parameters.items():
        parameter.copy_(tensors[name])
    whole.config.use_cache = json.loads((source / "config.json").read_bytes()).get("use_cache", True)
    if turn_end is not None and whole.generation_config is not None:  # a bare trunk has none: it does not generate
        known = whole.generation_config.eos_token_id
        others = known if isinstance(known, list) else [roles["end_of_text"] if known is None else known]
        whole.generation_config.eos_token_id = list(dict.fromkeys([turn_end, *others]))
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, tokenizer, roles, length=length, chat_template=chat_template)
    (whole.to(dtype) if dtype else whole).save_pretrained(folder)
