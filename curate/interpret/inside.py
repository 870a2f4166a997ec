"""What a model computes of one text: what each token cost, what else it expected, and of our decoders what is behind that.

    losses          as the evaluator reads a text: they sum to its bits
    alternatives    the likeliest next tokens in the place of each
    lens            what it would say after each layer: the last norm and the unembedding, applied to that layer's states
                    (nostalgebraist 2020, "interpreting GPT: the logit lens"); those of the last layer are the model's own
    attention       how much the place that predicts the target took of each place before it, by layer and head
    attributions    integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365) of the target's log-probability over the
                    embedded tokens, by Gauss-Legendre quadrature; `error` is what they miss of completeness

Their path begins where every token is the start token, not at zero vectors: a root-mean-square norm does not see how long a
vector is, so from zero all change lies in the first instant, where no quadrature finds it.

Attention and the lens describe what is computed, not what it is for; attributions depend on where their path begins. Cost: one
pass for all but attributions, which take `steps` passes forward and back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curate.errors import CurateError
from curate.evaluation.models.contract import TextLosses
from curate.evaluation.models.tokens import CHUNK, TOKENS, TokenModel
from curate.train.models.decoder import Decoder
from curate.train.models.trunk import logits_of

__all__ = ["STEPS", "inspect"]

STEPS = 64


def inspect(
    model: TokenModel, text: str, *, top: int = 5, target: int | None = None, steps: int = STEPS
) -> dict[str, Any]:
    """What a model computes of a text.

    Args:
        model: A language model on this machine.
        text: At most as many tokens as it reads at once.
        top: How many alternatives are told of each token.
        target: Number of the token, from 0, that attention and attributions are of; by default the last.
        steps: Of the integration.

    Returns:
        `model`, `backend`, `bytes`, `bits`, `bits_per_byte`, `notes`, and `places`, one for each token: `text`, `start` and
        `end` (characters), `token`, `nats`, `bits`, `rank`, `entropy` (bits) and `alternatives` (`text`, `probability`). Of our
        decoders also (else None) `lens`, for the embedded tokens (layer 0) and each layer a list over places of `text`,
        `probability`, and `own`, that of the token itself; and `target`: `place`, `read` (what was read before it, a start
        token first), `attention` (layers, heads, read) and `attributions` (`values` of what was read, `log_probability`,
        `baseline`, `error`, `steps`).

    Raises:
        CurateError: The text is empty or too long, or has no such token.
    """
    encoding = model.tokenizer.encode(text, add_special_tokens=False)
    tokens: list[int] = encoding.ids
    _check(model, tokens, target)
    losses = model.read([text])[0]
    assert losses.tokens.tolist() == tokens
    read = torch.tensor([[model.prefix, *tokens[:-1]]], device=model.device)
    total, size = float(losses.nats.sum(dtype="float64")), len(text.encode())
    places = _places(model, text, encoding.offsets, losses, read, top)
    found: dict[str, Any] = {
        "model": model.name, "backend": model.backend, "bytes": size, "bits": total / math.log(2),
        "bits_per_byte": total / size / math.log(2), "notes": [], "places": places, "lens": None, "target": None,
    }  # fmt: skip
    trunk: Any = getattr(model, "trunk", None)
    if not isinstance(trunk, Decoder):
        kind = f"a model of the kind `{trunk.sizes.kind}`" if trunk is not None else f"a model of {model.backend}"
        found["notes"].append(f"layers, attention and attributions are told of our decoders only; this is {kind}")
        return found
    place = len(tokens) - 1 if target is None else target
    found["lens"], attention = _layers(model, trunk, read, tokens, place)
    attributions = _attributions(trunk, read[:, : place + 1], tokens[place], steps)
    names = ["(start)", *(one["text"] for one in places[:place])]
    found["target"] = {"place": place, "read": names, "attention": attention, "attributions": attributions}
    return found


def _check(model: TokenModel, tokens: list[int], target: int | None) -> None:
    if not tokens:
        raise CurateError("the text is empty", hint="give some words")
    if len(tokens) > model.length:
        raise CurateError(
            f"the text has {len(tokens):,} tokens, and the model reads {model.length:,} at once", model.name,
            "inspect a part of it",
        )  # fmt: skip
    if target is not None and not 0 <= target < len(tokens):
        raise CurateError(f"there is no token {target}: the text has {len(tokens)}, the first is 0", "--target")


def _places(
    model: TokenModel, text: str, offsets: list[tuple[int, int]], losses: TextLosses, read: Tensor, top: int
) -> list[dict[str, Any]]:
    """What is told of each token."""
    tokens, nats = losses.tokens.tolist(), losses.nats.tolist()
    said = _said(model, read, tokens, top)
    return [
        {
            "text": text[start:end],
            "start": start,
            "end": end,
            "token": token,
            "nats": cost,
            "bits": cost / math.log(2),
            **more,
        }
        for (start, end), token, cost, more in zip(offsets, tokens, nats, said, strict=True)
    ]


@torch.inference_mode()
def _said(model: TokenModel, read: Tensor, tokens: list[int], top: int) -> Iterator[dict[str, Any]]:
    """Of each place the rank of its token, how uncertain the model was, and what it expected."""
    states = model.states(read)[0]
    for start in range(0, len(tokens), CHUNK):
        logits = model.logits(states[start : start + CHUNK])
        own = torch.tensor(tokens[start : start + CHUNK], device=logits.device)[:, None]
        ranks = 1 + (logits > logits.gather(-1, own)).sum(-1)
        logs = logits.log_softmax(-1)
        entropies = -(logs.exp() * logs).nan_to_num().sum(-1) / math.log(2)
        likeliest = logs.topk(min(top, logs.shape[-1]), -1)
        for rank, entropy, values, numbers in zip(
            ranks.tolist(), entropies.tolist(), likeliest.values.exp().tolist(), likeliest.indices.tolist(), strict=True
        ):
            others = [
                {"text": _word(model, token), "probability": value}
                for token, value in zip(numbers, values, strict=True)
            ]
            yield {"rank": rank, "entropy": entropy, "alternatives": others}


def _word(model: TokenModel, token: int) -> str:
    return model.tokenizer.decode([token], skip_special_tokens=False)


@torch.inference_mode()
def _layers(
    model: TokenModel, trunk: Decoder, read: Tensor, tokens: list[int], place: int
) -> tuple[list[list[dict[str, Any]]], list[list[list[float]]]]:
    """What each layer would say, from the embedded tokens on; and what each of its heads took for one place."""
    states, beside = trunk.begin(read)
    lens, attention = [_lens(model, trunk, states[0], tokens)], []
    for block, (turn, mask) in zip(trunk.blocks, beside, strict=True):
        given: Any = block
        seen = states if given.norm_after else given.attention_norm(states)
        attention.append(given.attention.weights(seen, turn, mask, place)[0].tolist())
        states = given(states, turn, mask)
        lens.append(_lens(model, trunk, states[0], tokens))
    return lens, attention


def _lens(model: TokenModel, trunk: Decoder, states: Tensor, tokens: list[int]) -> list[dict[str, Any]]:
    found = list[dict[str, Any]]()
    for start in range(0, len(tokens), CHUNK):
        probabilities = logits_of(trunk, trunk.norm(states[start : start + CHUNK])).softmax(-1)
        own = torch.tensor(tokens[start : start + CHUNK], device=states.device)[:, None]
        best = probabilities.max(-1)
        rows = (best.indices.tolist(), best.values.tolist(), probabilities.gather(-1, own)[:, 0].tolist())
        found += [
            {"text": _word(model, token), "probability": value, "own": its}
            for token, value, its in zip(*rows, strict=True)
        ]
    return found


def _attributions(trunk: Decoder, read: Tensor, wanted: int, steps: int) -> dict[str, Any]:
    """Integrated gradients of the log-probability of what comes behind some tokens."""
    points, shares = (torch.tensor(one, dtype=torch.float32) for one in np.polynomial.legendre.leggauss(steps))
    with torch.no_grad():
        embedded = trunk.embedded(read)
        way = embedded - trunk.embedded(read[:, :1])
    parameters = [one for one in trunk.parameters() if one.requires_grad]
    total = torch.zeros_like(way[0])
    for one in parameters:
        one.requires_grad_(False)
    try:
        at_once = max(1, TOKENS // read.shape[1])
        for some, weights in zip(((points + 1) / 2).split(at_once), (shares / 2).split(at_once), strict=True):
            noise = ((some - 1).to(way)[:, None, None] * way).requires_grad_()
            value = _log_probability(trunk, read.expand(len(some), -1), noise, wanted).sum()
            (slope,) = torch.autograd.grad(value, noise)
            total += (weights.to(slope)[:, None, None] * slope).sum(0)
    finally:
        for one in parameters:
            one.requires_grad_(True)
    with torch.no_grad():
        ends = _log_probability(trunk, read.expand(2, -1), torch.cat([torch.zeros_like(way), -way]), wanted)
    whole, baseline = ends.tolist()
    values = (total * way[0]).sum(-1).tolist()
    return {
        "values": values, "log_probability": whole, "baseline": baseline, "error": sum(values) - (whole - baseline),
        "steps": steps,
    }  # fmt: skip


def _log_probability(trunk: Decoder, read: Tensor, noise: Tensor, wanted: int) -> Tensor:
    """(rows,) of the token that comes next."""
    return logits_of(trunk, trunk(read, noise=noise)[:, -1]).log_softmax(-1)[:, wanted]
