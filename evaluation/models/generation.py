"""Going on with prompts, many at a time: a text that has ended makes room for the next one.

Rows stand at the right end of a batch, with padding before them; keys and values of those that go on are kept. The next
token of a text is a function of its own tokens, the seed and its number alone, up to rounding: in other company the last
bits of logits may differ, and a token where two are as close as that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from curate.evaluation.models.contract import Completion, not_finite

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Generation", "Joins", "Respond", "Sampling", "chosen", "padded"]

CHECK = 4
"""Generated tokens between two looks for stop strings."""


class Respond(Protocol):
    """A model in the middle of some texts; it remembers what it was given before."""

    def __call__(self, tokens: Tensor, real: Tensor) -> Tensor:
        """The logits after the last of new tokens, (rows, vocabulary) float32.

        Args:
            tokens: (rows, n).
            real: (rows, n), False where it is padding before a prompt.
        """
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone."""
        ...


@runtime_checkable
class Joins(Respond, Protocol):
    """One that takes in others."""

    def join(self, other: Any) -> None:
        """Go on with the rows of another one, too, behind these."""
        ...


class Generates(Protocol):
    """What generation asks of a model: see `TokenModel`."""

    name: str
    tokenizer: Tokenizer
    prefix: int

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def respond(self) -> Respond:
        """Begin to read."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is chosen of what a model holds for likely.

    Attributes:
        temperature: Logits are divided by it; 0 takes the likeliest token each time.
        top_k: Only so many of the likeliest; 0: all.
        top_p: Only the likeliest, until their shares come to this.
        min_p: Only those that have at least this share of the likeliest one's.
        seed: Of the draws.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0


GREEDY = Sampling()


@dataclass
class _Text:
    """A text in the making.

    Attributes:
        number: Of its prompt.
        prompt: Tokens before it.
        draws: Uniform numbers; None: the likeliest token each time.
        stream: What of it was told.
        tokens: So far.
    """

    number: int
    prompt: list[int]
    draws: np.random.Generator | None
    stream: _Stream
    tokens: list[int] = field(default_factory=list)


class Generation:
    """A model, and how it goes on.

    Args:
        model: What goes on.
        most: Most new tokens.
        end: Tokens that end a text.
        stop: Strings that end one.
        sampling: How a token is chosen.
        done: Is told how many texts have ended.
        tell: Is told what comes to a text, by its number, as soon as it is certain; costs time for each token.
    """

    def __init__(
        self,
        model: Generates,
        *,
        most: int,
        end: frozenset[int],
        stop: Sequence[str] = (),
        sampling: Sampling = GREEDY,
        done: Callable[[int], None] = lambda count: None,
        tell: Callable[[int, str], None] | None = None,
    ) -> None:
        self.model, self.most, self.end, self.stop, self.sampling = model, most, end, stop, sampling
        self.done, self.tell = done, tell
        self.found: dict[int, Completion] = {}

    @torch.inference_mode()
    def continued(self, prompts: Sequence[list[int]], *, rows: int) -> list[Completion]:
        """Go on with prompts.

        Args:
            prompts: Their tokens; each has one at least, and with `most` more fits in the model.
            rows: Most texts at a time.

        Returns:
            How each goes on; nothing is cut here.

        Raises:
            CurateError: The model gives numbers that are not finite.
        """
        self.found = {}
        order = sorted(range(len(prompts)), key=lambda number: (-len(prompts[number]), number))
        waiting = deque(self._text(number, prompts[number]) for number in order)
        active, respond = list[_Text](), self.model.respond()
        while waiting or active:
            if waiting and (not active or (isinstance(respond, Joins) and len(active) <= rows - max(rows // 4, 1))):
                more = self.model.respond()
                fresh = [waiting.popleft() for _ in range(min(rows - len(active), len(waiting)))]
                fresh = self._step(fresh, more, *padded([text.prompt for text in fresh], self.model))
                if not active:
                    respond = more
                elif fresh and isinstance(respond, Joins):
                    respond.join(more)
                active += fresh
            if active:
                last = torch.tensor([[text.tokens[-1]] for text in active], device=self.model.device)
                active = self._step(active, respond, last, torch.ones_like(last, dtype=torch.bool))
        return [self.found[number] for number in range(len(prompts))]

    def _text(self, number: int, prompt: list[int]) -> _Text:
        draws = np.random.default_rng((self.sampling.seed, number)) if self.sampling.temperature else None
        return _Text(number, prompt, draws, _Stream(self.model.tokenizer, self.stop))

    def _step(self, texts: list[_Text], respond: Respond, tokens: Tensor, real: Tensor) -> list[_Text]:
        """A token more for each of some texts; those that go on."""
        logits = respond(tokens, real)
        if not logits.amax(-1).isfinite().all():  # some models give -inf to tokens that are never said
            raise not_finite(self.model.name)
        for text, token in zip(texts, chosen(logits, self.sampling, [text.draws for text in texts]), strict=True):
            text.tokens.append(token)
            if self.tell and (more := text.stream.more(text.tokens, self.end)):
                self.tell(text.number, more)
        going = [place for place, text in enumerate(texts) if not self._over(text)]
        if going and len(going) < len(texts):
            respond.keep(torch.tensor(going, device=tokens.device))
        for place in set(range(len(texts))).difference(going):
            self._finish(texts[place])
        return [texts[place] for place in going]

    def _over(self, text: _Text) -> bool:
        tokens = text.tokens
        if tokens[-1] in self.end or len(tokens) == self.most:
            return True
        if not self.stop or len(tokens) % CHECK:
            return False
        said = self.model.tokenizer.decode(tokens)
        return any(string in said for string in self.stop)

    def _finish(self, text: _Text) -> None:
        ended = text.tokens[-1] in self.end
        said = self.model.tokenizer.decode(text.tokens[:-1] if ended else text.tokens)
        first = _first(said, self.stop)
        finish: Literal["stop", "length"] = "stop" if ended or first is not None else "length"
        self.found[text.number] = Completion(said[:first], len(text.tokens), finish, 0)
        if self.tell and (rest := said[:first][len(text.stream.told) :]):
            self.tell(text.number, rest)
        self.done(len(self.found))


def _first(text: str, stop: Sequence[str]) -> int | None:
    """Where the first stop string begins."""
    return min((place for string in stop if (place := text.find(string)) >= 0), default=None)


def padded(prompts: Sequence[list[int]], model: Generates) -> tuple[Tensor, Tensor]:
    """Tokens (rows, longest) of prompts, padded on the left, and which of them are no padding."""
    longest = max(map(len, prompts))
    tokens = [[model.prefix] * (longest - len(row)) + row for row in prompts]
    real = [[False] * (longest - len(row)) + [True] * len(row) for row in prompts]
    return torch.tensor(tokens, device=model.device), torch.tensor(real, device=model.device)


def chosen(logits: Tensor, sampling: Sampling, draws: Sequence[np.random.Generator | None]) -> list[int]:
    """A token for each row of logits (rows, vocabulary).

    A draw inverts the cumulative distribution. As in transformers the temperature comes first, then `top_k`, then `top_p`
    of what is left, then `min_p`.
    """
    if not sampling.temperature:
        return logits.argmax(-1).tolist()
    shares = (logits.double() / sampling.temperature).softmax(-1)
    order = None
    if sampling.top_k or sampling.top_p < 1 or sampling.min_p > 0:
        shares, order = torch.sort(shares, dim=-1, descending=True, stable=True)
        if sampling.top_k:
            shares[:, sampling.top_k :] = 0
        if sampling.top_p < 1:
            before = shares.cumsum(-1) - shares
            shares = shares.masked_fill(before >= sampling.top_p * shares.sum(-1, keepdim=True), 0)
        shares = shares.masked_fill(shares < sampling.min_p * shares[:, :1], 0)
    cumulative = shares.cumsum(-1)
    uniforms = torch.tensor([[0.0 if one is None else one.random()] for one in draws], dtype=torch.float64)
    places = torch.searchsorted(cumulative, uniforms.to(logits.device) * cumulative[:, -1:], right=True)
    places = places.clamp(max=logits.shape[-1] - 1)
    return (places if order is None else order.gather(-1, places))[:, 0].tolist()


class _Stream:
    """What of a text can be told already: not half a character, nor what may become a stop string."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self.tokenizer, self.stop, self.told = tokenizer, stop, ""

    def more(self, tokens: list[int], end: frozenset[int]) -> str:
        text = self.tokenizer.decode(tokens[:-1] if tokens[-1] in end else tokens)
        text = text[: _first(text, self.stop)].rstrip("\N{REPLACEMENT CHARACTER}")
        held = max((size for one in self.stop for size in range(1, len(one)) if text.endswith(one[:size])), default=0)
        text = text[: len(text) - held]
        if len(text) <= len(self.told) or not text.startswith(self.told):
            return ""
        new, self.told = text[len(self.told) :], text
        return new
