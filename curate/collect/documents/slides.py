"""Text of presentations (PPTX): the slides in their order, titles, lists, tables, groups; notes are left out.

Source: ECMA-376, part 1, 19 and 21.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from curate.collect.documents.blocks import Block, Structure, render
from curate.collect.documents.container import Container, main_part, relations
from curate.collect.documents.word import core_title, local
from curate.stages.extractor import Extracted, Unreadable

__all__ = ["read_pptx"]

PLACED = ("sldNum", "dt", "ftr")
"""Placeholders that every slide has: number, date, foot."""


def read_pptx(content: bytes, structure: Structure) -> Extracted:
    """The text of a presentation, its `title` and the number of its `pages`.

    Raises:
        Unreadable: What `Container` raises; `corrupt`: it has no slides.
    """
    container = Container(content)
    name = main_part(container, "ppt/presentation.xml")
    if name is None:
        raise Unreadable("corrupt", "pptx: there is no presentation in it")
    targets = relations(container, name)
    slides = [
        targets[key]
        for element in container.xml(name).iter()
        if local(element) == "sldId"
        for attribute, key in element.attrib.items()
        if attribute.endswith("}id") and targets.get(key, "") in container
    ]
    blocks = [block for slide in slides for block in _shapes(container.xml(slide))]
    return Extracted(render(blocks, structure), {"title": core_title(container), "pages": len(slides)})


def _shapes(element: Any) -> Iterator[Block]:
    for child in element:
        kind = local(child)
        if kind == "tbl":
            yield Block(
                rows=[[_text(cell) for cell in row if local(cell) == "tc"] for row in child if local(row) == "tr"]
            )
        elif kind == "sp":
            place = next((one.get("type", "") for one in child.iter() if local(one) == "ph"), None)
            if place not in PLACED:
                yield from _body(child, place or "")
        elif kind != "Fallback":
            yield from _shapes(child)


def _body(shape: Any, place: str) -> Iterator[Block]:
    for paragraph in (one for one in shape.iter() if local(one) == "p"):
        properties = next((one for one in paragraph if local(one) == "pPr"), None)
        told = properties.get("lvl", "0") if properties is not None else "0"
        depth = int(told) if told in tuple("012345678") else 0
        if place in ("title", "ctrTitle"):
            yield Block(_text(paragraph), level=1 if place == "ctrTitle" else 2)
        else:
            is_item = place in ("body", "") and _is_list(shape, properties)
            yield Block(_text(paragraph), item=depth + 1 if is_item else 0)


def _is_list(shape: Any, properties: Any) -> bool:
    """Whether a paragraph has a bullet: said by itself, or by the layout's place for a body."""
    own = {local(one) for one in properties} if properties is not None else set[str]()
    if own & {"buNone", "buChar", "buAutoNum"}:
        return "buNone" not in own
    return any(local(one) == "ph" and one.get("type", "obj") in ("body", "obj") for one in shape.iter())


def _text(element: Any) -> str:
    pieces: list[str] = []
    for one in element.iter():
        kind = local(one)
        if kind == "t":
            pieces.append(one.text or "")
        elif kind == "br" or (kind == "p" and one is not element and pieces):
            pieces.append("\n")
    return "".join(pieces)
