"""The rows of the snapshot before: what need not be fetched again, or is only asked about."""

from __future__ import annotations

from collections.abc import Container, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from curate import jsontext
from curate.collect.fetch.rows import KEY
from curate.collect.web.answers import told, unchanged
from curate.collect.web.hosts import Came
from curate.collect.web.records import Row

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.stages.fetched import Desk

__all__ = ["Before"]

OF_CONTENT = ("content-length", "content-type", "content-encoding", "transfer-encoding")


class Before:
    """Rows by address.

    Args:
        desk: Has the snapshot before.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._places: dict[str, tuple[str, int]] = {}
        self._modified: dict[str, str] = {}
        for piece in desk.previous.pieces if desk.previous else ():
            table = desk.store.read_table(piece.object, [KEY, "modified", "reason"])
            for row, one in enumerate(table.to_pylist()):
                self._places[one[KEY]] = piece.object, row
                if one["modified"] and one["reason"] is None:
                    self._modified[one[KEY]] = one["modified"]
        self._read = lru_cache(2)(self._table)

    def _table(self, name: str) -> pa.Table:
        return self.desk.store.read_table(name)

    def whole(self, url: str) -> Row | None:
        """The row of an address in the snapshot before; None where there is none."""
        if url not in self._places:
            return None
        name, row = self._places[url]
        return self._read(name).slice(row, 1).to_pylist()[0]

    def pages(self, kept: Container[str]) -> Iterator[Row]:
        """Documents that are not among those that were kept, by address; `settled` leaves them as they are."""
        for url, (name, row) in self._places.items():
            if url in kept:
                continue
            one = self._read(name).slice(row, 1).to_pylist()[0]
            if one["reason"] is None:
                yield one

    def conditions(self, url: str) -> dict[str, str]:
        """Headers that ask for an address only if it is not what it was; none where what it was is not kept."""
        old = self.whole(url)
        if old is None or old["body"] is None:
            return {}
        pairs = (("If-None-Match", told(old, "etag")), ("If-Modified-Since", told(old, "last-modified")))
        return {name: value for name, value in pairs if value and value.isascii() and value.isprintable()}

    def of_date(self, url: str, modified: str | None) -> Row | None:
        """The row of a page that is not changed, as the date in a list of addresses says."""
        old = self.whole(url) if modified and self._modified.get(url) == modified else None
        return old if old is not None and old["body"] is not None else None

    def revived(self, came: Came, old: Row) -> Came:
        """The answer that a server means when it says that there is nothing new: what came then, with the headers of now."""
        headers = jsontext.loads(old["headers"] or "{}")
        headers |= {name: value for name, value in came.headers.items() if name not in OF_CONTENT}
        return Came(None, None, old["status"], headers, old["body"], old["fetched_at"])

    def same(self, row: Row) -> Row:
        """The row of before, where it says the same: it was fetched then. What the next refresh asks with is that of now."""
        old = self.whole(row[KEY])
        if old is None or not unchanged(row, old):
            return row
        new = any(told(row, name) != told(old, name) for name in ("etag", "last-modified"))
        return old | {"headers": row["headers"]} if new and row.get("body") is not None else old
