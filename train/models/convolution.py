"""A convolutional trunk that reads whole texts: Kim 2014, "Convolutional Neural Networks for Sentence Classification".

Filters of several widths slide over the embedded tokens, and of each filter the strongest answer counts, wherever it
stands. A text is zero outside itself, so that words at its ends are seen by all filters and a text may be shorter than
a filter; windows that lie wholly outside do not count. It has no states of tokens: it serves classification only.
Kim's dropout of the features is that of the objective; `dropout` here is of the embedded tokens.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import CurateError
from curate.train.settings.architecture import Architecture

__all__ = ["Convolutional"]

EMBEDDING_RANGE = 0.25
"""First embeddings are uniform within it, as in Kim's code."""


class Convolutional(nn.Module):
    """Convolutions side by side, each with its maximum over time.

    Args:
        sizes: The architecture: `kernels` are the widths of the convolutions, `feed_forward` the filters of each, and
            `width` that of the embeddings.
        vocabulary: Number of tokens.
        length: Most tokens in a sequence; nothing depends on it.
    """

    accepts: ClassVar[frozenset[str]] = frozenset({"documents", "noise"})

    def __init__(self, sizes: Architecture, *, vocabulary: int, length: int) -> None:
        super().__init__()
        self.sizes, self.width = sizes, sizes.width
        self.sentence_width = sizes.feed_forward * len(sizes.kernels)
        self.embedding = nn.Embedding(vocabulary, sizes.width)
        self.dropout = nn.Dropout(sizes.dropout)
        self.blocks = nn.ModuleList(
            nn.Conv1d(sizes.width, sizes.feed_forward, kernel, padding=kernel - 1) for kernel in sizes.kernels
        )

    def sentence(
        self,
        tokens: Tensor,
        *,
        documents: Tensor | None = None,
        noise: Tensor | None = None,
        pooling: Literal["first", "last", "mean"] | None = None,
    ) -> Tensor:
        """What stands for each row's text, (rows, sentence_width), not negative; zeros for an empty row.

        Args:
            tokens: Token numbers (rows, length).
            documents: (rows, length), -1 is padding; None: there is none.
            noise: (rows, length, width), added to the embedded tokens.
            pooling: None; the strongest answer is what stands for a text.

        Raises:
            CurateError: Another pooling is asked for.
        """
        if pooling is not None:
            raise CurateError(
                f"a convolutional model has no {pooling} state",
                "objective.pooling",
                "leave it out: it takes the strongest answer of each filter",
            )
        valid = torch.ones_like(tokens, dtype=torch.bool) if documents is None else documents >= 0
        states = self.embedding(tokens)
        if noise is not None:
            states = states + noise.to(states.dtype)
        states = (self.dropout(states) * valid[:, :, None]).transpose(1, 2)
        answers = []
        for kernel, block in zip(self.sizes.kernels, self.blocks, strict=True):
            counts = _touched(valid, kernel)[:, None]
            answers.append((functional.relu(block(states)) * counts).amax(-1))  # after relu, 0 is no answer
        return torch.cat(answers, dim=-1)

    def first_weights(self, name: str, tensor: Tensor, generator: torch.Generator) -> None:
        """Fill a parameter: uniform embeddings, normal filters (He et al. 2015), biases 0.

        Args:
            name: The parameter's name.
            tensor: Its whole values, on the CPU; changed in place.
            generator: Where the random numbers come from.
        """
        if name == "embedding.weight":
            tensor.uniform_(-EMBEDDING_RANGE, EMBEDDING_RANGE, generator=generator)
        elif name.endswith(".bias"):
            tensor.zero_()
        else:
            nn.init.kaiming_normal_(tensor, nonlinearity="relu", generator=generator)


def _touched(valid: Tensor, kernel: int) -> Tensor:
    """Windows (rows, length + kernel - 1) that have a token of the text in them; `valid` is (rows, length)."""
    padded = functional.pad(valid, (kernel - 1, kernel - 1))
    return padded.unfold(1, kernel, 1).any(-1)
