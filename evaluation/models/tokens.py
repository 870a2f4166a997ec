"""All that evaluation asks of a language model, for anything that turns token numbers into logits.

Texts are read as lm-evaluation-harness reads them, so that numbers can be compared: a text is predicted after the start token
or an end of text; a longer one in windows, each token once, the last window with as much context as the model takes; a
context that is too long loses its begin; white space at the end of a context belongs to the continuation.

Requests are sorted by length and put together to at most TOKENS tokens; logits are made for CHUNK positions at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from curate.errors import CurateError
from curate.evaluation.models.contract import Completion, Likelihood, TextLosses, not_finite
from curate.evaluation.models.generation import Generation, Respond, Sampling
from curate.evaluation.models.identity import answers_hash
from curate.evaluation.models.windows import Window, batches, likelihoods, scored_windows, text_windows
from curate.tokenize.roles import fill_roles

if TYPE_CHECKING:
    from curate.train.settings.blocks import DataSettings

__all__ = ["CHUNK", "TOKENS", "TokenModel", "rows_of"]

TOKENS = 4096
CHUNK = 512
PIECE = 4_000_000


class TokenModel(ABC):
    """A language model on this machine.

    Args:
        name: As it was asked for.
        weights: sha256 over its weights.
        tokenizer: Its tokenizer.
        prefix: The token that stands before a text.
        end: Tokens that end a text.
        length: Most tokens that it reads at once.
        template: sha256 over what says how its conversations are written.

    Attributes:
        training: Columns and template of conversations, of a model in training; None: they are in its folder.
    """

    backend: str

    def __init__(
        self,
        name: str,
        weights: str,
        *,
        tokenizer: Tokenizer,
        prefix: int,
        end: frozenset[int],
        length: int,
        template: str | None = None,
    ) -> None:
        self.name, self.weights, self.length = name, weights, length
        self.identity = answers_hash(
            weights, self.backend, tokenizer, prefix=prefix, end=sorted(end), template=template
        )
        self.tokenizer, self.prefix, self.end = tokenizer, prefix, end
        self._never = sorted(fill_roles(tokenizer).values())
        self.training: tuple[DataSettings, str | None] | None = None
        self.progress: Callable[[float], None] = lambda share: None

    @abstractmethod
    def states(self, tokens: Tensor) -> Tensor:
        """(rows, length, width) states of tokens (rows, length), each of which knows nothing of later ones."""

    @abstractmethod
    def logits(self, states: Tensor) -> Tensor:
        """(positions, vocabulary) float32 logits of some states (positions, width)."""

    @abstractmethod
    def respond(self) -> Respond:
        """Begin to generate."""

    def sayable(self, logits: Tensor) -> Tensor:
        """The same, without what is no part of a text that goes on: the tokens around a middle that is filled in."""
        return (
            logits.index_fill(-1, torch.tensor(self._never, device=logits.device), -torch.inf)
            if self._never
            else logits
        )

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return torch.device("cpu")

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of texts, none added."""
        return [one.ids for one in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """See `LanguageModel.score`."""
        windows, cuts = scored_windows(self.encode, pairs, self.prefix, self.length)
        read = self._read(windows, self.progress, greedy=True)
        return likelihoods(
            ((window, -nats.astype(np.float64), bool(greedy.all())) for window, nats, greedy in read), cuts
        )

    def read(self, texts: Sequence[str]) -> list[TextLosses]:
        """See `LanguageModel.read`; PIECE characters or a text at a time."""
        found: list[TextLosses] = []
        total, done = max(sum(map(len, texts)), 1), 0
        for some in _pieces(texts):
            size = sum(map(len, some))
            first, share = done / total, size / total
            found += self._read_texts(some, lambda part, first=first, share=share: self.progress(first + share * part))
            done += size
        return found

    def _read_texts(self, texts: Sequence[str], progress: Callable[[float], None]) -> list[TextLosses]:
        encoded = self.encode(texts)
        windows = text_windows(encoded, self.prefix, self.length)
        found = [np.zeros(len(tokens), np.float32) for tokens in encoded]
        for window, nats, _ in self._read(windows, progress, greedy=False):
            found[window.request][window.start : window.start + window.targets] = nats
        return [TextLosses(np.array(tokens, np.int64), nats) for tokens, nats in zip(encoded, found, strict=True)]

    def losses(self, rows: Sequence[list[int]]) -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        """Of all tokens of each row but the first: the loss, and whether it was the likeliest token.

        Args:
            rows: Tokens, at most one more than `length`; nothing is put before them.
        """
        nothing: tuple[NDArray[np.float32], NDArray[np.bool_]] = (np.zeros(0, np.float32), np.zeros(0, np.bool_))
        found: list[tuple[NDArray[np.float32], NDArray[np.bool_]]] = [nothing] * len(rows)
        windows = [Window(request, 0, row, len(row) - 1) for request, row in enumerate(rows) if len(row) > 1]
        for window, nats, greedy in self._read(windows, self.progress, greedy=True):
            found[window.request] = nats, greedy
        return found

    def complete(
        self,
        prompts: Sequence[str],
        *,
        most: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[Completion]:
        """See `LanguageModel.complete`."""
        room = self.length - most
        if room < 1:
            raise CurateError(
                f"{most} new tokens leave no room for a prompt: {self.name} reads {self.length} tokens at once"
            )
        encoded = [tokens or [self.prefix] for tokens in self.encode(prompts)]
        longest = max((min(len(tokens), room) for tokens in encoded), default=0)
        generation = Generation(
            self, most=most, end=self.end, stop=stop, sampling=Sampling(temperature, seed=seed),
            done=lambda count: self.progress(count / len(encoded)),
        )  # fmt: skip
        found = generation.continued([tokens[-room:] for tokens in encoded], rows=rows_of(longest + most))
        return [one._replace(cut=max(len(tokens) - room, 0)) for one, tokens in zip(found, encoded, strict=True)]

    @torch.inference_mode()
    def _read(
        self, windows: Sequence[Window], progress: Callable[[float], None], *, greedy: bool
    ) -> Iterator[tuple[Window, NDArray[np.float32], NDArray[np.bool_]]]:
        """Of each window the losses of its targets, and (asked with `greedy`) whether each was the likeliest token.

        What is read alike is read once: answers of one token to a question cost no more than one of them.
        """
        alike: dict[tuple[int, ...], list[Window]] = {}
        for window in windows:
            if window.targets:
                alike.setdefault(tuple(window.tokens[:-1]), []).append(window)
        order = sorted(alike, key=len, reverse=True)
        done, total = 0, sum(map(len, order))
        for numbers in batches(range(len(order)), lambda number: len(order[number]), most=TOKENS):
            inputs = [order[number] for number in numbers]
            tokens = torch.tensor([[*row, *[self.prefix] * (len(inputs[0]) - len(row))] for row in inputs])
            some = [(row, window) for row, one in enumerate(inputs) for window in alike[one]]
            places = [(row, place) for row, window in some for place in _targets(window)]
            rows, columns = torch.tensor(places, device=self.device).T
            wanted = [token for _, window in some for token in window.tokens[-window.targets :]]
            states = self.states(tokens.to(self.device))[rows, columns]
            nats, likeliest = self._losses(states, torch.tensor(wanted, device=self.device), greedy=greedy)
            ends = np.cumsum([window.targets for _, window in some])[:-1]
            found = [window for _, window in some]
            yield from zip(found, np.split(nats, ends), np.split(likeliest, ends), strict=True)
            done += sum(map(len, inputs))
            progress(done / total)

    def _losses(
        self, states: Tensor, targets: Tensor, *, greedy: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        nats, likeliest = [], []
        for some, wanted in zip(states.split(CHUNK), targets.split(CHUNK), strict=True):
            logits = self.logits(some)
            chosen = logits.gather(-1, wanted[:, None])[:, 0]
            nats.append(logits.logsumexp(-1) - chosen)
            likeliest.append((logits.argmax(-1) if greedy else wanted) == wanted)
        losses = torch.cat(nats).float().cpu().numpy()
        if not np.isfinite(losses).all():
            raise not_finite(self.name)
        return losses, torch.cat(likeliest).cpu().numpy()


def rows_of(length: int) -> int:
    """How many texts of so many tokens are gone on with at a time."""
    return max(1, TOKENS // length)


def _pieces(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Neighbours of about PIECE characters together."""
    start, size = 0, 0
    for number, text in enumerate(texts):
        if size and size + len(text) > PIECE:
            yield texts[start:number]
            start, size = number, 0
        size += len(text)
    if start < len(texts):
        yield texts[start:]


def _targets(window: Window) -> range:
    """The positions of a window whose next tokens are predicted."""
    positions = len(window.tokens) - 1
    return range(positions - window.targets, positions)
