"""Layers over numbers, for tables: Gorishniy et al. 2021, "Revisiting Deep Learning Models for Tabular Data" (their ResNet).

    states = features @ embedding            a row for each number: of a category in its own place that is its embedding
    states = states + down(gelu(up(norm(states))))      a block; their batch norm is a layer norm here

Nothing normalizes the last states, so that a model without what the blocks add is a linear one.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import CurateError
from curate.train.settings.architecture import Architecture, ModelSettings

__all__ = ["Perceptron", "beside_text"]


def beside_text(numbers: int) -> Perceptron:
    """Layers over what stands for a text and the numbers of a table beside it, together; of a table's own sizes by default."""
    return Perceptron(ModelSettings(kind="mlp").architecture, vocabulary=numbers)


class Perceptron(nn.Module):
    """What stands for the numbers of each row.

    Args:
        sizes: The architecture: `layers`, `width`, `feed_forward`, `dropout`.
        vocabulary: How many numbers a row has.
        length: Not used: there are no tokens.
    """

    accepts: ClassVar[frozenset[str]] = frozenset({"features"})

    def __init__(self, sizes: Architecture, *, vocabulary: int, length: int = 0) -> None:
        super().__init__()
        self.sizes, self.width, self.sentence_width = sizes, sizes.width, sizes.width
        self.embedding = nn.Embedding(vocabulary, sizes.width)
        self.blocks = nn.ModuleList(_Block(sizes) for _ in range(sizes.layers))

    def sentence(
        self, tokens: Tensor, *, features: Tensor, pooling: Literal["first", "last", "mean"] | None = None
    ) -> Tensor:
        """What stands for each row, (rows, width).

        Args:
            tokens: Not read.
            features: (rows, numbers) float32.
            pooling: None; there is nothing to pool.

        Raises:
            CurateError: A pooling is asked for.
        """
        if pooling is not None:
            raise CurateError(f"a model of numbers has no {pooling} state", "objective.pooling", "leave it out")
        return self(features)

    def forward(self, features: Tensor) -> Tensor:
        """(rows, numbers) to (rows, width)."""
        states = features.to(self.embedding.weight.dtype) @ self.embedding.weight
        for block in self.blocks:
            states = block(states)
        return states

    def first_weights(self, name: str, tensor: Tensor, generator: torch.Generator) -> None:
        """Fill a parameter: matrices by their inputs (He et al. 2015), what ends a block 0, norms 1, biases 0.

        Args:
            name: The parameter's name.
            tensor: Its whole values, on the CPU; changed in place.
            generator: Where the random numbers come from.
        """
        if name == "embedding.weight":
            tensor.normal_(0.0, len(tensor) ** -0.5, generator=generator)
        elif name.endswith("up.weight"):
            nn.init.kaiming_normal_(tensor, nonlinearity="relu", generator=generator)
        else:
            tensor.fill_(1.0 if name.endswith("norm.weight") else 0.0)


class _Block(nn.Module):
    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(sizes.width)
        self.up = nn.Linear(sizes.width, sizes.feed_forward)
        self.down = nn.Linear(sizes.feed_forward, sizes.width)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, states: Tensor) -> Tensor:
        """(rows, width) to the same."""
        return states + self.down(self.dropout(functional.gelu(self.up(self.norm(states)))))
