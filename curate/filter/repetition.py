"""Repeated n-grams of tokens, compiled: datatrove's numbers for the repetition rules of Gopher.

datatrove counts strings: the most frequent n-grams are of tokens joined by a space, repeated ones of tokens joined by
nothing, so that `ab c` repeats `a bc`. Here an n-gram's hash is put together from those of its tokens
(curate/stages/tokens.py: a polynomial, so that it is a difference of two sums times a power), and what the hash table finds
is compared: token by token, and byte by byte where the tokens differ. Nothing is counted by hash alone.

Memory: 60 bytes for each token of the longest text.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from curate.stages.tokens import BASE, INVERSE, Tokenized

__all__ = ["REPEATED", "TOP", "repeated_n_grams"]

TOP = (2, 3, 4)
REPEATED = (5, 6, 7, 8, 9, 10)
_MOST_SPACED = 4
"""Up to so many tokens an n-gram has spaces between them."""
_SPREAD = np.uint64(0xC4CEB9FE1A85EC53)
_SPACE = np.uint64(0x20 + 1)


def repeated_n_grams(tokens: Tokenized) -> np.ndarray:
    """Characters (texts x 9, int64): those of the most frequent 2-, 3-, 4-gram, and those in repeated 5-, ... 10-grams.

    The most frequent n-gram counts with the spaces between its tokens, each time it occurs; of a text without n-grams it is 0.
    """
    vocabulary = tokens.vocabulary
    return _repeated(
        tokens.ids, tokens.bounds, vocabulary.lengths, vocabulary.sums, vocabulary.powers, vocabulary.inverses,
        vocabulary.strings.data, vocabulary.strings.starts,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _same(ids, left, right, n, data, starts):  # noqa: ANN001, ANN202
    """Whether two n-grams are the same string."""
    spaced, same = n <= _MOST_SPACED, np.int64(0)
    while same < n and ids[left + same] == ids[right + same]:
        same += 1
    if same == n:
        return True
    # other tokens may still make the same string
    ends = left + n, right + n
    token, other = left + same, right + same
    place, other_place = starts[ids[token]], starts[ids[other]]
    while True:
        byte, other_byte = -1, -1
        while byte < 0 and token < ends[0]:
            if place < starts[ids[token] + 1]:
                byte = np.int64(data[place])
                place += 1
                break
            token += 1
            if token < ends[0]:
                place = starts[ids[token]]
                if spaced:
                    byte = 0x20
        while other_byte < 0 and other < ends[1]:
            if other_place < starts[ids[other] + 1]:
                other_byte = np.int64(data[other_place])
                other_place += 1
                break
            other += 1
            if other < ends[1]:
                other_place = starts[ids[other]]
                if spaced:
                    other_byte = 0x20
        if byte != other_byte:
            return False
        if byte < 0:
            return True


@njit(cache=True, nogil=True)
def _sum_up(ids, first, last, n, sums, powers, inverses, total, back) -> None:  # noqa: ANN001
    """Sums of the hashes of the tokens up to each, and the inverse of the power that those behind are multiplied with."""
    spaced = n <= _MOST_SPACED
    running, power, inverse = np.uint64(0), np.uint64(1), np.uint64(1)
    total[0], back[0] = running, inverse
    for place in range(last - first):
        token = ids[first + place]
        running += power * sums[token]
        power *= powers[token]
        inverse *= inverses[token]
        if spaced:
            running += power * _SPACE
            power *= BASE
            inverse *= INVERSE
        total[place + 1], back[place + 1] = running, inverse


@njit(cache=True, nogil=True)
def _top(ids, first, words, n, total, back, ends, keys, counts, seen, base, shift, data, starts):  # noqa: ANN001, ANN202
    """Characters of the most frequent n-gram, as often as it occurs; the first one of several."""
    best, best_place = 0, 0
    for place in range(words - n + 1):
        key = (total[place + n] - total[place]) * back[place]
        keys[place] = key
        slot = np.int64((key * _SPREAD) >> shift)
        while seen[slot] >= base:
            known = seen[slot] - base
            if keys[known] == key and _same(ids, first + known, first + place, n, data, starts):
                break
            slot = (slot + 1) & (len(seen) - 1)
        if seen[slot] < base:
            seen[slot] = base + place
            counts[place] = 0
            known = place
        else:
            known = seen[slot] - base
        counts[known] += 1
        if counts[known] > best or (counts[known] == best and known < best_place):
            best, best_place = counts[known], known
    if best == 0:
        return 0
    return (ends[best_place + n] - ends[best_place] + n - 1) * best


@njit(cache=True, nogil=True)
def _again(ids, first, words, n, total, back, ends, keys, seen, base, shift, data, starts):  # noqa: ANN001, ANN202
    """Characters in n-grams that occurred before; behind one of these the next one begins."""
    characters, place = 0, 0
    while place < words - n + 1:
        key = (total[place + n] - total[place]) * back[place]
        slot = np.int64((key * _SPREAD) >> shift)
        found = False
        while seen[slot] >= base:
            known = seen[slot] - base
            if keys[known] == key and _same(ids, first + known, first + place, n, data, starts):
                found = True
                break
            slot = (slot + 1) & (len(seen) - 1)
        if found:
            characters += ends[place + n] - ends[place]
            place += n
        else:
            seen[slot] = base + place
            keys[place] = key
            place += 1
    return characters


@njit(cache=True, nogil=True)
def _repeated(ids, bounds, lengths, sums, powers, inverses, data, starts):  # noqa: ANN001, ANN202
    counted = np.zeros((len(bounds) - 1, 9), np.int64)
    most = 1
    for document in range(len(bounds) - 1):
        most = max(most, bounds[document + 1] - bounds[document])
    bits = 6
    while (1 << bits) < 2 * most:
        bits += 1
    seen, base = np.full(1 << bits, -1, np.int64), np.int64(0)
    keys, counts, ends = np.empty(most, np.uint64), np.empty(most, np.int64), np.zeros(most + 1, np.int64)
    total, back = np.empty(most + 1, np.uint64), np.empty(most + 1, np.uint64)
    for document in range(len(bounds) - 1):
        first, last = bounds[document], bounds[document + 1]
        words = last - first
        # a small text needs a small part of the table, which stays in the cache
        bits = 6
        while (1 << bits) < 2 * words:
            bits += 1
        part, shift = seen[: 1 << bits], np.uint64(64 - bits)
        for place in range(words):
            ends[place + 1] = ends[place] + lengths[ids[first + place]]
        for n in range(2, 11):
            if n == 2 or n == _MOST_SPACED + 1:
                _sum_up(ids, first, last, n, sums, powers, inverses, total, back)
            if n > _MOST_SPACED:
                counted[document, n - 2] = _again(
                    ids, first, words, n, total, back, ends, keys, part, base, shift, data, starts
                )
            else:
                counted[document, n - 2] = _top(
                    ids, first, words, n, total, back, ends, keys, counts, part, base, shift, data, starts
                )
            base += words
    return counted
