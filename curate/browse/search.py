"""Search by words, without an index: texts are read until there are enough hits or the time is up; what was covered is told.

Every word must be there, and every phrase in quotation marks; letters in any case. Of documents that are kept the text of
the version is looked at, of others the text as it was read. Cost: about 200 MB of text a CPU second (benchmarks/browse.py); a
search that covered a part says where the next one goes on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from curate.browse.columns import KEPT, Columns
from curate.browse.document import read_rows
from curate.dataset.reader import Dataset
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.stages.selectors import EVERYTHING, joined

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["HITS", "Found", "search", "words_of"]

HITS = 20
SECONDS = 2.0
_WORDS = re.compile(r'"([^"]+)"|(\S+)')
MOST_WORDS = 20
AT_ONCE = 2000
"""Documents that are read at once: those of a row group."""


class Found(NamedTuple):
    """What a search found.

    Attributes:
        rows: Rows of the documents that have the words.
        looked_at: How many documents were looked at.
        of: How many there are to be looked at.
        next: The row at which the next search goes on; None where all were looked at.
    """

    rows: list[int]
    looked_at: int
    of: int
    next: int | None


def words_of(asked: str) -> list[str]:
    """The words and phrases of what was typed.

    Raises:
        CurateError: There are none, or very many.
    """
    words = [phrase or word for phrase, word in _WORDS.findall(asked.replace("\x00", " ")) if phrase.strip() or word]
    if not words:
        raise CurateError(
            "there is nothing to look for", hint='words, and phrases in quotation marks: whale "white sea"'
        )
    if len(words) > MOST_WORDS:
        raise CurateError(f"{len(words)} words are too many", hint=f"{MOST_WORDS} at most")
    return words


def search(
    columns: Columns,
    dataset: Dataset,
    rows: np.ndarray,
    words: Sequence[str],
    *,
    start: int = 0,
    seconds: float = SECONDS,
) -> Found:
    """Look for words in the texts of some rows.

    Args:
        columns: The version's columns.
        dataset: The version.
        rows: The rows, ascending.
        words: All of which must be in a text.
        start: The row at which to begin.
        seconds: After how long to stop, behind a row group.
    """
    import numpy as np

    until = time.monotonic() + seconds
    before = int(np.searchsorted(rows, start))
    hits: list[int] = []
    done = before
    for mine, texts in _texts(columns, dataset, rows[before:]):
        fits = np.flatnonzero(_has(texts, words))
        room = HITS - len(hits)
        hits += mine[fits[:room]].tolist()
        if len(fits) >= room and len(fits):
            last = hits[-1]
            done += int(np.searchsorted(mine, last)) + 1
            return Found(hits, done - before, len(rows), last + 1 if done < len(rows) else None)
        done += len(mine)
        if time.monotonic() > until and done < len(rows):
            return Found(hits, done - before, len(rows), int(rows[done]))
    return Found(hits, done - before, len(rows), None)


def _has(texts: pa.ChunkedArray, words: Sequence[str]) -> np.ndarray:
    import pyarrow.compute as compute

    found = None
    for word in words:
        has = compute.fill_null(compute.match_substring(texts, pattern=word, ignore_case=True), False)
        found = has if found is None else compute.and_(found, has)
    assert found is not None
    return found.to_numpy(zero_copy_only=False)


def _texts(columns: Columns, dataset: Dataset, rows: np.ndarray) -> Iterator[tuple[np.ndarray, pa.ChunkedArray]]:
    """The rows with their texts, some at a time; what was rejected has an empty one."""
    import numpy as np
    import pyarrow as pa

    left = [number for number, shard in enumerate(columns.shards) if shard.kept]
    final = {number: one.object for number, one in zip(left, dataset.fragments, strict=True)}
    for number, shard in enumerate(columns.shards):
        start, stop = (int(one) for one in columns.starts[number : number + 2])
        mine = rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)]
        documents, rejected = (
            mine[which] for which in ((mine - start) < shard.documents, (mine - start) >= shard.documents)
        )
        for first in range(0, shard.documents, AT_ONCE):
            here = documents[
                np.searchsorted(documents, start + first) : np.searchsorted(documents, start + first + AT_ONCE)
            ]
            if len(here):
                yield (
                    here,
                    _read(dataset.store, shard.object, final.get(number), columns.verdict[here] == KEPT, here - start),
                )
        if len(rejected):
            yield rejected, pa.chunked_array([pa.array([""] * len(rejected), pa.string())])


def _read(store: Store, raw: str, final: str | None, kept: np.ndarray, rows: np.ndarray) -> pa.ChunkedArray:
    """Texts of some rows: the final one of what is kept, else that which was read."""
    import pyarrow as pa
    import pyarrow.compute as compute

    if final is None or final == raw or not kept.any():
        return _strings(store, raw, rows)
    if kept.all():
        return _strings(store, final, rows)
    both = [_strings(store, name, rows).combine_chunks() for name in (final, raw)]
    return pa.chunked_array([compute.if_else(pa.array(kept), *both)])


def _strings(store: Store, name: str, rows: np.ndarray) -> pa.ChunkedArray:
    import pyarrow as pa

    if "text" in store.read_schema(name).names:
        return read_rows(store, name, rows.tolist(), ["text"]).column("text")
    return pa.chunked_array([joined(read_rows(store, name, rows.tolist()), (EVERYTHING,))])
