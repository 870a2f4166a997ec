"""Features of the quality filters, as tables: from what compiled code counts in a batch of texts.

Counts are whole numbers and their ratios those of Python; a ratio without a denominator is null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numba import njit

from curate.filter.lines import quality_lines, repeated_lines, shape_of_lines
from curate.filter.repetition import REPEATED, TOP, repeated_n_grams
from curate.stages.buffers import text_buffer
from curate.stages.tokens import ALPHABETIC, WORD

if TYPE_CHECKING:
    from curate.stages.tokens import Tokenized

__all__ = ["Marks", "line_features", "quality_features", "repetition_features"]

Cut = Callable[[pa.ChunkedArray], "Tokenized"]


def quality_features(column: pa.ChunkedArray, cut: Cut, stop_words: Iterable[str]) -> pa.Table:
    """Gopher's quality features of texts; `stop_words` are those that are counted."""
    tokens = cut(column)
    wanted = np.unique(tokens.vocabulary.number_texts(sorted(stop_words)))
    vocabulary = tokens.vocabulary
    counted = _count_tokens(tokens.ids, tokens.bounds, vocabulary.lengths, vocabulary.flags, wanted)
    lines = quality_lines(*text_buffer(column))
    total = np.diff(tokens.bounds)
    return pa.table(
        {
            "words": counted[:, 0],
            "mean_word_length": _ratio(counted[:, 1], counted[:, 0]),
            "hashes_per_word": _ratio(lines[:, 0], total),
            "ellipses_per_word": _ratio(lines[:, 1], total),
            "bullet_lines": _ratio(lines[:, 3], lines[:, 2]),
            "ellipsis_lines": _ratio(lines[:, 4], lines[:, 2]),
            "alphabetic": _ratio(counted[:, 2], total),
            "stop_words": counted[:, 3],
        }
    )


def repetition_features(column: pa.ChunkedArray, cut: Cut) -> pa.Table:
    """Gopher's repetition features of texts."""
    n_grams = repeated_n_grams(cut(column))
    counted = repeated_lines(*text_buffer(column))
    size = np.maximum(counted[:, 0], 1)
    names = [*(f"top_{n}_gram" for n in TOP), *(f"repeated_{n}_grams" for n in REPEATED)]
    return pa.table(
        {
            "characters": counted[:, 0],
            "repeated_paragraphs": _ratio(counted[:, 2], counted[:, 1]),
            "repeated_paragraph_characters": _ratio(counted[:, 3], size),
            "repeated_lines": _ratio(counted[:, 5], counted[:, 4]),
            "repeated_line_characters": _ratio(counted[:, 6], size),
            **{name: _ratio(n_grams[:, place], size) for place, name in enumerate(names)},
        }
    )


class Marks:
    """Marks that a line may end with.

    Attributes:
        single: Whether the character of a code point is one (bool).
        longer: Those of several characters, as UTF-8 (uint8).
        cuts: Where each of them begins, and the last ends (int64).
    """

    def __init__(self, marks: Iterable[str]) -> None:
        marks = sorted(marks)
        codes = [ord(mark) for mark in marks if len(mark) == 1]
        self.single = np.zeros(max(codes, default=0) + 1, np.bool_)
        self.single[codes] = True
        encoded = [mark.encode() for mark in marks if len(mark) != 1]
        self.longer = np.frombuffer(b"".join(encoded) + b"\0", np.uint8)
        self.cuts = np.cumsum([0, *map(len, encoded)], dtype=np.int64)


def line_features(column: pa.ChunkedArray, cut: Cut, marks: Marks, *, short: int, keep_unpunctuated: bool) -> pa.Table:
    """FineWeb's features of texts.

    Args:
        column: The texts.
        cut: What gives their words.
        marks: What a punctuated line ends with.
        short: A line of at most this many characters is short.
        keep_unpunctuated: Whether a text without any punctuated line is as one of punctuated lines only.
    """
    data, bounds = text_buffer(column)
    counted = shape_of_lines(data, bounds, marks.single, marks.longer, marks.cuts, short)
    characters, feeds, lines, marked, few, repeated = counted.T
    count = np.maximum(lines, 1)
    punctuated = np.where((marked == 0) & keep_unpunctuated, 1.0, marked / count)
    return pa.table(
        {
            "lines": lines,
            "punctuated_lines": punctuated,
            "short_lines": _ratio(few, count),
            "repeated_line_characters": _ratio(repeated, np.where(lines > 0, characters - feeds, 1)),
            "line_breaks_per_word": _ratio(feeds, np.diff(cut(column).bounds)),
        }
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> pa.Array:
    """Ratios (float64); null where there is nothing to compare with."""
    none = whole == 0
    return pa.array(part / np.where(none, 1, whole), pa.float64(), mask=none)


@njit(cache=True, nogil=True)
def _count_tokens(ids, bounds, lengths, flags, wanted):  # noqa: ANN001, ANN202
    """Of each text (n x 4, int64): words, their characters, tokens with a letter, different tokens among `wanted`."""
    counted = np.zeros((len(bounds) - 1, 4), np.int64)
    most = wanted[-1] if len(wanted) else -1
    place_of = np.full(most + 1, -1, np.int64)
    for place in range(len(wanted)):
        place_of[wanted[place]] = place
    seen = np.full(len(wanted), -1, np.int64)
    for document in range(len(bounds) - 1):
        words, characters, alphabetic, different = 0, 0, 0, 0
        for place in range(bounds[document], bounds[document + 1]):
            token = ids[place]
            if flags[token] & WORD:
                words += 1
                characters += lengths[token]
            alphabetic += (flags[token] & ALPHABETIC) != 0
            if token <= most and place_of[token] >= 0 and seen[place_of[token]] != document:
                seen[place_of[token]] = document
                different += 1
        counted[document, 0], counted[document, 1] = words, characters
        counted[document, 2], counted[document, 3] = alphabetic, different
    return counted
