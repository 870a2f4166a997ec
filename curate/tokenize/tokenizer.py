"""A byte-level BPE tokenizer, trained on a dataset's train split.

Byte-level BPE as in GPT-2 (Radford et al. 2019): the text is cut by GPT-2's pattern, the 256 bytes are the alphabet,
and the most frequent pair is merged until the vocabulary is full. Any UTF-8 text comes back unchanged, for there is no
normalisation and no unknown token. The same documents and settings give the same `tokenizer.json`, byte for byte, and
the sha256 of these bytes is the tokenizer's name. Costs about 1 CPU second per 2 MB of text; memory holds each
different word once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from curate.errors import CurateError

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

    from curate.dataset.reader import Dataset

__all__ = ["TokenizerSettings", "load_tokenizer", "token_bytes", "tokenizer_hash", "train_tokenizer"]

ALPHABET = 256
BATCH = 1000


class TokenizerSettings(BaseModel):
    """How the tokenizer is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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


def train_tokenizer(dataset: Dataset, settings: TokenizerSettings) -> str:
    """The JSON of a tokenizer learned from the train split.

    Raises:
        CurateError: There is no train split, or it has no text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary,
        min_frequency=settings.minimum_frequency,
        special_tokens=list(settings.special_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sample(dataset, settings), trainer)
    return tokenizer.to_str(pretty=False)


def _sample(dataset: Dataset, settings: TokenizerSettings) -> Iterator[list[str]]:
    """Batches of texts: every n-th document, so that all sources are seen."""
    size = dataset.manifest["splits"].get("train", {}).get("text_bytes", 0)
    if not size:
        raise CurateError(
            f"dataset `{dataset.name}` has no text in its train split to learn a tokenizer from",
            hint=f"its splits: {', '.join(dataset.splits) or 'none'}",
        )
    every = -int(-size // (settings.sample_megabytes * 1e6))
    first = 0
    for batch in dataset.batches("train", ["text"], batch_size=BATCH):
        texts = batch.column("text").to_pylist()
        yield texts[-first % every :: every]
        first += len(texts)


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a file, such that a special token written out in a text is encoded as ordinary text.

    Otherwise a document that holds the words `<|endoftext|>` could forge its own end.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


def tokenizer_hash(path: Path) -> str:
    """The sha256 of the file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def token_bytes(path: Path) -> np.ndarray:
    """How many bytes of text each token stands for, by token id: 0 for special tokens.

    In a byte-level vocabulary one character is one byte, so the file's JSON says it all.
    """
    import numpy as np

    description = json.loads(path.read_bytes())
    special = {token["content"] for token in description["added_tokens"]}
    vocabulary: dict[str, int] = description["model"]["vocab"]
    lengths = np.zeros(max(vocabulary.values()) + 1, dtype=np.int64)
    for token, number in vocabulary.items():
        lengths[number] = 0 if token in special else len(token)
    return lengths
