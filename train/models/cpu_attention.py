"""Causal attention on the CPU, a few queries at a time over the keys that they can see.

Half of a causal row is hidden, and with documents most of it, but PyTorch's kernel for the CPU computes what a mask hides:
here neither what comes after a piece of queries nor the documents before it is computed. Heads of a group share their
keys in one product. Scores are float32, of bfloat16 states too; nothing but what was read is kept for the backward pass,
which makes the weights again. Numbers are those of `scaled_dot_product_attention` (tested). CPU time, forward and backward
(benchmarks/cpu_attention.py): with documents of 100 tokens in rows of 256 0.6 to 1.0 of it, in rows of 1024 a fifth; where
nothing is masked, or rows are short, it depends on the type and the shape.

To `torch.compile` it is one operation, whose loop is not unrolled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

__all__ = ["attend_in_pieces", "pieces_pay"]

PIECE = 32
"""Queries at a time: of 16 to 128 the fastest, or as fast as any."""
LONG = 256
"""Tokens in a row from which on pieces pay in float32, where documents are masked."""
WIDTHS = 4
"""Head widths of tokens in a row up to which pieces pay in bfloat16, where none are masked."""


def pieces_pay(query: Tensor, mask: Tensor | None) -> bool:
    """Whether `attend_in_pieces` is the faster one; a function of shapes and types alone, so that runs are repeatable."""
    half, length = query.dtype in (torch.bfloat16, torch.float16), query.shape[1]
    pays = half and length <= WIDTHS * query.shape[3] if mask is None else half or length >= LONG
    return query.device.type == "cpu" and pays


def attend_in_pieces(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax(query @ key / sqrt(head width)) @ value, where no query sees what comes after it.

    Args:
        query: (rows, length, heads, head width), on the CPU.
        key: (rows, length, key and value heads, head width); heads are a multiple of them.
        value: As `key`.
        mask: (rows, 1, length, length), true where a query (third) sees a key (last): at least one, and none after itself.

    Returns:
        As `query`.
    """
    return _attend(query, key, value, mask)


def _pieces(mask: Tensor | None, length: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Queries, the keys that some of them see in some row, and which of the last of those are hidden from which query.

    What is hidden: (rows or 1, 1, queries, 1, as many of the last keys as it is about).
    """
    for begin in range(0, length, PIECE):
        end = min(begin + PIECE, length)
        if mask is None:
            hidden = torch.ones(end - begin, end - begin, dtype=torch.bool).triu(1)
            yield slice(begin, end), slice(0, end), hidden[None, None, :, None]
        else:
            first = int(mask[:, 0, begin:end, :end].any(1).any(0).nonzero()[0])
            yield slice(begin, end), slice(first, end), ~mask[:, :, begin:end, first:end].unsqueeze(3)


def _weights(query: Tensor, key: Tensor, hidden: Tensor, heads: int) -> Tensor:
    """How much each query takes of each key, (rows * key heads, queries * group, keys)."""
    scores = torch.bmm(query, key.transpose(1, 2))
    queries = hidden.shape[2]
    cut = scores.view(-1, heads, queries, scores.shape[1] // queries, scores.shape[2])
    cut[..., -hidden.shape[-1] :].masked_fill_(hidden, float("-inf"))
    return torch.softmax(scores, -1)


def _laid(states: Tensor, group: int) -> Tensor:
    """(rows, length, heads, width) to a copy (rows * key heads, length * group, width), float32 at least."""
    rows, length, heads, width = states.shape
    laid = states.new_empty(rows, heads // group, length, group, width, dtype=_exact(states))
    laid.copy_(states.unflatten(2, (-1, group)).transpose(1, 2))
    return laid.view(-1, length * group, width)


def _unlaid(laid: Tensor, like: Tensor, group: int) -> Tensor:
    """Back again: a tensor of the shape and type of `like`."""
    rows, length, heads, width = like.shape
    states = like.new_empty(like.shape)
    states.unflatten(2, (-1, group)).copy_(laid.view(rows, heads // group, length, group, width).transpose(1, 2))
    return states


def _exact(states: Tensor) -> torch.dtype:
    return torch.promote_types(states.dtype, torch.float32)


def _rows(queries: slice, group: int) -> slice:
    return slice(queries.start * group, queries.stop * group)


@torch.library.custom_op("curate::attention_in_pieces", mutates_args=(), device_types="cpu")
def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    length, group, heads = query.shape[1], query.shape[2] // key.shape[2], key.shape[2]
    queries, keys, values = _laid(query, group), _laid(key, 1), _laid(value, 1)
    queries *= query.shape[-1] ** -0.5
    mixed = torch.empty_like(queries)
    for piece, seen, hidden in _pieces(mask, length):
        here = _rows(piece, group)
        weights = _weights(queries[:, here], keys[:, seen], hidden, heads)
        mixed[:, here] = torch.bmm(weights, values[:, seen])
    return _unlaid(mixed, query, group)


@torch.library.custom_op("curate::attention_in_pieces_backward", mutates_args=(), device_types="cpu")
def _attend_backward(
    outer: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    length, group, heads = query.shape[1], query.shape[2] // key.shape[2], key.shape[2]
    queries, keys, values, outers = _laid(query, group), _laid(key, 1), _laid(value, 1), _laid(outer, group)
    queries *= query.shape[-1] ** -0.5
    for_queries, for_keys, for_values = torch.empty_like(queries), torch.zeros_like(keys), torch.zeros_like(values)
    for piece, seen, hidden in _pieces(mask, length):
        here = _rows(piece, group)
        weights = _weights(queries[:, here], keys[:, seen], hidden, heads)
        for_values[:, seen].baddbmm_(weights.transpose(1, 2), outers[:, here])
        for_weights = torch.bmm(outers[:, here], values[:, seen].transpose(1, 2))
        for_scores = torch.ops.aten._softmax_backward_data(for_weights, weights, -1, weights.dtype)
        for_queries[:, here] = torch.bmm(for_scores, keys[:, seen])
        for_keys[:, seen].baddbmm_(for_scores.transpose(1, 2), queries[:, here])
    for_queries *= query.shape[-1] ** -0.5
    return _unlaid(for_queries, query, group), _unlaid(for_keys, key, 1), _unlaid(for_values, value, 1)


@_attend.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    return query.new_empty(query.shape)


@_attend_backward.register_fake
def _(outer: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
    return *_attend_backward(outer, *ctx.saved_tensors), None


_attend.register_autograd(_gradients, setup_context=_keep)
