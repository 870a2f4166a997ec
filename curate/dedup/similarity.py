"""The sets of word n-grams of many documents, in a temporary file, and the Jaccard similarities of pairs of them.

The texts are read once, in their order, some at a time; the sets are mapped, so the system decides how much of them
stands in memory. Cost: 8 bytes of disk a word (about 1.3 times the texts), in the folder that TMPDIR names.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import numpy as np
import pyarrow as pa

from curate.dedup.buffers import text_buffer
from curate.dedup.minhash import jaccard, shingle_sets
from curate.dedup.words import character_table

__all__ = ["ShingleSets"]

_CHUNK = 32_000_000
"""Characters of text that are fetched at a time."""


class ShingleSets:
    """The n-gram sets of some documents, until it is closed.

    Args:
        numbers: The documents.
        lengths: Characters of every document's text, by number.
        texts: Fetches texts by number.
        ngram: Words in an n-gram.
    """

    def __init__(
        self,
        numbers: np.ndarray,
        lengths: np.ndarray,
        texts: Callable[[np.ndarray], pa.Array],
        *,
        ngram: int,
    ) -> None:
        self._numbers = np.unique(numbers)
        self._file = tempfile.TemporaryFile(prefix="curate-shingles-")  # noqa: SIM115
        sizes = [np.zeros(1, dtype=np.int64)]
        chunk = np.cumsum(lengths[self._numbers]) // _CHUNK
        for part in np.split(self._numbers, np.flatnonzero(np.diff(chunk)) + 1):
            data, offsets = text_buffer(texts(part))
            values, part_sizes = shingle_sets(data, offsets, table=character_table(), ngram=ngram)
            self._file.write(values.data)
            sizes.append(part_sizes)
        self._file.flush()
        self._bounds = np.cumsum(np.concatenate(sizes))
        mapped = np.memmap(self._file, dtype=np.uint64, mode="r", shape=(int(self._bounds[-1]),))
        self._values = mapped.view(np.ndarray)

    def __enter__(self) -> ShingleSets:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def alike(
        self, numbers: np.ndarray, left: np.ndarray, right: np.ndarray, similarity: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the pairs of positions in `numbers` those at least this similar: left, right, and their similarities."""
        places = (np.searchsorted(self._numbers, numbers[side]) for side in (left, right))
        similarities = jaccard(self._values, self._bounds, *places)
        found = similarities >= similarity
        return left[found], right[found], similarities[found]
