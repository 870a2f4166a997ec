"""What transformer trunks are made of: attention that stays inside documents, feed-forward layers, blocks, positions.

Heads lie as (rows, length, heads, head width): so rotation and variable-length attention need no copy. A mask is one of
three things, made once for all blocks of a forward pass:

    None      a row is one document: plain (causal) attention
    bool      (rows, 1, queries, keys): dense, for CPU and for generation; 3e-7 from each document alone
    int32     (documents + 1,): where documents begin in the flattened rows, for variable-length attention on CUDA

Padding (-1) attends to padding, never to nothing: a softmax over nothing is not a number.
Sources: Vaswani et al. 2017; rotary positions Su et al. 2021; grouped heads Ainslie et al. 2023; SwiGLU Shazeer 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import CurateError
from curate.train.models.cpu_attention import attend_in_pieces, pieces_pay
from curate.train.settings.architecture import Activation, Architecture

__all__ = [
    "Attention",
    "BackboneCache",
    "Block",
    "Cache",
    "FeedForward",
    "Memory",
    "activate",
    "attention_mask",
    "build_norm",
    "check_room",
    "document_begins",
    "document_positions",
    "first_weights",
    "pool",
    "rotate",
    "rotation",
]

DEVIATION = 0.02
"""Standard deviation of the first weights, as in GPT-2 and BERT."""


@cache
def variable_length_kernel() -> Callable[..., Tensor] | None:
    """Attention over documents of any lengths, for halves on CUDA; None where torch has none that fits.

    Asked for only there: its module takes a second to load.
    """
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # torch before 2.10
        return None
    # the first versions could not be told to look back only by a window
    return varlen_attn if "window_size" in signature(varlen_attn).parameters else None  # pyright: ignore


def build_norm(sizes: Architecture) -> nn.Module:
    """The norm that these sizes ask for."""
    if sizes.norm == "rms":
        return nn.RMSNorm(sizes.width, eps=sizes.norm_epsilon)
    return nn.LayerNorm(sizes.width, eps=sizes.norm_epsilon, bias=sizes.bias)


def activate(states: Tensor, activation: Activation) -> Tensor:
    """The non-linearity; of swiglu and geglu that of the gate."""
    match activation:
        case "swiglu":
            return functional.silu(states)
        case "relu":
            return functional.relu(states)
        case "gelu":
            return functional.gelu(states)
        case "geglu" | "gelu_tanh":
            return functional.gelu(states, approximate="tanh")


def document_positions(documents: Tensor) -> Tensor:
    """Places from 0 in each document, (rows, length) int64, of `documents` (rows, length)."""
    places = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    return places - torch.where(_begins(documents), places, 0).cummax(1).values


def document_begins(documents: Tensor) -> Tensor:
    """Where documents, and stretches of padding, begin in the flattened rows, and where the last one ends, int32."""
    begins = _begins(documents).flatten().nonzero().flatten()
    return functional.pad(begins, (0, 1), value=documents.numel()).int()


def _begins(documents: Tensor) -> Tensor:
    return functional.pad(documents[:, 1:] != documents[:, :-1], (1, 0), value=True)


def rotation(positions: Tensor, sizes: Architecture) -> Tensor:
    """Cosines and sines of the angles position / theta^(2i / head width).

    Args:
        positions: (length,) or (rows, length).
        sizes: For `head_width` and `rope_theta`.

    Returns:
        (2, rows or 1, length, 1, head width / 2) float32.
    """
    exponents = torch.arange(0, sizes.head_width, 2, dtype=torch.float32, device=positions.device)
    frequencies = sizes.rope_theta ** (-exponents / sizes.head_width)
    angles = positions.view(-1, positions.shape[-1], 1, 1).float() * frequencies
    return torch.stack((angles.cos(), angles.sin()))


def rotate(states: Tensor, rotation: Tensor) -> Tensor:
    """Turn each pair (i, i + head width / 2) by its angle; states are (rows, length, heads, head width)."""
    cosines, sines = rotation.to(states.dtype).unbind(0)
    first, second = states.chunk(2, dim=-1)
    return torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=-1)


def attention_mask(documents: Tensor, *, causal: bool, queries: int, dtype: torch.dtype) -> Tensor:
    """The mask of the last `queries` positions over all of `documents` (rows, keys), for `Attention`.

    Args:
        documents: Number of the document at each position; -1 is padding.
        causal: Nothing sees what comes after it.
        queries: As many as there are keys, or fewer when the first are in a cache.
        dtype: Of the states: variable-length attention takes halves only.
    """
    keys = documents.shape[1]
    half = dtype in (torch.bfloat16, torch.float16)
    if documents.is_cuda and half and queries == keys and variable_length_kernel():
        return document_begins(documents)
    mask = documents[:, None, -queries:, None] == documents[:, None, None, :]
    if not causal:
        return mask
    places = torch.arange(keys, device=documents.device)
    return mask & (places[-queries:, None] >= places)


class Memory:
    """Keys and values of the tokens that one block has seen, (rows, tokens, key and value heads, head width)."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Remember those of new tokens, and give those of all."""
        self.keys = keys if self.keys is None else torch.cat((self.keys, keys), 1)
        self.values = values if self.values is None else torch.cat((self.values, values), 1)
        return self.keys, self.values


class Cache:
    """What generation keeps of the tokens so far: for each block a `Memory`, and the tokens' documents.

    Prompts of different lengths are padded on the left (documents -1).
    """

    def __init__(self) -> None:
        self.documents: Tensor | None = None
        self._memories: dict[int, Memory] = {}

    def __len__(self) -> int:
        """Tokens so far, padding included."""
        return 0 if self.documents is None else self.documents.shape[1]

    def memory(self, block: int) -> Memory:
        """That of a block, by its number."""
        return self._memories.setdefault(block, Memory())

    def extend(self, documents: Tensor) -> Tensor:
        """Remember the documents (rows, new) of new tokens, and give those of all."""
        self.documents = documents if self.documents is None else torch.cat((self.documents, documents), 1)
        return self.documents

    def select(self, rows: Tensor) -> None:
        """Keep these rows, some perhaps more than once, in this order: beams, or texts, that go on."""
        self._each(lambda kept: kept[rows], lambda documents: documents[rows])

    def trim(self) -> None:
        """Forget the first places, as far as no row has anything there."""
        if self.documents is not None and len(self):
            first = int((self.documents >= 0).any(0).int().argmax())
            self._each(lambda kept: kept[:, first:], lambda documents: documents[:, first:])

    def join(self, other: Cache) -> None:
        """Take in the rows of another one behind these; the shorter of the two is padded on the left."""
        longest = max(len(self), len(other))
        for one in (self, other):
            before = longest - len(one)
            one._each(
                lambda kept, before=before: functional.pad(kept, (0, 0, 0, 0, before, 0)),
                lambda documents, before=before: functional.pad(documents, (before, 0), value=-1),
            )
        assert self.documents is not None and other.documents is not None
        self.documents = torch.cat((self.documents, other.documents))
        for number, memory in self._memories.items():
            theirs = other.memory(number)
            assert memory.keys is not None and memory.values is not None
            assert theirs.keys is not None and theirs.values is not None
            memory.keys = torch.cat((memory.keys, theirs.keys))
            memory.values = torch.cat((memory.values, theirs.values))

    def _each(self, kept: Callable[[Tensor], Tensor], documents: Callable[[Tensor], Tensor]) -> None:
        if self.documents is not None:
            self.documents = documents(self.documents)
        for memory in self._memories.values():
            if memory.keys is not None and memory.values is not None:
                memory.keys, memory.values = kept(memory.keys), kept(memory.values)


class BackboneCache(Cache):
    """What generation keeps: the tokens' documents, and transformers' own memory."""

    def __init__(self) -> None:
        super().__init__()
        self.past: Any = None

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order."""
        super().select(rows)
        self.past.batch_select_indices(rows)

    def trim(self) -> None:
        """Nothing: its memory is transformers'."""


class Attention(nn.Module):
    """Self-attention with grouped key and value heads."""

    def __init__(self, sizes: Architecture, *, causal: bool) -> None:
        super().__init__()
        self.head_width, self.causal = sizes.head_width, causal
        inner, narrow = sizes.heads * sizes.head_width, sizes.key_value_heads * sizes.head_width
        self.query = nn.Linear(sizes.width, inner, bias=sizes.bias)
        self.key = nn.Linear(sizes.width, narrow, bias=sizes.bias)
        self.value = nn.Linear(sizes.width, narrow, bias=sizes.bias)
        self.output = nn.Linear(inner, sizes.width, bias=sizes.bias)

    def forward(self, states: Tensor, turn: Tensor | None, mask: Tensor | None, memory: Memory | None = None) -> Tensor:
        """(rows, length, width) to the same; `turn` is of `rotation`, `mask` of `attention_mask`."""
        rows, length, _ = states.shape
        # a process of tensor parallel has only some of the heads
        query, key, value = (
            layer(states).view(rows, length, -1, self.head_width) for layer in (self.query, self.key, self.value)
        )
        if turn is not None:
            query, key = rotate(query, turn), rotate(key, turn)
        if memory is not None:
            key, value = memory.extend(key, value)
        mixed = _attend(query, key, value, mask, causal=self.causal)
        return self.output(mixed.reshape(rows, length, -1))


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, causal: bool) -> Tensor:
    """Weighted sums of values, (rows, length, heads, head width) as the query."""
    group = query.shape[2] // key.shape[2]
    if group > 1 and mask is not None and mask.is_cuda:  # its kernels for masks want as many of each
        key, value = key.repeat_interleave(group, 2), value.repeat_interleave(group, 2)
    if mask is not None and mask.dtype == torch.int32:
        kernel = variable_length_kernel()
        assert kernel is not None
        longest, window = query.shape[1], (-1, 0) if causal else (-1, -1)
        query, key, value = query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1)
        mixed = kernel(query, key, value, mask, mask, longest, longest, window_size=window)
        return mixed.unflatten(0, (-1, longest))
    if causal and query.shape[1] == key.shape[1] and pieces_pay(query, mask):
        return attend_in_pieces(query, key, value, mask)
    mixed = functional.scaled_dot_product_attention(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        attn_mask=mask,
        is_causal=causal and mask is None,
        enable_gqa=query.shape[2] > key.shape[2],  # 5% less CPU time than copies of the keys and values
    )
    return mixed.transpose(1, 2)


class FeedForward(nn.Module):
    """down(activation(up(x))), or with a gate down(activation(gate(x)) * up(x))."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.activation: Activation = sizes.activation
        self.gated = sizes.gated
        if sizes.gated:
            self.gate = nn.Linear(sizes.width, sizes.feed_forward, bias=sizes.bias)
        self.up = nn.Linear(sizes.width, sizes.feed_forward, bias=sizes.bias)
        self.down = nn.Linear(sizes.feed_forward, sizes.width, bias=sizes.bias)

    def forward(self, states: Tensor) -> Tensor:
        """(rows, length, width) to the same."""
        if self.gated:
            return self.down(activate(self.gate(states), self.activation) * self.up(states))
        return self.down(activate(self.up(states), self.activation))


class Block(nn.Module):
    """One layer: attention, then feed-forward, each added to what it read."""

    def __init__(self, sizes: Architecture, *, causal: bool) -> None:
        super().__init__()
        self.dropout, self.norm_after = sizes.dropout, sizes.norm_after
        self.attention_norm = build_norm(sizes)
        self.attention = Attention(sizes, causal=causal)
        self.feed_forward_norm = build_norm(sizes)
        self.feed_forward = FeedForward(sizes)

    def forward(self, states: Tensor, turn: Tensor | None, mask: Tensor | None, memory: Memory | None = None) -> Tensor:
        """(rows, length, width) to the same; `turn` is of `rotation`, `mask` of `attention_mask`."""
        if self.norm_after:
            states = self.attention_norm(states + self._drop(self.attention(states, turn, mask, memory)))
            return self.feed_forward_norm(states + self._drop(self.feed_forward(states)))
        states = states + self._drop(self.attention(self.attention_norm(states), turn, mask, memory))
        return states + self._drop(self.feed_forward(self.feed_forward_norm(states)))

    def _drop(self, states: Tensor) -> Tensor:
        return functional.dropout(states, self.dropout, self.training)


def pool(states: Tensor, documents: Tensor | None, pooling: str) -> Tensor:
    """One state for each row, (rows, width): that of its first or last token, or the mean; padding does not count.

    Args:
        states: (rows, length, width).
        documents: (rows, length), -1 is padding; None where there is none.
        pooling: first, last or mean.
    """
    if documents is None:
        documents = torch.zeros(states.shape[:2], dtype=torch.int64, device=states.device)
    real = documents >= 0
    if pooling == "mean":
        weights = real[..., None].to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
    places = torch.arange(states.shape[1], device=states.device)
    chosen = real.int().argmax(1) if pooling == "first" else (places * real).argmax(1)
    return states[torch.arange(len(states), device=states.device), chosen]


@torch.no_grad()
def first_weights(name: str, tensor: Tensor, generator: torch.Generator, *, writers: int = 1) -> None:
    """Fill a parameter: norms with 1, biases with 0, the rest normal with deviation 0.02.

    Args:
        name: The parameter's name.
        tensor: The whole of it, on the CPU; changed.
        generator: Its randomness.
        writers: Sublayers that add to the residual stream: their last weights are smaller by its root (GPT-2).
    """
    if name.endswith("bias"):
        tensor.zero_()
    elif tensor.ndim < 2:
        tensor.fill_(1.0)
    else:
        writes = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
        tensor.normal_(0.0, DEVIATION / (writers**0.5 if writes else 1.0), generator=generator)


def check_room(length: int, most: int) -> None:
    """Refuse more positions than a learned table has.

    Raises:
        CurateError: Says both.
    """
    if length > most:
        raise CurateError(
            f"a sequence of {length} tokens is longer than the {most} positions of the model",
            hint="a smaller `batch.length`, or a model with more positions",
        )
