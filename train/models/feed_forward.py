"""The other half of a block: a feed-forward layer, or several of which a router chooses some for each token.

    expert e's share p_e of a token = softmax(router(token))_e, of all experts
    result = sum over the k largest p_e of p_e * expert_e(token), the shares perhaps made to sum to 1
    balance = experts * sum over e of (choices of e / tokens) * (mean of p_e), smallest when all are chosen equally often

Sources: SwiGLU Shazeer 2020; experts Shazeer et al. 2017; the balance Fedus et al. 2022, equations 4 to 6. It is taken in
each layer; transformers takes it of the counts of all layers together. It is no sum over tokens: a batch that is cut into
pieces (by `batch.accumulate` or processes) has the mean of its pieces' balances, each by its tokens. Experts are computed
one after the other, each process all that its tokens have chosen: right, and not fast with very many.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.train.settings.architecture import Activation, Architecture

__all__ = ["Experts", "FeedForward", "activate", "build_feed_forward"]


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

    def forward(self, states: Tensor, read: Tensor | None = None) -> Tensor:
        """(rows, length, width) to the same; `read` is for experts alone."""
        if self.gated:
            return self.down(activate(self.gate(states), self.activation) * self.up(states))
        return self.down(activate(self.up(states), self.activation))


class Experts(nn.Module):
    """Feed-forward layers of which each token has its own few (Mixtral's, OLMoE's and Qwen 3's form).

    The balance is no part of the loss that is told: in training its gradient is added where the router's shares are,
    `balance` times the mean over layers and over the tokens that were read, whatever the loss is a mean of.

    Attributes:
        per_token: What a token weighs in that mean, as one over the tokens of the step; the loop sets it before each.
    """

    per_token: float = 0.0

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.active, self.normed = sizes.active_experts, sizes.experts_normed
        self.balance = sizes.balance / sizes.layers
        self.router = nn.Linear(sizes.width, sizes.experts, bias=False)
        self.experts = nn.ModuleList(FeedForward(sizes) for _ in range(sizes.experts))

    def forward(self, states: Tensor, read: Tensor | None = None) -> Tensor:
        """(rows, length, width) to the same; `read`, (rows, length) bool, is false for padding, which has no balance."""
        flat = states.flatten(0, 1)
        shares = self.router(flat).float().softmax(-1)
        weights, chosen = shares.topk(self.active, -1)
        if self.training and self.balance:
            text = slice(None) if read is None else read.flatten()
            weights = _WithLoss.apply(weights, self._share_of_balance(shares[text], chosen[text]))
        if self.normed:
            weights = weights / weights.sum(-1, keepdim=True)
        mixed = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            # one that no token has chosen is computed, too: its gradients are zero, and the same in number in all processes
            tokens, places = (chosen == number).nonzero(as_tuple=True)
            share = weights[tokens, places, None].to(flat.dtype)
            mixed = mixed.index_add(0, tokens, expert(flat[tokens]) * share)
        return mixed.view_as(states)

    def _share_of_balance(self, shares: Tensor, chosen: Tensor) -> Tensor:
        return self.balance * self.per_token * len(shares) * balance_of(shares, chosen)


def balance_of(shares: Tensor, chosen: Tensor) -> Tensor:
    """How uneven the choice is, a scalar; as many as are chosen of each token where it is even, 0 where there are no tokens.

    Args:
        shares: (tokens, experts) float32.
        chosen: (tokens, active) numbers of experts.
    """
    experts, tokens = shares.shape[1], max(len(shares), 1)
    counts = torch.bincount(chosen.flatten(), minlength=experts) / tokens
    return experts * (counts * shares.sum(0) / tokens).sum()


class _WithLoss(torch.autograd.Function):
    """The first tensor as it is; going backward the second one, a scalar, gets a gradient of 1."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, loss: Tensor) -> Tensor:
        ctx.like = loss
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return outer, torch.ones_like(ctx.like)


def build_feed_forward(sizes: Architecture) -> nn.Module:
    """What these sizes ask for."""
    return Experts(sizes) if sizes.experts else FeedForward(sizes)
