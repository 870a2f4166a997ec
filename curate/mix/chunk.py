"""Chunks: long documents cut into pieces of so many words, characters, sentences or under their headings, with overlap.

A piece ends where the text allows it: at a paragraph, else at a sentence, else at a word. Words here are what stands
between white space; a tokenizer's tokens are about 1.3 of them in English. Cost: 20 MB of text a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from curate.stages.contract import Expander, Expansion

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Chunk"]

_WORD = re.compile(r"\S+")
_SENTENCE_END = re.compile(
    r"(?:(?<![.!?])([.!?]++)[\"')\]\u201d\u2019]*+(?=\s|\Z)|([\u3002\uff01\uff1f]++)[\u300d\u300f]?)\s*"
)
"""Runs are taken whole and begun once: a text of many dots is read in one pass."""
_HEADING = re.compile(r"^#{1,6}[ \t]+\S.*$", re.MULTILINE)
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")


class Chunk(Expander):
    """Cuts documents into pieces, each a document of its own.

    With `by: words` a piece has at most `size` words and ends at the last paragraph or sentence that fits; `sentences` counts
    sentences; `headings` cuts before every Markdown heading, and what is longer than `size` words is cut further. A piece
    carries all columns of its document, and where it begins and ends in it (`chunk_start`, `chunk_end`, in characters).
    """

    by: Literal["words", "sentences", "headings"] = Field(
        "words", description="What is counted, or where is cut: `words`, `sentences`, or before Markdown `headings`."
    )
    size: int = Field(400, ge=1, description="Most words of a piece (sentences, with `by: sentences`).")
    overlap: int = Field(
        0,
        ge=0,
        description="How many words (sentences) of a piece are the last ones of the piece before; not at headings.",
    )
    min_size: int = Field(
        1,
        ge=1,
        description="A last piece of fewer words (sentences) is joined to the one before, which may then be longer.",
    )

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if self.overlap >= self.size:
            raise ValueError(f"an overlap of {self.overlap} leaves nothing new in a piece of {self.size}")
        if self.min_size > self.size:
            raise ValueError(f"`min_size: {self.min_size}` is more than `size: {self.size}`")
        return self

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    def adds(self) -> Sequence[str]:
        """Where each piece comes from."""
        return ("parent", "ordinal", "chunk_start", "chunk_end")

    def open(self) -> Callable[[pa.Table], Expansion]:
        """The function that cuts; documents without a word give no piece."""
        import pyarrow as pa

        def cut(batch: pa.Table) -> Expansion:
            parents: list[int] = []
            pieces: list[tuple[str, int, int]] = []
            for row, text in enumerate(batch.column("text").to_pylist()):
                for start, end in self.pieces(text):
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

    def pieces(self, text: str) -> list[tuple[int, int]]:
        """Where the pieces of a text begin and end, in characters."""
        if self.by == "headings":
            starts = sorted({0, *(match.start() for match in _HEADING.finditer(text))})
            parts = zip(starts, [*starts[1:], len(text)], strict=True)
            found = [piece for start, end in parts for piece in self._units(text, start, end, _words, overlap=0)]
        else:
            units = _words if self.by == "words" else _sentences
            found = list(self._units(text, 0, len(text), units, overlap=self.overlap))
        return [_stripped(text, start, end) for start, end in found]

    def _units(
        self, text: str, start: int, end: int, units: Callable[[str, int, int], list[tuple[int, int]]], *, overlap: int
    ) -> Iterator[tuple[int, int]]:
        """Pieces of at most `size` units; the last one takes what would be too short to stand alone."""
        found = units(text, start, end)
        first = 0
        while first < len(found):
            last = min(first + self.size, len(found))
            if last < len(found) and self.by != "sentences":
                last = self._better_end(text, found, first, last, overlap)
            if len(found) - last < self.min_size:
                last = len(found)
            yield found[first][0], found[last - 1][1]
            if last == len(found):
                return
            first = max(last - overlap, first + 1)

    def _better_end(self, text: str, found: list[tuple[int, int]], first: int, last: int, overlap: int) -> int:
        """The last paragraph's or sentence's end in the second half of a piece, or where it is full."""
        least = max(first + (last - first) // 2, first + overlap + 1)
        for ends in (_ends_paragraph, _ends_sentence):
            for unit in range(last, least, -1):
                if ends(text, found[unit - 1][1]):
                    return unit
        return last


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


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - (len(piece) - len(piece.rstrip()))
