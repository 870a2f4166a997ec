"""By what an evaluation knows a model: a hash over all that decides its answers, of which the weights are a part.

Two models of the same weights answer differently where a tokenizer cuts otherwise, another token stands before a text, or
conversations are written by another template; and by another backend to rounding.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from curate.files import file_hash
from curate.jsontext import dumps
from curate.train.weights.origin import checkpoint_of

__all__ = ["answers_hash", "template_hash"]

TEMPLATES = ("chat_template.jinja", "tokenizer_config.json")


def answers_hash(weights: str, backend: str, tokenizer: Tokenizer | None, **more: Any) -> str:
    """sha256 over what decides a model's answers.

    Args:
        weights: Hash of its weights, or where a server has them.
        backend: Who computes it.
        tokenizer: Its tokenizer, where it is known.
        more: What else there is, as JSON has it.
    """
    words = tokenizer and hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
    parts = {"weights": weights, "backend": backend, "tokenizer": words, **more}
    return hashlib.sha256(dumps(parts).encode()).hexdigest()


def template_hash(path: Path, named: str | None = None) -> str:
    """sha256 over the files that say how a model's conversations are written.

    Args:
        path: The model's folder; of a checkpoint its run's folder counts, too.
        named: The file that its training names.
    """
    checkpoint = checkpoint_of(path)
    folders = [path, *([checkpoint.parent.parent] if checkpoint else [])]
    files = [folder / name for folder in folders for name in TEMPLATES] + ([Path(named)] if named else [])
    found = [file_hash(file) if file.is_file() else "" for file in dict.fromkeys(files)]
    return hashlib.sha256(" ".join(found).encode()).hexdigest()
