"""Texts sampled inside the training loop.

A token is drawn by inverting the cumulative distribution at a uniform number that is a function of (seed, sample,
position) alone. So a run that goes on samples the same texts, and another number of processes does too, up to rounding:
a matrix product of another number of rows may differ in its last bits, which changes a token if its uniform number
falls into the gap.

Every forward pass is a collective of all processes, so all of them take as many: until every text of every process has
ended, which they agree on every CHECK tokens, or `new_tokens` are reached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from curate.train.models.trunk import logits_of
from curate.train.parallel.agree import any_of_all

__all__ = ["CHECK", "Continuation", "Respond", "sample"]

Respond = Callable[[Tensor, Tensor], Tensor]
"""From new tokens and their documents, (rows, n) both, to the logits after the last, (rows, vocabulary); it remembers
the tokens that it was given before."""
CHECK = 8
"""Tokens between two agreements; one costs a collective and a synchronization with the device."""


class Continuation:
    """A trunk as `sample` asks it, with the memory of one generation.

    Args:
        trunk: A trunk with `new_cache`, whose states at a position know nothing of later ones.
    """

    def __init__(self, trunk: Any) -> None:
        self.trunk, self.cache = trunk, trunk.new_cache()

    def __call__(self, tokens: Tensor, documents: Tensor) -> Tensor:
        """Logits after the last token, (rows, vocabulary) float32."""
        states = self.trunk(tokens, documents=documents, cache=self.cache)
        return logits_of(self.trunk, states[:, -1])


@torch.no_grad()
def sample(
    respond: Respond,
    tokens: Tensor,
    documents: Tensor,
    *,
    new_tokens: int,
    temperature: float,
    ends: Sequence[int],
    uniforms: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Go on with prompts; called by all processes, each with its own.

    Args:
        respond: The model.
        tokens: (rows, length) prompts, at the right end.
        documents: (rows, length): 0 in the prompt, -1 in the padding before it.
        new_tokens: Most tokens of a text.
        temperature: Logits are divided by it.
        ends: The tokens after which a text has ended.
        uniforms: (rows, new_tokens) float64 in [0, 1); None takes the likeliest token each time.

    Returns:
        The tokens, (rows, new_tokens), those after the end being the first of `ends`; and where they are part of the
        text, its end included, (rows, new_tokens) bool.
    """
    endings = torch.tensor(ends, device=tokens.device)
    completions = torch.full((len(tokens), new_tokens), ends[0], dtype=tokens.dtype, device=tokens.device)
    mask = torch.zeros_like(completions, dtype=torch.bool)
    going = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
    for step in range(new_tokens):
        logits = respond(tokens, documents)
        drawn = logits.argmax(-1) if uniforms is None else _drawn(logits / temperature, uniforms[:, step])
        completions[:, step] = drawn.where(going, ends[0])
        mask[:, step] = going
        going = going & ~torch.isin(drawn, endings)
        if (step + 1) % CHECK == 0 and not any_of_all(going):
            break
        tokens = completions[:, step : step + 1]
        documents = torch.zeros_like(tokens)
    return completions, mask


def _drawn(logits: Tensor, uniforms: Tensor) -> Tensor:
    """(rows,) tokens: the first whose cumulative probability is above the uniform number."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    thresholds = uniforms[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, thresholds, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
