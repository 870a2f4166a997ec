"""Words of texts as contamination compares them: without case, accents, punctuation, and forms of Unicode.

A word is one of near-duplicates (curate/dedup/words.py) with more undone: each character is what compatibility decomposition
and case folding make of it (NFKD: full-width letters, ligatures, bold letters, Hangul), and accents, apostrophes, soft hyphens
and characters without a width are left out. So texts whose NFKC or NFD are equal have equal words, and `don't` is `dont`.

Source: Unicode Standard Annex 15; the Unicode 3.2 database, as in curate/dedup/words.py. Cost: .15 s to build, 280 KB.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple
from unicodedata import ucd_3_2_0 as unicode_database

import numpy as np
from numba import njit

from curate.dedup.words import ALONE, CODE, WORD, character_table
from curate.stages.kernels import decode, mix

__all__ = ["Characters", "characters", "next_words"]

_LEFT_OUT = 1 << 26
"""Bit of an entry: the character is as if it were not there."""
_SEVERAL = 1 << 27
"""Bit of an entry: the others say where in `several` the number of its characters and their entries stand."""
MOST = 32
"""More characters than any becomes."""
_MATHEMATICAL = 0x1D400
_NOTHING = frozenset("'\u2018\u2019\u02bc`\u00b4\u201b\uff07\u200b\u00ad")
"""Apostrophes; the space without a width and the soft hyphen, which Unicode 3.2 had among spaces and dashes."""
_START = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)


class Characters(NamedTuple):
    """What becomes of characters.

    Attributes:
        table: An entry (uint32) for each code point below 0x10000, then for the 1,024 from 0x1D400.
        several: For those that become more than one: how many, and their entries (uint32).
    """

    table: np.ndarray
    several: np.ndarray


def _become(code: int, base: np.ndarray) -> list[int]:
    character = chr(code)
    if character in _NOTHING:
        return []
    if 0xD800 <= code < 0xE000:
        return [int(base[code])]
    folded = unicode_database.normalize("NFKD", character).casefold()
    entries = []
    for one in unicode_database.normalize("NFKD", folded):
        if 0x300 <= ord(one) < 0x370 or unicode_database.category(one) == "Cf" or one in _NOTHING:
            continue
        entries.append(int(base[ord(one)]) if ord(one) < 0x10000 else ord(one) | WORD)
    return entries


@cache
def characters() -> Characters:
    """The tables, which `next_words` reads."""
    base = character_table()
    table, several = np.zeros(0x10400, np.uint32), [0]
    for place in range(len(table)):
        code = place if place < 0x10000 else place - 0x10000 + _MATHEMATICAL
        if 0x3400 <= code < 0xA000:  # Han, of which each is itself
            table[place] = base[code]
            continue
        entries = _become(code, base)
        if len(entries) == 1:
            table[place] = entries[0]
        elif entries:
            table[place] = _SEVERAL | len(several)
            several += [len(entries), *entries]
        else:
            table[place] = _LEFT_OUT
    found = np.array(several, np.uint32)
    table.setflags(write=False)
    found.setflags(write=False)
    return Characters(table, found)


@njit(cache=True, nogil=True, inline="always")
def _entry(code, table):  # noqa: ANN001, ANN202
    if code < 0x10000:
        return np.int64(table[code])
    if _MATHEMATICAL <= code < _MATHEMATICAL + 0x400:
        return np.int64(table[code - _MATHEMATICAL + 0x10000])
    if code >= 0x20000 or 0x1F000 <= code <= 0x1FBFF:  # rare Han and emoji
        return code | WORD | ALONE
    return code | WORD


@njit(cache=True, nogil=True, inline="always")
def _put(words, places, count, state, begin, end):  # noqa: ANN001, ANN202
    words[count], places[count, 0], places[count, 1] = mix(state), begin, end
    return count + 1


@njit(cache=True, nogil=True)
def next_words(data, position, stop, character, table, several, words, places, first, room):  # noqa: ANN001, ANN201
    """Write the next words of a text, from place `first` on and up to about `room` in all.

    `data` is UTF-8 (uint8), read from `position`, where character number `character` is, to `stop`; `table` and `several` are
    those of `characters()`. `words` are hashes (uint64), with room for MOST more than `room`; `places` (int64, two columns) of
    each word its first character and that behind it.

    Returns:
        How many words there are in `words`, the position and the number of the character there.
    """
    count, inside, state, begin = first, False, _START, 0
    while position < stop and (inside or count < room):
        code = np.int64(data[position])
        if code < 0x80:
            position += 1
        else:
            code, position = decode(data, position, stop)
        entry, number, last = _entry(code, table), 0, 0
        if entry < ALONE:  # nearly all: a letter, or what parts words
            if entry:
                if not inside:
                    begin = character
                state = (state ^ np.uint64(entry & CODE)) * _PRIME
            elif inside:
                count, state = _put(words, places, count, state, begin, character), _START
            inside = entry != 0
            character += 1
            continue
        if entry & _SEVERAL:
            number = (entry & CODE) + 1
            last = number + np.int64(several[number - 1]) - 1
        while True:
            one = np.int64(several[number]) if last else entry
            if not one & _LEFT_OUT:
                if inside and (one == 0 or one & ALONE):
                    count, state, inside = _put(words, places, count, state, begin, character), _START, False
                if one:
                    if not inside:
                        begin = character
                    state = (state ^ np.uint64(one & CODE)) * _PRIME
                    inside = True
                    if one & ALONE:
                        count, state, inside = _put(words, places, count, state, begin, character + 1), _START, False
            if number >= last:
                break
            number += 1
        character += 1
    if inside:
        count = _put(words, places, count, state, begin, character)
    return count, position, character
