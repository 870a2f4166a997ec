"""Text of Word files (DOCX, also Strict Open XML): paragraphs, headings, lists, tables, text boxes, footnotes.

Left out: deleted text, comments, heads and feet of pages, macros (never run), and the copy of a text box that is kept for
old programs. Names are matched whatever their namespace, since Strict files have others. Source: ECMA-376, part 1, 17.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from curate.collect.documents.blocks import Block, Structure, render
from curate.collect.documents.container import Container, main_part, relations
from curate.stages.extractor import Extracted, Unreadable

__all__ = ["core_title", "local", "read_docx"]

LEFT_OUT = frozenset(
    ["del", "moveFrom", "Fallback", "pPr", "rPr", "instrText", "delText", "commentReference", "sectPr", "rt"]
)
BREAKS = {"br": "\n", "cr": "\n", "tab": "\t", "noBreakHyphen": "\u2011", "ptab": "\t"}
HEADING = re.compile(r"heading\s*([1-9])$")


def local(element: Any) -> str:
    """The name of an element without its namespace; empty for what is no element."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def read_docx(content: bytes, structure: Structure) -> Extracted:
    """The text of a Word file, and its `title`.

    Raises:
        Unreadable: What `Container` raises; `corrupt`: it has no document.
    """
    container = Container(content)
    name = main_part(container, "word/document.xml")
    if name is None:
        raise Unreadable("corrupt", "docx: there is no document in it")
    parts = {kind.rpartition("/")[2]: part for kind, part in relations(container, name, by="Type").items()}
    reader = _Reader(container, parts)
    blocks = list(reader.blocks(container.xml(name)))
    for kind in ("footnotes", "endnotes"):
        notes = parts.get(kind, f"word/{kind}.xml")
        if notes in container:
            blocks += reader.blocks(container.xml(notes))
    return Extracted(render(blocks, structure), {"title": core_title(container)})


def core_title(container: Container) -> str | None:
    """The title that an Office file has among its properties."""
    if "docProps/core.xml" not in container:
        return None
    found = (element.text for element in container.xml("docProps/core.xml").iter() if local(element) == "title")
    return " ".join((next(found, None) or "").split()) or None


class _Reader:
    """Blocks of a document, by its styles and numberings."""

    def __init__(self, container: Container, parts: Mapping[str, str]) -> None:
        self.levels: dict[str, int] = {}
        self.numbered: dict[str, bool] = {}
        for kind, read in (("styles", self._styles), ("numbering", self._numberings)):
            name = parts.get(kind, f"word/{kind}.xml")
            if name in container:
                read(container.xml(name))

    def _styles(self, root: Any) -> None:
        for style in root:
            name, outline = "", None
            for element in style.iter():
                kind = local(element)
                if kind == "name":
                    name = _value(element).lower()
                elif kind == "outlineLvl" and _value(element).isdigit():
                    outline = int(_value(element)) + 1
            found = HEADING.match(name)
            level = int(found[1]) if found else 1 if name == "title" else outline
            if level and level <= 9:
                self.levels[_value(style, "styleId")] = level

    def _numberings(self, root: Any) -> None:
        kinds: dict[str, bool] = {}
        for element in root:
            if local(element) == "abstractNum":
                first = next((_value(one) for one in element.iter() if local(one) == "numFmt"), "")
                kinds[_value(element, "abstractNumId")] = first not in ("bullet", "none", "")
            elif local(element) == "num":
                abstract = next((_value(one) for one in element.iter() if local(one) == "abstractNumId"), "")
                self.numbered[_value(element, "numId")] = kinds.get(abstract, False)

    def blocks(self, element: Any) -> Iterator[Block]:
        """The paragraphs and tables in an element, in their order; those of text boxes behind the paragraph they hang on."""
        for child in element:
            kind = local(child)
            if kind == "p":
                yield self._paragraph(child)
                for box in _boxes(child):
                    yield from self.blocks(box)
            elif kind == "tbl":
                yield Block(rows=list(self._rows(child)))
            elif kind not in LEFT_OUT:
                yield from self.blocks(child)

    def _paragraph(self, element: Any) -> Block:
        style, depth, number = "", None, ""
        properties = next((child for child in element if local(child) == "pPr"), ())
        for one in properties:
            if local(one) == "pStyle":
                style = _value(one)
            elif local(one) == "numPr":
                told = {local(part): _value(part) for part in one}
                depth, number = told.get("ilvl", "0"), told.get("numId", "")
        level = self.levels.get(style, 0)
        item = 0
        if not level and (depth is not None and number != "0"):
            item = int(depth) + 1 if depth.isdigit() else 1
        elif not level and style.lower().startswith("list"):
            item = 1
        numbered = self.numbered.get(number, "number" in style.lower())
        return Block("".join(_runs(element)), level, item, numbered)

    def _rows(self, table: Any) -> Iterator[list[str]]:
        for row in _within(table, "tr"):
            yield ["\n".join(_cell(self.blocks(cell))) for cell in _within(row, "tc")]


def _cell(blocks: Iterator[Block]) -> list[str]:
    texts: list[str] = []
    for block in blocks:
        texts += [block.text] if block.rows is None else [" ".join(row) for row in block.rows]
    return texts


def _within(element: Any, name: str) -> Iterator[Any]:
    """The children of a name, also inside of content controls."""
    for child in element:
        if local(child) == name:
            yield child
        elif local(child) in ("sdt", "sdtContent", "customXml", "ins"):
            yield from _within(child, name)


def _runs(element: Any) -> Iterator[str]:
    """The text of a paragraph, without that of text boxes in it."""
    for child in element:
        kind = local(child)
        if kind == "t":
            yield child.text or ""
        elif kind in BREAKS:
            yield BREAKS[kind]
        elif kind not in LEFT_OUT and kind != "txbxContent":
            yield from _runs(child)


def _boxes(element: Any) -> Iterator[Any]:
    for child in element:
        kind = local(child)
        if kind == "txbxContent":
            yield child
        elif kind not in LEFT_OUT:
            yield from _boxes(child)


def _value(element: Any, name: str = "val") -> str:
    """An attribute, whatever its namespace."""
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")
