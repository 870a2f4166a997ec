"""How long a pattern may take on a text, and what happens then, so that nobody takes that text for clean.

The limit is in CPU seconds, and of the whole search of one text by one pattern. Presidio's own is 60 seconds, and behind it
a log line: the text then counts as one in which nothing was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["SECONDS", "PatternTimeout", "bound"]

SECONDS = 5
"""CPU seconds that one pattern may take on one text."""


class PatternTimeout(OSError):
    """A pattern took longer than it may: no fault that will be there again for certain, so the document is tried again."""


class _Limited:
    """A compiled pattern with a limit of its own."""

    def __init__(self, compiled: Any, name: str) -> None:
        self.compiled, self.name = compiled, name

    def finditer(self, text: str, timeout: float | None = None) -> Iterator[Any]:
        """As that of `regex`; the limit is ours, and passing it an error that Presidio does not swallow."""
        try:
            yield from self.compiled.finditer(text, timeout=SECONDS)
        except TimeoutError:
            raise PatternTimeout(f"the pattern `{self.name}` takes more than {SECONDS} s on a text") from None


def bound(analyzer: Any) -> Any:
    """Put the limit on a recognizer of Presidio's that has patterns; the recognizer."""
    import regex

    flags = getattr(analyzer, "global_regex_flags", 0)
    for pattern in getattr(analyzer, "patterns", None) or ():
        pattern.compiled_regex, pattern.compiled_with_flags = (
            _Limited(regex.compile(pattern.regex, flags), pattern.name),
            flags,
        )
    return analyzer
