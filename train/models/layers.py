"""What transformer trunks are made of: attention that stays inside documents, feed-forward layers, blocks, positions.

Heads lie as (rows, length, heads, head width): so rotation and variable-length attention need no copy. A mask is one of
three things, made once for all blocks of a forward pass:

    None      a row is one document: plain (causal) attention
    bool      (rows, 1, queries, keys): dense, for CPU and for generation; 3e-7 from each document alone
    int32     (documents + 1,): where documents begin in the flattened rows, for variable-length attention on CUDA

Padding (-1) attends to padding, never to nothing: a softmax over nothing is not a number. A window is in the dense mask;
variable-length attention is told it besides.
Sources: Vaswani et al. 2017; grouped heads Ainslie et al. 2023; windows Beltagy et al. 2020; norms of
queries and keys Henry et al. 2020; caps of scores Bello et al. 2016, as in Gemma 2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import signature

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import CurateError
from curate.train.models.cache import Memory
from curate.train.models.cpu_attention import attend_in_pieces, pieces_pay
from curate.train.models.feed_forward import build_feed_forward
from curate.train.models.positions import document_begins, rotate
from curate.train.settings.architecture import Architecture

__all__ = [
    "Attention",
    "Block",
    "attention_mask",
    "build_norm",
    "check_room",
    "first_weights",
    "pool",
    "soft_cap",
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


class OffsetNorm(nn.RMSNorm):
    """A root-mean-square norm times 1 + weight (Gemma), so that decayed weights do not silence it.

    In float32, of halves too: 1 + a small weight is 1 in bfloat16.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to the same."""
        return functional.rms_norm(x.float(), self.normalized_shape, 1 + self.weight.float(), self.eps).type_as(x)


def build_norm(sizes: Architecture, width: int | None = None) -> nn.Module:
    """The norm that these sizes ask for, of states of their width or of another one."""
    width = width or sizes.width
    if sizes.norm == "rms":
        return (OffsetNorm if sizes.norm_offset else nn.RMSNorm)(width, eps=sizes.norm_epsilon)
    return nn.LayerNorm(width, eps=sizes.norm_epsilon, bias=sizes.bias)


def soft_cap(values: Tensor, cap: float | None) -> Tensor:
    """Cap * tanh(values / cap), which lies between -cap and cap; the values themselves where there is no cap."""
    return values if cap is None else cap * (values / cap).tanh()


def attention_mask(
    documents: Tensor,
    *,
    causal: bool,
    queries: int,
    dtype: torch.dtype,
    window: int | None = None,
    dense: bool = False,
) -> Tensor:
    """The mask of the last `queries` positions over all of `documents` (rows, keys), for `Attention`.

    Args:
        documents: Number of the document at each position; -1 is padding.
        causal: Nothing sees what comes after it.
        queries: As many as there are keys, or fewer when the first are in a cache.
        dtype: Of the states: variable-length attention takes halves only.
        window: Nothing sees what is so many tokens before it, or more; with `causal`.
        dense: Never for variable-length attention, which cannot cap scores.
    """
    keys = documents.shape[1]
    half = dtype in (torch.bfloat16, torch.float16)
    if documents.is_cuda and half and queries == keys and not dense and variable_length_kernel():
        return document_begins(documents)
    mask = documents[:, None, -queries:, None] == documents[:, None, None, :]
    if not causal:
        return mask
    places = torch.arange(keys, device=documents.device)
    before = places[-queries:, None] - places
    return mask & (before >= 0 if window is None else (before >= 0) & (before < window))


class Attention(nn.Module):
    """Self-attention with grouped key and value heads.

    Args:
        sizes: The architecture.
        causal: Nothing sees what comes after it.
        window: Tokens that one sees, itself included; None: all. The dense mask must say so, too.
    """

    def __init__(self, sizes: Architecture, *, causal: bool, window: int | None = None) -> None:
        super().__init__()
        self.head_width, self.causal, self.window, self.cap = sizes.head_width, causal, window, sizes.attention_cap
        # all kernels divide by the root of the head's width
        self.scale = None if sizes.query_scalar is None else (sizes.head_width / sizes.query_scalar) ** 0.5
        inner, narrow = sizes.heads * sizes.head_width, sizes.key_value_heads * sizes.head_width
        bias = sizes.bias or sizes.projection_bias
        self.query = nn.Linear(sizes.width, inner, bias=bias)
        self.key = nn.Linear(sizes.width, narrow, bias=bias)
        self.value = nn.Linear(sizes.width, narrow, bias=bias)
        self.output = nn.Linear(inner, sizes.width, bias=sizes.bias)
        self.norms = sizes.query_key_norm
        if self.norms:
            self.query_norm = build_norm(sizes, sizes.head_width if self.norms == "head" else inner)
            self.key_norm = build_norm(sizes, sizes.head_width if self.norms == "head" else narrow)

    def forward(self, states: Tensor, turn: Tensor | None, mask: Tensor | None, memory: Memory | None = None) -> Tensor:
        """(rows, length, width) to the same; `turn` is of `rotation`, `mask` of `attention_mask`."""
        query, key, value = self._projected(states, turn)
        if memory is not None:
            key, value = memory.extend(key, value)
        mixed = _attend_capped(query, key, value, mask, self.cap) if self.cap else self._attend(query, key, value, mask)
        return self.output(mixed.reshape(*states.shape[:2], -1))

    def weights(self, states: Tensor, turn: Tensor | None, mask: Tensor | None, place: int) -> Tensor:
        """(rows, heads, place + 1) float32: how much one place takes of each that it sees; of a causal model, a dense mask."""
        query, key, _ = self._projected(states, turn)
        query, key = query[:, place : place + 1], key[:, : place + 1]
        if mask is None:
            mask = torch.ones(1, place + 1, dtype=torch.bool, device=states.device)
        else:
            mask = mask[:, :, place : place + 1, : place + 1]
        return _weights(query, key, mask, self.cap)[..., 0, :].flatten(1, 2)

    def _projected(self, states: Tensor, turn: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (rows, length, heads, head width) each."""
        rows, length, _ = states.shape
        query, key, value = self.query(states), self.key(states), self.value(states)
        if self.norms == "width":
            query, key = self.query_norm(query), self.key_norm(key)
        # a process of tensor parallel has only some of the heads
        query, key, value = (part.view(rows, length, -1, self.head_width) for part in (query, key, value))
        if self.norms == "head":
            query, key = self.query_norm(query), self.key_norm(key)
        if turn is not None:
            query, key = rotate(query, turn), rotate(key, turn)
        if self.scale is not None:
            query = query * self.scale
        return query, key, value

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Weighted sums of values, (rows, length, heads, head width) as the query."""
        group = query.shape[2] // key.shape[2]
        if group > 1 and mask is not None and mask.is_cuda:  # its kernels for masks want as many of each
            key, value = key.repeat_interleave(group, 2), value.repeat_interleave(group, 2)
        if mask is not None and mask.dtype == torch.int32:
            kernel = variable_length_kernel()
            assert kernel is not None
            longest, before = query.shape[1], -1 if self.window is None else self.window - 1
            window = (before, 0) if self.causal else (-1, -1)
            query, key, value = query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1)
            mixed = kernel(query, key, value, mask, mask, longest, longest, window_size=window)
            return mixed.unflatten(0, (-1, longest))
        if self.causal and query.shape[1] == key.shape[1] and pieces_pay(query, mask):
            return attend_in_pieces(query, key, value, mask)
        mixed = functional.scaled_dot_product_attention(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            attn_mask=mask,
            is_causal=self.causal and mask is None,
            enable_gqa=query.shape[2] > key.shape[2],  # 5% less CPU time than copies of the keys and values
        )
        return mixed.transpose(1, 2)


def _attend_capped(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, cap: float) -> Tensor:
    """Causal attention whose scores are capped, which no fast kernel does: all scores of a row are held, in float32."""
    if mask is None:
        mask = torch.ones(query.shape[1], query.shape[1], dtype=torch.bool, device=query.device).tril()
    weights = _weights(query, key, mask, cap).to(value.dtype)
    return (weights @ value.transpose(1, 2).unsqueeze(2)).flatten(1, 2).transpose(1, 2)


def _weights(query: Tensor, key: Tensor, mask: Tensor, cap: float | None) -> Tensor:
    """(rows, key heads, queries of each, queries, keys) float32: what attention gives each key."""
    keys = key.transpose(1, 2).unsqueeze(2)
    queries = query.transpose(1, 2).unflatten(1, (key.shape[2], -1)) * query.shape[-1] ** -0.5
    scores = soft_cap((queries @ keys.transpose(-1, -2)).float(), cap)
    mask = mask if mask.ndim == 2 else mask.unsqueeze(2)
    return scores.masked_fill(~mask, float("-inf")).softmax(-1)


class Block(nn.Module):
    """One layer: attention, then feed-forward, each added to what it read.

    Args:
        sizes: The architecture; it says where the norms stand.
        causal: As of `Attention`.
        window: As of `Attention`.
    """

    def __init__(self, sizes: Architecture, *, causal: bool, window: int | None = None) -> None:
        super().__init__()

        def norm(there: bool) -> nn.Module:
            return build_norm(sizes) if there else nn.Identity()

        self.dropout, self.norm_after = sizes.dropout, sizes.norm_after
        self.attention_norm = norm(sizes.norm_inputs)
        self.attention = Attention(sizes, causal=causal, window=window)
        self.attention_output_norm = norm(sizes.norm_outputs)
        self.feed_forward_norm = norm(sizes.norm_inputs)
        self.feed_forward = build_feed_forward(sizes)
        self.feed_forward_output_norm = norm(sizes.norm_outputs)

    def forward(
        self,
        states: Tensor,
        turn: Tensor | None,
        mask: Tensor | None,
        memory: Memory | None = None,
        read: Tensor | None = None,
    ) -> Tensor:
        """(rows, length, width) to the same; `turn` is of `rotation`, `mask` of `attention_mask`, `read` of `Experts`."""
        if self.norm_after:
            states = self.attention_norm(states + self._drop(self.attention(states, turn, mask, memory)))
            return self.feed_forward_norm(states + self._drop(self.feed_forward(states, read)))
        mixed = self.attention(self.attention_norm(states), turn, mask, memory)
        states = states + self._drop(self.attention_output_norm(mixed))
        added = self.feed_forward(self.feed_forward_norm(states), read)
        return states + self._drop(self.feed_forward_output_norm(added))

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
    # not len(states): a traced graph would have that number of rows for ever
    return states[torch.arange(states.shape[0], device=states.device), chosen]


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
        writes = name.endswith(("attention.output.weight", ".down.weight"))
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
