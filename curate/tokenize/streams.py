"""Streams of tokens: one column of one split as flat files, in datatrove's format.

    train-00000.ds            tokens, raw little-endian uint16 or uint32
    train-00000.ds.index      ends of the documents in this shard, in tokens, raw little-endian uint64
    train-00000.ds.loss       conversations: a byte a token, 1 where the assistant speaks
    train-00000.ds.words      lists of words: a byte a token, 1 where a word begins

Texts and lists of words end in the end-of-text token, conversations as their template ends them. A shard ends with a
document. Documents are encoded about a million characters at a time, so memory does not grow with the corpus.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from curate.dataset.fillers import without_fillers
from curate.errors import CurateError
from curate.tokenize.fields import refusal, rows_of
from curate.tokenize.tokenizer import is_plain_bytes

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Encoding, Tokenizer

    from curate.dataset.reader import Dataset
    from curate.tokenize.chat import ChatTemplate, Rendered

__all__ = ["Piece", "conversations", "groups", "lists_of_words", "plain_bytes", "texts", "write_file", "write_stream"]

CHARACTERS = 1_000_000
TOKENS_PER_SHARD = 100_000_000
_CUT = re.compile(r"(?<=[A-Za-z]) (?=[A-Za-z])")
Item = TypeVar("Item")


class Piece(NamedTuple):
    """A part of a document, or the whole.

    Attributes:
        tokens: Of the part; with the end-of-text token where the document ends.
        size: Bytes of its text.
        ends: The document ends here.
        mask: A truth for each token, in streams that have one.
    """

    tokens: list[int]
    size: int
    ends: bool = True
    mask: np.ndarray | None = None


# ---- what is encoded


def texts(dataset: Dataset, split: str, column: str, tokenizer: Tokenizer, end: int) -> Iterator[Piece]:
    """A column of texts.

    Raises:
        CurateError: A document has none.
    """
    for group in groups(_parts(dataset, split, column, cut=is_plain_bytes(tokenizer)), lambda part: len(part[0])):
        encodings = tokenizer.encode_batch_fast([text for text, _ in group], add_special_tokens=False)
        for (text, ends), encoding in zip(group, encodings, strict=True):
            yield Piece(encoding.ids + [end] * ends, len(text.encode()), ends)


def plain_bytes(dataset: Dataset, split: str, column: str, end: int) -> Iterator[Piece]:
    """A column as its bytes in UTF-8, for what no tokenizer may change: lists and objects as JSON, nothing as an empty text."""
    for (value,) in rows_of(dataset, split, [column]):
        value = without_fillers(value)
        text = value if isinstance(value, str) else "" if value is None else json.dumps(value, default=str)
        content = text.encode()
        yield Piece([*content, end], len(content))


def _parts(dataset: Dataset, split: str, column: str, *, cut: bool) -> Iterator[tuple[str, bool]]:
    """The documents, long ones cut where the tokenizer cuts anyway: before the space between two Latin letters."""
    for number, (text,) in enumerate(rows_of(dataset, split, [column])):
        if text is None:
            raise refusal(dataset, split, number, f"a document has no `{column}`", "leave it out, or make it empty")
        start = 0
        while cut and (found := _CUT.search(text, start + CHARACTERS)):
            yield text[start : found.start()], False
            start = found.start()
        yield text[start:], True


def lists_of_words(
    dataset: Dataset, split: str, column: str, tokenizer: Tokenizer, end: int, unknown: int | None
) -> Iterator[Piece]:
    """A column of lists of words, encoded word by word; each has a token at least.

    Raises:
        CurateError: A document has no list, or a word without a token.
    """
    import numpy as np

    spaced = is_plain_bytes(tokenizer)
    rows = enumerate(rows_of(dataset, split, [column], nested=True))
    for group in groups(rows, lambda row: sum(map(len, map(str, row[1][0] or ())))):
        lists = [_words(dataset, split, number, column, words) for number, (words,) in group]
        # as in a text, where all words but the first have a space before them
        spelled = [[*words[:1], *(f" {word}" for word in words[1:])] if spaced else words for words in lists]
        encodings = tokenizer.encode_batch(spelled, is_pretokenized=True, add_special_tokens=False)
        for (number, _), words, encoding in zip(group, lists, encodings, strict=True):
            tokens, first = _with_all_words(encoding, len(words), unknown)
            if sum(first) != len(words):
                problem = f"a word in `{column}` has no token, and the tokenizer has none for unknown words"
                raise refusal(dataset, split, number, problem, "leave such words out")
            mask = np.array([*first, False], dtype=bool)
            yield Piece([*tokens, end], sum(len(word.encode()) for word in words), mask=mask)


def _words(dataset: Dataset, split: str, number: int, column: str, words: Any) -> list[str]:
    if isinstance(words, list) and all(isinstance(word, str) and word for word in words):
        return words
    problem = f"`{column}` is no list of words, or a word in it is empty"
    raise refusal(dataset, split, number, problem, "words are strings of a character or more")


def _with_all_words(encoding: Encoding, count: int, unknown: int | None) -> tuple[list[int], list[bool]]:
    """Tokens, and whether each is the first of its word; a word that the tokenizer drops becomes the unknown token."""
    tokens: list[int] = []
    first: list[bool] = []
    seen = -1
    for token, word in [*zip(encoding.ids, encoding.word_ids, strict=True), (None, count)]:
        dropped = max(word - seen - 1, 0) if unknown is not None else 0
        tokens += [unknown] * dropped if unknown is not None else []
        first += [True] * dropped
        if token is not None:
            tokens.append(token)
            first.append(word != seen)
        seen = word
    return tokens, first


def conversations(
    dataset: Dataset, split: str, column: str, template: ChatTemplate, tools: str | None = None
) -> Iterator[Piece]:
    """A column of conversations, with the column of their tools; the mask is true where the assistant speaks.

    Raises:
        CurateError: A conversation is not what it should be, or the template does not fit.
    """
    rendered = _rendered(dataset, split, [column, *([tools] if tools else [])], template)
    for group in groups(rendered, lambda one: len(one.text)):
        for one, (tokens, mask) in zip(group, template.encode(group), strict=True):
            yield Piece(tokens, len(one.plain.encode()), mask=mask)


def _rendered(dataset: Dataset, split: str, columns: list[str], template: ChatTemplate) -> Iterator[Rendered]:
    for number, conversation in enumerate(rows_of(dataset, split, columns, nested=True)):
        try:
            yield template.rendered(*conversation)
        except CurateError as error:
            raise refusal(dataset, split, number, error.problem, error.hint) from None


def groups(items: Iterator[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Items, about CHARACTERS together."""
    group: list[Item] = []
    characters = 0
    for item in items:
        group.append(item)
        characters += size(item)
        if characters >= CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


# ---- what is written


def write_stream(
    folder: Path, name: str, role: str, pieces: Iterator[Piece], dtype: str, *, mask: str | None = None
) -> tuple[list[dict[str, Any]], int]:
    """Write pieces as shards.

    Args:
        folder: Where.
        name: What the files' names begin with.
        role: Of the stream.
        pieces: The documents in order.
        dtype: Of the tokens.
        mask: Suffix of the files of masks, for streams that have them.

    Returns:
        A description of each shard, and the bytes of text.
    """
    shards: list[dict[str, Any]] = []
    text_bytes = 0
    for first in pieces:
        with _Shard(folder / f"{name}-{len(shards):05}.ds", dtype, mask) as shard:
            for piece in chain([first], pieces):
                shard.add(piece)
                text_bytes += piece.size
                if piece.ends and shard.tokens >= TOKENS_PER_SHARD:
                    break
            shards.append({"role": role, **shard.finish()})
    return shards, text_bytes


class _Shard:
    """Files being written: the tokens, their mask, and the ends of the documents."""

    def __init__(self, path: Path, dtype: str, mask: str | None) -> None:
        import numpy as np

        self.path, self.mask, self.dtype = path, mask, np.dtype(dtype).newbyteorder("<")
        self.paths = [path, *([path.with_name(path.name + mask)] if mask else [])]
        self.streams = [found.open("xb") for found in self.paths]
        self.digests = [hashlib.sha256() for _ in self.streams]
        self.tokens = 0
        self.ends: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self.streams:
            stream.close()

    def add(self, piece: Piece) -> None:
        """The next part of a document."""
        import numpy as np

        contents = [np.asarray(piece.tokens, dtype=self.dtype).tobytes()]
        if self.mask:
            assert piece.mask is not None and len(piece.mask) == len(piece.tokens)
            contents.append(piece.mask.astype(np.uint8).tobytes())
        for stream, digest, content in zip(self.streams, self.digests, contents, strict=True):
            stream.write(content)
            digest.update(content)
        self.tokens += len(piece.tokens)
        if piece.ends:
            self.ends.append(self.tokens)

    def finish(self) -> dict[str, Any]:
        """All written; the shard's description."""
        import numpy as np

        index = self.path.with_name(self.path.name + ".index")
        hashes = {index.name: write_file(index, np.asarray(self.ends, dtype="<u8").tobytes())}
        for path, digest in zip(self.paths, self.digests, strict=True):
            hashes[path.name] = digest.hexdigest()
        found = {"file": self.path.name, "tokens": self.tokens, "documents": len(self.ends), "sha256": hashes}
        return {**found, "mask": self.paths[1].name} if self.mask else found


def write_file(path: Path, content: bytes) -> str:
    """Write a file; returns its sha256."""
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()
