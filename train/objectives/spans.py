"""Spans that labels of words say, and how many of them were found: what named entities are scored by.

A span is right where its begin, end and type are. Spans are those of conlleval (Tjong Kim Sang and Buchholz 2000), of BIO
and BIOES labels, or runs of one label where there is an `O` and no prefix; F1 over all of a split equals seqeval's default
for BIO labels (tested against counts by hand).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["has_spans", "span_counts", "spans"]


class _Span(NamedTuple):
    start: int
    stop: int
    kind: str


def has_spans(labels: Sequence[Any]) -> bool:
    """Labels of words that say spans: one is `O`, or begins with `B-` or `I-`."""
    return any(label == "O" or str(label)[:2] in ("B-", "I-") for label in labels)


def span_counts(gold: Sequence[str], predicted: Sequence[str | None]) -> tuple[int, int, int]:
    """Spans of a text: those that are there, those that were found, and those of them that are right.

    Args:
        gold: Labels of its words.
        predicted: What they were taken for; None for a word that was not read.
    """
    wanted, found = spans(gold), spans([label or "O" for label in predicted])
    return len(wanted), len(found), len(wanted & found)


def spans(labels: Sequence[str]) -> set[_Span]:
    """The spans that labels of words say: `B-X I-X`, also `S-X` and `I-X E-X`; or `X X` where no label has a prefix.

    As conlleval reads them: a span begins at a `B-` or `S-`, where the type changes, and at an `I-` or `E-` behind no span.
    """
    found, start, kind = set[_Span](), 0, ""
    prefixed = any(label[1:2] == "-" and label[0] in "BIESLU" for label in labels)
    for place, label in enumerate([*labels, "O"]):
        prefix, _, name = label.partition("-") if prefixed else ("I", "-", label)
        name = "" if label == "O" else name
        if kind and (name != kind or prefix in "BSU"):
            found.add(_Span(start, place, kind))
            kind = ""
        if name and not kind:
            start, kind = place, name
        if kind and prefixed and prefix in "ESLU":
            found.add(_Span(start, place + 1, kind))
            kind = ""
    return found
