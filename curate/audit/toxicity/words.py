"""Words as the lexicon and the linear model see them, hashed by compiled kernels straight over an Arrow UTF-8 buffer.

A word is a run of letters and digits, folded: compatibility forms (full-width, ligatures) to plain ones, capitals to small
letters, accents off, Cyrillic and Greek look-alikes to Latin. Zero-width characters, soft hyphens and apostrophes vanish, and
inside a word `@ $ 0 1 3 !` before a letter are the letters they stand for (`sh1t`, `b@d`). Runs of three and more of one
letter are one letter (`baaad`, `bad`); where they could have been two, the word has a second reading (`asss`).

Every word is 64 bits (FNV-1a, then MurmurHash3's finalizer), every sequence of words a polynomial of them.
Source of the folding: Unicode 3.2, which every Python carries, so that results do not depend on the interpreter.
Cost: with the model and the lexicon, which each hash the words, 30 MB of text a CPU second (benchmarks/toxicity.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple
from unicodedata import ucd_3_2_0 as unicode_database

import numpy as np
from numba import njit

from curate.stages.kernels import decode, mix

__all__ = ["SKIP", "Terms", "buffers", "character_table", "count_terms", "find_terms", "hash_words", "terms"]

SKIP = 1
"""Entry of a character that is as if it were not there."""
ALONE = 1 << 24
"""Bit of an entry: the character is a word by itself (scripts without spaces)."""

_START = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_LOW = np.uint64(0xFFFF)

_LETTERS = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "Mc", "Cn", "Co"})
_SKIPPED = frozenset({0x27, 0xAD, 0x2019, 0x2018, 0x02BC, 0xFEFF, *range(0x200B, 0x2010), *range(0x2060, 0x2065)})
_LOOK_ALIKE = dict(
    zip(
        "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456\u0455\u0458\u03bf\u03b1\u03b5\u03b9\u03c1\u0131",
        "aeopcxyisjoaeipi",
        strict=True,
    )
)
_WITHOUT_SPACES = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x2FDF), (0x3005, 0x312F),
                   (0x31A0, 0x31FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF))  # fmt: skip


def _entry(code: int) -> int:
    character = chr(code)
    if code in _SKIPPED or unicode_database.category(character) in ("Mn", "Me"):
        return SKIP
    plain = unicode_database.normalize("NFKD", character)
    first = next((one for one in plain if unicode_database.category(one) in _LETTERS), "")
    if not first or unicode_database.category(character) not in _LETTERS:
        return 0
    lower = first.lower()
    lower = _LOOK_ALIKE.get(lower, lower)
    folded = ord(lower) if len(lower) == 1 else ord(first)
    return folded | (ALONE if any(low <= code <= high for low, high in _WITHOUT_SPACES) else 0)


@cache
def character_table() -> np.ndarray:
    """One int64 entry for each code point below 0x10000: 0 for a separator, `SKIP`, else the folded code point and `ALONE`."""
    table = np.array([0 if 0xD800 <= code < 0xE000 else _entry(code) for code in range(0x10000)], dtype=np.int64)
    table.setflags(write=False)
    return table


@njit(cache=True, nogil=True)
def _wide_entry(code) -> int:  # noqa: ANN001
    """The entry of a character beyond the table: mathematical alphabets are Latin letters, all else words by themselves."""
    if 0x1D400 <= code < 0x1D6A4:
        return 0x61 + (code - 0x1D400) % 26
    return code | ALONE


@njit(cache=True, nogil=True)
def _disguised(code, data, position: int, stop: int) -> int:  # noqa: ANN001
    """The letter that a mark or digit inside a word stands for, 0 where it stands for none."""
    if code == 0x24:  # $
        return 0x73
    following = np.int64(data[position]) | 0x20 if position < stop else 0
    if not 0x61 <= following <= 0x7A:
        return 0
    if code == 0x40:  # @
        return 0x61
    if code == 0x21 or code == 0x31:  # ! 1
        return 0x69
    if code == 0x30:
        return 0x6F
    return 0x65 if code == 0x33 else 0


@njit(cache=True, nogil=True, inline="always")
def _next(data, position: int, stop: int):  # noqa: ANN001, ANN202
    """The character at `position` and the position after it; a space behind the last one."""
    if position >= stop:
        return np.int64(0x20), position + 1
    code = np.int64(data[position])
    return (code, position + 1) if code < 0x80 else decode(data, position, stop)


@njit(cache=True, nogil=True)
def hash_words(data, start: int, stop: int, table, words, second) -> int:  # noqa: ANN001
    """Hash the words of data[start:stop].

    Args:
        data: UTF-8 bytes (uint8).
        start: First byte.
        stop: Byte after the last.
        table: `character_table()`.
        words: Room for the hashes (uint64): at least stop - start + 1.
        second: Room for the hashes of second readings; 0 where a word has none.

    Returns:
        How many words there are.
    """
    count, position, letters, before, run = 0, start, 0, 0, 0
    one, two = _START, _START  # a run of three or more as one letter, as two
    while position <= stop:
        code, position = _next(data, position, stop)
        entry = table[code] if code < 0x10000 else _wide_entry(code)
        if letters and 0x20 < code <= 0x40:
            letter = _disguised(code, data, position, stop)
            entry = letter if letter else entry
        if entry == SKIP:
            continue
        alone, folded = entry & ALONE, entry & (ALONE - 1)
        if run > 0 and (folded != before or alone):
            # the run is over: only now is it known how long it was
            two = (two ^ np.uint64(before)) * _PRIME
            one = (one ^ np.uint64(before)) * _PRIME
            if run >= 2:
                two = (two ^ np.uint64(before)) * _PRIME
                if run == 2:
                    one = (one ^ np.uint64(before)) * _PRIME
            run = 0
        if letters and (entry == 0 or alone):
            words[count] = mix(one)
            second[count] = mix(two) if two != one else np.uint64(0)
            count, letters, one, two = count + 1, 0, _START, _START
        if entry == 0:
            before = 0
            continue
        before, run, letters = folded, run + 1, letters + 1
        if alone:
            words[count] = mix((_START ^ np.uint64(folded)) * _PRIME)
            second[count] = np.uint64(0)
            count, letters, run, before = count + 1, 0, 0, 0
    return count


# ---- terms of several words


class Terms(NamedTuple):
    """Terms to look for, hashed.

    Attributes:
        hashes: Sorted hashes of the terms (uint64).
        values: What each is worth (int64).
        languages: In which language each counts (int64); 0 in all.
        maybe: Whether a hash with these low 16 bits may be a term (bool, 65,536).
        longest: Most words of a term.
    """

    hashes: np.ndarray
    values: np.ndarray
    languages: np.ndarray
    maybe: np.ndarray
    longest: int


def terms(listed: Sequence[str], values: Sequence[int] | None = None, languages: Sequence[int] | None = None) -> Terms:
    """Compile terms, each one word or several; a later one of the same words wins."""
    data, offsets = buffers(listed)
    room = int(np.diff(offsets).max(initial=0)) + 1
    words, second, table = np.empty(room, np.uint64), np.empty(room, np.uint64), character_table()
    found: dict[int, tuple[int, int]] = {}
    longest = 1
    for number in range(len(listed)):
        count = hash_words(data, offsets[number], offsets[number + 1], table, words, second)
        longest = max(longest, count)
        value = (values[number] if values is not None else 1, languages[number] if languages is not None else 0)
        found[int(_sequence(words, 0, count))] = value
    hashes = np.array(sorted(found), np.uint64)
    maybe = np.zeros(1 << 16, bool)
    maybe[(hashes & _LOW).astype(np.int64)] = True
    given = np.array([found[int(one)] for one in hashes], np.int64).reshape(-1, 2)
    return Terms(hashes, given[:, 0].copy(), given[:, 1].copy(), maybe, longest)


def buffers(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of texts one after the other (uint8), and where each begins (int64, one more than texts)."""
    encoded = [text.encode() for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in encoded], dtype=np.int64)]).astype(np.int64)
    return np.frombuffer(b"".join(encoded) + b"\0", np.uint8), offsets


@njit(cache=True, nogil=True)
def _sequence(words, start: int, stop: int):  # noqa: ANN001, ANN202
    state = words[start] if stop > start else np.uint64(0)
    for index in range(start + 1, stop):
        state = mix(state * _BASE + words[index])
    return state


@njit(cache=True, nogil=True)
def find_terms(words, at: int, count: int, hashes, maybe, longest: int):  # noqa: ANN001, ANN201
    """The longest term that begins at word `at`: its number of words and its place among the terms; (0, 0) where none does."""
    state, size, place = words[at], 0, 0
    for width in range(1, min(longest, count - at) + 1):
        if width > 1:
            state = mix(state * _BASE + words[at + width - 1])
        if maybe[np.int64(state & _LOW)]:
            index = np.searchsorted(hashes, state)
            if index < len(hashes) and hashes[index] == state:
                size, place = width, index
    return size, place


@njit(cache=True, nogil=True)
def count_terms(data, offsets, table, hashes, values, languages, maybe, longest, spoken):  # noqa: ANN001, ANN201
    """How many terms each text has, and the greatest value among them (int64 both; 0 without one).

    `spoken` is the language of each text; 0 where it is not known, and then every term counts.
    """
    documents = len(offsets) - 1
    found, greatest = np.zeros(documents, np.int64), np.zeros(documents, np.int64)
    room = np.max(offsets[1:] - offsets[:-1]) + 1 if documents else 1
    words, second = np.empty(room, np.uint64), np.empty(room, np.uint64)
    for document in range(documents):
        count = hash_words(data, offsets[document], offsets[document + 1], table, words, second)
        at = 0
        while at < count:
            size, place = find_terms(words, at, count, hashes, maybe, longest)
            if size == 0 and second[at] != 0:
                size, place = find_terms(second, at, at + 1, hashes, maybe, 1)
            language = languages[place] if size else 0
            if size and (language == 0 or spoken[document] == 0 or language == spoken[document]):
                found[document] += 1
                greatest[document] = max(greatest[document], values[place])
            at += max(size, 1)
    return found, greatest
