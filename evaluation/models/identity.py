"""By what an evaluation knows a model: a hash over all that decides its answers, of which the weights are a part.

Two models of the same weights answer differently where a tokenizer cuts otherwise, another token stands before a text, or
conversations are written by another template; and by another backend to rounding.
"""

from __future__ import annotations

import hashlib
from typing import Any

from tokenizers import Tokenizer

from curate.jsontext import dumps

__all__ = ["answers_hash", "template_hash"]


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


def template_hash(template: str | None) -> str | None:
    """sha256 over the template that conversations are written with, where there is one."""
    return None if template is None else hashlib.sha256(template.encode()).hexdigest()
