"""The rows of a crawl as they stand in its snapshot: by address, each once, whatever order they came in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from heapq import merge
from typing import TYPE_CHECKING, Any

from curate.collect.fetch.rows import KEY
from curate.collect.web.before import Before
from curate.collect.web.page import CUT
from curate.collect.web.records import Row, table_of

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.stages.fetched import Desk

__all__ = ["settled"]

BYTES = 8 << 20
ROWS = 5000
ALIKE = 0.9
"""So much of the words of two pages is in both, where they are the same page."""
MARKUP = re.compile(rb"<[^<>]*>")
WORD = re.compile(rb"[\w\x80-\xff]+")


def settled(desk: Desk, rest: Iterable[Row], before: Before, counts: Counter[str]) -> Iterator[pa.Table]:
    """Tables of all rows in the order of their addresses.

    A page that calls another one its address, which was fetched and has the same title and nearly the same words, is that
    page once more, and no document (`duplicate`). Pages that all call the first page their address have texts of their own,
    and stay.

    Args:
        desk: Has the pieces that were kept.
        rest: Rows of what was not asked for, in their order.
        before: Rows that say what they said in the snapshot before are those.
        counts: Told what became of addresses.
    """
    read, small = lru_cache(2)(desk.store.read_table), [KEY, "reason", "canonical", "title"]
    places: dict[str, tuple[str, int]] = {}
    titles: dict[str, Any] = {}
    for piece in desk.pieces:
        for row, one in enumerate(desk.store.read_table(piece.object, small).to_pylist()):
            places[one[KEY]] = piece.object, row
            if one["reason"] is None:
                titles[one[KEY]] = one["canonical"], one["title"]
    same = _twice(desk, places, titles)

    def came() -> Iterator[Row]:
        for url in sorted(places):
            name, row = places[url]
            one = read(name).slice(row, 1).to_pylist()[0]
            yield {**one, "reason": "duplicate", "detail": one["canonical"], "body": None} if url in same else one

    rows, size, cut = list[Row](), 0, 0
    for row in merge(came(), (one for one in rest if one[KEY] not in places), key=lambda one: one[KEY]):
        counts[row["reason"] or "documents"] += 1
        cut += CUT in (row["detail"] or "")
        rows.append(before.same(row))
        size += len(row.get("body") or b"") + len(row.get("links") or "")
        if size > BYTES or len(rows) >= ROWS:
            yield table_of(rows)
            rows, size = [], 0
    if rows:
        yield table_of(rows)
    if cut:
        desk.say(f"{cut:,} pages have more links than are followed; `detail` of their addresses says how many")


def _twice(desk: Desk, places: Mapping[str, tuple[str, int]], titles: Mapping[str, Any]) -> set[str]:
    """Pages that are another one once more: titles are those of documents, with the addresses that they call their own."""

    @lru_cache(8)
    def words(url: str) -> frozenset[bytes]:
        name, row = places[url]
        body: bytes = desk.store.read_table(name, ["body"]).column("body")[row].as_py() or b""
        return frozenset(WORD.findall(MARKUP.sub(b" ", body)))

    return {
        url for url, (own, title) in titles.items()
        if own not in (None, url) and title and titles.get(own, (None, None)) in ((own, title), (None, title))
        and len(words(url) & words(own)) > ALIKE * len(words(url) | words(own))
    }  # fmt: skip
