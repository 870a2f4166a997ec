"""The words of whole columns of texts, in Arrow: runs of letters and digits in lower case, or single characters of Chinese.

About 15 MB of text a CPU second. Good for counting; for what datatrove's tokenizer cuts see curate/stages/words.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from curate.stages.work import SHARD_BITS

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from curate.stages.work import Desk

__all__ = ["BATCH", "Words", "hashes", "texts_of", "words_of"]

BATCH = 2000
"""Texts whose words are cut together."""

_ALONE = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_BETWEEN = r"[^\p{L}\p{M}\p{N}]+"


class Words(NamedTuple):
    """The words of some texts, one after the other.

    Attributes:
        text: The text that each stands in (int64, ascending).
        word: Its place in `different` (int64).
        different: The different words, in the order in which they come up.
    """

    text: np.ndarray
    word: np.ndarray
    different: list[str]


def words_of(texts: pa.Array | pa.ChunkedArray) -> Words:
    """The words of texts (strings, not null)."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as compute

    whole = pa.concat_arrays(texts.chunks) if isinstance(texts, pa.ChunkedArray) and texts.num_chunks else texts
    whole = whole.cast(pa.large_string()) if len(whole) else pa.array([], pa.large_string())
    spaced = compute.replace_substring_regex(compute.utf8_lower(whole), _ALONE, r" \0 ")
    lists = compute.split_pattern(compute.replace_substring_regex(spaced, _BETWEEN, " "), " ")
    flat, text = compute.list_flatten(lists), compute.list_parent_indices(lists)
    there = compute.not_equal(flat, "")
    encoded = flat.filter(there).dictionary_encode()
    return Words(
        text.filter(there).to_numpy().astype(np.int64),
        encoded.indices.to_numpy().astype(np.int64),
        encoded.dictionary.to_pylist(),
    )


def texts_of(desk: Desk) -> Iterator[pa.Array]:
    """The texts of the documents of a group that have signatures, those of a shard at a time."""
    import numpy as np

    documents = desk.signatures([]).column("document").to_numpy()
    shards = documents >> np.uint64(SHARD_BITS)
    for some in np.split(documents, np.flatnonzero(np.diff(shards)) + 1):
        if len(some):
            yield desk.texts(some)


def hashes(words: list[str], bits: int) -> np.ndarray:
    """A number of so many bits for each word (int64)."""
    import numpy as np
    from xxhash import xxh3_64_intdigest

    found = np.fromiter((xxh3_64_intdigest(word.encode()) for word in words), np.uint64, len(words))
    return (found >> np.uint64(64 - bits)).astype(np.int64)
