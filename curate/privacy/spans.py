"""Spans of personal data: which stay where some overlap, what shows when they are taken out, and the text without them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
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

    taken = bytearray(max((span.end for span in spans), default=0))
    left: list[Span] = []
    for span in sorted(spans, key=rank):
        if taken.find(1, span.start, span.end) < 0:
            taken[span.start : span.end] = bytes([1]) * (span.end - span.start)
            left.append(span)
    return sorted(left)


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
    the rounds end. A round costs in proportion to the text and to what is found, up to a logarithm.
    """
    spans = _found(text, recognizers, least)
    more = spans
    while more:
        made = _made(text, spans, instead)
        found = _found(_joined(text, spans, made), recognizers, least)
        more = list(_uncovered(_original(found, spans, made), spans))
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


def _original(found: Sequence[Span], spans: Sequence[Span], made: Sequence[str]) -> Iterator[Span]:
    """Spans of the edited text in the coordinates of the text as given; what stands instead counts whole if one meets it."""
    begins: list[int] = []
    finishes: list[int] = []
    shift = 0
    for span, one in zip(spans, made, strict=True):
        begins.append(span.start + shift)
        finishes.append(begins[-1] + len(one))
        shift += len(one) - (span.end - span.start)

    for one in found:
        first, last = bisect_right(finishes, one.start), bisect_left(finishes, one.end)
        start_inside = first < len(spans) and one.start >= begins[first]
        end_inside = last < len(spans) and one.end > begins[last]
        yield one._replace(
            start=spans[first].start if start_inside else _moved(one.start, first, spans, begins, shift),
            end=spans[last].end if end_inside else _moved(one.end, last, spans, begins, shift),
        )


def _moved(position: int, at: int, spans: Sequence[Span], begins: Sequence[int], shift: int) -> int:
    """A place of the edited text before the span `at`, in the text as given."""
    return position - (begins[at] - spans[at].start if at < len(spans) else shift)


def _uncovered(found: Iterator[Span], spans: Sequence[Span]) -> Iterator[Span]:
    """Those of which `spans`, disjoint and in order, leave a character."""
    ends = [span.end for span in spans]
    for one in found:
        position = one.start
        for span in spans[bisect_right(ends, one.start) : bisect_left(ends, one.end) + 1]:
            if span.start > position:
                break
            position = span.end
        if position < one.end:
            yield one


def _merged(spans: Sequence[Span], more: Sequence[Span]) -> list[Span]:
    """Both, in order; a new span swallows the old ones inside it. The ends of the new ones ascend as their starts do."""
    starts = [new.start for new in more]

    def swallowed(old: Span) -> bool:
        place = bisect_right(starts, old.start)
        return place > 0 and old.end <= more[place - 1].end

    return sorted([*(old for old in spans if not swallowed(old)), *more])
