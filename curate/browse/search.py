"""Search: by words through the index where there is one; else, and by an expression, by a scan that says what it covered.

Every word must be there, and every phrase in quotation marks; letters in any case. Of documents that are kept the text of
the version is looked at, of others the text as it was read. Index and scan take words alike (curate/browse/words.py), so a
search finds the same before, during and after the index is built. Regular expressions are those of RE2 (through pyarrow): its
time is linear in the text, whatever is asked for. A scan stops when there are enough hits or the time is up, and says where the
next one goes on. Cost: benchmarks/browse.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from curate.browse.columns import KEPT, Columns
from curate.browse.document import read_rows
from curate.browse.text import AT_ONCE, TextIndex
from curate.browse.words import Needles, has, marks, needles_of, unspaced
from curate.dataset.reader import Dataset
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.stages.selectors import EVERYTHING, joined

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["HITS", "Found", "Pattern", "objects_of", "search"]

HITS = 20
SECONDS, FIRST_SECONDS = 2.0, 0.7
"""How long a scan goes on; and how long where it has found something."""
LONGEST_PATTERN = 500
SLICE = 250
"""Texts that a pattern is looked for in at once: what it may take is only told between them."""


class Found(NamedTuple):
    """What a search found.

    Attributes:
        rows: Rows of the documents that have what was asked for, on this page.
        looked_at: How many documents were looked at, or are in an index.
        of: How many there are to be looked at.
        next: The row at which the next search goes on; None where there is nothing more.
        documents: How many have it; None where they were not all looked at.
    """

    rows: list[int]
    looked_at: int
    of: int
    next: int | None
    documents: int | None


class Pattern:
    """What is looked for: the phrases of `needles`, or a regular expression.

    Attributes:
        needles: The phrases; None for a regular expression.
        regex: The expression.
    """

    def __init__(self, asked: str, *, regex: bool = False) -> None:
        """Raises a CurateError where there is nothing to look for, or the expression is none."""
        import pyarrow as pa

        self.regex, self.needles = asked if regex else None, None if regex else needles_of(asked)
        if regex and (not asked or len(asked) > LONGEST_PATTERN):
            told = "there is nothing to look for" if not asked else "the expression is too long"
            raise CurateError(
                told, hint=f"a regular expression of {LONGEST_PATTERN} characters at most, such as [0-9]{{4}}"
            )
        if regex:
            try:
                self.fits(pa.array([""]))
            except pa.ArrowInvalid as error:
                raise CurateError(
                    f"`{asked[:40]}` is no regular expression: {str(error).rpartition(': ')[2][:100]}",
                    hint="those of RE2 are known: no references, no looking ahead or back; `(?i)` for any case",
                ) from None

    def fits(self, texts: pa.Array) -> np.ndarray:
        """Which texts have what is looked for (bool)."""
        import numpy as np
        import pyarrow.compute as compute

        if self.regex is not None:
            has_it = compute.match_substring_regex(texts, f"(?:{self.regex})")
            return compute.fill_null(has_it, False).to_numpy(zero_copy_only=False)
        assert self.needles
        may = np.ones(len(texts), bool)
        for word in {word for needle in self.needles for word in needle}:
            if "\u0307" not in word:  # what one capital letter becomes two for is not found so
                one = compute.match_substring(texts, pattern=word, ignore_case=True)
                may &= compute.fill_null(one, False).to_numpy(zero_copy_only=False)
        left = np.flatnonzero(may)
        if len(left):
            some = texts.take(left)
            alone = unspaced(some).tolist()
            may[left] = [
                has(text or "", self.needles, spaced=not one) for text, one in zip(some.to_pylist(), alone, strict=True)
            ]
        return may

    def places(self, text: str) -> list[tuple[int, int]]:
        """Where in a text it stands: beginnings and ends in characters, in order; of an expression the first alone."""
        import pyarrow as pa
        import pyarrow.compute as compute

        if self.needles is not None:
            return marks(text, self.needles, spaced=not unspaced(pa.array([text]))[0])
        raw = text.encode()
        found = compute.extract_regex_span(pa.array([raw], pa.binary()), f"(?P<hit>{self.regex})")[0].as_py()
        if found is None:
            return []
        start, length = found["hit"]
        begin = len(raw[:start].decode(errors="ignore"))
        return [(begin, begin + len(raw[start : start + length].decode(errors="ignore")))]


def objects_of(columns: Columns, dataset: Dataset) -> list[tuple[str, str | None]]:
    """By shard the object of the texts as read, and that of the texts of the version where it is another one."""
    left = [number for number, shard in enumerate(columns.shards) if shard.kept]
    final = {number: one.object for number, one in zip(left, dataset.fragments, strict=True)}
    return [
        (shard.object, None if final.get(number) in (None, shard.object) else final[number])
        for number, shard in enumerate(columns.shards)
    ]


def search(
    columns: Columns,
    dataset: Dataset,
    rows: np.ndarray,
    pattern: Pattern,
    *,
    index: TextIndex | None = None,
    start: int = 0,
    seconds: float = SECONDS,
    first_seconds: float = FIRST_SECONDS,
) -> Found:
    """Look for a pattern in the texts of some rows.

    Args:
        columns: The version's columns.
        dataset: The version.
        rows: The rows, ascending.
        pattern: What is looked for.
        index: Where shards may be indexed.
        start: The row at which to begin.
        seconds: After how long to stop a scan.
        first_seconds: After how long to stop where something was found.
    """
    import numpy as np

    objects = objects_of(columns, dataset)
    known = [_indexed(columns, number, one, pattern.needles, index) for number, one in enumerate(objects)]
    began, hits = time.monotonic(), list[int]()
    looked = sum(_count(columns, rows, number) for number, one in enumerate(known) if one is not None)
    whole = looked == len(rows)
    counted, upto = 0, None
    for number, found in enumerate(known):
        mine = _of_shard(columns, rows, number)
        if found is not None:
            fits = np.intersect1d(mine, found, assume_unique=True)
            counted += len(fits)
            hits += fits[np.searchsorted(fits, start) :][: HITS + 1 - len(hits)].tolist() if upto is None else []
            continue
        mine = mine[np.searchsorted(mine, start) :] if upto is None and len(hits) <= HITS else mine[:0]
        for some, fits in _scanned(columns, dataset, number, objects[number], mine, pattern):
            looked += len(some)
            hits += fits[: HITS + 1 - len(hits)].tolist()
            late = time.monotonic() - began > (first_seconds if hits else seconds)
            if len(hits) > HITS or late:
                upto = int(some[-1]) + 1
                break
    more = hits[HITS] if len(hits) > HITS else upto
    there = more is not None and len(rows[np.searchsorted(rows, more) :]) > 0
    return Found(hits[:HITS], min(looked, len(rows)), len(rows), more if there else None, counted if whole else None)


def _indexed(
    columns: Columns, number: int, objects: tuple[str, str | None], needles: Needles | None, index: TextIndex | None
) -> np.ndarray | None:
    """Rows of a shard that have all phrases, as its indexes say; None where one of them is missing."""
    import numpy as np

    if index is None or needles is None:
        return None
    raw, final = objects
    first = index.rows(raw, needles)
    second = index.rows(final, needles) if final else None
    if first is None or (final and second is None):
        return None
    begin = int(columns.starts[number])
    if second is not None:
        kept = columns.verdict[begin : begin + columns.shards[number].documents] == KEPT
        first = np.union1d(first[~kept[first]], second[kept[second]])
    return first + begin


def _of_shard(columns: Columns, rows: np.ndarray, number: int) -> np.ndarray:
    import numpy as np

    start, stop = (int(one) for one in columns.starts[number : number + 2])
    return rows[np.searchsorted(rows, start) : np.searchsorted(rows, stop)]


def _count(columns: Columns, rows: np.ndarray, number: int) -> int:
    return len(_of_shard(columns, rows, number))


def _scanned(
    columns: Columns,
    dataset: Dataset,
    number: int,
    objects: tuple[str, str | None],
    rows: np.ndarray,
    pattern: Pattern,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Some rows of a shard at a time, and those of them whose texts have what is looked for."""
    import numpy as np
    import pyarrow as pa

    start, documents = int(columns.starts[number]), columns.shards[number].documents
    raw, final = objects
    for first in range(0, documents, AT_ONCE):
        here = rows[
            np.searchsorted(rows, start + first) : np.searchsorted(
                rows, min(start + first + AT_ONCE, start + documents)
            )
        ]
        if len(here):
            texts = _read(dataset.store, raw, final, columns.verdict[here] == KEPT, here - start)
            for at in range(0, len(here), SLICE):
                some = texts.slice(at, SLICE)
                yield here[at : at + SLICE], here[at : at + SLICE][pattern.fits(some)]
    rejected = rows[np.searchsorted(rows, start + documents) :]  # of these there is no text
    if len(rejected):
        yield rejected, rejected[pattern.fits(pa.array([""] * len(rejected), pa.string()))]


def _read(store: Store, raw: str, final: str | None, kept: np.ndarray, rows: np.ndarray) -> pa.Array:
    """Texts of some rows: the final one of what is kept, else that which was read."""
    import pyarrow as pa
    import pyarrow.compute as compute

    if final is None or not kept.any():
        return _strings(store, raw, rows)
    if kept.all():
        return _strings(store, final, rows)
    both = [_strings(store, name, rows) for name in (final, raw)]
    return compute.if_else(pa.array(kept), *both)


def _strings(store: Store, name: str, rows: np.ndarray) -> pa.Array:
    if "text" in store.read_schema(name).names:
        return read_rows(store, name, rows.tolist(), ["text"]).column("text").combine_chunks()
    return joined(read_rows(store, name, rows.tolist()), (EVERYTHING,))
