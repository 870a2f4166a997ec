"""The files of a split: token streams with their masks, numbers and labels, and their description."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from curate.tokenize.chat import ChatTemplate
from curate.tokenize.columns import find_labels, write_labels, write_numbers, write_vectors
from curate.tokenize.fields import MESSAGES, Fields, Kept
from curate.tokenize.streams import Piece, conversations, lists_of_words, plain_bytes, texts, write_stream
from curate.tokenize.turns import EXCHANGE, check_plain, turns
from curate.tokenize.unfit import facts_of, unfit

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from curate.dataset.reader import Dataset

__all__ = ["Writer", "say"]


def say(dataset: Dataset, words: str) -> None:
    """Tell people."""
    sys.stderr.write(f"tokenize {dataset.name}: {words}\n")


class Writer:
    """Writes the files of splits.

    Args:
        dataset: Whose splits.
        fields: What of it.
        folder: Where.
        tokenizer: With which.
        roles: Its special tokens by role.
        template: Of conversations; None is that of this package.
        dtype: Of the tokens.

    Attributes:
        labels: The different labels of the train split.
        template: Of conversations, where there are some.
    """

    def __init__(
        self,
        dataset: Dataset,
        fields: Fields,
        folder: Path,
        tokenizer: Tokenizer,
        roles: dict[str, int],
        template: str | None,
        dtype: str,
    ) -> None:
        self.dataset, self.fields, self.folder, self.tokenizer = dataset, fields, folder, tokenizer
        self.roles, self.dtype = roles, dtype
        self.labels = find_labels(dataset, fields)
        self.template = ChatTemplate(tokenizer, roles, template) if fields.speaks else None

    def split(self, split: str) -> dict[str, Any]:
        """Write the files of a split; returns their description."""
        shards: list[dict[str, Any]] = []
        size = 0
        left_out = unfit(self.dataset, split, self.fields, self.template) if self.fields.leaves_out else {}
        dataset = cast("Dataset", Kept(self.dataset, split, left_out)) if left_out else self.dataset
        for role, pieces, mask in self._streams(dataset, split):
            name = split if role == "text" else f"{split}.{role}"
            made, text_bytes = write_stream(self.folder, name, role, self._shown(name, pieces), self.dtype, mask=mask)
            shards, size = shards + made, size + text_bytes
        first = shards[0]["role"] if shards else ""
        documents = sum(shard["documents"] for shard in shards if shard["role"] == first)
        documents = documents if shards else dataset.splits[split]  # a table has no tokens
        tokens = sum(shard["tokens"] for shard in shards)
        say(self.dataset, f"{split}: {documents:,} documents, {tokens:,} tokens")
        return {
            "documents": documents,
            "tokens": tokens,
            "text_bytes": size,
            "shards": shards,
            "columns": self._columns(dataset, split),
            **({"left_out": facts_of(left_out)} if left_out else {}),
        }

    def _shown(self, name: str, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """The pieces, with a bar on a terminal while they pass."""
        if not sys.stderr.isatty():
            return pieces
        from rich.console import Console
        from rich.progress import track

        documents = self.dataset.manifest["splits"][name.partition(".")[0]]["documents"]
        return iter(track(pieces, f"tokenize {name}", documents, console=Console(stderr=True), transient=True))

    def _streams(self, dataset: Dataset, split: str) -> Iterator[tuple[str, Iterator[Piece], str | None]]:
        """Role, pieces, and suffix of the mask."""
        fields, tokenizer = self.fields, self.tokenizer
        end, unknown = self.roles["end_of_text"], self.roles.get("unknown")
        for role, column in fields.texts.items():
            if role in EXCHANGE:
                check_plain(dataset, split, role, column)
            yield role, texts(dataset, split, column, tokenizer, end), None
        for role, column in fields.bytes.items():
            yield role, plain_bytes(dataset, split, column, end), None
        for role, column in fields.words.items():
            yield role, lists_of_words(dataset, split, column, tokenizer, end, unknown), ".words"
        if not self.template:
            return
        for role in fields.turns:
            yield role, turns(dataset, split, role, fields, self.template, end), None
        if fields.messages:
            yield MESSAGES, conversations(dataset, split, fields.messages, self.template, fields.tools), ".loss"

    def _columns(self, dataset: Dataset, split: str) -> dict[str, Any]:
        fields = self.fields
        found = {
            role: write_numbers(dataset, split, role, column, self.folder) for role, column in fields.numbers.items()
        }
        for role, column in fields.vectors.items():
            found[role] = write_vectors(dataset, split, role, column, self.folder)
        if fields.labels:
            found["labels"] = write_labels(dataset, split, fields, self.labels, self.folder)
        return found
