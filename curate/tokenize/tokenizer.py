"""A byte-level BPE tokenizer, trained on a dataset's train split; or one that is there already.

Byte-level BPE as in GPT-2 (Radford et al. 2019): the text is cut by GPT-2's pattern, the 256 bytes are the alphabet,
and the most frequent pair is merged until the vocabulary is full. Any UTF-8 text comes back unchanged, for there is no
normalisation and no unknown token. The same documents and settings give the same `tokenizer.json`, byte for byte, and
the sha256 of these bytes is the tokenizer's name. Costs about 1 CPU second per 2 MB of text; memory holds each
different word once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from curate.errors import CurateError
from curate.files import file_hash
from curate.tokenize.fields import Fields

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

    from curate.dataset.reader import Dataset

__all__ = [
    "TokenizerSettings",
    "is_plain_bytes",
    "load_tokenizer",
    "token_bytes",
    "tokenizer_file",
    "tokenizer_hash",
    "train_tokenizer",
]

ALPHABET = 256


class TokenizerSettings(BaseModel):
    """How the tokenizer is trained, or which one is taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = Field(
        default=None,
        description="take this tokenizer instead of training one: a tokenizer.json, or a folder that has one",
    )
    end_of_text: str | None = Field(
        default=None, description="its token that ends a document, where that is none of the usual names"
    )
    vocabulary: int = Field(
        default=8192, le=1 << 20, description="most tokens in the vocabulary; a small corpus may give fewer"
    )
    minimum_frequency: int = Field(
        default=2, ge=1, description="occurrences that a pair needs in the corpus to be merged"
    )
    special_tokens: tuple[str, ...] = Field(
        default=("<|endoftext|>",),
        min_length=1,
        description="tokens that no text encodes to; the first one ends every document",
    )
    sample_megabytes: float = Field(
        default=200.0, gt=0, description="about how many MB of text to learn from: every n-th document is taken"
    )

    @model_validator(mode="after")
    def _holds_the_alphabet(self) -> Self:
        least = ALPHABET + len(self.special_tokens)
        if self.vocabulary < least:
            raise ValueError(
                f"vocabulary must be at least {least}: {ALPHABET} bytes and the special tokens; it is {self.vocabulary}"
            )
        if len(set(self.special_tokens)) < len(self.special_tokens) or "" in self.special_tokens:
            raise ValueError("special_tokens must differ from each other and must not be empty")
        return self


def train_tokenizer(
    dataset: Dataset | Sequence[Dataset],
    settings: TokenizerSettings,
    fields: Fields | None = None,
    *,
    special_tokens: Sequence[str] | None = None,
) -> str:
    """The JSON of a tokenizer learned from the train split.

    Args:
        dataset: What is learned from; of several, each gives its share of the sample.
        settings: How.
        fields: Which of its columns; by default `text`.
        special_tokens: In place of those of the settings.

    Raises:
        CurateError: There is no train split, it has no text, or the vocabulary is too small for the special tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    special = list(settings.special_tokens if special_tokens is None else special_tokens)
    if settings.vocabulary < ALPHABET + len(special):
        raise CurateError(
            f"a vocabulary of {settings.vocabulary} tokens is too small for {ALPHABET} bytes and the {len(special)} "
            f"special tokens {', '.join(special)}",
            "tokenizer.vocabulary",
            f"at least {ALPHABET + len(special)}",
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary,
        min_frequency=settings.minimum_frequency,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    datasets = dataset if isinstance(dataset, Sequence) else [dataset]
    share = settings.model_copy(update={"sample_megabytes": settings.sample_megabytes / len(datasets)})
    fields = fields or Fields()
    of_texts = datasets if fields.text_columns else ()  # of a table nothing but the bytes
    texts = chain.from_iterable(_sample(one, share, fields) for one in of_texts)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str(pretty=False)


def _sample(dataset: Dataset, settings: TokenizerSettings, fields: Fields) -> Iterator[str]:
    """The texts of every n-th document, so that all sources are seen."""
    size = dataset.manifest["splits"].get("train", {}).get("text_bytes", 0)
    if fields.text_columns != ["text"]:
        found = fields.passages(dataset, "train") if "train" in dataset.splits else ()
        size = sum(len(text.encode()) for _, text in found)
    if not size:
        raise CurateError(
            f"dataset `{dataset.name}` has no text in its train split to learn a tokenizer from",
            hint=f"its splits: {', '.join(dataset.splits) or 'none'}",
        )
    every = -int(-size // (settings.sample_megabytes * 1e6))
    yield from (text for number, text in fields.passages(dataset, "train") if number % every == 0)


def tokenizer_file(path: Path) -> Path:
    """The tokenizer.json at this path, or in this folder.

    Raises:
        CurateError: There is none.
    """
    found = path / "tokenizer.json" if path.is_dir() else path
    if not found.is_file():
        raise CurateError(
            "there is no tokenizer here", str(found), "name a tokenizer.json, or a Hugging Face folder that has one"
        )
    return found


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a file, such that a special token written out in a text is encoded as ordinary text.

    Otherwise a document that holds the words `<|endoftext|>` could forge its own end. What the file says about cutting
    and padding is not used: documents are whole.

    Raises:
        CurateError: The file is no tokenizer.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare exceptions
        raise CurateError(
            f"the tokenizer cannot be read: {error}", str(path), "name a tokenizer.json of the tokenizers library"
        ) from None
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def tokenizer_hash(path: Path) -> str:
    """The sha256 of the file's bytes."""
    return file_hash(path)


def token_bytes(path: Path) -> np.ndarray | None:
    """How many bytes of text each token stands for, by token id: 0 for special tokens.

    In a byte-level vocabulary one character is one byte, so the file's JSON says it all. None for any other tokenizer:
    there, nobody knows. A tokenizer that normalises to NFC counts the bytes of the normalised text.
    """
    import numpy as np

    description = json.loads(path.read_bytes())
    if not _is_byte_level(description):
        return None
    vocabulary: dict[str, int] = description["model"]["vocab"]
    added = description["added_tokens"]
    numbers = [*vocabulary.values(), *(token["id"] for token in added)]
    lengths = np.zeros(max(numbers) + 1, dtype=np.int64)
    for token, number in vocabulary.items():
        lengths[number] = len(token)
    for token in added:
        lengths[token["id"]] = 0 if token["special"] else len(token["content"].encode())
    return lengths


def _is_byte_level(description: dict) -> bool:
    """Every byte of a text, and no other, is a byte of its tokens."""
    normalizer, model = description.get("normalizer"), description["model"]
    if not isinstance(model.get("vocab"), dict) or (normalizer and normalizer["type"] != "NFC"):
        return False
    byte_level = _byte_level_part(description.get("pre_tokenizer"))
    return byte_level is not None and not byte_level["add_prefix_space"]


def is_plain_bytes(tokenizer: Tokenizer) -> bool:
    """Texts are cut by GPT-2's pattern and changed in no way.

    So a text that is cut before a space between letters gives the same tokens, and a word begins with its space.
    """
    description = json.loads(tokenizer.to_str())
    part = description.get("pre_tokenizer") or {}
    plain = part.get("type") == "ByteLevel" and not part["add_prefix_space"] and part.get("use_regex", True)
    return bool(plain) and not description.get("normalizer")


def _byte_level_part(pre_tokenizer: dict | None) -> dict | None:
    parts = (pre_tokenizer or {}).get("pretokenizers") or [pre_tokenizer or {}]
    return next((part for part in parts if part.get("type") == "ByteLevel"), None)
