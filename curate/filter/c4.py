"""C4's line and document rules (Raffel et al. 2020, section 2.2), decided and edited as by datatrove 0.10's block.

Lines that are not sentences go, then documents with too few sentences. English lines are judged by compiled code
(curate/filter/c4_lines.py); what is odd there, other languages and `unit: sentence` by datatrove's block itself, where the
value of a drop is measured for dropped documents only, by a second run without the minimum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from curate.stages.contract import Effect, Mapper, Verdicts
from curate.stages.languages import WORDS_OF, LanguageCode
from curate.stages.missing import needing

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.filter.c4_lines import LineRules

__all__ = ["C4"]


class C4(Mapper):
    """Removes lines that are not sentences, and drops documents with placeholder text, code, or too few sentences.

    Edited documents carry the reason `c4_lines` and, as value, how many characters went; the detail counts the
    lines by what was wrong with them. Dropped documents carry datatrove's reasons `lorem_ipsum`, `curly_bracket`
    (value 1: the first such line decides) and `too_few_sentences` (value: the sentences that were left).
    """

    version = 3
    libraries = ("datatrove", "spacy")
    batch = 100

    reasons = {
        "lorem_ipsum": "the words `lorem ipsum` (`drop_lorem_ipsum`)",
        "curly_bracket": "a `{` (`drop_curly_bracket`)",
        "too_few_sentences": "fewer sentences than `min_sentences` in the lines that are left",
        "c4_lines": "edited: lines, or citations in them, went",
    }

    min_sentences: int | None = Field(
        5, ge=1, description="Fewest sentences in the lines that are left; null is no minimum."
    )
    min_words_per_line: int | None = Field(
        3,
        ge=1,
        description="Lines with fewer words go; null keeps them. Words end at white space in every language: Chinese, "
        "Japanese, Thai and Khmer need null.",
    )
    max_word_length: int | None = Field(
        1000, ge=1, description="Lines with a longer word go, in characters; null keeps them."
    )
    require_terminal_punctuation: bool = Field(
        True,
        description="Lines go that do not end with `.`, `?`, `!` or a quotation mark (`\"`, `'`), or that end with `...`. "
        "No other marks are known: scripts with marks of their own (Chinese, Japanese, Hindi, Arabic, ...) need `false`.",
    )
    remove_citations: bool = Field(
        True, description="Take `[1]`, `[edit]` and `[citation needed]` out of the lines; the words are English only."
    )
    remove_javascript_lines: bool = Field(True, description="Lines go that name `javascript`, in any language.")
    remove_policy_lines: bool = Field(
        True,
        description="Lines go that speak of cookies, privacy policies and terms of use: six English phrases (`terms of "
        "use`, `privacy policy`, `cookie policy`, `uses cookies`, `use of cookies`, `use cookies`), none in other languages.",
    )
    drop_lorem_ipsum: bool = Field(True, description="Drop documents with `lorem ipsum`, in any language.")
    drop_curly_bracket: bool = Field(True, description="Drop documents with `{`.")
    unit: Literal["line", "sentence"] = Field(
        "line", description="What is judged and removed: lines, as in the paper, or sentences."
    )
    language: LanguageCode = Field("eng", description=f"{WORDS_OF} Here it finds the sentences and nothing else.")

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    @needing("c4")
    def open(self) -> Callable[[pa.Table], Effect]:
        """The function that judges a batch: compiled code for lines of English, datatrove's block for all else."""
        from curate.stages.words import english_tokenizer, word_tokenizer

        language: Any = word_tokenizer(self.language, sentences=True)
        native = self.unit == "line" and language is english_tokenizer()
        # without a minimum the block edits every document, and the sentences of what is left can be counted
        block, counting = (cache(partial(self._block, least, language)) for least in (_or_off(self.min_sentences), 0))
        if not native:
            block()

        def apply(batch: pa.Table) -> Effect:
            texts, verdicts = batch.column("text"), Verdicts()
            odd = self._edit(texts, verdicts) if native else range(len(texts))
            for row in odd:
                self._by_block(row, texts[row].as_py(), block(), counting(), verdicts)
            return Effect(verdicts.table())

        return apply

    def _edit(self, texts: pa.ChunkedArray, verdicts: Verdicts) -> list[int]:
        """Judge what compiled code can; the rows of the other documents."""
        import numpy as np

        from curate.filter.c4_lines import CURLY_BRACKET, LOREM_IPSUM, ODD, REMOVED, edit_lines
        from curate.stages.buffers import text_buffer
        from curate.stages.words import english_tokenizer

        data, bounds = text_buffer(texts)
        left, ends, said, removed, empty, changed, lost = edit_lines(data, bounds, self._rules())
        sentences, crossing = english_tokenizer().sentences(left, ends)
        said[crossing] = ODD
        few = sentences + empty[:, 0] < (self.min_sentences or 0)
        counted = np.where((sentences == 0) & (empty[:, 0] > 0), 1, sentences + empty[:, 1])  # in the stripped text
        for row in np.flatnonzero((said != 0) | few | changed).tolist():
            if said[row] == ODD:
                continue
            counts = zip(REMOVED, removed[row].tolist(), strict=True)
            detail = ", ".join(f"{name}={count}" for name, count in counts if count) or None
            reason = {LOREM_IPSUM: "lorem_ipsum", CURLY_BRACKET: "curly_bracket"}.get(int(said[row]))
            if reason:
                verdicts.drop(row, reason, value=1, threshold=0, detail=detail)
            elif few[row]:
                value = int(counted[row])
                verdicts.drop(row, "too_few_sentences", value=value, threshold=self.min_sentences, detail=detail)
            else:
                text = left[ends[row] : ends[row + 1]].tobytes().decode()
                verdicts.edit(row, text, "c4_lines", value=int(lost[row]), detail=detail)
        return np.flatnonzero(said == ODD).tolist()

    def _by_block(self, row: int, text: str, block: Any, counting: Any, verdicts: Verdicts) -> None:
        """Judge one document with datatrove's block; `counting` is the same without a minimum."""
        from datatrove.data import Document

        document = Document(text, "")
        block.stats.stats.clear()
        result = block.filter(document)
        reason = result[1] if isinstance(result, tuple) else None
        if reason == "too_few_sentences":
            value = self._sentences(text, counting)
            verdicts.drop(row, reason, value=value, threshold=self.min_sentences, detail=_removed(block))
        elif reason:
            verdicts.drop(row, reason, value=1, threshold=0, detail=_removed(block))
        elif document.text != text:
            verdicts.edit(row, document.text, "c4_lines", value=len(text) - len(document.text), detail=_removed(block))

    def _sentences(self, text: str, counting: Any) -> int:
        """Sentences in the lines that are left of a text."""
        from datatrove.data import Document
        from datatrove.utils.text import split_into_sentences

        document = Document(text, "")
        counting.stats.stats.clear()
        counting.filter(document)
        kept = int(counting.stats["line-kept"].total)
        if self.unit == "sentence" or not kept:
            return kept
        return sum(len(split_into_sentences(line, counting.language)) for line in document.text.split("\n"))

    def _rules(self) -> LineRules:
        from curate.filter.c4_lines import LineRules

        return LineRules(
            _or_off(self.max_word_length),
            self.remove_citations,
            self.require_terminal_punctuation,
            _or_off(self.min_words_per_line),
            self.drop_lorem_ipsum,
            self.remove_javascript_lines,
            self.drop_curly_bracket,
            self.remove_policy_lines,
        )

    def _block(self, least: int, language: Any) -> Any:
        """Datatrove's block with these settings and a least number of sentences; importing it takes 0.3 CPU seconds."""
        from datatrove.pipeline.filters.c4_filters import C4QualityFilter

        return C4QualityFilter(
            split_paragraph=self.unit == "line",
            remove_citations=self.remove_citations,
            filter_no_terminal_punct=self.require_terminal_punctuation,
            min_num_sentences=least,
            min_words_per_line=_or_off(self.min_words_per_line),
            max_word_length=_or_off(self.max_word_length),
            filter_lorem_ipsum=self.drop_lorem_ipsum,
            filter_javascript=self.remove_javascript_lines,
            filter_curly_bracket=self.drop_curly_bracket,
            filter_policy=self.remove_policy_lines,
            language=language,
        )


def _or_off(setting: int | None) -> int:
    """Datatrove's -1 for our null."""
    return -1 if setting is None else setting


def _removed(block: Any) -> str | None:
    """How many lines went, by what was wrong with them: what the block counted for this document."""
    prefix = "line-filter-"
    counts = {
        label.removeprefix(prefix): stat.total for label, stat in block.stats.stats.items() if label.startswith(prefix)
    }
    return ", ".join(f"{label}={count}" for label, count in sorted(counts.items())) or None
