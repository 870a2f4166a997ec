"""The decoder: Llama's architecture (Touvron et al. 2023), as small as it can be written.

Blocks of attention and gated feed-forward, each after a root-mean-square norm and added to the residual stream; rotary
positions (rotating halves, as Hugging Face's Llama does); grouped key and value heads; one matrix for embedding and
output. The logits equal those of `transformers.LlamaForCausalLM` with the same weights (tested).
The loss is computed inside `forward`, because only there FSDP holds the whole embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.train.config import Architecture
from curate.train.loss import linear_cross_entropy

__all__ = ["Attention", "Block", "Decoder", "FeedForward"]

NORM_EPSILON = 1e-5
DEVIATION = 0.02
"""Standard deviation of the first weights, as in GPT-2."""


def _rotation(length: int, dimensions: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (length, dimensions) each, of the angles position / theta^(2i / dimensions)."""
    frequencies = theta ** (-torch.arange(0, dimensions, 2, dtype=torch.float32) / dimensions)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def _rotate(states: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn each pair (i, i + dimensions / 2) by its position's angle; states are (batch, heads, length, dimensions)."""
    first, second = states.chunk(2, dim=-1)
    return (states * cosines + torch.cat((-second, first), dim=-1) * sines).to(states.dtype)


class Attention(nn.Module):
    """Causal self-attention with rotary positions and grouped key and value heads."""

    def __init__(self, sizes: Architecture, length: int, theta: float) -> None:
        super().__init__()
        self.heads, self.key_value_heads = sizes.heads, sizes.key_value_heads
        self.dimensions = sizes.width // sizes.heads
        narrow = self.key_value_heads * self.dimensions
        self.query = nn.Linear(sizes.width, sizes.width, bias=False)
        self.key = nn.Linear(sizes.width, narrow, bias=False)
        self.value = nn.Linear(sizes.width, narrow, bias=False)
        self.output = nn.Linear(sizes.width, sizes.width, bias=False)
        cosines, sines = _rotation(length, self.dimensions, theta)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        """(batch, length, width) to the same."""
        batch, length, width = states.shape
        cosines, sines = self.get_buffer("cosines")[:length], self.get_buffer("sines")[:length]

        def heads(projected: Tensor, count: int) -> Tensor:
            return projected.view(batch, length, count, self.dimensions).transpose(1, 2)

        query = _rotate(heads(self.query(states), self.heads), cosines, sines)
        key = _rotate(heads(self.key(states), self.key_value_heads), cosines, sines)
        value = heads(self.value(states), self.key_value_heads)
        group = self.heads // self.key_value_heads
        if group > 1:
            key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.output(mixed.transpose(1, 2).reshape(batch, length, width))


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate(x)) * up(x))."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.gate = nn.Linear(sizes.width, sizes.feed_forward, bias=False)
        self.up = nn.Linear(sizes.width, sizes.feed_forward, bias=False)
        self.down = nn.Linear(sizes.feed_forward, sizes.width, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        """(batch, length, width) to the same."""
        return self.down(functional.silu(self.gate(states)) * self.up(states))


class Block(nn.Module):
    """One layer."""

    def __init__(self, sizes: Architecture, length: int, theta: float) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(sizes.width, eps=NORM_EPSILON)
        self.attention = Attention(sizes, length, theta)
        self.feed_forward_norm = nn.RMSNorm(sizes.width, eps=NORM_EPSILON)
        self.feed_forward = FeedForward(sizes)

    def forward(self, states: Tensor) -> Tensor:
        """(batch, length, width) to the same."""
        states = states + self.attention(self.attention_norm(states))
        return states + self.feed_forward(self.feed_forward_norm(states))


class Decoder(nn.Module):
    """A language model: the next token from those before it.

    Args:
        sizes: The architecture.
        vocabulary: Number of tokens.
        length: Most tokens in a sequence.
        theta: Base of the rotary frequencies.
        seed: Decides the first weights, which are the same for any number of processes.
    """

    def __init__(
        self, sizes: Architecture, *, vocabulary: int, length: int, theta: float = 10_000.0, seed: int = 0
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, sizes.width)
        self.blocks = nn.ModuleList(Block(sizes, length, theta) for _ in range(sizes.layers))
        self.norm = nn.RMSNorm(sizes.width, eps=NORM_EPSILON)
        self._initialize(seed)

    @torch.no_grad()
    def _initialize(self, seed: int) -> None:
        """Normal weights; what writes to the residual stream is smaller by the root of the number of its writers."""
        generator = torch.Generator().manual_seed(seed)
        writers = (2 * len(self.blocks)) ** 0.5
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                parameter.fill_(1.0)
                continue
            writes = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
            parameter.normal_(0.0, DEVIATION / writers if writes else DEVIATION, generator=generator)

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        """Logits (batch, length, vocabulary) of the token after each of `tokens` (batch, length).

        With `targets` (batch, length; IGNORED where none counts) instead the summed cross entropy in nats, a float32
        scalar.
        """
        states = self.embedding(tokens)
        for block in self.blocks:
            states = block(states)
        states = self.norm(states)
        if targets is None:
            return functional.linear(states, self.embedding.weight)
        return linear_cross_entropy(states.flatten(0, 1), self.embedding.weight, targets.flatten())
