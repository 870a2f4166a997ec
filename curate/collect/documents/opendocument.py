"""Text of OpenDocument files (ODT; sheets and slides are read alike): headings, paragraphs, lists, tables, notes.

Left out: deleted text, comments, the index and what stands in heads and feet. Source: OASIS ODF 1.3, part 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from curate.collect.documents.blocks import Block, Rows, Structure, render
from curate.collect.documents.container import Container
from curate.collect.documents.word import local
from curate.stages.extractor import Extracted, Unreadable

__all__ = ["read_odf"]

LEFT_OUT = frozenset(
    "tracked-changes annotation annotation-end forms table-of-content ruby-text note-citation".split()  # noqa: SIM905
)
CELLS = 2_000_000
REPEATED = 1_000
"""A cell or row that stands more often than this is the empty rest of a sheet."""


def read_odf(content: bytes, structure: Structure) -> Extracted:
    """The text of an OpenDocument file, and its `title`.

    Raises:
        Unreadable: What `Container` raises; `password`; `too_many_cells`; `corrupt`: it has no content.
    """
    container = Container(content)
    if "META-INF/manifest.xml" in container and b"encryption-data" in container.read("META-INF/manifest.xml"):
        raise Unreadable("password", "odf: it needs a password")
    if "content.xml" not in container:
        raise Unreadable("corrupt", "odf: there is no content in it")
    root = container.xml("content.xml")
    body = next((one for one in root if local(one) == "body"), None)
    if body is None:
        raise Unreadable("corrupt", "odf: there is no body in it")
    numbered = _numbered(container, root)
    blocks = _Blocks(numbered).of(body)
    return Extracted(render(blocks, structure), {"title": _title(container)})


def _title(container: Container) -> str | None:
    if "meta.xml" not in container:
        return None
    found = next((one.text for one in container.xml("meta.xml").iter() if local(one) == "title"), None)
    return " ".join((found or "").split()) or None


def _numbered(container: Container, root: Any) -> frozenset[str]:
    """The names of the list styles that number."""
    roots = [root, container.xml("styles.xml")] if "styles.xml" in container else [root]
    return frozenset(
        _value(style, "name")
        for one in roots
        for style in one.iter()
        if local(style) == "list-style"
        for first in style[:1]
        if local(first) == "list-level-style-number" and _value(first, "num-format")
    )


class _Blocks:
    """Blocks of a body."""

    def __init__(self, numbered: frozenset[str]) -> None:
        self.numbered, self.left = numbered, CELLS

    def of(self, element: Any, item: int = 0, numbered: bool = False) -> Iterator[Block]:
        """The paragraphs, lists and tables in an element."""
        for child in element:
            kind = local(child)
            if kind == "h":
                level = _value(child, "outline-level")
                yield Block("".join(_text(child)), level=int(level) if level.isdigit() else 1)
                yield from (block for box in _boxes(child) for block in self.of(box))
            elif kind == "p":
                yield Block("".join(_text(child)), item=item, numbered=numbered)
                yield from (block for box in _boxes(child) for block in self.of(box))
            elif kind == "list":
                style = _value(child, "style-name")
                yield from self.of(child, item + 1, style in self.numbered if style else numbered)
            elif kind == "table":
                yield Block(rows=list(self._rows(child)))
            elif kind and kind not in LEFT_OUT:
                yield from self.of(child, item, numbered)

    def _rows(self, table: Any) -> Iterator[list[str]]:
        for row in _own_rows(table):
            cells: list[str] = []
            for cell in row:
                if local(cell) not in ("table-cell", "covered-table-cell"):
                    continue
                text = "\n".join(block.text or _lines(block.rows) for block in self.of(cell))
                again = _value(cell, "number-columns-repeated")
                times = int(again) if again.isdigit() and int(again) <= REPEATED else 1
                cells += [text] * times
                self._count(times)
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                again = _value(row, "number-rows-repeated")
                times = int(again) if again.isdigit() and len(again) < 9 else 1
                self._count(len(cells) * (times - 1))
                yield from [cells] * times

    def _count(self, cells: int) -> None:
        self.left -= cells
        if self.left < 0:
            raise Unreadable("too_many_cells", f"odf: more than {CELLS} cells")


def _own_rows(element: Any) -> Iterator[Any]:
    """The rows of a table, without those of tables in its cells."""
    for child in element:
        kind = local(child)
        if kind == "table-row":
            yield child
        elif kind in ("table-rows", "table-header-rows", "table-row-group"):
            yield from _own_rows(child)


def _lines(rows: Rows | None) -> str:
    return "\n".join(" ".join(row) for row in rows or ())


def _text(element: Any) -> Iterator[str]:
    """The text of a paragraph; its notes in brackets."""
    yield element.text or ""
    for child in element:
        kind = local(child)
        if kind == "s":
            count = _value(child, "c")
            yield " " * min(int(count), 100) if count.isdigit() else " "
        elif kind == "tab":
            yield "\t"
        elif kind == "line-break":
            yield "\n"
        elif kind == "note":
            body = next((one for one in child if local(one) == "note-body"), ())
            yield " (" + " ".join("".join(_text(one)) for one in body) + ")"
        elif kind and kind not in LEFT_OUT and kind != "text-box":
            yield from _text(child)
        yield child.tail or ""


def _boxes(element: Any) -> Iterator[Any]:
    """The text boxes of a paragraph, without those in them: each is read with the box that it stands in."""
    for child in element:
        kind = local(child)
        if kind == "text-box":
            yield child
        elif kind and kind not in LEFT_OUT:
            yield from _boxes(child)


def _value(element: Any, name: str) -> str:
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")
