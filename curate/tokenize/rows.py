"""Reading a pack: the documents of a split, by their number, out of files that are mapped into memory.

The ends of all documents are held (8 bytes a document and stream); tokens are read where they are asked for.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.errors import CurateError
from curate.tokenize.fields import MESSAGES

__all__ = ["Rows", "Stream"]

Integers = NDArray[np.int64]


class Stream:
    """One column's tokens in a split, documents one after the other.

    Args:
        folder: The pack's.
        shards: Descriptions, from its manifest.
        dtype: Of the tokens.

    Attributes:
        ends: (documents,) int64: where each document ends, in tokens of the stream.
    """

    def __init__(self, folder: Path, shards: list[dict[str, Any]], dtype: str) -> None:
        self.folder, self.shards, kind = folder, shards, np.dtype(dtype).newbyteorder("<")
        self.starts = np.cumsum([0, *(shard["tokens"] for shard in shards)])
        self.files = [_mapped(folder / shard["file"], kind) for shard in shards]
        indexes = [
            np.fromfile(folder / f"{shard['file']}.index", "<u8").astype(np.int64) + start
            for shard, start in zip(shards, self.starts, strict=False)
        ]
        self.ends: Integers = np.concatenate([np.empty(0, np.int64), *indexes])

    def __len__(self) -> int:
        """Tokens."""
        return int(self.starts[-1])

    @cached_property
    def lengths(self) -> Integers:
        """(documents,): tokens of each document, its end-of-text token included where there is one."""
        return np.diff(self.ends, prepend=0)

    def tokens(self, start: int, stop: int) -> Integers:
        """Tokens from `start` to `stop` of the stream, over the borders of shards."""
        return self._read(self.files, start, stop).astype(np.int64)

    def mask(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Where a word begins, or the assistant speaks."""
        return self._read(self._masks, start, stop).astype(bool)

    @cached_property
    def _masks(self) -> list[NDArray[Any]]:
        return [_mapped(self.folder / shard["mask"], np.dtype(np.uint8)) for shard in self.shards]

    def _read(self, files: list[NDArray[Any]], start: int, stop: int) -> NDArray[Any]:
        shard = int(np.searchsorted(self.starts, start, side="right")) - 1
        pieces: list[NDArray[Any]] = []
        while start < stop:
            first, last = int(self.starts[shard]), int(self.starts[shard + 1])
            pieces.append(files[shard][start - first : min(stop, last) - first])
            start, shard = min(stop, last), shard + 1
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty(0, np.int64)


class Rows:
    """The documents of a split.

    Args:
        folder: The pack's.
        manifest: What is in it.
        split: Which split.

    Raises:
        CurateError: The split is not there, or has no documents.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], split: str) -> None:
        splits = manifest["splits"]
        if not splits.get(split, {}).get("documents"):
            raise CurateError(
                f"the packed dataset has no tokens in a split `{split}`",
                str(folder),
                f"its splits: {', '.join(splits) or 'none'}",
            )
        self.folder, self.dtype, self.split, self.facts = folder, manifest["dtype"], split, splits[split]
        self._streams: dict[str, Stream] = {}

    def __len__(self) -> int:
        return self.facts["documents"]

    def stream(self, role: str) -> Stream:
        """A column's tokens.

        Raises:
            CurateError: No column was packed for this role.
        """
        if role not in self._streams:
            shards = [shard for shard in self.facts["shards"] if shard["role"] == role]
            if not shards:
                raise self._lacks(role, sorted({shard["role"] for shard in self.facts["shards"]}))
            self._streams[role] = Stream(self.folder, shards, self.dtype)
        return self._streams[role]

    def has(self, role: str) -> bool:
        """A column was packed for this role: tokens, numbers or labels."""
        return role in self.facts["columns"] or any(shard["role"] == role for shard in self.facts["shards"])

    def lengths(self, role: str) -> Integers:
        """(documents,): tokens of each document, as `tokens` gives them."""
        return self.stream(role).lengths - (role != MESSAGES)

    def tokens(self, role: str, number: int) -> Integers:
        """A document's tokens, without the end-of-text token that follows a text."""
        return self.stream(role).tokens(*self._span(role, number))

    def mask(self, role: str, number: int) -> NDArray[np.bool_]:
        """For each of its tokens: a word begins here, or the assistant says it."""
        return self.stream(role).mask(*self._span(role, number))

    def numbers(self, role: str) -> NDArray[np.float64]:
        """(documents,) float64.

        Raises:
            CurateError: No column was packed for this role.
        """
        return self._column(role, np.dtype("<f8"))

    def vectors(self, role: str) -> NDArray[np.float32]:
        """(documents, numbers) float32, mapped into memory.

        Raises:
            CurateError: No column was packed for this role.
        """
        flat = self._column(role, np.dtype("<f4"))
        return flat.reshape(len(self), self.facts["columns"][role]["width"])

    def labels(self) -> Integers:
        """(documents,) int64, places in `pack.labels`; -100: none. Of lists of words: (words of all documents,)."""
        return self._column("labels", np.dtype("<i4")).astype(np.int64)

    def word_labels(self, number: int) -> Integers:
        """(words,) int64: the labels of a document's words."""
        ends = self._word_ends
        return self._words[int(ends[number - 1]) if number else 0 : int(ends[number])]

    @cached_property
    def _words(self) -> Integers:
        return self.labels()

    @cached_property
    def _word_ends(self) -> NDArray[np.uint64]:
        return np.fromfile(self.folder / f"{self.facts['columns']['labels']['file']}.index", "<u8")

    def _span(self, role: str, number: int) -> tuple[int, int]:
        ends = self.stream(role).ends
        return int(ends[number - 1]) if number else 0, int(ends[number]) - (role != MESSAGES)

    def _column(self, role: str, kind: np.dtype[Any]) -> NDArray[Any]:
        found = self.facts["columns"].get(role)
        if found is None:
            raise self._lacks(role, sorted(self.facts["columns"]))
        return _mapped(self.folder / found["file"], kind)

    def _lacks(self, role: str, known: list[str]) -> CurateError:
        return CurateError(
            f"no column was packed as `{role}` of the split `{self.split}`",
            str(self.folder),
            f"there are: {', '.join(known) or 'none'}",
        )


def _mapped(path: Path, kind: np.dtype[Any]) -> NDArray[Any]:
    """A file as an array, not read; a plain one, of which small parts are taken faster than of a memmap."""
    return np.asarray(np.memmap(path, kind, mode="r")) if path.stat().st_size else np.empty(0, kind)
