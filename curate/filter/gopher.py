"""Gopher's quality and repetition rules (Rae et al. 2021, appendix A), decided as datatrove 0.10 decides.

Every rule is measured for every document, with datatrove's tokenizer, stop words and helpers, and the thresholds
decide in datatrove's order: the same documents are dropped for the same reasons (differential tests), and another
threshold is decided anew without measuring. One core measures 3 MB/s of quality and 1 MB/s of repetition on new
documents, about 5 and 2.5 times as fast as datatrove (benchmarks/filters.py).

Differences, where datatrove raises or surprises: a document without words is short (datatrove divides by zero when its
minimum is off); a threshold of 0 is a threshold of 0 (datatrove takes it for off; off is null here); and other
languages than English have stop words of their own (datatrove counts English ones in all), and their usual script
(`curate.stages.languages`).

The thresholds are the paper's, made for English. Chinese and Japanese words are of one or two characters
(`min_mean_word_length`), Finnish and German ones long (`max_mean_word_length`); look at the features of a sample first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from curate.stages.contract import Filter, Rule
from curate.stages.languages import WORDS_OF, LanguageCode, stop_words
from curate.stages.missing import needing

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["GopherQuality", "GopherRepetition"]

_TOP = (2, 3, 4)
_REPEATED = (5, 6, 7, 8, 9, 10)


class GopherQuality(Filter):
    """Drops documents that do not look like prose: too short, odd words, symbols, bullets, no stop words.

    Words are datatrove's tokens that hold anything but punctuation; the shares of symbols, alphabetic words and
    stop words are taken of all tokens.
    """

    version = 3
    libraries = ("datatrove", "spacy")
    batch = 200
    thresholds = frozenset({
        "min_words", "max_words", "min_mean_word_length", "max_mean_word_length", "max_symbols_per_word",
        "max_bullet_lines", "max_ellipsis_lines", "min_alphabetic", "min_stop_words",
    })  # fmt: skip

    reasons = {
        "gopher_short_doc": "fewer words than `min_words`",
        "gopher_long_doc": "more words than `max_words`",
        "gopher_below_avg_threshold": "words shorter than `min_mean_word_length` in the mean",
        "gopher_above_avg_threshold": "words longer than `max_mean_word_length` in the mean",
        "gopher_too_many_hashes": "more `#` per word than `max_symbols_per_word`",
        "gopher_too_many_ellipsis": "more ellipses per word than `max_symbols_per_word`",
        "gopher_too_many_bullets": "a larger share of bullet lines than `max_bullet_lines`",
        "gopher_too_many_end_ellipsis": "a larger share of lines that end with an ellipsis than `max_ellipsis_lines`",
        "gopher_below_alpha_threshold": "a smaller share of words with a letter than `min_alphabetic`",
        "gopher_enough_stop_words": "not enough: fewer different stop words than `min_stop_words`",
    }

    min_words: int = Field(50, ge=1, description="Fewest words that a document may have.")
    max_words: int | None = Field(100_000, ge=1, description="Most words that a document may have; null is no limit.")
    min_mean_word_length: float | None = Field(
        3,
        ge=0,
        description="Least mean length of the words, in characters. Made for English, as all defaults here: Chinese and "
        "Japanese words have one or two.",
    )
    max_mean_word_length: float | None = Field(
        10, ge=0, description="Greatest mean length of the words, in characters."
    )
    max_symbols_per_word: float | None = Field(
        0.1, ge=0, description="Most `#` per word, and most ellipses (`...` or the one character) per word."
    )
    max_bullet_lines: float | None = Field(
        0.9, ge=0, le=1, description="Largest share of lines that begin with a bullet or `-`."
    )
    max_ellipsis_lines: float | None = Field(
        0.3, ge=0, le=1, description="Largest share of lines that end with an ellipsis."
    )
    min_alphabetic: float | None = Field(0.8, ge=0, le=1, description="Least share of words with at least one letter.")
    min_stop_words: int | None = Field(2, ge=0, description="Fewest different stop words that must occur.")
    stop_words: tuple[str, ...] | None = Field(
        None,
        description="The stop words, as they are written in the text (case counts). null takes the language's own: the "
        "paper's eight for English, spaCy's list for others (German: 543 words, so the rule is milder there); a language "
        "without a list has none, and then `min_stop_words` is not asked.",
    )
    language: LanguageCode = Field("eng", description=WORDS_OF)

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    @needing("gopher_quality")
    def open(self) -> Callable[[pa.Table], pa.Table]:
        """Measure eight features of every document."""
        import datatrove.utils.text  # noqa: F401  # pyright: ignore[reportUnusedImport]  that it is there

        from curate.filter.measures import quality_features
        from curate.stages.words import token_cutter

        cut, frequent = token_cutter(self.language), self._stop_words()
        return lambda batch: quality_features(batch.column("text"), cut, frequent)

    def rules(self) -> Sequence[Rule]:
        """In datatrove's order, with datatrove's reasons."""
        return (
            Rule("gopher_short_doc", "words", minimum=self.min_words),
            Rule("gopher_long_doc", "words", maximum=self.max_words),
            Rule("gopher_below_avg_threshold", "mean_word_length", minimum=self.min_mean_word_length),
            Rule("gopher_above_avg_threshold", "mean_word_length", maximum=self.max_mean_word_length),
            Rule("gopher_too_many_hashes", "hashes_per_word", maximum=self.max_symbols_per_word),
            Rule("gopher_too_many_ellipsis", "ellipses_per_word", maximum=self.max_symbols_per_word),
            Rule("gopher_too_many_bullets", "bullet_lines", maximum=self.max_bullet_lines),
            Rule("gopher_too_many_end_ellipsis", "ellipsis_lines", maximum=self.max_ellipsis_lines),
            Rule("gopher_below_alpha_threshold", "alphabetic", minimum=self.min_alphabetic),
            Rule("gopher_enough_stop_words", "stop_words", minimum=self._least_stop_words()),
        )

    def _stop_words(self) -> tuple[str, ...]:
        return stop_words(self.language) if self.stop_words is None else self.stop_words

    def _least_stop_words(self) -> int | None:
        """None where the language has no stop words of its own."""
        return None if self.stop_words is None and not self._stop_words() else self.min_stop_words


class GopherRepetition(Filter):
    """Drops documents that repeat themselves: lines, paragraphs, and n-grams of words.

    The paper's table A1. Shares are of characters where the name says so. `max_top_n_gram` bounds the most frequent
    n-gram's share of the characters, `max_repeated_n_grams` that of all n-grams which occur before.
    """

    version = 3
    libraries = ("datatrove", "spacy")
    batch = 100
    thresholds = frozenset({
        "max_repeated_paragraphs", "max_repeated_paragraph_characters", "max_repeated_lines",
        "max_repeated_line_characters", "max_top_n_gram", "max_repeated_n_grams",
    })  # fmt: skip

    reasons = {
        "empty": "no characters",
        "dup_para_frac": "a larger share of repeated paragraphs than `max_repeated_paragraphs`",
        "dup_para_char_frac": "more characters in them than `max_repeated_paragraph_characters`, as a share",
        "dup_line_frac": "a larger share of repeated lines than `max_repeated_lines`",
        "dup_line_char_frac": "more characters in them than `max_repeated_line_characters`, as a share",
        **{
            f"top_{n}_gram": f"its most frequent {n}-gram has more of the characters than `max_top_n_gram`"
            for n in _TOP
        },
        **{
            f"duplicated_{n}_n_grams": f"repeated {n}-grams have more of the characters than `max_repeated_n_grams`"
            for n in _REPEATED
        },
    }

    max_repeated_paragraphs: float | None = Field(0.3, ge=0, description="Largest share of paragraphs seen before.")
    max_repeated_paragraph_characters: float | None = Field(
        0.2, ge=0, description="Largest share of characters in them."
    )
    max_repeated_lines: float | None = Field(0.3, ge=0, description="Largest share of lines seen before.")
    max_repeated_line_characters: float | None = Field(0.2, ge=0, description="Largest share of characters in them.")
    max_top_n_gram: tuple[float | None, float | None, float | None] = Field(
        (0.2, 0.18, 0.16),
        description="Largest share of characters in the most frequent 2-, 3- and 4-gram; null is off.",
    )
    max_repeated_n_grams: tuple[float | None, float | None, float | None, float | None, float | None, float | None] = (
        Field(
            (0.15, 0.14, 0.13, 0.12, 0.11, 0.10),
            description="Largest share of characters in repeated 5-, 6-, ... 10-grams; null is off.",
        )
    )
    language: LanguageCode = Field("eng", description=WORDS_OF)

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    @needing("gopher_repetition")
    def open(self) -> Callable[[pa.Table], pa.Table]:
        """Measure fourteen features of every document."""
        import datatrove.utils.text  # noqa: F401  # pyright: ignore[reportUnusedImport]  that it is there

        from curate.filter.measures import repetition_features
        from curate.stages.words import token_cutter

        cut = token_cutter(self.language)
        return lambda batch: repetition_features(batch.column("text"), cut)

    def rules(self) -> Sequence[Rule]:
        """In datatrove's order, with datatrove's reasons."""
        return (
            Rule("empty", "characters", minimum=1),
            Rule("dup_para_frac", "repeated_paragraphs", maximum=self.max_repeated_paragraphs),
            Rule("dup_para_char_frac", "repeated_paragraph_characters", maximum=self.max_repeated_paragraph_characters),
            Rule("dup_line_frac", "repeated_lines", maximum=self.max_repeated_lines),
            Rule("dup_line_char_frac", "repeated_line_characters", maximum=self.max_repeated_line_characters),
            *(
                Rule(f"top_{n}_gram", f"top_{n}_gram", maximum=m)
                for n, m in zip(_TOP, self.max_top_n_gram, strict=True)
            ),
            *(
                Rule(f"duplicated_{n}_n_grams", f"repeated_{n}_grams", maximum=m)
                for n, m in zip(_REPEATED, self.max_repeated_n_grams, strict=True)
            ),
        )
