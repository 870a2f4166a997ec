"""Text of Jupyter notebooks: the Markdown and the code of the cells, in their order; outputs are left out."""

from __future__ import annotations

import json
from typing import Any

from curate.collect.documents.blocks import Structure
from curate.stages.extractor import Extracted, Unreadable

__all__ = ["read_notebook"]


def read_notebook(content: bytes, structure: Structure) -> Extracted:
    """The text of a notebook; as Markdown its code stands in fences.

    Raises:
        Unreadable: `corrupt`: it is no notebook.
    """
    try:
        book: Any = json.loads(content.removeprefix(b"\xef\xbb\xbf"))  # Jupyter writes NaN, which other readers refuse
    except (ValueError, RecursionError) as error:
        raise Unreadable("corrupt", "ipynb: it is not JSON") from error
    if not isinstance(book, dict):
        raise Unreadable("corrupt", "ipynb: it is no notebook")
    sheets = book["worksheets"] if isinstance(book.get("worksheets"), list) else [book]
    lists: list[Any] = [sheet.get("cells", []) if isinstance(sheet, dict) else None for sheet in sheets or ()]
    if not all(isinstance(one, list) for one in lists):
        raise Unreadable("corrupt", "ipynb: it is no notebook")
    cells = [cell for one in lists for cell in one if isinstance(cell, dict)]
    language = _language(book.get("metadata"))
    texts = [_cell(cell, language, structure) for cell in cells]
    return Extracted("\n\n".join(text for text in texts if text.strip()), {"title": None})


def _language(metadata: Any) -> str:
    """The language of the code, where it is said."""
    for place in ("language_info", "kernelspec"):
        told = metadata.get(place) if isinstance(metadata, dict) else None
        name = (
            (told.get("name") if place == "language_info" else told.get("language")) if isinstance(told, dict) else None
        )
        if isinstance(name, str) and name.isidentifier():
            return name
    return ""


def _cell(cell: dict[str, Any], language: str, structure: Structure) -> str:
    source = cell.get("source", cell.get("input", ""))
    text = "".join(one for one in source if isinstance(one, str)) if isinstance(source, list) else source
    text = text.encode("utf-8", "replace").decode() if isinstance(text, str) else ""
    if cell.get("cell_type") == "code" and structure == "markdown" and text.strip():
        fence = "```" if "```" not in text else "~~~~"
        return f"{fence}{language}\n{text}\n{fence}"
    if cell.get("cell_type") == "heading":
        level = cell.get("level")
        return f"{'#' * (level if isinstance(level, int) and 0 < level < 7 else 1)} {text}"
    return text if cell.get("cell_type") in ("code", "markdown", "raw") else ""
