"""A model that is asked, what it gives, and what was counted."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from curate.evaluation.models.headed import HeadedModel
from curate.serve.answers import Words
from curate.serve.engine import Engine
from curate.serve.heads import Reader
from curate.serve.metrics import Histogram
from curate.tokenize.chat import ChatTemplate

__all__ = ["PATHS", "Limits", "Service"]

LONGEST = 64
"""Characters of a token, at least: some tokenizers make one of a run of what they do not know."""
PATHS = frozenset(
    (
        "/health", "/ready", "/metrics", "/version", "/v1/models", "/v1/completions", "/v1/chat/completions", "/v1/embeddings",
        "/v1/classify",
    )
)  # fmt: skip
"""Those that are counted by name."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server gives.

    Attributes:
        slots: Most texts that are written at a time.
        queue: Most texts that wait, and most in a request.
        tokens: Most new tokens of a text.
        seconds: How long a request may take, waiting included.
    """

    slots: int = 32
    queue: int = 128
    tokens: int = 4096
    seconds: float = 600.0


@dataclass
class Service:
    """A model that is asked.

    Attributes:
        name: What it is called in requests.
        model: A language model, or one with a head.
        template: Of its conversations.
        limits: What it gives.
    """

    name: str
    model: Any
    template: ChatTemplate | None
    limits: Limits
    created: int = field(default_factory=lambda: int(time.time()))
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: Histogram = field(default_factory=Histogram)
    first: Histogram = field(default_factory=Histogram)

    def __post_init__(self) -> None:
        reads = isinstance(self.model, HeadedModel)
        self.words = Words(self.model.tokenizer)
        longest = max(map(len, self.model.tokenizer.get_vocab()))
        self.characters: int = self.model.length * max(longest, LONGEST)
        self.work: Engine | Reader = (
            Reader(self.model, queue=self.limits.queue)
            if reads
            else Engine(self.model, slots=self.limits.slots, queue=self.limits.queue)
        )

    def answered(self, path: str, status: int) -> None:
        """Count an answer."""
        self.requests[path if path in PATHS else "other", status] += 1

    @property
    def writes(self) -> bool:
        """It writes texts."""
        return isinstance(self.work, Engine)
