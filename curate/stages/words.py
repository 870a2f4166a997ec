"""datatrove's English words and sentences, from a cache of whitespace-separated chunks.

datatrove tokenizes English with spaCy and throws spaCy's caches away after every document; with a cache that is kept,
filters run 2 to 5 times as fast on new documents (benchmarks/filters.py). spaCy splits at whitespace first, looks at each chunk
by itself, so a table chunk -> tokens gives the very same tokens, and spaCy is asked only for chunks not seen before.
The one exception are spaCy's special cases (emoticons, contractions), which it also looks for across a single space:
where one lies across a space (`: )`) and changes the tokens, the text goes to datatrove's own tokenizer. A differential
test and a property test compare the two.

The table holds chunks of at most 2 million characters together (250,000 chunks, 180 MB) and is then begun anew, with
spaCy's string store, which otherwise grows with every new chunk.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from datatrove.utils.word_tokenizers import WordTokenizer, load_tokenizer_assignments, load_word_tokenizer

from curate.errors import CurateError
from curate.stages.languages import find_language
from curate.stages.lean import without
from curate.stages.missing import missing_package

__all__ = ["EnglishWords", "english_tokenizer", "word_tokenizer"]

_CACHED_CHARACTERS = 2_000_000
_BROKEN = "IS_ALPHA"  # the one word that spaCy fails on: datatrove takes it out and tries again
_WORD, _STOP, _MARK = range(3)
_PIECES = re.compile(r"\s+|\S+")
_SAMPLE = "One word. Two words."
_LONGEST = 10_000  # characters before a space that are looked at; no special case is longer than 14


class _Chunk(NamedTuple):
    """Tokens of a chunk; for sentences also whether each is a word, ends a sentence, or is another mark."""

    tokens: tuple[str, ...]
    kinds: tuple[int, ...]


class EnglishWords(WordTokenizer):
    """The same answers as datatrove's tokenizer for `eng`; for the `language=` of datatrove's blocks, too."""

    def __init__(self) -> None:
        super().__init__("en")
        self._begin()
        self._candidates, self._pairs = _split_special_cases(self._spacy)

    def _begin(self) -> None:
        import spacy

        self._spacy: Any = spacy.blank("en").tokenizer
        self._spacy.vocab.lex_attr_getters = {}  # attributes of words that nobody reads, and that cost half of the time
        self._chunks: dict[str, _Chunk] = {}
        self._runs: dict[str, bool] = {}
        self._characters = 0
        sentences: Any = spacy.blank("en").add_pipe("sentencizer")
        self._stops = frozenset(sentences.punct_chars)

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        """Pickled as a name: a worker makes its own."""
        return english_tokenizer, ()

    def _tokenize(self, chunk: str) -> _Chunk:
        from spacy.lang.lex_attrs import is_punct

        if self._characters > _CACHED_CHARACTERS:
            self._begin()
        tokens = tuple(token.text for token in self._spacy(chunk))
        kinds = tuple(_STOP if token in self._stops else _MARK if is_punct(token) else _WORD for token in tokens)
        self._characters += len(chunk)
        self._chunks[chunk] = found = _Chunk(tokens, kinds)
        return found

    def _crosses(self, text: str) -> bool:
        """Whether a special case lies across a space of this text and changes the tokens around it."""
        start = stop = -1
        for match in self._candidates.finditer(text):
            space = match.end() - 1
            pairs = self._pairs.get(text[space - 1 : space + 2], ())
            if not any(text.endswith(left, 0, space) and text.startswith(right, space + 1) for left, right in pairs):
                continue
            if space != stop:
                if stop >= 0 and self._changes(text[start:stop]):
                    return True
                start = space - len(text[max(0, space - _LONGEST) : space].split()[-1])
            after = _PIECES.match(text, space + 1)
            stop = after.end() if after else space + 1
        return stop >= 0 and self._changes(text[start:stop])

    def _changes(self, run: str) -> bool:
        """Whether spaCy cuts these chunks otherwise together than one by one."""
        changes = self._runs.get(run)
        if changes is None:
            together = [token.text for token in self._spacy(run)]
            changes = together != [token.text for chunk in run.split() for token in self._spacy(chunk)]
            self._characters += len(run)
            self._runs[run] = changes
        return changes

    def word_tokenize(self, text: str) -> list[str]:
        """The words and marks of a text, without whitespace."""
        if _BROKEN in text:
            text = text.replace(_BROKEN, "")
        if self._crosses(text):
            return load_word_tokenizer("eng").word_tokenize(text)
        words: list[str] = []
        for piece in text.split():
            words += (self._chunks.get(piece) or self._tokenize(piece)).tokens
        return words

    def sent_tokenize(self, text: str) -> list[str]:
        """The sentences, stripped; as datatrove's, from the words' own positions."""
        sentences = (text.replace(_BROKEN, "")[start:end].strip() for start, end in self.span_tokenize(text))
        return [sentence for sentence in sentences if sentence]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """First and last position of every sentence: after a stop mark, the next word begins one."""
        if _BROKEN in text:
            text = text.replace(_BROKEN, "")
        if self._crosses(text):
            return load_word_tokenizer("eng").span_tokenize(text)
        spans: list[tuple[int, int]] = []
        start = end = 0
        stopped = False
        for begin, finish, kind in self._positions(text):
            if stopped and kind == _WORD:
                spans.append((start, end))
                start, stopped = begin, False
            elif kind == _STOP:
                stopped = True
            end = finish
        return [*spans, (start, end)] if end else []

    def _positions(self, text: str) -> Any:
        """Start, end and kind of every token; whitespace beyond the one space after a word is a token to spaCy."""
        after_word = False
        for piece in _PIECES.finditer(text):
            begin, chunk = piece.start(), piece[0]
            if chunk.isspace():
                begin += after_word and chunk[0] == " "
                after_word = False
                if begin < piece.end():
                    yield begin, piece.end(), _WORD
                continue
            after_word = True
            found = self._chunks.get(chunk) or self._tokenize(chunk)
            for token, kind in zip(found.tokens, found.kinds, strict=True):
                yield begin, begin + len(token), kind
                begin += len(token)


def _split_special_cases(tokenizer: Any) -> tuple[re.Pattern[str], dict[str, list[tuple[str, str]]]]:
    """Where a special case of several tokens could be cut by a space.

    Returns:
        A pattern for such a space after its left neighbour, and the pairs of tokens by the three characters around it.
    """
    from spacy.tokenizer import Tokenizer

    plain = Tokenizer(
        tokenizer.vocab,
        prefix_search=tokenizer.prefix_search,
        suffix_search=tokenizer.suffix_search,
        infix_finditer=tokenizer.infix_finditer,
        token_match=tokenizer.token_match,
        url_match=tokenizer.url_match,
    )
    pairs: dict[str, list[tuple[str, str]]] = {}
    for case in tokenizer.rules:
        tokens = [token.text for token in plain(case) if not token.text.isspace()]
        for left, right in pairwise(tokens):
            known = pairs.setdefault(f"{left[-1]} {right[0]}", [])
            if (left, right) not in known:
                known.append((left, right))
    before = re.escape("".join(sorted({around[0] for around in pairs})))
    after = re.escape("".join(sorted({around[2] for around in pairs})))
    return re.compile(f"[{before}] (?=[{after}])"), pairs


@cache
def english_tokenizer() -> EnglishWords:
    """The one tokenizer of this process, with its cache."""
    with without("torch", "transformers"):
        return EnglishWords()


def word_tokenizer(language: str, *, sentences: bool = False) -> WordTokenizer:
    """The cached tokenizer for English, datatrove's own for every other language; tried, so that it lacks nothing.

    Args:
        language: A code that datatrove knows: `eng`, `deu`, `zho_Hani`, ... (see `curate.stages.languages`).
        sentences: Whether sentences are asked for, too.

    Raises:
        CurateError: datatrove has no tokenizer for the language, or something is missing that it needs.
    """
    if language in ("eng", "en"):
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


def _try(tokenizer: WordTokenizer, language: str, sentences: bool) -> None:
    """Cut a few words: most tokenizers load their packages and models at the first text."""
    try:
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
