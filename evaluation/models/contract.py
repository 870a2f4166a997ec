"""What evaluation asks of a language model, whoever computes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from curate.errors import CurateError

__all__ = ["Completion", "LanguageModel", "Likelihood", "TextLosses", "not_finite"]


class Likelihood(NamedTuple):
    """How likely a continuation is after its context.

    Attributes:
        nats: Logarithm of its probability, at most 0.
        tokens: Tokens of the continuation.
        greedy: It is what the likeliest token each time gives.
        cut: Tokens from the begin of context and continuation that the last token was read without, as they did not fit in.
    """

    nats: float
    tokens: int
    greedy: bool
    cut: int


class TextLosses(NamedTuple):
    """What each token of a text cost.

    Attributes:
        tokens: (length,) numbers of the tokens.
        nats: (length,) float32 negative logarithms of their probabilities, the first after a start or an end of text.
    """

    tokens: NDArray[np.int64]
    nats: NDArray[np.float32]


class Completion(NamedTuple):
    """How a model went on.

    Attributes:
        text: Without the string that ended it.
        tokens: How many were generated.
        finish: `stop` where it ended by itself or at a stop string, `length` where it was cut off.
        cut: Tokens of the prompt that did not fit in and were left out, from its begin.
    """

    text: str
    tokens: int
    finish: Literal["stop", "length"]
    cut: int


class LanguageModel(Protocol):
    """A model of the next token.

    Attributes:
        name: As it was asked for.
        identity: sha256 over all that decides its answers (models/identity.py).
        weights: sha256 over its weights; of a server, its URL and the name it has there.
        backend: Who computes it: `ours`, `transformers` or `endpoint`.
        length: Most tokens that it reads at once.
        progress: Is told the share of a request that is done.
    """

    name: str
    identity: str
    weights: str
    backend: str
    length: int
    progress: Callable[[float], None]

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """How likely each (context, continuation) is; a space between the two belongs to the continuation."""
        ...

    def read(self, texts: Sequence[str]) -> list[TextLosses]:
        """The losses of all tokens of each text, every token predicted once."""
        ...

    def complete(
        self,
        prompts: Sequence[str],
        *,
        most: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[Completion]:
        """Go on with prompts.

        Args:
            prompts: The texts.
            most: Most new tokens.
            stop: Strings that end a completion.
            temperature: 0 takes the likeliest token each time.
            seed: Of the draws; a prompt's draws depend on it and on the prompt's place alone.
        """
        ...


def not_finite(model: str) -> CurateError:
    """What is said of a model that gives numbers that are not finite."""
    return CurateError(
        f"the model {model} gives numbers that are not finite",
        hint="it diverged in training, or its weights are damaged; an earlier checkpoint may be whole",
    )
