"""A text that is asked for: what it is made of, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from curate.errors import CurateError
from curate.evaluation.models.generation import Sampling
from curate.serve.stream import Stream

__all__ = ["Closed", "Full", "Late", "Piece", "Scored", "Text"]


class Closed(CurateError):
    """No text is taken in or written any more.

    Args:
        why: The reason.
        hint: The next step.
        seconds: When to ask again, where that helps.
    """

    def __init__(self, why: str, hint: str, seconds: int | None = None) -> None:
        super().__init__(why, hint=hint)
        self.seconds = seconds

    @classmethod
    def ending(cls) -> Closed:
        """The server was told to end."""
        return cls("the server is ending", "ask again when it is there again", 5)

    @classmethod
    def broken(cls) -> Closed:
        """The thread that writes is no more."""
        return cls("the worker of this server has ended", "start the server again")


class Full(CurateError):
    """There is no room for more that waits.

    Args:
        seconds: When to ask again.
    """

    def __init__(self, seconds: int) -> None:
        super().__init__("too many requests are waiting", hint=f"ask again in {seconds} s")
        self.seconds = seconds


class Late(CurateError):
    """It waited as long as a request may take."""

    def __init__(self) -> None:
        super().__init__("the request waited too long", hint="ask again, or start the server with more --slots")


class Scored(NamedTuple):
    """A token, and how likely it was.

    Attributes:
        token: Its number.
        offset: Characters of the text that were certain before it.
        log: Logarithm of its probability, whatever it was drawn by; None of the first of all.
        tops: The likeliest tokens and theirs, the likeliest first.
    """

    token: int
    offset: int
    log: float | None
    tops: tuple[tuple[int, float], ...]


class Piece(NamedTuple):
    """What came to a text.

    Attributes:
        text: New characters.
        scored: Its tokens since the last piece, where scores are asked for; those of the prompt first.
        tokens: How many were written so far.
        finish: Why it ended: `stop` by itself or at a stop string, `length` where it was cut; None: it goes on.
        error: Why there is no more.
    """

    text: str = ""
    scored: tuple[Scored, ...] = ()
    tokens: int = 0
    finish: Literal["stop", "length"] | None = None
    error: Exception | None = None


@dataclass(eq=False)
class Text:
    """A text that is asked for.

    Attributes:
        prompt: Tokens before it, one at least; with `most` more they fit in the model.
        most: Most new tokens; 0: the prompt is scored alone.
        end: Tokens that end it.
        stream: Makes characters of its tokens.
        sampling: How a token is chosen.
        draws: Of its own; None: the likeliest token each time.
        until: When it has to be done, on the clock of `monotonic`.
        tell: Is told pieces, in the engine's thread.
        eager: Pieces are told as they come, not at the end.
        tops: How many of the likeliest tokens are told with each; None: no scores.
        echo: Tokens of the prompt are scored, too.
        gone: Nobody waits for it any more; set from any thread.
        tokens: So far.
        began: When its prompt was read.
    """

    prompt: list[int]
    most: int
    end: frozenset[int]
    stream: Stream
    sampling: Sampling
    draws: np.random.Generator | None
    until: float
    tell: Callable[[Piece], None]
    eager: bool = False
    tops: int | None = None
    echo: bool = False
    gone: bool = False
    tokens: list[int] = field(default_factory=list)
    began: float = 0.0
    _new: str = ""
    _scored: list[Scored] = field(default_factory=list)

    def advance(self, token: int, log: float | None, tops: tuple[tuple[int, float], ...]) -> bool:
        """One token more; whether it goes on."""
        if log is not None:
            self._scored.append(Scored(token, len(self.stream.text), log, tops))
        self.tokens.append(token)
        ended = token in self.end
        if not ended:
            self._new += self.stream.take(token)
        if ended or self.stream.stopped:
            self.close("stop")
            return False
        if len(self.tokens) == self.most:
            self.close("length")
            return False
        if self.eager and self._new:
            self._tell(None)
        return True

    def close(self, finish: Literal["stop", "length"]) -> None:
        """Tell the rest."""
        self._new += self.stream.end()
        self._tell("stop" if self.stream.stopped else finish)

    def fail(self, error: Exception) -> None:
        """Tell why there is no more."""
        self.tell(Piece(error=error, tokens=len(self.tokens)))

    def scores(self, scored: list[Scored]) -> None:
        """Take those of the prompt."""
        self._scored = scored

    def _tell(self, finish: Literal["stop", "length"] | None) -> None:
        self.tell(Piece(self._new, tuple(self._scored), len(self.tokens), finish))
        self._new, self._scored = "", []
