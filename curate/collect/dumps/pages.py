"""The pages of a MediaWiki export, each parsed by itself: what is broken in one costs that one.

In an export `<page>` stands nowhere but where one begins, since texts are escaped. Each page is its own small document,
without the document type that a hostile file might begin with: entities that it declares are unknown here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from xml.parsers import expat

from curate.stages.contract import Rejected

__all__ = ["Page", "Site", "parse_page", "parse_site", "split_pages"]

BEGIN, END, LAST = b"<page>", b"</page>", b"</mediawiki>"
FIELDS = {
    "page/title": "title", "page/ns": "namespace", "page/id": "id", "page/revision/id": "revision",
    "page/revision/timestamp": "timestamp", "page/revision/text": "text", "page/revision/format": "format",
}  # fmt: skip
NAMESPACE = re.compile(rb'<namespace key="(-?\d+)"[^>]*>([^<]*)</namespace>')
BASE = re.compile(rb"<base>([^<]{1,500})</base>")
FILES_AND_CATEGORIES = ("6", "14")


class Page(NamedTuple):
    """A page.

    Attributes:
        fields: By the names of `FIELDS`; of several revisions, the last one's.
        redirect: Where it leads to, for one that is a redirection.
        deleted: Whether its text was taken out.
    """

    fields: dict[str, str]
    redirect: str | None
    deleted: bool


class Site(NamedTuple):
    """What an export says of its wiki.

    Attributes:
        base: The address of its main page; "" where it does not say.
        media: Names that links to files and categories begin with, in its language.
    """

    base: str
    media: tuple[str, ...]


def split_pages(stream: Iterable[bytes], limit: int) -> Iterator[tuple[int, bytes] | Rejected]:
    """What stands before the first page, at 0; then each page with its offset, and a reject for each that is too long.

    Rejects: `too_long`, `truncated` (in a page, or before the end tag of the export), and `corrupt` for one that another
    begins in, and for a file without a page.
    """
    held = _Held(stream)
    head = held.find(BEGIN, 0, most=limit)
    if head is None or head > limit:
        yield Rejected(0, "corrupt", "no page begins in it: it is no export of a wiki")
        return
    yield 0, held.take(head)
    while True:
        end = held.find(END, len(BEGIN), most=limit)
        begin = held.data.find(BEGIN, held.at + len(BEGIN), None if end is None else held.at + end)
        if 0 <= begin - held.at <= limit:
            yield Rejected(held.place, "corrupt", "the page does not end before the next one begins")
            held.take(begin - held.at)
            continue
        if end is not None and end <= limit:
            yield held.place, held.take(end + len(END))
        elif end is None and held.ended and len(held.data) - held.at <= limit:
            yield Rejected(held.place, "truncated", "the file ends in the middle of a page")
            return
        else:
            yield Rejected(held.place, "too_long", f"the page is longer than {limit} bytes")
            held.take(len(BEGIN))
        whole = False
        while (begin_at := held.find(BEGIN, 0, most=limit)) is None and not held.ended:
            whole = whole or held.data.find(LAST, held.at) >= 0
            held.take(len(held.data) - held.at - len(LAST) + 1)
        if begin_at is None:
            if not whole and held.data.find(LAST, held.at) < 0:
                yield Rejected(held.place, "truncated", f"the file ends before `{LAST.decode()}`")
            return
        held.take(begin_at)


class _Held:
    """The bytes of a stream from a place on that are held."""

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._blocks = iter(stream)
        self.data, self.at, self.place, self.ended = b"", 0, 0, False

    def find(self, mark: bytes, start: int, most: int) -> int | None:
        """How far from here a mark stands, `start` bytes or more; None where `most` bytes or the end come first."""
        while (found := self.data.find(mark, self.at + start)) < 0:
            start = max(start, len(self.data) - self.at - len(mark) + 1)
            if start > most or self.ended:
                return None
            block = next(self._blocks, b"")
            self.ended = not block
            self.data, self.at = self.data[self.at :] + block, 0
        return found - self.at

    def take(self, size: int) -> bytes:
        """The next bytes, which are passed."""
        found = self.data[self.at : self.at + size]
        self.at, self.place = self.at + size, self.place + size
        return found


def parse_site(head: bytes) -> Site:
    """What stands before the first page."""
    base = BASE.search(head)
    names = [
        name.decode("utf-8", "replace") for key, name in NAMESPACE.findall(head) if key.decode() in FILES_AND_CATEGORIES
    ]
    return Site(_unescaped(base[1]) if base else "", tuple(filter(None, names)))


def _unescaped(text: bytes) -> str:
    return text.decode("utf-8", "replace").replace("&amp;", "&")


def parse_page(data: bytes) -> Page:
    """A page.

    Raises:
        ExpatError: It is no well-formed XML, or not UTF-8.
    """
    found: dict[str, str] = {}
    path: list[str] = []
    pieces: list[str] = []
    told: dict[str, Any] = {}

    def start(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        pieces.clear()
        if name == "redirect":
            told["redirect"] = attributes.get("title", "")
        if name == "text":
            told["deleted"] = "deleted" in attributes

    def end(name: str) -> None:
        if (field := FIELDS.get("/".join(path))) is not None:
            found[field] = "".join(pieces)
        path.pop()

    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, pieces.append
    parser.Parse(data, True)
    return Page(found, told.get("redirect"), bool(told.get("deleted")))
