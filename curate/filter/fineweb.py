"""FineWeb's own filters (Penedo et al. 2024, section 3.6), decided as datatrove 0.10 decides.

Four rules on the shape of the lines, measured for every document; the thresholds decide in datatrove's order
(differential test).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from curate.stages.contract import Filter, Rule
from curate.stages.languages import WORDS_OF, LanguageCode
from curate.stages.missing import needing

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FineWeb"]


class FineWeb(Filter):
    """Drops documents whose lines are those of lists and menus: unpunctuated, short, repeated, or few words a line.

    Lines of nothing but whitespace do not count.
    """

    version = 3
    libraries = ("datatrove", "spacy")
    batch = 200
    thresholds = frozenset(
        {"min_punctuated_lines", "max_short_lines", "max_repeated_line_characters", "max_line_breaks_per_word"}
    )

    reasons = {
        "empty": "no lines with text",
        "line_punct_ratio": "a smaller share of lines that end with a mark than `min_punctuated_lines`",
        "short_line_ratio": "a larger share of short lines than `max_short_lines`",
        "char_dup_ratio": "a larger share of characters in repeated lines than `max_repeated_line_characters`",
        "list_ratio": "more line breaks per word than `max_line_breaks_per_word`, or no words",
    }

    min_punctuated_lines: float | None = Field(
        0.12, ge=0, le=1, description="Least share of lines that end with a mark that ends sentences."
    )
    max_short_lines: float | None = Field(0.67, ge=0, le=1, description="Largest share of short lines.")
    short_line_length: int = Field(
        30,
        ge=0,
        description="A line of at most this many characters is short: a measure of alphabets; a line of Chinese says in "
        "10 to 15 what one of English says in 30.",
    )
    max_repeated_line_characters: float | None = Field(
        0.01, ge=0, le=1, description="Largest share of characters in lines seen before in the document."
    )
    max_line_breaks_per_word: float | None = Field(
        0.3, ge=0, description="Most line breaks per word, of the words that the tokenizer of `language` cuts."
    )
    keep_unpunctuated: bool = Field(
        False, description="Keep documents without any punctuated line: languages and forms that have no such marks."
    )
    stop_characters: tuple[str, ...] | None = Field(
        None, description="Marks that end sentences; null takes datatrove's, of all scripts."
    )
    language: LanguageCode = Field("eng", description=WORDS_OF)

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    @needing("fineweb")
    def open(self) -> Callable[[pa.Table], pa.Table]:
        """Measure five features of every document."""
        from datatrove.utils.text import TERMINAL_PUNCTUATION

        from curate.filter.measures import Marks, line_features
        from curate.stages.words import token_cutter

        cut = token_cutter(self.language)
        marks = Marks(TERMINAL_PUNCTUATION if self.stop_characters is None else self.stop_characters)
        short, keep = self.short_line_length, self.keep_unpunctuated
        return lambda batch: line_features(batch.column("text"), cut, marks, short=short, keep_unpunctuated=keep)

    def rules(self) -> Sequence[Rule]:
        """In datatrove's order, with datatrove's reasons."""
        return (
            Rule("empty", "lines", minimum=1),
            Rule("line_punct_ratio", "punctuated_lines", minimum=self.min_punctuated_lines),
            Rule("short_line_ratio", "short_lines", maximum=self.max_short_lines),
            Rule("char_dup_ratio", "repeated_line_characters", maximum=self.max_repeated_line_characters),
            Rule("list_ratio", "line_breaks_per_word", maximum=self.max_line_breaks_per_word),
        )
