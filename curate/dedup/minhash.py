"""MinHash and Jaccard similarity of word n-grams, compiled, straight over an Arrow UTF-8 buffer.

One pass hashes the words (curate/dedup/words.py says what a word is) to 64 bits; a rolling polynomial makes the hash of
every n-gram of them; a document of fewer words than n has one n-gram of all its words, and a text without any word one
of its bytes, so that only an equal text matches it. MinHash (Broder 1997) keeps, for each of bands x rows random linear
permutations of 32 bits, the smallest value over the n-grams; `rows` of them together make the hash of a band.

Jaccard similarities are of the sets of 64-bit n-gram hashes: two different n-grams of a pair of documents of a thousand
words meet with a chance of 1e-13, so they are those of the n-grams themselves.

Cost, one core: benchmarks/minhash.py. Memory: 8 bytes a word of the longest document of a batch.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from curate.dedup.words import ALONE, CODE, WORD
from curate.stages.kernels import decode, mix

__all__ = ["hash_words", "jaccard", "permutations", "shingle_sets", "sign"]

_START = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_THIRTY_TWO = np.uint64(32)
_WORDLESS = np.uint64(0x5851F42D4C957F2D)
_BLOCK = 2048
"""N-grams whose smallest values are taken together: 8 KB, which stay in the first-level cache."""


def permutations(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers (odd) and increments, uint32 each, of `count` permutations; SplitMix64, the same everywhere."""
    mask = (1 << 64) - 1
    state, drawn = seed & mask, []
    for _ in range(2 * count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        value = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
        drawn.append((value ^ (value >> 31)) >> 32)
    values = np.array(drawn, dtype=np.uint32)
    return values[0::2] | np.uint32(1), values[1::2].copy()


@njit(cache=True, nogil=True)
def _wide_entry(code):  # noqa: ANN001, ANN202
    """The entry of a character beyond the table: emoji and rare Han are words by themselves, the rest letters."""
    if code >= 0x20000 or 0x1F000 <= code <= 0x1FBFF:
        return code | WORD | ALONE
    return code | WORD


@njit(cache=True, nogil=True)
def hash_words(data, start: int, stop: int, table, words) -> int:  # noqa: ANN001
    """Write the hashes of the words of data[start:stop] to `words`; returns how many there are."""
    count, position, inside, state = 0, start, False, _START
    while position < stop:
        code = np.int64(data[position])
        if code < 0x80:
            position += 1
        else:
            code, position = decode(data, position, stop)
        entry = np.int64(table[code]) if code < 0x10000 else _wide_entry(code)
        if inside and (entry == 0 or entry & ALONE):
            words[count] = mix(state)
            count, inside, state = count + 1, False, _START
        if entry == 0:
            continue
        state = (state ^ np.uint64(entry & CODE)) * _PRIME
        inside = True
        if entry & ALONE:
            words[count] = mix(state)
            count, inside, state = count + 1, False, _START
    if inside:
        words[count] = mix(state)
        count += 1
    return count


@njit(cache=True, nogil=True)
def _hash_shingles(data, start: int, stop: int, table, ngram: int, buffer):  # noqa: ANN001, ANN202
    """Write the n-gram hashes of a text to `buffer`; returns how many, and a hash of all words in their order."""
    words = hash_words(data, start, stop, table, buffer)
    if words == 0:
        state = _WORDLESS
        for position in range(start, stop):
            state = (state ^ np.uint64(data[position])) * _PRIME
        buffer[0] = mix(state)
        return 1, mix(state ^ _BASE)
    sequence = _START
    for index in range(words):
        sequence = sequence * _BASE + buffer[index]
    width = min(ngram, words)
    rolling, leaving = np.uint64(0), np.uint64(1)
    for index in range(width):
        rolling = rolling * _BASE + buffer[index]
        leaving *= _BASE
    shingles = words - width + 1
    for index in range(shingles):
        oldest = buffer[index]
        buffer[index] = mix(rolling)
        if index + 1 < shingles:
            rolling = rolling * _BASE + buffer[index + width] - oldest * leaving
    return shingles, mix(sequence)


@njit(cache=True, nogil=True)
def _lower_minima(shingles, count: int, multipliers, increments, minima) -> None:  # noqa: ANN001
    """The smallest value of each permutation over the first `count` n-grams."""
    block = np.empty(_BLOCK, dtype=np.uint32)
    minima[:] = np.uint32(0xFFFFFFFF)
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        for index in range(size):
            block[index] = np.uint32(shingles[start + index] >> _THIRTY_TWO)
        for row in range(len(minima)):
            multiplier, increment, least = multipliers[row], increments[row], minima[row]
            for index in range(size):
                least = min(least, np.uint32(block[index] * multiplier + increment))
            minima[row] = least


def _longest(offsets: np.ndarray) -> int:
    """Room for the words of the longest text: every second byte at most begins one, and one for none at all."""
    return int(np.diff(offsets).max(initial=0)) // 2 + 2


def sign(
    data: np.ndarray,
    offsets: np.ndarray,
    *,
    table: np.ndarray,
    ngram: int,
    bands: int,
    multipliers: np.ndarray,
    increments: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Band hashes (uint64, bands x documents), and a hash of every document's sequence of words (uint64)."""
    buffer = np.empty(_longest(offsets), dtype=np.uint64)
    return _sign(data, offsets, table, ngram, bands, multipliers, increments, buffer)


@njit(cache=True, nogil=True)
def _sign(data, offsets, table, ngram, bands, multipliers, increments, buffer):  # noqa: ANN001, ANN202
    documents, rows = len(offsets) - 1, len(multipliers) // bands
    hashes = np.empty((bands, documents), dtype=np.uint64)
    sequences = np.empty(documents, dtype=np.uint64)
    minima = np.empty(len(multipliers), dtype=np.uint32)
    for document in range(documents):
        count, sequences[document] = _hash_shingles(
            data, offsets[document], offsets[document + 1], table, ngram, buffer
        )
        _lower_minima(buffer, count, multipliers, increments, minima)
        for band in range(bands):
            state = _START
            for row in range(band * rows, (band + 1) * rows):
                state = mix((state ^ np.uint64(minima[row])) * _BASE)
            hashes[band, document] = state
    return hashes, sequences


def shingle_sets(
    data: np.ndarray, offsets: np.ndarray, *, table: np.ndarray, ngram: int
) -> tuple[np.ndarray, np.ndarray]:
    """The sets of n-gram hashes of the texts: each sorted, one after the other (uint64), and their sizes (int64)."""
    buffer = np.empty(_longest(offsets), dtype=np.uint64)
    values = np.empty(int(np.sum(np.diff(offsets) // 2 + 2)), dtype=np.uint64)
    used, sizes = _shingle_sets(data, offsets, table, ngram, buffer, values)
    return values[:used], sizes


@njit(cache=True, nogil=True)
def _shingle_sets(data, offsets, table, ngram, buffer, values):  # noqa: ANN001, ANN202
    documents, used = len(offsets) - 1, 0
    sizes = np.empty(documents, dtype=np.int64)
    for document in range(documents):
        count, _ = _hash_shingles(data, offsets[document], offsets[document + 1], table, ngram, buffer)
        first = used
        for value in np.sort(buffer[:count]):
            if used == first or value != values[used - 1]:
                values[used] = value
                used += 1
        sizes[document] = used - first
    return used, sizes


@njit(cache=True, nogil=True)
def jaccard(values, bounds, left, right):  # noqa: ANN001, ANN201
    """Similarities (float64) of the pairs of sets left[i], right[i]; set s is values[bounds[s]:bounds[s + 1]]."""
    similarities = np.empty(len(left), dtype=np.float64)
    for pair in range(len(left)):
        a, a_stop = bounds[left[pair]], bounds[left[pair] + 1]
        b, b_stop = bounds[right[pair]], bounds[right[pair] + 1]
        union, common = (a_stop - a) + (b_stop - b), 0
        while a < a_stop and b < b_stop:
            first, second = values[a], values[b]
            common += first == second
            a += first <= second
            b += second <= first
        similarities[pair] = common / (union - common)
    return similarities
