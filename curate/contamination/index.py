"""The n-grams of evaluation texts, and which of them a document has.

A text of at least `ngram` words is its n-grams of so many words; a shorter one is one n-gram, all of its words; one of fewer
than `shortest` is not looked for. In a document every run of `ngram` words is looked up, and every run of `shortest` words
that may end a short text. Of a text of which the document has an n-gram two numbers are told: the share of its n-grams that
the document has, and the words of its longest run of them, which is nearly always one passage (Touvron et al. 2023,
appendix A.6, count tokens in such n-grams; Brown et al. 2020, appendix C, one n-gram).

An n-gram of more than MOST_TEXTS texts leads to the shortest of these only, of which a document that has it has most:
whatever the order of the texts, one that stands whole in longer ones is found. The share of the others is right once another
n-gram leads there.

Cost: linear in the documents; memory about 50 bytes for each n-gram of the texts, and 24 for each word in a window of 4,096
words of a document, however long that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit

from curate.contamination.words import MOST, characters, next_words
from curate.stages.buffers import text_buffer
from curate.stages.kernels import mix

__all__ = ["Found", "Index", "build_index", "find_texts"]

MOST_TEXTS = 100
_WINDOW = 4096
_BASE = np.uint64(0x9E3779B97F4A7C15)
_LENGTH = np.uint64(0xD6E8FEB86659FD93)
_ONE = np.uint64(1)
_END = np.uint64(0xA24BAED4963EE407)


class Index(NamedTuple):
    """What is looked for.

    Attributes:
        ngram: Words of an n-gram.
        shortest: Words of the shortest text that is looked for.
        short: Lengths of the shorter texts there are (int64).
        keys: Hashes of all n-grams, ascending (uint64).
        marks: Bits of the hashes that a document's n-grams are held against first (uint64; a power of two of them).
        owners: The texts of each n-gram, one after the other (int32).
        owner_bounds: Where those of each n-gram begin (int64).
        grams: The n-grams of each text in its order, one after the other (int32).
        bounds: Where those of each text begin (int64).
        words: How many words each text has (int64).
    """

    ngram: int
    shortest: int
    short: np.ndarray
    keys: np.ndarray
    marks: np.ndarray
    owners: np.ndarray
    owner_bounds: np.ndarray
    grams: np.ndarray
    bounds: np.ndarray
    words: np.ndarray

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return sum(one.nbytes for one in self if isinstance(one, np.ndarray))


class Found(NamedTuple):
    """What documents have of the texts, a row for each pair of them, by document.

    Attributes:
        documents: (n,) which one (int64).
        texts: (n,) which text (int64).
        shares: (n,) of its n-grams (float64).
        longest: (n,) words of the longest run of them (int64).
        spans: (m, 3) pair, first character and that behind the last, where the document has the n-grams (int64), by pair.
    """

    documents: np.ndarray
    texts: np.ndarray
    shares: np.ndarray
    longest: np.ndarray
    spans: np.ndarray


# ---- n-grams


@njit(cache=True, nogil=True, inline="always")
def _key(value, length):  # noqa: ANN001, ANN202
    """The hash of a run of words, from their polynomial and how many they are."""
    return mix(value + np.uint64(length) * _LENGTH)


@njit(cache=True, nogil=True)
def _runs(words, count, length, out) -> None:  # noqa: ANN001
    """The hashes of all runs of so many of the first `count` words."""
    value, last = np.uint64(0), _ONE
    for _ in range(length - 1):
        last *= _BASE
    for place in range(count):
        if place >= length:
            value -= words[place - length] * last
        value = value * _BASE + words[place]
        if place >= length - 1:
            out[place - length + 1] = _key(value, length)


@njit(cache=True, nogil=True)
def _of_texts(data, offsets, table, several, ngram, shortest):  # noqa: ANN001, ANN202
    """Of each text its words, hashes of its n-grams one after the other, and of the ends of the short ones."""
    texts = len(offsets) - 1
    counts, sizes = np.zeros(texts, np.int64), np.zeros(texts, np.int64)
    room = np.int64(0)
    for text in range(texts):
        room = max(room, offsets[text + 1] - offsets[text])
    words, places = np.empty(room + MOST + 1, np.uint64), np.empty((room + MOST + 1, 2), np.int64)
    grams, ends = np.empty(offsets[-1] + texts, np.uint64), np.zeros(texts, np.uint64)
    used = 0
    for text in range(texts):
        count, _, _ = next_words(
            data, offsets[text], offsets[text + 1], 0, table, several, words, places, 0, room + MOST
        )
        counts[text] = count
        if count < shortest:
            continue
        length = min(count, ngram)
        sizes[text] = count - length + 1
        _runs(words, count, length, grams[used:])
        used += sizes[text]
        if count < ngram:
            _runs(words[count - shortest :], shortest, shortest, ends[text : text + 1])
            ends[text] ^= _END
    return counts, sizes, grams[:used].copy(), ends


def build_index(texts: Sequence[str], *, ngram: int, shortest: int) -> Index:
    """Make the n-grams of texts ready to be looked up.

    Args:
        texts: What is looked for.
        ngram: Words of an n-gram.
        shortest: Words of the shortest text, at most `ngram`.
    """
    tables = characters()
    data, offsets = text_buffer(pa.array(list(texts), pa.large_string()))
    words, sizes, hashes, ends = _of_texts(data, offsets, *tables, ngram, shortest)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    keys, grams = np.unique(hashes, return_inverse=True)
    owners, counts = _shortest_owners(grams, sizes, len(keys))
    short = (words >= shortest) & (words < ngram)
    marked = np.concatenate([keys, ends[short]])
    marks = np.zeros(1 << max(10, len(marked).bit_length() - 1), np.uint64)  # 32 to 64 bits for each
    place = marked & np.uint64(64 * len(marks) - 1)
    np.bitwise_or.at(marks, (place >> np.uint64(6)).astype(np.int64), _ONE << (place & np.uint64(63)))
    return Index(
        ngram, shortest, np.unique(words[short]), keys, marks, owners.astype(np.int32),
        np.concatenate([[0], np.cumsum(counts)]), grams.astype(np.int32), bounds, words,
    )  # fmt: skip


def _shortest_owners(grams: np.ndarray, sizes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The texts of each n-gram, at most MOST_TEXTS, each once and one n-gram after the other; and how many.

    Args:
        grams: The n-grams of each text, one text after the other.
        sizes: How many each text has.
        count: How many different ones there are.
    """
    texts = np.repeat(np.arange(len(sizes)), sizes)
    pairs = np.unique(np.stack([grams, sizes[texts], texts], axis=1), axis=0)
    starts = np.searchsorted(pairs[:, 0], np.arange(count))
    within = np.arange(len(pairs)) - starts[pairs[:, 0]]
    pairs = pairs[within < MOST_TEXTS]
    return pairs[:, 2], np.bincount(pairs[:, 0], minlength=count)


# ---- documents


@njit(cache=True, nogil=True, inline="always")
def _marked(key, marks):  # noqa: ANN001, ANN202
    place = key & np.uint64(64 * len(marks) - 1)
    return (marks[place >> np.uint64(6)] >> (place & np.uint64(63))) & _ONE


@njit(cache=True, nogil=True)
def _grown(rows, used):  # noqa: ANN001, ANN202
    """The rows, with room for one more."""
    if used < len(rows):
        return rows
    more = np.empty((2 * len(rows), rows.shape[1]), np.int64)
    more[:used] = rows[:used]
    return more


@njit(cache=True, nogil=True)
def _hit(keys, key, end, length, places, place, hits, used):  # noqa: ANN001, ANN202
    """Note an n-gram that is among the keys: its number, first and last word, first character and that behind."""
    number, high = 0, len(keys)
    while number < high:
        middle = (number + high) >> 1
        if keys[middle] < key:
            number = middle + 1
        else:
            high = middle
    if number == len(keys) or keys[number] != key:
        return hits, used
    hits = _grown(hits, used)
    hits[used, 0], hits[used, 1], hits[used, 2] = number, end - length + 1, end
    hits[used, 3], hits[used, 4] = places[place - length + 1, 0], places[place, 1]
    return hits, used + 1


@njit(cache=True, nogil=True)
def _short_hits(keys, words, short, end, places, place, hits, used):  # noqa: ANN001, ANN202
    """Note the short texts that end at this word."""
    for length in short:
        if place >= length - 1:
            whole = np.uint64(0)
            for one in range(place - length + 1, place + 1):
                whole = whole * _BASE + words[one]
            hits, used = _hit(keys, _key(whole, length), end, length, places, place, hits, used)
    return hits, used


@njit(cache=True, nogil=True)
def _hits(data, start, stop, table, several, ngram, shortest, short, keys, marks, words, places):  # noqa: ANN001, ANN202
    """The n-grams of a document that are looked for, in its order."""
    hits, used = np.empty((16, 5), np.int64), 0
    position, character, carried, seen = start, 0, 0, 0
    last, last_short = _ONE, _ONE
    for _ in range(ngram):
        last *= _BASE
    for _ in range(shortest):
        last_short *= _BASE
    while position < stop:
        count, position, character = next_words(
            data, position, stop, character, table, several, words, places, carried, len(words) - MOST
        )
        value, ending = np.uint64(0), np.uint64(0)
        for place in range(count):
            value = value * _BASE + words[place]
            ending = ending * _BASE + words[place]
            if place >= ngram:
                value -= words[place - ngram] * last
            if place >= shortest:
                ending -= words[place - shortest] * last_short
            if place < carried:
                continue
            end = seen + place - carried
            key = _key(value, ngram)
            if place >= ngram - 1 and _marked(key, marks):
                hits, used = _hit(keys, key, end, ngram, places, place, hits, used)
            if len(short) and place >= shortest - 1 and _marked(_key(ending, shortest) ^ _END, marks):
                hits, used = _short_hits(keys, words, short, end, places, place, hits, used)
        seen += count - carried
        left = min(count, ngram - 1)
        for one in range(left):
            words[one], places[one, 0] = words[count - left + one], places[count - left + one, 0]
        carried = left
    return hits[:used]


@njit(cache=True, nogil=True)
def _texts_of(hits, owners, owner_bounds, seen, pairs, stamp, rows, used):  # noqa: ANN001, ANN202
    """A row for each text of which the document has an n-gram; `pairs` tells which, `seen` the n-grams that it has."""
    first = used
    for hit in range(len(hits)):
        gram = hits[hit, 0]
        if seen[gram] == stamp:
            continue
        seen[gram] = stamp
        for text in owners[owner_bounds[gram] : owner_bounds[gram + 1]]:
            if not first <= pairs[text] < used:
                rows = _grown(rows, used)
                rows[used, 0], rows[used, 1] = stamp - 1, text
                pairs[text] = used
                used += 1
    return rows, used


@njit(cache=True, nogil=True)
def _spans(hits, owners, owner_bounds, pairs, first, ends, spans, used):  # noqa: ANN001, ANN202
    """Where a document has n-grams of each of its texts: runs of words, as characters, by pair from `first` on."""
    for hit in range(len(hits)):
        gram = hits[hit, 0]
        for text in owners[owner_bounds[gram] : owner_bounds[gram + 1]]:
            one = pairs[text] - first
            at = ends[one, 0]
            if at >= 0 and hits[hit, 1] <= ends[one, 1] + 1:
                spans[at, 1], spans[at, 2] = min(spans[at, 1], hits[hit, 3]), max(spans[at, 2], hits[hit, 4])
            else:
                spans = _grown(spans, used)
                spans[used, 0], spans[used, 1], spans[used, 2] = pairs[text], hits[hit, 3], hits[hit, 4]
                ends[one, 0] = used
                used += 1
            ends[one, 1] = hits[hit, 2]
    return spans, used


@njit(cache=True, nogil=True)
def _measure(rows, ngram, seen, grams, bounds, lengths) -> None:  # noqa: ANN001
    """Of each row's text the n-grams that the document has, and the words of the longest run of them."""
    for row in range(len(rows)):
        text, there, run, longest = rows[row, 1], 0, 0, 0
        for gram in grams[bounds[text] : bounds[text + 1]]:
            run = run + 1 if seen[gram] == rows[row, 0] + 1 else 0
            there += run > 0
            longest = max(longest, run)
        rows[row, 2], rows[row, 3] = there, longest + min(lengths[text], ngram) - 1


@njit(cache=True, nogil=True)
def _find(  # noqa: ANN202
    data, offsets, table, several, ngram, shortest, short, keys, marks, owners, owner_bounds, grams, bounds, lengths  # noqa: ANN001
):  # fmt: skip
    rows, used, spans, spanned = np.empty((64, 4), np.int64), 0, np.empty((64, 3), np.int64), 0
    words, places = np.empty(_WINDOW + ngram + MOST, np.uint64), np.empty((_WINDOW + ngram + MOST, 2), np.int64)
    seen, pairs = np.zeros(len(keys), np.int64), np.full(len(lengths), -1, np.int64)
    for document in range(len(offsets) - 1):
        hits = _hits(
            data, offsets[document], offsets[document + 1], table, several, ngram, shortest, short, keys, marks,
            words, places,
        )  # fmt: skip
        if len(hits):
            first = used
            rows, used = _texts_of(hits, owners, owner_bounds, seen, pairs, document + 1, rows, used)
            ends = np.full((used - first, 2), -1, np.int64)
            spans, spanned = _spans(hits, owners, owner_bounds, pairs, first, ends, spans, spanned)
            _measure(rows[first:used], ngram, seen, grams, bounds, lengths)
    return rows[:used], spans[:spanned]


def find_texts(data: np.ndarray, offsets: np.ndarray, index: Index) -> Found:
    """What documents have of the texts of an index.

    Args:
        data: UTF-8 bytes (uint8).
        offsets: Where each document begins, and where the last ends (int64).
        index: Of `build_index`.
    """
    if not len(index.keys):
        none = np.zeros(0, np.int64)
        return Found(none, none, np.zeros(0), none, np.empty((0, 3), np.int64))
    rows, spans = _find(data, offsets, *characters(), *index)
    documents, texts, there, longest = rows.T.copy()
    shares = there / np.diff(index.bounds)[texts]
    return Found(documents, texts, shares, longest, spans[np.lexsort((spans[:, 1], spans[:, 0]))])
