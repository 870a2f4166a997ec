"""What of a text can be told while it is written: no half character, and nothing that may become a stop string.

A token costs the decoding of a few others, however long the text is: only those behind the last whole character, and the token
before them, from which decoders see whether a word begins. Of bytes that make no character no more than PENDING tokens are
looked at again. A stop string is found wherever it stands over the borders of tokens, and the text ends before it; how much of
each the end of the text is (Knuth, Morris and Pratt) is kept, so that a character costs the same however long they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

__all__ = ["Decodes", "Stream"]

HALF = "\N{REPLACEMENT CHARACTER}"
PENDING, CHARACTER = 16, 3
"""Most tokens that are looked at again while they end in no whole character, and most that can be the begin of one."""


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
        special: Special tokens are shown.

    Attributes:
        text: What is certain, without the stop string.
        stopped: A stop string was met.
    """

    def __init__(self, tokenizer: Decodes, stop: Sequence[str] = (), *, special: bool = False) -> None:
        self.text, self.stopped = "", False
        self._tokenizer, self._special, self._told, self._read = tokenizer, special, 0, 0
        self._stops = [_Stop(one) for one in stop]
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
                self._pass(len(self._tokens))
        elif window.endswith(HALF) and len(self._tokens) - self._last > PENDING:
            cut = len(self._tokens) - CHARACTER
            self.text += window[self._known : len(self._window(cut))]
            self._pass(cut)
        return self._tell(final=False)

    def _pass(self, place: int) -> None:
        """What stands before a place is text for good."""
        self._first, self._last = self._last, place
        self._known = len(self._window(place))

    def end(self) -> str:
        """The rest; what is left of a character is U+FFFD."""
        if not self.stopped:
            self.text += self._window()[self._known :]
        return self._tell(final=True)

    def _window(self, end: int | None = None) -> str:
        return self._tokenizer.decode(self._tokens[self._first : end], skip_special_tokens=not self._special)

    def _tell(self, *, final: bool) -> str:
        if not self.stopped:
            new, before = self.text[self._read :], self._read
            found = [before + size - len(one.text) for one in self._stops if (size := one.take(new))]
            self._read = len(self.text)
            if found:
                self.stopped, self.text = True, self.text[: min(found)]
        # characters at the end that may be the begin of a stop string
        held = 0 if final or self.stopped else max((one.met for one in self._stops), default=0)
        new = self.text[self._told : len(self.text) - held]
        self._told += len(new)
        return new


class _Stop:
    """A string that is looked for.

    Attributes:
        text: The string.
        met: So many of its first characters are the last ones that were read.
    """

    def __init__(self, text: str) -> None:
        self.text, self.met, self._borders = text, 0, _borders(text)

    def take(self, new: str) -> int:
        """Read on; how many of the new characters it ends after, or 0."""
        for place, character in enumerate(new, 1):
            while self.met and self.text[self.met] != character:
                self.met = self._borders[self.met - 1]
            self.met += self.text[self.met] == character
            if self.met == len(self.text):
                return place
        return 0


@lru_cache(maxsize=64)  # the texts of a request share them
def _borders(text: str) -> list[int]:
    """Of each beginning the length of its longest shorter beginning that it ends with."""
    found, size = [0], 0
    for character in text[1:]:
        while size and text[size] != character:
            size = found[size - 1]
        size += text[size] == character
        found.append(size)
    return found
