"""What of a text can be told while it is written: no half character, and nothing that may become a stop string.

A token costs the decoding of a few others, however long the text is: only those behind the last whole character, and the token
before them, from which decoders see whether a word begins. A stop string is found wherever it stands over the borders of
tokens, and the text ends before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Decodes", "Stream"]

HALF = "\N{REPLACEMENT CHARACTER}"


class Decodes(Protocol):
    """A tokenizer, as far as it makes texts."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of tokens."""
        ...


class Stream:
    """A text in the making.

    Args:
        tokenizer: Makes its text.
        stop: Strings that end it, none of them empty.

    Attributes:
        text: What is certain, without the stop string.
        stopped: A stop string was met.
    """

    def __init__(self, tokenizer: Decodes, stop: Sequence[str] = ()) -> None:
        self.text, self.stopped = "", False
        self._tokenizer, self._stop, self._told = tokenizer, stop, 0
        self._tokens: list[int] = []
        self._first = self._last = self._known = 0

    def take(self, token: int) -> str:
        """What can be told with one token more."""
        self._tokens.append(token)
        window = self._window()
        whole = window.rstrip(HALF)
        more = whole[self._known :]
        if more:
            self.text += more
            self._known = len(whole)
            if whole == window:
                self._first, self._last = self._last, len(self._tokens)
                self._known = len(self._window())
        return self._tell(final=False)

    def end(self) -> str:
        """The rest; what is left of a character is U+FFFD."""
        if not self.stopped:
            self.text += self._window()[self._known :]
        return self._tell(final=True)

    def _window(self) -> str:
        return self._tokenizer.decode(self._tokens[self._first :])

    def _tell(self, *, final: bool) -> str:
        if not self.stopped:
            found = [place for one in self._stop if (place := self.text.find(one, self._told)) >= 0]
            if found:
                self.stopped, self.text = True, self.text[: min(found)]
        held = 0 if final or self.stopped else self._held()
        new = self.text[self._told : len(self.text) - held]
        self._told += len(new)
        return new

    def _held(self) -> int:
        """Characters at the end that may be the begin of a stop string."""
        rest = self.text[self._told :]
        sizes = (size for one in self._stop for size in range(1, len(one)) if rest.endswith(one[:size]))
        return max(sizes, default=0)
