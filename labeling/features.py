"""Texts as hashed n-grams: words and pairs of words, and 3 to 5 characters within words, weighted by TF-IDF.

Words are folded and hashed as the toxicity model's are (capitals, accents, look-alikes); runs of characters keep
punctuation, and begin and end at white space, as scikit-learn's `char_wb` does. Each kind has 2^18 buckets (Weinberger et
al. 2009), so nothing is learned before features are made and a pool may be read in parts. Counts are 1 + log(count), times
the logarithm of how rare a bucket is, each kind scaled to length 1. Cost: 5 to 10 MB of text a CPU second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse

from curate.audit.toxicity.words import buffers, character_table, hash_words

__all__ = ["BUCKETS", "character_buckets", "hashed", "rarity", "spread", "weighted", "word_buckets"]

BUCKETS = 1 << 18
"""Of words; as many follow for runs of characters."""
_SHORTEST, _LONGEST = 3, 5
_PART = 10_000
_START = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_SHIFT = np.uint64(33)


def hashed(texts: Sequence[str], *, buckets: int = BUCKETS, characters: bool = True) -> Any:
    """How often each n-gram stands in each text: a sparse matrix (csr, float32), texts by 2 * buckets.

    Args:
        texts: Any; surrogates that are alone count as question marks.
        buckets: A power of two.
        characters: Count runs of characters, too; else words and pairs alone.
    """
    parts = [_counts(texts[start : start + _PART], buckets, characters) for start in range(0, len(texts), _PART)]
    return sparse.vstack(parts, format="csr") if parts else sparse.csr_array((0, 2 * buckets), dtype=np.float32)


def _counts(texts: Sequence[str], buckets: int, characters: bool) -> Any:
    data, offsets = buffers([text.encode("utf-8", "replace").decode() for text in texts])
    longest = int(np.diff(offsets).max(initial=0))
    room = 2 * (int(offsets[-1]) + len(texts)) + characters * 3 * (int(offsets[-1]) + 3 * len(texts))
    columns, ends = np.empty(room, np.int32), np.zeros(len(texts) + 1, np.int64)
    _ngrams(data, offsets, character_table(), np.uint64(buckets - 1), longest, characters, columns, ends)
    found = columns[: ends[-1]].copy()
    matrix = sparse.csr_array((np.ones(len(found), np.float32), found, ends), shape=(len(texts), 2 * buckets))
    matrix.sum_duplicates()
    return matrix


@njit(cache=True, nogil=True, inline="always")
def _bucket(state, mask):  # noqa: ANN001, ANN202
    state ^= state >> _SHIFT
    state *= _MIX
    return np.int64((state ^ (state >> _SHIFT)) & mask)


@njit(cache=True, nogil=True)
def _characters(data, start: int, stop: int, table, codes) -> int:  # noqa: ANN001
    """The folded characters of data[start:stop], white space as one 32 on either side of every word; returns how many."""
    count, position = 1, start
    codes[0] = 32
    while position < stop:
        lead = np.int64(data[position])
        width = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        code = lead if width == 1 else lead & (0xFF >> (width + 1))
        for offset in range(1, width):
            code = (code << 6) | (np.int64(data[position + offset]) & 0x3F)
        position += width
        entry = table[code] & 0xFFFFFF if code < 0x10000 else code
        code = entry if entry > 1 else code
        if code > 32 and code != 0xA0:
            codes[count] = code
            count += 1
        elif codes[count - 1] != 32:
            codes[count] = 32
            count += 1
    if codes[count - 1] != 32:
        codes[count] = 32
        count += 1
    return count


@njit(cache=True, nogil=True)
def word_buckets(words, count: int, mask, columns, used: int) -> int:  # noqa: ANN001
    """Write the buckets of hashed words and of pairs of them to columns[used:]; returns where they end."""
    for index in range(count):
        columns[used] = _bucket(words[index], mask)
        used += 1
        if index > 0:
            columns[used] = _bucket(words[index - 1] * _BASE + words[index], mask)
            used += 1
    return used


@njit(cache=True, nogil=True)
def character_buckets(data, start: int, stop: int, table, mask, codes, columns, used: int) -> int:  # noqa: ANN001
    """Write the buckets of the runs of characters of data[start:stop] to columns[used:]; returns where they end.

    Args:
        data: UTF-8 bytes (uint8).
        start: The first of them.
        stop: The one after the last.
        table: `character_table()`.
        mask: Buckets of words less one; those of characters follow them.
        codes: Room for stop - start + 2 numbers (int64).
        columns: Room for three times as many (int32).
        used: Where to begin there.
    """
    count, half = _characters(data, start, stop, table, codes), np.int64(mask) + 1
    for index in range(count - 1):
        state = _START
        for place in range(index, min(index + _LONGEST, count)):
            state = (state ^ np.uint64(codes[place])) * _PRIME
            if place - index + 1 >= _SHORTEST:
                columns[used] = half + _bucket(state, mask)
                used += 1
            if place > index and codes[place] == 32:
                break
    return used


@njit(cache=True, nogil=True)
def _ngrams(data, offsets, table, mask, longest: int, characters: bool, columns, ends) -> None:  # noqa: ANN001
    """Buckets of all n-grams of all texts, and where those of each text end."""
    words, second = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.uint64)
    codes, used = np.empty(longest + 2, np.int64), 0
    for text in range(len(offsets) - 1):
        count = hash_words(data, offsets[text], offsets[text + 1], table, words, second)
        used = word_buckets(words, count, mask, columns, used)
        if characters:
            used = character_buckets(data, offsets[text], offsets[text + 1], table, mask, codes, columns, used)
        ends[text + 1] = used


def rarity(counts: Any) -> NDArray[np.float32]:
    """The inverse document frequency of each bucket, log((1 + texts) / (1 + texts with it)) + 1; as scikit-learn's."""
    texts, width = counts.shape
    holding = np.bincount(counts.indices, minlength=width)
    return (np.log((1 + texts) / (1 + holding)) + 1).astype(np.float32)


def spread(rare: NDArray[np.float32], columns: NDArray[np.int64], width: int) -> NDArray[np.float32]:
    """Rarities at their columns; all other buckets count as good as nothing."""
    every = np.full(width, 1e-9, np.float32)
    every[columns] = rare
    return every


def weighted(counts: Any, rare: NDArray[np.float32]) -> Any:
    """TF-IDF of counts, with words and runs of characters each of length 1 (of no text where there are none)."""
    data = (1 + np.log(counts.data)) * rare[counts.indices]
    kind = 2 * np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr)) + (counts.indices >= counts.shape[1] // 2)
    squares = np.bincount(kind, data.astype(np.float64) ** 2, minlength=2 * counts.shape[0])
    data /= np.sqrt(squares)[kind]
    return sparse.csr_array((data, counts.indices, counts.indptr), shape=counts.shape)
