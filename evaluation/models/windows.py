"""Which tokens are read at once, and which of them are predicted: as lm-evaluation-harness does it, for whoever computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

__all__ = ["Encode", "Window", "batches", "scored_windows", "text_windows"]

Encode = Callable[[Sequence[str]], list[list[int]]]


class Window(NamedTuple):
    """Tokens that are read at once.

    Attributes:
        request: Number of the request that it belongs to.
        start: Number of its first target in the request.
        tokens: What is read, and the last target; one more than positions.
        targets: How many of the last tokens are predicted.
    """

    request: int
    start: int
    tokens: list[int]
    targets: int


def scored_windows(
    encode: Encode, pairs: Sequence[tuple[str, str]], prefix: int, length: int
) -> tuple[list[Window], list[int]]:
    """A window for each (context, continuation), and how many tokens each lost, from its begin, to fit in."""
    windows, cuts = list[Window](), list[int]()
    for request, (context, continuation) in enumerate(_apart(encode, pairs)):
        whole = (context or [prefix]) + continuation
        cuts.append(max(len(whole) - length - 1, 0))
        windows.append(Window(request, 0, whole[cuts[-1] :], min(len(continuation), length)))
    return windows, cuts


def text_windows(texts: Sequence[list[int]], prefix: int, length: int) -> list[Window]:
    """The windows of texts, in order: each token is a target once, and the last window of a text is full."""
    return [window for request, tokens in enumerate(texts) for window in _windows(request, tokens, prefix, length)]


def batches(order: Sequence[int], size: Callable[[int], int], *, most: int) -> Iterator[list[int]]:
    """Numbers in order, put together so that the rows, filled up to the first (the longest), have at most `most` tokens."""
    some: list[int] = []
    for number in order:
        if some and (len(some) + 1) * size(some[0]) > most:
            yield some
            some = []
        some.append(number)
    if some:
        yield some


def _apart(encode: Encode, pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[list[int], list[int]]]:
    """Tokens of contexts and continuations, cut where the context's tokens end in those of both together."""
    moved = []
    for context, continuation in pairs:
        bare = context.rstrip()
        moved.append((bare, context[len(bare) :] + continuation))
    wholes = encode([context + continuation for context, continuation in moved])
    contexts = encode([context for context, _ in moved])
    for whole, context in zip(wholes, contexts, strict=True):
        yield whole[: len(context)], whole[len(context) :]


def _windows(request: int, tokens: list[int], prefix: int, length: int) -> Iterator[Window]:
    padded = [prefix, *tokens]
    for start in range(0, len(tokens), length):
        stop = min(start + length, len(tokens))
        yield Window(request, start, padded[max(stop - length, 0) : stop + 1], stop - start)
