"""What a reward is given, and what it may be: the contract between rewards and the process that computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

__all__ = ["Completion", "Judge"]


class Completion(NamedTuple):
    """A sampled text and what it answers.

    Attributes:
        prompt: What was asked.
        completion: What was sampled, without special tokens.
        answer: What it is compared with.
        columns: Texts of further columns of the dataset, by name.
        tokens: Of the completion, its end included.
        ended: Whether it came to its end, and was not cut.
    """

    prompt: str
    completion: str
    answer: str
    columns: Mapping[str, str]
    tokens: int
    ended: bool


Judge = Callable[[Completion], float]
"""A reward: a pure function of a completion; it gives a finite number."""
