"""What documents are made of, and how it becomes text: paragraphs, headings, items of lists, tables.

As plain text a table is a line a row with tabs between its cells, and headings and items are paragraphs. As Markdown (GitHub's,
for the tables) they have their marks; text that looks like a mark is left as it is: models read both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

__all__ = ["Block", "Rows", "Structure", "render", "table_text"]

Structure = Literal["plain", "markdown"]
Rows = Sequence[Sequence[str]]


class Block(NamedTuple):
    """A paragraph, or a table.

    Attributes:
        text: Of a paragraph; lines in it stay.
        level: Of a heading, from 1; 0 is none.
        item: Depth of an item of a list, from 1; 0 is none.
        numbered: Whether the list is numbered.
        rows: Of a table: its cells.
    """

    text: str = ""
    level: int = 0
    item: int = 0
    numbered: bool = False
    rows: Rows | None = None


def render(blocks: Iterable[Block], structure: Structure) -> str:
    """The blocks as text, a blank line between them; items of a list follow each other."""
    pieces: list[str] = []
    lists: list[bool] = []  # those that are open, and whether they are numbered
    for block in blocks:
        text = table_text(block.rows, structure) if block.rows is not None else block.text.strip()
        if not text:
            continue
        if structure == "markdown":
            text = _marked(block, text)
        goes_on = block.item > len(lists) > 0 or lists[block.item - 1 : block.item] == [block.numbered]
        pieces += ["\n" if block.item and goes_on else "\n\n", text]
        lists[max(block.item - 1, 0) :] = [block.numbered] * (block.item > 0)
    return "".join(pieces[1:])


def _marked(block: Block, text: str) -> str:
    if block.level:
        return "#" * min(block.level, 6) + " " + " ".join(text.split("\n"))
    if block.item:
        indent = "  " * (block.item - 1)
        return f"{indent}{'1.' if block.numbered else '-'} " + text.replace("\n", "\n  " + indent)
    return text


def table_text(rows: Rows, structure: Structure) -> str:
    """The rows of a table; those without a word are left out."""
    cells = [[" ".join(cell.split()) for cell in row] for row in rows]
    cells = [row for row in cells if any(row)]
    if structure == "plain" or not cells:
        return "\n".join("\t".join(row).rstrip("\t") for row in cells)
    width = max(map(len, cells))
    lines = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in [*row, *[""] * (width - len(row))]) + " |"
        for row in cells
    ]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])
