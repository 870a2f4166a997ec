"""Blocks of HTML: headings, paragraphs, items, tables and code of books and messages, whose pages are all content."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from curate.collect.documents.blocks import Block
from curate.collect.documents.word import local

__all__ = ["page_blocks"]

BLOCKS = frozenset(
    "address article aside blockquote body center dd details div dl dt fieldset figcaption figure footer form header hr html "  # noqa: SIM905
    "li main nav ol p pre section summary table ul h1 h2 h3 h4 h5 h6".split()
)
LEFT_OUT = frozenset("head script style template svg noscript rt rp iframe object select button".split())  # noqa: SIM905
HEADING = re.compile(r"h([1-6])$")
SPACE = re.compile(r"[ \t\r\n\f]+")
BREAK = "\x1f"
"""Stands for a line break while spaces are brought together; no text has it (extractors leave controls out)."""


def page_blocks(page: str) -> list[Block]:
    """The blocks of a page, in their order."""
    from lxml import etree

    page = page.replace("\x00", "").replace(BREAK, "")
    if not page.strip():
        return []
    root = etree.fromstring(page.encode(), etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True))
    return list(_Blocks().of(root)) if root is not None else []


class _Blocks:
    """Blocks as they come; the words that stand between two of them are a paragraph."""

    def of(self, element: Any, item: int = 0, numbered: bool = False) -> Iterator[Block]:
        """Blocks of an element; in a list, `item` is how deep."""
        pieces = [element.text or ""]

        def paragraph() -> Iterator[Block]:
            text = _plain("".join(pieces))
            pieces.clear()
            if text:
                yield Block(text, item=item, numbered=numbered)

        for child in element:
            kind = local(child)
            if kind in BLOCKS or (kind and any(local(one) in BLOCKS for one in child.iter())):
                yield from paragraph()
                yield from self._block(child, kind, item, numbered)
            elif kind and kind not in LEFT_OUT:
                pieces += _inline(child)
            pieces.append(child.tail or "")
        yield from paragraph()

    def _block(self, element: Any, kind: str, item: int, numbered: bool) -> Iterator[Block]:
        found = HEADING.match(kind)
        if found:
            yield Block(_plain("".join(_inline(element))).replace("\n", " "), level=int(found[1]))
        elif kind == "pre":
            yield Block("".join(element.itertext()).strip("\n").expandtabs(8))
        elif kind == "table" and not any(local(one) == "table" for one in element.iterdescendants()):
            yield Block(
                rows=[[_cell(cell) for cell in row if local(cell) in ("td", "th")] for row in element.iter("tr")]
            )
        elif kind in ("ul", "ol"):
            yield from self.of(element, item + 1, kind == "ol")
        elif kind not in LEFT_OUT:
            yield from self.of(element, item, numbered)


def _cell(cell: Any) -> str:
    return _plain(" ".join(cell.itertext()))


def _inline(element: Any) -> Iterator[str]:
    if local(element) == "br":
        yield BREAK
    yield element.text or ""
    for child in element:
        if local(child) and local(child) not in LEFT_OUT:
            yield from _inline(child)
        yield child.tail or ""


def _plain(text: str) -> str:
    lines = (SPACE.sub(" ", line).strip() for line in text.split(BREAK))
    return "\n".join(lines).strip()
