"""Words as numbers, with everything that a rule asks of one in a table by number; cut once for all stages.

Whatever cuts a text into words (curate/stages/words.py), filters are given numbers: `Tokenized`. A vocabulary knows of each
number its characters, whether it is a word or marks only, and a hash of its bytes that hashes of following words can be
put together from (a polynomial modulo 2^64), so that n-grams are compared without joining strings.

What was cut is kept by the text's BLAKE2b hash (128 bits, under a key drawn by this process), up to 64 MB: the next stage
that is given the same text, cuts nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

from curate.stages.buffers import text_buffer
from curate.stages.strings import Strings

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "ALPHABETIC",
    "BASE",
    "INVERSE",
    "SPOKEN",
    "STOP",
    "WORD",
    "Kept",
    "Tokenized",
    "Vocabulary",
    "cut_by",
    "joined",
]

WORD, ALPHABETIC, SPOKEN, STOP = 1, 2, 4, 8
"""Flags of a token: it has a character that is not in datatrove's set of punctuation, one that is a letter, one that is not
of a Unicode category of punctuation; it is a mark that ends sentences."""

BASE = np.uint64(0x9E3779B97F4A7C15)
INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 1 << 64))
_KEPT_BYTES = 64_000_000
_ENTRY_BYTES = 350
"""What a kept text costs besides its numbers: the key, the array, the place in the table."""


class Tokenized(NamedTuple):
    """Tokens of some texts.

    Attributes:
        ids: Numbers of all tokens, one text after the other (int32).
        bounds: Where each text's begin, and the end (int64).
        vocabulary: What the numbers mean.
    """

    ids: np.ndarray
    bounds: np.ndarray
    vocabulary: Vocabulary


class Vocabulary:
    """Tokens by number.

    Attributes:
        strings: Their bytes.
        lengths: In characters (int32).
        flags: `WORD`, `ALPHABETIC`, `SPOKEN`, `STOP` (uint8).
        sums: Hash of the bytes b (uint64): the sum of (b[i] + 1) * BASE^i.
        powers: BASE^bytes (uint64).
        inverses: Its inverse (uint64).
    """

    def __init__(self, stops: Iterable[str] = ()) -> None:
        self.strings = Strings()
        self.lengths, self.flags = np.empty(0, np.int32), np.empty(0, np.uint8)
        self.sums, self.powers, self.inverses = (np.empty(0, np.uint64) for _ in range(3))
        self._described = 0
        stops = list(stops)
        numbers = self.number_texts(stops)
        self.flags[numbers] |= STOP

    def number(self, text: np.ndarray, cuts: np.ndarray) -> np.ndarray:
        """Numbers (int32) of the pieces of a UTF-8 buffer."""
        numbers = self.strings.number(text, cuts)
        self._describe()
        return numbers

    def number_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Numbers (int32) of tokens."""
        numbers = self.strings.number_texts(texts)
        self._describe()
        return numbers

    def _describe(self) -> None:
        """Fill the tables for the tokens that are new."""
        first, count, room = self._described, self.strings.count, self.strings.room
        if first == count:
            return
        if len(self.lengths) < room:
            for name in ("lengths", "flags", "sums", "powers", "inverses"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.empty(room - len(old), old.dtype)]))
        _fill_tables(
            self.strings.data, self.strings.starts, first, count, ascii_flags(), self.lengths, self.flags, self.sums,
            self.powers, self.inverses,
        )  # fmt: skip
        for number in first + np.flatnonzero(self.flags[first:count] == _FOREIGN):
            flags = 0
            for character in self.strings.text(number):
                flags |= character_flags(character)
            self.flags[number] = flags
        self._described = count


_FOREIGN = 255


@cache
def _marks() -> frozenset[str]:
    from datatrove.utils.text import PUNCTUATION_SET

    return frozenset(PUNCTUATION_SET)


@cache
def character_flags(character: str) -> int:
    """What a token is said to be because of one character."""
    from unicodedata import category

    return (
        WORD * (character not in _marks()) | ALPHABETIC * character.isalpha() | SPOKEN * (category(character)[0] != "P")
    )


@cache
def ascii_flags() -> np.ndarray:
    """`character_flags` of the first 128 (uint8)."""
    table = np.array([character_flags(chr(code)) for code in range(128)], np.uint8)
    table.setflags(write=False)
    return table


@njit(cache=True, nogil=True)
def _fill_tables(data, starts, first, count, table, lengths, flags, sums, powers, inverses) -> None:  # noqa: ANN001
    for number in range(first, count):
        characters, said = 0, 0
        total, power, back = np.uint64(0), np.uint64(1), np.uint64(1)
        for position in range(starts[number], starts[number + 1]):
            byte = data[position]
            characters += (byte & 0xC0) != 0x80
            said |= table[byte] if byte < 0x80 else 255
            total += (np.uint64(byte) + np.uint64(1)) * power
            power *= BASE
            back *= INVERSE
        lengths[number], flags[number] = characters, said
        sums[number], powers[number], inverses[number] = total, power, back


# ---- kept for the next stage


class Kept:
    """The numbers of the texts that were cut last, by hash."""

    def __init__(self) -> None:
        from secrets import token_bytes

        self._secret = token_bytes(16)
        self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._bytes = 0

    def keys(self, data: np.ndarray, bounds: np.ndarray) -> list[bytes]:
        """Hashes of the texts: cryptographic ones, as two texts of one XXH3 can be written, whatever its seed."""
        from hashlib import blake2b

        view, ends = data.data, bounds.tolist()
        return [blake2b(view[start:stop], digest_size=16, key=self._secret).digest() for start, stop in pairwise(ends)]

    def get(self, key: bytes) -> np.ndarray | None:
        """The numbers of a text, if they are still there."""
        return self._kept.get(key)

    def put(self, key: bytes, ids: np.ndarray) -> None:
        """Keep a copy; the oldest ones make room."""
        if key in self._kept or ids.nbytes + _ENTRY_BYTES > _KEPT_BYTES:
            return
        self._kept[key] = ids.copy()
        self._bytes += ids.nbytes + _ENTRY_BYTES
        while self._bytes > _KEPT_BYTES:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes + _ENTRY_BYTES

    def clear(self) -> None:
        """Forget all: the numbers mean something else from now on."""
        self._kept.clear()
        self._bytes = 0


def cut_by(tokenize: Callable[[str], list[str]]) -> Callable[[pa.ChunkedArray], Tokenized]:
    """A function that gives the numbers of texts which `tokenize` cuts: for tokenizers that give strings."""
    vocabulary, kept = Vocabulary(), Kept()

    def cut(column: pa.ChunkedArray) -> Tokenized:
        nonlocal vocabulary
        if vocabulary.strings.bytes > _KEPT_BYTES:
            vocabulary = Vocabulary()
            kept.clear()
        keys, found = kept.keys(*text_buffer(column)), []
        for key, text in zip(keys, column.to_pylist(), strict=True):
            ids = kept.get(key)
            if ids is None:
                ids = vocabulary.number_texts(tokenize(text))
                kept.put(key, ids)
            found.append(ids)
        return joined(found, vocabulary)

    return cut


def joined(ids: Sequence[np.ndarray], vocabulary: Vocabulary) -> Tokenized:
    """The numbers of single texts as one."""
    bounds = np.zeros(len(ids) + 1, np.int64)
    np.cumsum([len(one) for one in ids], out=bounds[1:])
    return Tokenized(np.concatenate([np.empty(0, np.int32), *ids]), bounds, vocabulary)
