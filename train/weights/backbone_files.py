"""The files of `pretrained` models: read tensor by tensor, and written by transformers in the class that training began with.

Where transformers makes parameters out of several tensors of a file (experts that it puts together), or a file has names
of an older version, it reads the model itself: then each process holds all of it, in the file's numbers, for a moment.
Only models that write text are written: a head for labels has another form in each of transformers' classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.train.models.backbone import load_pretrained, pretrained_names
from curate.train.models.family import Source
from curate.train.weights.pretrained import tensor_files
from curate.train.weights.stored import StoredTensor, stored_tensors
from curate.train.weights.tokenizer_files import write_tokenizer

__all__ = ["pretrained_tensors", "write_pretrained"]


def pretrained_tensors(path: Path) -> Iterator[tuple[str, StoredTensor]]:
    """Names of all parameters of a `Backbone` and their values, each to be read before the next is asked for.

    Raises:
        CurateError: A file is missing, damaged, or pickled; or a parameter is not in it.
    """
    names = pretrained_names(path)
    places = _places(path, names) if names else None
    if places is None:
        for name, value in load_pretrained(path, "auto")[1].items():
            yield name, StoredTensor(tuple(value.shape), value.detach().__getitem__)
        return
    yield from stored_tensors(places)


def _places(path: Path, names: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[Path, Source]] | None:
    """Where each parameter is in the files; None where one of them has none of its names."""
    files = tensor_files(path)
    there = {name: [one for one in theirs if one in files] for name, theirs in names.items()}
    if not all(there.values()):
        return None
    return {name: (files[found[0]], Source(found[0])) for name, found in there.items()}


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
    whole, parameters = load_pretrained(source, torch.float32)
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
