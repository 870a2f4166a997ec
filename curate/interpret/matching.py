"""Longest matches of a query in tokens, by binary search over their suffix array (Manber and Myers 1993).

Of each place of the query the suffixes beside which it would stand are found; what it shares with the longer of the two is the
longest match. A document's end is a token that no query has, so that no match crosses it. Cost: of each token of the query
about log2(tokens) places of the array, some 2 microseconds when they are in memory. Of the places within a match those are
looked at that find where the next one begins, so that a text which stands there as a whole costs little more than reading it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["NEVER", "interval", "longest_matches", "maximal"]

Array = NDArray[Any]
NEVER = -1
"""In a query: a token that no text has."""
WORK = 1 << 24
"""Tokens that are compared without a pause, about: a second or less."""
SEARCH = 32
"""What one search costs besides, in such tokens."""


@njit(cache=True, nogil=True)
def _end(ends: Array, position: int | np.int64) -> int:
    """The end of the document that has this position."""
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high) // 2
        if ends[middle] <= position:
            low = middle + 1
        else:
            high = middle
    return ends[low]


@njit(cache=True, nogil=True)
def _compared(
    tokens: Array,
    ends: Array,
    separator: int,
    position: int | np.int64,
    query: Array,
    start: int | np.int64,
    stop: int,
    shared: int,
) -> tuple[int, int]:
    """How many tokens a suffix and `query[start:stop]` share (`shared` are known); -1 if it stands before that, 1 behind."""
    end = np.int64(_end(ends, position))
    while position + shared < end and start + shared < stop and tokens[position + shared] == query[start + shared]:
        shared += 1
    if start + shared >= stop:
        return shared, 0
    token = np.int64(tokens[position + shared]) if position + shared < end else np.int64(separator)
    return shared, -1 if token < query[start + shared] else 1


@njit(cache=True, nogil=True)
def _longest(suffixes: Array, tokens: Array, ends: Array, separator: int, query: Array, start: int | np.int64) -> int:
    """The longest match that begins at a place of the query."""
    low, high, before, behind, longest = 0, len(suffixes), 0, 0, 0
    while low < high:
        middle = (low + high) // 2
        shared, order = _compared(
            tokens, ends, separator, np.int64(suffixes[middle]), query, start, len(query), min(before, behind)
        )
        longest = max(longest, shared)
        if order == 0:
            break
        if order < 0:
            low, before = middle + 1, shared
        else:
            high, behind = middle, shared
    return longest


@njit(cache=True, nogil=True)
def _matches(
    suffixes: Array, tokens: Array, ends: Array, separator: int, query: Array, longest: Array, start: int | np.int64
) -> int | np.int64:
    """Go on with `longest_matches` at `start` for some WORK tokens; gives where it came to.

    Where a match ends, those that begin within it end too, or further on, and never before one that began earlier: the first
    that ends further on is looked for in steps that double, then by halves.
    """
    work = 0
    while start < len(query) and work < WORK:
        length = _longest(suffixes, tokens, ends, separator, query, start)
        stop = start + length
        alike, step = start, 1  # the last place that is known to end there
        beyond = max(stop, start + 1) if stop < len(query) else len(query)  # the first that does not
        while stop < len(query) and beyond - alike > 1:
            probe = min(alike + step, (alike + beyond) // 2)
            work += stop - probe + SEARCH
            if probe + _longest(suffixes, tokens, ends, separator, query, probe) == stop:
                alike, step = probe, 2 * step
            else:
                beyond = probe
        for place in range(start, beyond):
            longest[place] = max(longest[place], stop - place)
        work += length + SEARCH
        start = beyond
    return start


def longest_matches(suffixes: Array, tokens: Array, ends: Array, separator: int, query: Array, longest: Array) -> None:
    """Raise `longest`, (query,) int64, to the longest match that begins at each place of the query.

    Args:
        suffixes: (tokens,) where suffixes begin, in their order.
        tokens: (tokens,).
        ends: (documents,) where documents end.
        separator: The token that stands for an end; the query does not have it.
        query: (query,) int64.
        longest: What is known already, of other tokens.
    """
    start = 0
    while start < len(query):  # between them Ctrl-C is heard
        start = _matches(suffixes, tokens, ends, separator, query, longest, start)


@njit(cache=True, nogil=True)
def interval(
    suffixes: Array, tokens: Array, ends: Array, separator: int, query: Array, start: int, stop: int
) -> tuple[int, int]:
    """From and to where in `suffixes` those stand that begin with `query[start:stop]`."""
    found = np.zeros(2, np.int64)
    for side in range(2):
        low, high = found[0], len(suffixes)
        while low < high:
            middle = (low + high) // 2
            _, order = _compared(tokens, ends, separator, np.int64(suffixes[middle]), query, start, stop, 0)
            if order < 0 or (side == 1 and order == 0):
                low = middle + 1
            else:
                high = middle
        found[side] = low
    return found[0], found[1]


def maximal(longest: NDArray[np.int64], shortest: int) -> NDArray[np.int64]:
    """(spans, 2): from and to of the longest matches that are in no other, and have `shortest` tokens at least."""
    starts = np.arange(len(longest))
    stops = starts + longest
    new = np.diff(stops, prepend=-1) > 0  # a match that ends where the one before it does, is a part of it
    chosen = new & (longest >= shortest)
    return np.stack([starts[chosen], stops[chosen]], axis=1)
