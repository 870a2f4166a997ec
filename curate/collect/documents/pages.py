"""Blocks of HTML: headings, paragraphs, items, tables and code of books and messages, whose pages are all content.

A page is walked, not gone into: mail whose writers forgot to close their elements is a thousand deep. What the parser itself
gives up at (2,048) is refused: it would leave out all that follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from curate.collect.documents.blocks import Block
from curate.collect.documents.word import local
from curate.stages.extractor import Unreadable

__all__ = ["page_blocks"]

BLOCKS = frozenset(
    "address article aside blockquote body caption center dd details div dl dt fieldset figcaption figure footer form h1 h2 h3 "  # noqa: SIM905
    "h4 h5 h6 header hr html li main nav ol p pre section summary table td th tr ul".split()
)
LEFT_OUT = frozenset("head script style template svg noscript rt rp iframe object select button".split())  # noqa: SIM905
HEADING = re.compile(r"h[1-6]$")
SPACE = re.compile(r"[ \t\r\n\f]+")
BREAK = "\x1f"
"""Stands for a line break while spaces are brought together; no text has it (extractors leave controls out)."""


def page_blocks(page: str) -> list[Block]:
    """The blocks of a page, in their order.

    Raises:
        Unreadable: `corrupt`: its elements are nested too deep to be read.
    """
    from lxml import etree

    page = page.replace("\x00", "").replace(BREAK, "")
    if not page.strip():
        return []
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True)
    root = etree.fromstring(page.encode(), parser)
    if any(error.type_name == "ERR_RESOURCE_LIMIT" or "depth" in error.message for error in parser.error_log):
        raise Unreadable("corrupt", "html: its elements are nested too deep to be read")
    return list(_Blocks().of(root)) if root is not None else []


class _Blocks:
    """Blocks as they come; the words that stand between two of them are a paragraph.

    Attributes:
        pieces: Of the paragraph that is being read.
        lists: Those that are open, and whether they are numbered.
        heading: The one that is open; blocks in it are a part of it.
    """

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.lists: list[bool] = []
        self.heading: Any = None

    def of(self, root: Any) -> Iterator[Block]:
        """Blocks of a page."""
        from lxml import etree

        walk = etree.iterwalk(root, events=("start", "end"))
        for event, element in walk:
            kind = local(element)
            if event == "end":
                yield from self._close(element, kind)
                self.pieces.append(element.tail or "")
            elif kind in LEFT_OUT or not kind:
                walk.skip_subtree()
            else:
                yield from self._open(element, kind)
                if self.heading is None and (kind == "pre" or _is_grid(element, kind)):
                    walk.skip_subtree()
                else:
                    self.pieces.append(element.text or "")
        yield from self._paragraph()

    def _open(self, element: Any, kind: str) -> Iterator[Block]:
        if kind == "br":
            self.pieces.append(BREAK)
        if kind not in BLOCKS:
            return
        if self.heading is not None:
            self.pieces.append(BREAK)
            return
        yield from self._paragraph()
        if HEADING.match(kind):
            self.heading = element
        elif kind in ("ul", "ol"):
            self.lists.append(kind == "ol")
        elif kind == "pre":
            yield Block("".join(_words(element)).replace(BREAK, "\n").strip("\n").expandtabs(8))
        elif _is_grid(element, kind):
            yield from _grid(element)

    def _close(self, element: Any, kind: str) -> Iterator[Block]:
        if kind not in BLOCKS:
            return
        if self.heading is not None and element is not self.heading:
            self.pieces.append(BREAK)
            return
        yield from self._paragraph()
        self.heading = None
        if kind in ("ul", "ol"):
            self.lists.pop()

    def _paragraph(self) -> Iterator[Block]:
        text = _plain("".join(self.pieces))
        self.pieces.clear()
        if text and self.heading is not None:
            yield Block(" ".join(text.split()), level=int(local(self.heading)[1]))
        elif text:
            yield Block(text, item=len(self.lists), numbered=self.lists[-1:] == [True])


def _is_grid(element: Any, kind: str) -> bool:
    """Whether it is a table of cells; one that holds tables is what a page was laid out with."""
    return kind == "table" and next(element.iterdescendants("table"), None) is None


def _grid(table: Any) -> Iterator[Block]:
    for caption in table.iter("caption"):
        yield Block(_cell(caption))
    yield Block(rows=[[_cell(cell) for cell in row if local(cell) in ("td", "th")] for row in table.iter("tr")])


def _cell(cell: Any) -> str:
    return _plain("".join(_words(cell)))


def _words(root: Any) -> Iterator[str]:
    """The text in an element, with a break where a block of its own begins or ends."""
    from lxml import etree

    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        kind = local(element)
        if element is not root and (kind in BLOCKS or (kind == "br" and event == "start")):
            yield BREAK
        if event == "end":
            yield (element.tail or "") if element is not root else ""
        elif kind in LEFT_OUT or not kind:
            walk.skip_subtree()
        else:
            yield element.text or ""


def _plain(text: str) -> str:
    lines = (SPACE.sub(" ", line).strip() for line in text.split(BREAK))
    return "\n".join(lines).strip()
