"""Spans of personal data: which stay where some overlap, what shows when they are taken out, and the text without them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from curate.stages.contract import Span

if TYPE_CHECKING:
    from curate.privacy.recognizers import Recognizer

__all__ = ["CHECKED", "beside", "find_all", "rendered", "resolve"]

CHECKED = frozenset({"EMAIL_ADDRESS", "IP_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "CRYPTO"})
"""Types proven by more than their shape: a checksum, a parser, a list of domains."""


def resolve(spans: Sequence[Span]) -> list[Span]:
    """Disjoint spans in the order of the text.

    A secret goes first (the password in a URL is no part of an address), then a checked type before a shape, then the
    score, then the length.
    """

    def rank(span: Span) -> tuple[Any, ...]:
        return span.type != "SECRET", span.type not in CHECKED, -span.score, span.start - span.end, span.start

    taken: list[Span] = []
    for span in sorted(spans, key=rank):
        place = bisect_left(taken, span[:2], key=lambda one: one[:2])
        before_ends = taken[place - 1].end if place else 0
        after_starts = taken[place].start if place < len(taken) else span.end
        if before_ends <= span.start and span.end <= after_starts:
            taken.insert(place, span)
    return taken


def beside(spans: Sequence[Span], names: Sequence[Span]) -> list[Span]:
    """Spans, and of others those that touch none of them; in order."""
    starts = [span.start for span in spans]

    def is_apart(one: Span) -> bool:
        place = bisect_left(starts, one.end)
        return place == 0 or spans[place - 1].end <= one.start

    apart = [one for one in names if is_apart(one)]
    return sorted([*spans, *apart])


def find_all(
    text: str,
    recognizers: Sequence[Recognizer],
    least: Mapping[str, float],
    instead: Mapping[str, str | Callable[[str], str]],
) -> list[Span]:
    """All disjoint spans of a text, in its order.

    What is left without them may hold data that only shows now (two numbers run together): it is searched again until
    nothing is found. What only what stands instead is found in is left out, so every round takes characters of the text, and
    the rounds end.
    """
    spans = _found(text, recognizers, least)
    more = spans
    while more:
        made = _made(text, spans, instead)
        found = _found(_joined(text, spans, made), recognizers, least)
        more = [one for new in found if not _covered(one := _original(new, spans, made), spans)]
        spans = _merged(spans, more)
    return spans


def _found(text: str, recognizers: Sequence[Recognizer], least: Mapping[str, float]) -> list[Span]:
    """The disjoint spans of a text that are certain enough."""
    spans = [span for recognizer in recognizers for span in recognizer.find(text) if span.score >= least[span.type]]
    return resolve(spans)


def rendered(text: str, spans: Sequence[Span], instead: Mapping[str, str | Callable[[str], str]]) -> str:
    """The text with something else in the place of each span: a string, or what a function makes of the value."""
    return _joined(text, spans, _made(text, spans, instead))


def _made(text: str, spans: Sequence[Span], instead: Mapping[str, str | Callable[[str], str]]) -> list[str]:
    return [one if isinstance(one := instead[s.type], str) else one(text[s.start : s.end]) for s in spans]


def _joined(text: str, spans: Sequence[Span], made: Sequence[str]) -> str:
    pieces, position = [], 0
    for span, one in zip(spans, made, strict=True):
        pieces += [text[position : span.start], one]
        position = span.end
    return "".join([*pieces, text[position:]])


def _original(found: Span, spans: Sequence[Span], made: Sequence[str]) -> Span:
    """A span of the edited text in the coordinates of the text as given; what stands instead counts whole if it meets it."""
    start, end, shift = found.start, found.end, 0
    first = last = None
    for span, one in zip(spans, made, strict=True):
        begin = span.start + shift
        finish = begin + len(one)
        if first is None and start < finish:
            first = span.start if start >= begin else start - shift
        if last is None and end <= finish:
            last = end - shift if end <= begin else span.end
        shift += len(one) - (span.end - span.start)
    return found._replace(start=start - shift if first is None else first, end=end - shift if last is None else last)


def _covered(one: Span, spans: Sequence[Span]) -> bool:
    """Whether spans take all characters of one."""
    taken = sum(max(0, min(one.end, span.end) - max(one.start, span.start)) for span in spans)
    return taken == one.end - one.start


def _merged(spans: Sequence[Span], more: Sequence[Span]) -> list[Span]:
    """Both, in order; a new span swallows the old ones inside it."""
    left = [old for old in spans if not any(new.start <= old.start and old.end <= new.end for new in more)]
    return sorted([*left, *more])
