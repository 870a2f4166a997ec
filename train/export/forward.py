"""Our own forward pass from tokens to logits, without a cache: what every export is compared with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import CurateError
from curate.tokenize.roles import special_tokens
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.models.encoder import MaskedHead
from curate.train.models.family import LABELED, HeadKind
from curate.train.models.trunk import logits_of
from curate.train.weights.export import Trained

__all__ = ["TOLERANCE", "Forward", "check_tokens", "head_of", "refuse_difference"]

TOLERANCE = 1e-4
"""Most that two computations of the same logits may differ, in units of the largest logit where that is above 1."""
_HEADS: dict[str, HeadKind] = {
    "causal": "causal",
    "multi_token": "causal",
    "sft": "causal",
    "preference": "causal",
    "reinforcement": "causal",
    "distillation": "causal",
    "masked": "masked",
    "seq2seq": "seq2seq",
    "classification": "classification",
    "reward": "classification",
    "token_classification": "token_classification",
}
_MOST = 512
"""Most tokens that are compared, where a window makes it worth while to go beyond 64."""


def head_of(objective: str) -> HeadKind:
    """What a model trained for an objective predicts."""
    return _HEADS[objective]


class Forward(nn.Module):
    """A trunk and its head.

    Args:
        trained: The model, adapters merged; its tensors are shared, not copied.
    """

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.trunk: Any = trained.trunk()
        self.kind = head_of(trained.config.objective.kind)
        self.pooling: str | None = getattr(trained.config.objective, "pooling", None)
        own = {name.removeprefix("head."): some for name, some in trained.tensors.items() if name.startswith("head.")}
        self.head: Any = None
        if self.kind == "masked":
            with torch.device("meta"):
                self.head = MaskedHead(trained.sizes, trained.vocabulary)
            self.head.load_state_dict(own, assign=True)
        elif self.kind in LABELED:
            outputs, inputs = own["weight"].shape
            with torch.device("meta"):
                self.head = nn.Linear(inputs, outputs, bias="bias" in own)
            self.head.load_state_dict(own, assign=True)
        self.eval()

    def forward(self, tokens: Tensor, **beside: Tensor) -> Tensor:
        """Logits float32: (rows, length, vocabulary or labels), of a classifier (rows, labels).

        Args:
            tokens: (rows, length); of a sequence-to-sequence model the source, and the target as well.
            beside: What the trunk reads beside them: `documents`, `positions`, `segments`.
        """
        if self.kind == "classification":
            pooling: dict[str, Any] = {"pooling": self.pooling} if self.pooling else {}
            return self.head(self.trunk.sentence(tokens, **beside, **pooling)).float()
        if self.kind == "seq2seq":
            return logits_of(self.trunk, self.trunk(tokens, inputs=tokens, **beside))
        states = self.trunk(tokens, **beside)
        if self.kind == "token_classification":
            return self.head(states).float()
        if self.kind == "masked":
            return (functional.linear(self.head(states), self.trunk.unembedding) + self.head.bias).float()
        return logits_of(self.trunk, states)


def check_tokens(trained: Trained) -> Tensor:
    """Tokens to compare on, (1, length) int64: drawn by a fixed seed from those that stand for text."""
    special = set(special_tokens(load_tokenizer(trained.tokenizer)).values())
    ordinary = torch.tensor([number for number in range(trained.vocabulary) if number not in special])
    window = trained.sizes.window or 0
    longest = window + 32 if 32 < window <= _MOST - 32 else 64
    drawn = torch.randint(len(ordinary), (1, min(longest, trained.length)), generator=torch.Generator().manual_seed(0))
    return ordinary[drawn]


def refuse_difference(found: Tensor, wanted: Tensor, *, what: str) -> float:
    """The largest difference of two tensors of logits, which are to be equal but for rounding.

    Raises:
        CurateError: It is above `TOLERANCE`.
    """
    if found.shape != wanted.shape:
        raise CurateError(
            f"{what} gives logits of the shape {tuple(found.shape)}, and the run's model {tuple(wanted.shape)}"
        )
    largest = float((found.float() - wanted).abs().max())
    if not largest <= TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise CurateError(
            f"{what} gives other logits than the run's model: up to {largest:.2g} apart",
            hint="nothing was written; please report it with the run's config.json",
        )
    return largest
