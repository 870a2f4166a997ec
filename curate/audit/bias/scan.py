"""Where the terms of a lexicon stand in texts: one compiled pass over the bytes of a column, for all terms at once.

Words are runs of letters and digits; every other sign parts them. Each word is hashed with ASCII letters folded, and walked
through a trie of hashes; the longest term counts. Terms do not overlap, but for the noun that
settles an ambiguous word, which is looked at for itself ("black women" mentions women). Words of a term may be parted by white
space and hyphens only. A sentence ends at `.`, `!` or `?` before white space, or at an empty line.

Source: Aho and Corasick (1975) for the idea of one pass; words in place of bytes, so that borders come for free.
Cost: about 150 MB of books per CPU second, whatever the number of terms (benchmarks/bias.py); compiled once a machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit

from curate.audit.bias.lexicon import Term

__all__ = ["Hits", "counted", "scanner"]

_START, _PRIME = 0xCBF29CE484222325, 0x100000001B3
_NODE, _CAPITAL = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
_MASK = (1 << 64) - 1
_FILTER_BITS = 16


class Hits(NamedTuple):
    """What was found, in the order of the texts.

    Attributes:
        row: The text (int64).
        term: Number of the term (int64).
        start: Where it begins, in bytes of the text (int64).
        end: Where it ends (int64).
        sentence: Number of the sentence in the text (int64).
        sentences: How many sentences each text has (int64).
    """

    row: np.ndarray
    term: np.ndarray
    start: np.ndarray
    end: np.ndarray
    sentence: np.ndarray
    sentences: np.ndarray


def scanner(terms: Sequence[Term]) -> Callable[[pa.Array | pa.ChunkedArray], Hits]:
    """The function that finds these terms in a column of strings (null is empty)."""
    trie, again = _Trie(terms), np.array([term.ambiguous for term in terms], np.bool_)

    def scan(column: pa.Array | pa.ChunkedArray) -> Hits:
        data, offsets = _buffer(column)
        room = len(data) // 24 + 64
        while True:
            found, sentences = np.empty((5, room), np.int64), np.zeros(len(offsets) - 1, np.int64)
            count = _scan(
                data, offsets, _FOLD, trie.keys, trie.nodes, trie.accepts, trie.first, again, found, sentences
            )
            if count <= room:
                return Hits(
                    found[0, :count], found[1, :count], found[2, :count], found[3, :count], found[4, :count], sentences
                )
            room = count

    return scan


def counted(hits: Hits, group_of: np.ndarray, groups: int) -> np.ndarray:
    """How often each text mentions each group: (texts, groups) int32; terms of group -1 do not count."""
    of = group_of[hits.term]
    there = of >= 0
    flat = np.bincount(hits.row[there] * groups + of[there], minlength=len(hits.sentences) * groups)
    return flat.reshape(len(hits.sentences), groups).astype(np.int32)


def _buffer(column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Bytes and offsets of a column of strings."""
    import pyarrow.compute as compute

    array = compute.fill_null(column, "").cast(pa.large_string())
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], pa.large_string())
    _, offsets, data = array.buffers()
    bounds, content = np.zeros(1, np.int64), np.zeros(0, np.uint8)
    if len(array):
        bounds = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    if data is not None and data.size:
        content = np.frombuffer(data, np.uint8)
    # compiled code is made anew for arrays that can be written to, and Arrow hands out both kinds
    bounds.setflags(write=False)
    content.setflags(write=False)
    return content, bounds


# ---- the trie


def _hash(word: str) -> int:
    value = _START
    for byte in word.encode():
        value = ((value ^ int(_FOLD[byte])) * _PRIME) & _MASK
    return value


def _key(node: int, word: int) -> int:
    mixed = (word + node * _NODE) & _MASK
    mixed ^= mixed >> 29
    return (mixed * _NODE) & _MASK | 1


class _Trie:
    """Edges in a hash table; node 0 is the root. A word with a capital has an edge of its own."""

    def __init__(self, terms: Sequence[Term]) -> None:
        edges: dict[int, int] = {}
        accepts, first = [-1], set[int]()
        for number, term in enumerate(terms):
            for words in _spellings(term.words):
                node = 0
                for word in words:
                    value = _hash(word) ^ (_CAPITAL if word[0].isupper() and word[0].isascii() else 0)
                    if node == 0:
                        first.add(_hash(word) >> (64 - _FILTER_BITS))
                    key = _key(node, value)
                    if key not in edges:
                        edges[key] = len(accepts)
                        accepts.append(-1)
                    node = edges[key]
                if accepts[node] < 0:
                    accepts[node] = number
        size = 1 << max(4, (len(edges) * 4).bit_length())
        self.keys, self.nodes = np.zeros(size, np.uint64), np.zeros(size, np.int64)
        for key, node in edges.items():
            place = (key >> 20) & (size - 1)
            while self.keys[place]:
                place = (place + 1) & (size - 1)
            self.keys[place], self.nodes[place] = key, node
        self.accepts = np.array(accepts, np.int64)
        self.first = np.zeros(1 << _FILTER_BITS, np.bool_)
        self.first[sorted(first)] = True


def _spellings(words: tuple[str, ...]) -> set[tuple[str, ...]]:
    """Letters beyond ASCII are not folded in the pass: each word as it is, with a capital, and in capitals."""
    if all(word.isascii() for word in words):
        return {words}
    shapes: tuple[Callable[[str], str], ...] = (str, str.capitalize, str.upper)
    return {words} | {tuple(shape(word) for word in words) for shape in shapes if words[0].islower()}


def _folding() -> np.ndarray:
    """By byte: 0 parts words, 1 may begin a sign that does, all else is what is hashed."""
    table = np.zeros(256, np.uint8)
    for byte in range(256):
        if byte >= 0x80 or chr(byte).isalnum():
            table[byte] = byte | 0x20 if 65 <= byte <= 90 else byte
    table[[0xC2, 0xE2, 0xE3]] = 1
    table.setflags(write=False)
    return table


_FOLD = _folding()


# ---- the pass: one loop, for a call that is given arrays costs as much as ten bytes


@njit(cache=True, nogil=True)
def _sign(data, at, stop) -> int:  # noqa: ANN001
    """Bytes of the sign beyond ASCII that parts words here (U+0080-00BF, U+2000-207F, U+3000-303F); 0 where none does."""
    lead, second = data[at], data[at + 1] if at + 1 < stop else np.uint8(0)
    if lead == 0xC2:
        return 2
    return 3 if second == 0x80 or (lead == 0xE2 and second == 0x81) else 0


@njit(cache=True, nogil=True)
def _find(keys, nodes, node, word) -> int:  # noqa: ANN001
    """The node behind an edge, or -1."""
    mixed = np.uint64(word) + np.uint64(node) * np.uint64(_NODE)
    mixed ^= mixed >> np.uint64(29)
    key = (mixed * np.uint64(_NODE)) | np.uint64(1)
    place = np.int64(key >> np.uint64(20)) & (len(keys) - 1)
    while keys[place]:
        if keys[place] == key:
            return nodes[place]
        place = (place + 1) & (len(keys) - 1)
    return -1


@njit(cache=True, nogil=True)
def _word(data, at, stop, fold):  # noqa: ANN001, ANN202
    """Hash of the word that begins here, and where it ends."""
    value = np.uint64(_START)
    while at < stop:
        folded = fold[data[at]]
        if folded == 0 or (folded == 1 and _sign(data, at, stop)):
            break
        value = (value ^ np.uint64(folded)) * np.uint64(_PRIME)
        at += 1
    return value, at


@njit(cache=True, nogil=True)
def _longest(data, value, end, stop, fold, keys, nodes, accepts, capital):  # noqa: ANN001, ANN202
    """The longest term that begins with this word: its number and end, or -1."""
    node = _find(keys, nodes, 0, value ^ np.uint64(_CAPITAL) if capital else value)
    term, ends = -1, end
    while node >= 0:
        if accepts[node] >= 0:
            term, ends = accepts[node], end
        at = end
        while at < stop and (data[at] == 32 or data[at] == 45 or 9 <= data[at] <= 13):
            at += 1
        if at == end or at >= stop:
            break
        begin, before = at, node
        value, end = _word(data, at, stop, fold)
        if end == begin:
            break
        node = _find(keys, nodes, before, value)
        if node < 0 and 65 <= data[begin] <= 90:
            node = _find(keys, nodes, before, value ^ np.uint64(_CAPITAL))
    return term, ends


@njit(cache=True, nogil=True)
def _scan(data, offsets, fold, keys, nodes, accepts, first, again, found, sentences) -> int:  # noqa: ANN001
    """Write what is found to `found` as far as there is room; how much there is."""
    count, room = 0, found.shape[1]
    for row in range(len(offsets) - 1):
        begin, stop = offsets[row], offsets[row + 1]
        at, sentence, fresh = begin, 0, True
        while at < stop:
            folded = fold[data[at]]
            width = 1 if folded == 0 else _sign(data, at, stop) if folded == 1 else 0
            if width:
                byte = data[at]
                if not fresh and (byte == 46 or byte == 33 or byte == 63 or byte == 10):
                    after = data[at + 1] if at + 1 < stop else np.uint8(10)
                    if after == 10 or (byte != 10 and (after == 32 or after == 13)):
                        sentence, fresh = sentence + 1, True
                at += width
                continue
            fresh, start = False, at
            value, at = _word(data, at, stop, fold)
            if first[np.int64(value >> np.uint64(64 - _FILTER_BITS))]:
                term, last = _longest(data, value, at, stop, fold, keys, nodes, accepts, False)
                if term < 0 and 65 <= data[start] <= 90:
                    term, last = _longest(data, value, at, stop, fold, keys, nodes, accepts, True)
                if term >= 0:
                    if count < room:
                        found[0, count], found[1, count] = row, term
                        found[2, count], found[3, count] = start - begin, last - begin
                        found[4, count] = sentence
                    count += 1
                    if not again[term]:
                        at = last
        sentences[row] = sentence + (0 if fresh else 1)
    return count
