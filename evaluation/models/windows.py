"""Which tokens are read at once, and which of them are predicted: as lm-evaluation-harness does it, for whoever computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.evaluation.models.contract import Likelihood

__all__ = ["Encode", "Window", "batches", "likelihoods", "scored_windows", "text_windows"]

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
    """The windows of each (context, continuation), and how many tokens of each its last token was read without.

    Each token of a continuation is a target once; one that is longer than the model reads at once has several windows.

    Raises:
        CurateError: A continuation has no tokens.
    """
    windows, cuts = list[Window](), list[int]()
    for request, (context, continuation) in enumerate(_apart(encode, pairs)):
        before = context or [prefix]
        windows += _windows(request, before, continuation, length)
        cuts.append(max(len(before) + len(continuation) - length - 1, 0))
    return windows, cuts


def likelihoods(read: Iterable[tuple[Window, NDArray[np.float64], bool]], cuts: Sequence[int]) -> list[Likelihood]:
    """What comes of the windows of continuations.

    Args:
        read: Windows in any order; log-probabilities of their targets, and whether each was the likeliest token.
        cuts: Of each continuation, as `scored_windows` has them.
    """
    found = [Likelihood(0.0, 0, True, cut) for cut in cuts]
    for window, logs, greedy in read:
        one = found[window.request]
        found[window.request] = Likelihood(
            one.nats + float(logs.sum()), one.tokens + window.targets, one.greedy and greedy, one.cut
        )
    return found


def text_windows(texts: Sequence[list[int]], prefix: int, length: int) -> list[Window]:
    """The windows of texts, in order: each token is a target once, and the last window of a text is full."""
    return [window for request, tokens in enumerate(texts) for window in _windows(request, [prefix], tokens, length)]


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
    """Tokens of contexts and continuations, cut where those of a context are no longer those of both together.

    lm-evaluation-harness cuts behind as many tokens as the context has. That is the same, unless the continuation changes
    how the end of the context is cut: a token of both would be known beforehand, and the continuation may have none.
    """
    moved = []
    for context, continuation in pairs:
        bare = context.rstrip()
        moved.append((bare, context[len(bare) :] + continuation))
    wholes = encode([context + continuation for context, continuation in moved])
    contexts = encode([context for context, _ in moved])
    for (before, continuation), whole, context in zip(pairs, wholes, contexts, strict=True):
        common = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(whole, context, strict=False)))
        if not continuation or common == len(whole):
            raise CurateError(
                f"the continuation {continuation!r} of {before[-60:]!r} has no tokens: it has no likelihood"
            )
        yield whole[:common], whole[common:]


def _windows(request: int, before: list[int], tokens: list[int], length: int) -> Iterator[Window]:
    """Windows of tokens behind others: `length` targets each, and the last with as much before them as fits in."""
    whole = before + tokens
    for start in range(0, len(tokens), length):
        stop = min(start + length, len(tokens))
        end = len(before) + stop
        yield Window(request, start, whole[max(end - length - 1, 0) : end], stop - start)
