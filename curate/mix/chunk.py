"""Chunks: long documents cut into pieces of so many words, tokens, sentences or under their headings, with overlap.

A piece ends where the text allows it: at a paragraph, else at a sentence, else at a word. Words here are what stands
between white space; a tokenizer's tokens are about 1.3 of them in English. Cost: 20 MB of text a second; what the
tokenizer takes, with tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from curate.errors import CurateError
from curate.stages.contract import Expander, Expansion

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Chunk"]

Units = Callable[[str, int, int], list[tuple[int, int]]]
"""Where what is counted begins and ends in a part of a text, in characters."""
_WORD = re.compile(r"\S+")
_SENTENCE_END = re.compile(
    r"(?:(?<![.!?])([.!?]++)[\"')\]\u201d\u2019]*+(?=\s|\Z)|([\u3002\uff01\uff1f]++)[\u300d\u300f]?)\s*"
)
"""Runs are taken whole and begun once: a text of many dots is read in one pass."""
_HEADING = re.compile(r"^#{1,6}[ \t]+\S.*$", re.MULTILINE)
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")


class Chunk(Expander):
    """Cuts documents into pieces, each a document of its own.

    With `by: words` a piece has at most `size` words and ends at the last paragraph or sentence that fits; `tokens` counts
    those that `tokenizer` makes of the whole document; `sentences` counts sentences; `headings` cuts before every Markdown
    heading, and what is longer than `size` words is cut further. A piece carries all columns of its document, and where it
    begins and ends in it (`chunk_start`, `chunk_end`, in characters).
    """

    libraries: ClassVar[tuple[str, ...]] = ("tokenizers",)

    by: Literal["words", "tokens", "sentences", "headings"] = Field(
        "words",
        description="What is counted, or where is cut: `words`, `tokens`, `sentences`, or before Markdown `headings`.",
    )
    size: int = Field(400, ge=1, description="Most words of a piece (tokens or sentences, where these are counted).")
    overlap: int = Field(
        0,
        ge=0,
        description="How many words (tokens, sentences) of a piece are the last ones of the piece before; not at headings.",
    )
    min_size: int = Field(
        1,
        ge=1,
        description="A last piece of fewer words (tokens, sentences) is joined to the one before, which may then be longer.",
    )
    tokenizer: str | None = Field(
        None,
        description="With `by: tokens`: the `tokenizer.json` that counts, relative to the pipeline file. "
        "Tokens of white space alone do not count.",
    )

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if self.overlap >= self.size:
            raise ValueError(f"an overlap of {self.overlap} leaves nothing new in a piece of {self.size}")
        if self.min_size > self.size:
            raise ValueError(f"`min_size: {self.min_size}` is more than `size: {self.size}`")
        if (self.by == "tokens") != (self.tokenizer is not None):
            raise ValueError("`by: tokens` and `tokenizer` (the path of a tokenizer.json) go together")
        return self

    def model_files(self) -> Sequence[Path]:
        """The tokenizer."""
        return [self.beside(self.tokenizer)] if self.tokenizer else []

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    def adds(self) -> Sequence[str]:
        """Where each piece comes from."""
        return ("parent", "ordinal", "chunk_start", "chunk_end")

    def open(self) -> Callable[[pa.Table], Expansion]:
        """The function that cuts; documents without a word give no piece."""
        import pyarrow as pa

        units = (
            _tokens(str(self.beside(self.tokenizer)))
            if self.tokenizer
            else _sentences
            if self.by == "sentences"
            else _words
        )

        def cut(batch: pa.Table) -> Expansion:
            parents: list[int] = []
            pieces: list[tuple[str, int, int]] = []
            for row, text in enumerate(batch.column("text").to_pylist()):
                for start, end in self.pieces(text, units):
                    parents.append(row)
                    pieces.append((text[start:end], start, end))
            return Expansion(
                pa.array(parents, pa.int64()),
                {
                    "text": pa.array([text for text, _, _ in pieces], pa.string()),
                    "chunk_start": pa.array([start for _, start, _ in pieces], pa.int64()),
                    "chunk_end": pa.array([end for _, _, end in pieces], pa.int64()),
                },
            )

        return cut

    def pieces(self, text: str, units: Units) -> list[tuple[int, int]]:
        """Where the pieces of a text begin and end, in characters."""
        starts = [0]
        if self.by == "headings":
            starts = sorted({0, *(match.start() for match in _HEADING.finditer(text))})
        parts = zip(starts, [*starts[1:], len(text)], strict=True)
        found = [piece for start, end in parts for piece in self._pieces_of(text, start, end, units)]
        return [_stripped(text, start, end) for start, end in found]

    def _pieces_of(self, text: str, start: int, end: int, units: Units) -> Iterator[tuple[int, int]]:
        """Pieces of at most `size` units; the last one takes what would be too short to stand alone."""
        found = units(text, start, end)
        overlap = 0 if self.by == "headings" else self.overlap
        first = 0
        while first < len(found):
            full = min(first + self.size, len(found))
            places = (*range(full, first, -1), *range(full + 1, len(found) + 1))
            last = next(place for place in places if _is_between(found, place))
            if last < len(found) and self.by != "sentences":
                last = self._better_end(text, found, first, last, overlap)
            if len(found) - last < self.min_size:
                last = len(found)
            yield found[first][0], found[last - 1][1]
            if last == len(found):
                return
            first = next(one for one in range(max(last - overlap, first + 1), last + 1) if _is_between(found, one))

    def _better_end(self, text: str, found: list[tuple[int, int]], first: int, last: int, overlap: int) -> int:
        """The last paragraph's or sentence's end in the second half of a piece, or where it is full."""
        least = max(first + (last - first) // 2, first + overlap + 1)
        for ends in (_ends_paragraph, _ends_sentence, _ends_word):
            for unit in range(last, least, -1):
                if ends(text, found[unit - 1][1]):
                    return unit
        return last


def _is_between(found: Sequence[tuple[int, int]], place: int) -> bool:
    """Whether one character ends before a unit and another begins with it."""
    return place == len(found) or found[place] != found[place - 1]


def _tokens(path: str) -> Units:
    """What a tokenizer makes of a text: each token from where it begins to the next one, without white space at its end.

    Tokens that are bytes of one character all have its place, and are not cut apart.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # the library raises bare exceptions
        hint = "name a tokenizer.json of the tokenizers library"
        raise CurateError(f"the tokenizer cannot be read: {error}", path, hint) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def units(text: str, start: int, end: int) -> list[tuple[int, int]]:
        offsets = tokenizer.encode(text[start:end], add_special_tokens=False).offsets
        starts = sorted(start + first for first, last in offsets if text[start + first : start + last].strip())
        starts = [start if place == starts[0] else place for place in starts]
        ends = dict(pairwise([*dict.fromkeys(starts), end]))
        return [(place, place + len(text[place : ends[place]].rstrip())) for place in starts]

    return units


def _words(text: str, start: int, end: int) -> list[tuple[int, int]]:
    return [match.span() for match in _WORD.finditer(text, start, end)]


def _sentences(text: str, start: int, end: int) -> list[tuple[int, int]]:
    found = []
    for match in _SENTENCE_END.finditer(text, start, end):
        if match.start() > start or len(match[1] or match[2]) > 1:  # a sentence is more than the sign at its end
            found.append((start, match.end()))
            start = match.end()
    found.append((start, end))
    return [(first, last) for first, last in found if text[first:last].strip()]


def _ends_paragraph(text: str, place: int) -> bool:
    return _PARAGRAPH.match(text, place) is not None


def _ends_sentence(text: str, place: int) -> bool:
    return text[place - 1] in ".!?\u3002\uff01\uff1f" or text[place - 2 : place] in ('."', '!"', '?"', ".)")


def _ends_word(text: str, place: int) -> bool:
    return not text[place : place + 1].strip()


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - (len(piece) - len(piece.rstrip()))
