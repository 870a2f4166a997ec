"""Words, as the index and the scan both take them.

They are runs of letters and digits, in any case; of scripts that are written without spaces each character. What is typed as a
single piece, or in quotation marks, is a phrase: its words, one behind the other.

The words are those of tantivy's own tokenizers in both, so a search finds the same whether there is an index or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from curate.errors import CurateError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import tantivy

__all__ = ["Needles", "analyzer", "has", "marks", "needles_of", "taken", "unspaced"]

SCRIPTS = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar")
"""Scripts that are written without spaces between words."""
_UNSPACED = "".join(rf"\p{{{one}}}" for one in SCRIPTS)
_PIECES = re.compile(r'"([^"]+)"|(\S+)')
MOST_PIECES, LONGEST = 20, 1000
"""Pieces of a query, and characters of one."""

Needles = tuple[tuple[str, ...], ...]
"""Phrases (of one word, mostly), all of which must be there."""


@cache
def analyzer(*, spaced: bool) -> tantivy.TextAnalyzer:
    """What makes words of a text."""
    import tantivy

    one = tantivy.Tokenizer.simple() if spaced else tantivy.Tokenizer.regex(
        rf"[{_UNSPACED}]|[[\p{{Alphabetic}}\p{{N}}]--[{_UNSPACED}]]+"
    )  # fmt: skip
    return tantivy.TextAnalyzerBuilder(one).filter(tantivy.Filter.lowercase()).build()


def unspaced(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Which texts have a character of a script without spaces (bool): all of their words are taken so."""
    import pyarrow.compute as compute

    found = compute.match_substring_regex(texts, f"[{_UNSPACED}]")
    return compute.fill_null(found, False).to_numpy(zero_copy_only=False)


def needles_of(asked: str) -> Needles:
    """The words and phrases of what was typed.

    Raises:
        CurateError: There are none, very many, or one without letters.
    """
    pieces = [phrase or word for phrase, word in _PIECES.findall(asked.replace("\x00", " "))]
    pieces = [one for one in pieces if one.strip()]
    if not pieces:
        raise CurateError(
            "there is nothing to look for", hint='words, and phrases in quotation marks: whale "white sea"'
        )
    if len(pieces) > MOST_PIECES or max(map(len, pieces)) > LONGEST:
        raise CurateError(
            "this is too much to look for", hint=f"{MOST_PIECES} words and phrases at most, of {LONGEST:,} characters"
        )
    found = tuple(dict.fromkeys(tuple(analyzer(spaced=False).analyze(one)) for one in pieces))
    if () in found:
        without = next(one for one in pieces if not analyzer(spaced=False).analyze(one))
        raise CurateError(
            f"`{without[:40]}` has no letter and no digit", hint="a regular expression finds signs: `mode=regex`"
        )
    return found


def taken(needles: Needles, *, spaced: bool) -> Needles | None:
    """The phrases by the words of one kind of texts; None where those cannot have them."""
    found = tuple(tuple(word for one in needle for word in analyzer(spaced=spaced).analyze(one)) for needle in needles)
    return found if all(found) else None


def has(text: str, needles: Needles, *, spaced: bool) -> bool:
    """Whether a text has all of the phrases."""
    words = analyzer(spaced=spaced).analyze(text)
    wanted = taken(needles, spaced=spaced)
    return wanted is not None and all(next(_places(words, one), None) is not None for one in wanted)


def _places(words: Sequence[str], needle: Sequence[str]) -> Iterator[int]:
    """Where a phrase begins, in words."""
    at = -1
    while True:
        try:
            at = words.index(needle[0], at + 1)
        except ValueError:
            return
        if tuple(words[at : at + len(needle)]) == tuple(needle):
            yield at


def marks(text: str, needles: Needles, *, spaced: bool) -> list[tuple[int, int]]:
    """Where in a text the phrases stand: beginnings and ends in characters, in order, none over another."""
    low = "".join(map(str.lower, text))
    if len(low) != len(text):  # one letter becomes two
        low = "".join(small if len(small := one.lower()) == 1 else one for one in text)
    words, spans, at = analyzer(spaced=spaced).analyze(text), list[tuple[int, int]](), 0
    for word in words:
        start = low.find(word, at)
        if start < 0:
            spans.append((at, at))
            continue
        at = start + len(word)
        spans.append((start, at))
    found = sorted(
        {
            (spans[one][0], spans[one + len(needle) - 1][1])
            for needle in taken(needles, spaced=spaced) or ()
            for one in _places(words, needle)
        }
    )
    kept: list[tuple[int, int]] = []
    for start, end in found:
        if end > start and (not kept or start >= kept[-1][1]):
            kept.append((start, end))
    return kept
