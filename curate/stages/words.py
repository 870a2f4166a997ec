"""datatrove's English words and sentences, from a table of whitespace-separated chunks; other languages through datatrove.

datatrove tokenizes English with spaCy and throws spaCy's caches away after every document. Here what spaCy says of a chunk
is kept (curate/stages/chunks.py says why that gives the very same tokens), and texts become numbers of tokens
(curate/stages/tokens.py) without Python touching a word. A differential test and a property test compare the two, and
benchmarks/filters.py every decision of the filters.

The table holds chunks of at most 32 MB together (some million, 300 MB) and is then begun anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from datatrove.utils.word_tokenizers import WordTokenizer, load_tokenizer_assignments, load_word_tokenizer

from curate.errors import CurateError
from curate.stages.buffers import text_buffer
from curate.stages.chunks import Chunks, count_sentences, expand, find_touchy
from curate.stages.english import BROKEN, English
from curate.stages.languages import find_language
from curate.stages.lean import without
from curate.stages.missing import missing_package
from curate.stages.preparation import preparing
from curate.stages.tokens import SPOKEN, STOP, Kept, Tokenized, Vocabulary, cut_by, joined

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["EnglishWords", "english_tokenizer", "token_cutter", "word_tokenizer"]

_CACHED_BYTES = 32_000_000
_LINES = 2_000
_PAIRS = 100_000
_PIECES = re.compile(r"\s+|\S+")
_ENGLISH = ("eng", "en")
_SAMPLE = "One word. Two words."


class EnglishWords(WordTokenizer):
    """The same answers as datatrove's tokenizer for `eng`; for the `language=` of datatrove's blocks, too."""

    def __init__(self) -> None:
        super().__init__("en")
        self.kept = Kept()
        self._begin()

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        """Pickled as a name: a worker makes its own."""
        return english_tokenizer, ()

    # ---- the table

    def _begin(self) -> None:
        """An empty table; what it held is forgotten."""
        self._english = English()
        self.chunks, self.vocabulary = Chunks(), Vocabulary(self._english.stop_marks())
        self._special_tokens: frozenset[int] | None = None
        self._broken_token = int(self.vocabulary.number_texts([BROKEN])[0])
        self._words: dict[int, str] = {}
        self._pairs: dict[int, bool] = {}
        self.kept.clear()

    def look_up(self, data: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`Chunks.look_up`, and then every chunk has its tokens.

        Args:
            data: UTF-8 bytes (uint8).
            bounds: Where each text begins and the last ends (int64).
        """
        if self.chunks.strings.bytes > _CACHED_BYTES:
            self._begin()
        first = self.chunks.strings.count
        try:
            found = self.chunks.look_up(data, bounds)
            with preparing():
                for start in range(first, self.chunks.strings.count, _LINES):
                    self._learn(start, min(start + _LINES, self.chunks.strings.count))
        except BaseException:  # numbers without tokens must not stay
            self._begin()
            raise
        return found

    def _learn(self, first: int, last: int) -> None:
        """Find out the tokens of the chunks with these numbers."""
        strings = self.chunks.strings
        start, stop = strings.starts[first], strings.starts[last]
        data = strings.data[start:stop]
        texts = [strings.text(number) for number in range(first, last)]
        lengths = [self._english.special.plain(text) for text in texts]
        asked = [place for place, found in enumerate(lengths) if found is None]
        for place, found in zip(asked, self._english.lengths([texts[place] for place in asked]), strict=True):
            lengths[place] = found
        counts = np.array([len(found) for found in lengths if found], np.int64)
        ends = np.cumsum([length for found in lengths if found for length in found], dtype=np.int64)
        sizes = np.cumsum([len(text) for text in texts])
        assert np.array_equal(ends[np.cumsum(counts) - 1], sizes), "spaCy changes text"
        characters = np.append(np.flatnonzero((data & 0xC0) != 0x80), len(data))
        tokens = self.vocabulary.number(data, np.concatenate([[0], characters[ends]]).astype(np.int64))
        touchy = self._touchy(texts, counts, tokens) if asked else np.zeros(len(texts), np.bool_)
        self.chunks.learn(counts, tokens, touchy)

    def _touchy(self, texts: list[str], counts: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Whether a special case may have been applied within each of these chunks (bool)."""
        if self._special_tokens is None:
            self._special_tokens = frozenset(self.vocabulary.number_texts(self._english.special.tokens).tolist())
        touchy = np.zeros(len(texts), np.bool_)
        ends = np.cumsum(counts)
        listed = tokens.tolist()
        suspects = [place for place, token in enumerate(listed) if token in self._special_tokens]
        for chunk in np.unique(np.searchsorted(ends, suspects, side="right")).tolist():
            words = [self.vocabulary.strings.text(token) for token in listed[ends[chunk] - counts[chunk] : ends[chunk]]]
            touchy[chunk] = self._english.special.within(texts[chunk], words)
        return touchy

    # ---- whole texts

    def cut(self, column: pa.ChunkedArray | pa.Array) -> Tokenized:
        """The tokens of texts; those that were cut not long ago are not cut again."""
        data, bounds = text_buffer(column)
        keys = self.kept.keys(data, bounds)
        found = [self.kept.get(key) for key in keys]
        new = [place for place, ids in enumerate(found) if ids is None]
        if new:
            vocabulary = self.vocabulary
            with preparing():
                cut = self._cut(column if len(new) == len(keys) else column.take(new))
            if self.vocabulary is not vocabulary and len(new) < len(keys):  # numbers mean something else now
                return self.cut(column)
            for number, place in enumerate(new):
                ids = cut.ids[cut.bounds[number] : cut.bounds[number + 1]]
                self.kept.put(keys[place], ids)
                found[place] = ids
            if len(new) == len(keys):
                return cut
        return joined(found, self.vocabulary)  # pyright: ignore[reportArgumentType]  none is missing now

    def _cut(self, column: pa.ChunkedArray | pa.Array) -> Tokenized:
        data, bounds = text_buffer(column)
        chunks, gaps, firsts = self.look_up(data, bounds)
        ids, ends = expand(chunks, firsts, self.chunks.starts, self.chunks.tokens)
        odd = self.crossing(data, bounds, gaps, chunks, firsts) + self._broken(data, ids, ends)
        if not odd:
            return Tokenized(ids, ends, self.vocabulary)
        parts = np.split(ids, ends[1:-1])
        for number in odd:
            text = data[bounds[number] : bounds[number + 1]].tobytes().decode()
            parts[number] = self.vocabulary.number_texts(self._english.whole(text))
        return joined(parts, self.vocabulary)

    def _broken(self, data: np.ndarray, ids: np.ndarray, ends: np.ndarray) -> list[int]:
        """The texts with the word that spaCy fails on."""
        if data.tobytes().find(BROKEN.encode()) < 0:
            return []
        found = np.flatnonzero(ids == self._broken_token)
        return np.unique(np.searchsorted(ends, found, side="right") - 1).tolist()

    def crossing(
        self, data: np.ndarray, bounds: np.ndarray, gaps: np.ndarray, chunks: np.ndarray, firsts: np.ndarray
    ) -> list[int]:
        """The texts in which spaCy cuts chunks otherwise together than one by one."""
        places = find_touchy(chunks, gaps, self.chunks.touchy)
        pairs, which = np.unique(chunks[places - 1].astype(np.int64) << 32 | chunks[places], return_inverse=True)
        doubtful = np.array([self._may_join(pair) for pair in pairs.tolist()], np.bool_)
        texts = np.unique(np.searchsorted(firsts, places[doubtful[which]], side="right") - 1).tolist()
        return [one for one in texts if self._english.crosses(data[bounds[one] : bounds[one + 1]].tobytes().decode())]

    def _may_join(self, pair: int) -> bool:
        """Whether a special case could lie across a space between two chunks."""
        known = self._pairs.get(pair)
        if known is None:
            left, right = self.chunks.strings.text(pair >> 32), self.chunks.strings.text(pair & 0xFFFFFFFF)
            around = self._english.special.pairs.get(f"{left[-1]} {right[0]}", ())
            known = any(left.endswith(before) and right.startswith(behind) for before, behind in around)
            if len(self._pairs) > _PAIRS:
                self._pairs.clear()
            self._pairs[pair] = known
        return known

    def sentences(self, data: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, list[int]]:
        """Sentences in the lines of each text, every line by itself (int64), and the texts of which it is not known.

        The tokens are kept for the next stage, which may be given these texts.
        """
        data.setflags(write=False)
        bounds.setflags(write=False)
        chunks, gaps, firsts = self.look_up(data, bounds)
        table = firsts, self.chunks.starts, self.chunks.tokens
        counted = count_sentences(chunks, gaps, *table, self.vocabulary.flags)
        crossing = self.crossing(data, bounds, gaps, chunks, firsts)
        ids, ends = expand(chunks, *table)
        for number, key in enumerate(self.kept.keys(data, bounds)):
            if number not in crossing:
                self.kept.put(key, ids[ends[number] : ends[number + 1]])
        return counted, crossing

    # ---- as datatrove asks

    def word_tokenize(self, text: str) -> list[str]:
        """The words and marks of a text, without whitespace."""
        data, bounds, (chunks, gaps, firsts) = self._of_one(text)
        ids, ends = expand(chunks, firsts, self.chunks.starts, self.chunks.tokens)
        if self.crossing(data, bounds, gaps, chunks, firsts) or self._broken(data, ids, ends):
            return self._english.whole(text)
        words = self._words
        return [words.get(number) or self._word(number) for number in ids.tolist()]

    def _word(self, number: int) -> str:
        self._words[number] = word = self.vocabulary.strings.text(number)
        return word

    def _of_one(self, text: str) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The bytes of a text, their bounds, and `look_up` of them."""
        encoded = text.encode()
        data = np.frombuffer(encoded + b"\0", np.uint8)
        bounds = np.array([0, len(encoded)], np.int64)
        bounds.setflags(write=False)
        return data, bounds, self.look_up(data, bounds)

    def sent_tokenize(self, text: str) -> list[str]:
        """The sentences, stripped; as datatrove's, from the words' own positions."""
        text = self._mended(text)
        sentences = (text[start:end].strip() for start, end in self.span_tokenize(text))
        return [sentence for sentence in sentences if sentence]

    def _mended(self, text: str) -> str:
        """The text without the word that spaCy fails on, where this is a word of it."""
        if BROKEN not in text:
            return text
        _, _, (chunks, _, firsts) = self._of_one(text)
        ids, _ = expand(chunks, firsts, self.chunks.starts, self.chunks.tokens)
        return text.replace(BROKEN, "") if (ids == self._broken_token).any() else text

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """First and last position of every sentence: after a stop mark, the next word begins one."""
        text = self._mended(text)
        data, bounds, (chunks, gaps, firsts) = self._of_one(text)
        if self.crossing(data, bounds, gaps, chunks, firsts):
            return load_word_tokenizer("eng").span_tokenize(text)
        spans: list[tuple[int, int]] = []
        start = end = 0
        stopped = False
        for begin, finish, said in self._positions(text, chunks.tolist()):
            if stopped and said & SPOKEN and not said & STOP:
                spans.append((start, end))
                start, stopped = begin, False
            elif said & STOP:
                stopped = True
            end = finish
        return [*spans, (start, end)] if end else []

    def _positions(self, text: str, chunks: list[int]) -> Iterator[tuple[int, int, int]]:
        """Start, end and flags of every token; whitespace beyond the one space after a word is a token to spaCy."""
        after_word, number = False, iter(chunks)
        starts, tokens, vocabulary = self.chunks.starts, self.chunks.tokens, self.vocabulary
        for piece in _PIECES.finditer(text):
            begin = piece.start()
            if piece[0].isspace():
                begin += after_word and piece[0][0] == " "
                after_word = False
                if begin < piece.end():
                    yield begin, piece.end(), SPOKEN
                continue
            after_word = True
            chunk = next(number)
            for token in tokens[starts[chunk] : starts[chunk + 1]].tolist():
                length = int(vocabulary.lengths[token])
                yield begin, begin + length, int(vocabulary.flags[token])
                begin += length


@cache
def english_tokenizer() -> EnglishWords:
    """The one tokenizer of this process, with its table."""
    return EnglishWords()


def token_cutter(language: str) -> Callable[[pa.ChunkedArray], Tokenized]:
    """A function that gives the token numbers of texts in a language; what one stage had cut, no other cuts again."""
    return english_tokenizer().cut if language in _ENGLISH else _foreign_cutter(language)


@cache
def _foreign_cutter(language: str) -> Callable[[pa.ChunkedArray], Tokenized]:
    return cut_by(word_tokenizer(language).word_tokenize)


def word_tokenizer(language: str, *, sentences: bool = False) -> WordTokenizer:
    """The cached tokenizer for English, datatrove's own for every other language; tried, so that it lacks nothing.

    Args:
        language: A code that datatrove knows: `eng`, `deu`, `zho_Hani`, ... (see `curate.stages.languages`).
        sentences: Whether sentences are asked for, too.

    Raises:
        CurateError: datatrove has no tokenizer for the language, or something is missing that it needs.
    """
    if language in _ENGLISH:
        return english_tokenizer()
    try:
        with without("torch", "transformers"):
            import spacy  # noqa: F401  # pyright: ignore[reportUnusedImport]  most tokenizers are spaCy's
        tokenizer = load_word_tokenizer(_assigned(language))
    except ValueError as error:
        raise CurateError(
            f"datatrove has no tokenizer for the language `{language}`",
            hint="codes are those of ISO 639-3: `eng`, `deu`",
        ) from error
    except ImportError as error:
        raise missing_package(error, f"words of the language `{language}` need another package") from error
    _try(tokenizer, language, sentences)
    return tokenizer


def _assigned(language: str) -> str:
    """The key of datatrove's table: the usual script's, where the code names none and datatrove takes another one."""
    found, assigned = find_language(language), load_tokenizer_assignments()
    if "_" in language or found is None:
        return language
    usual = f"{found.code}_{found.script}"
    tokenizers = [getattr(assigned.get(key), "args", None) for key in (language, usual)]
    return language if tokenizers[0] == tokenizers[1] else usual


@contextmanager
def _plain_spacy() -> Iterator[None]:
    """Inside, a language of spaCy's is made without the parts that other packages bring: Presidio's bring torch."""
    from spacy.util import registry

    parts = registry._entry_point_factories  # pyright: ignore[reportPrivateUsage]
    before, parts.entry_points = parts.entry_points, False
    try:
        yield
    finally:
        parts.entry_points = before


def _try(tokenizer: WordTokenizer, language: str, sentences: bool) -> None:
    """Cut a few words: most tokenizers load their packages and models at the first text."""
    try:
        with _plain_spacy():
            tokenizer.word_tokenize(_SAMPLE)
            if sentences:
                tokenizer.sent_tokenize(_SAMPLE)
    except ImportError as error:
        raise missing_package(error, f"words of the language `{language}` need another package") from error
    except Exception as error:  # foreign code at its edge: models that are not there fail in every way
        raise CurateError(
            f"the tokenizer of the language `{language}` does not work here: {type(error).__name__}: {str(error)[:300]}",
            hint="it may need a model or a dictionary that is not installed",
        ) from error
