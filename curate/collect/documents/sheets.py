"""Text of spreadsheets (XLSX): a table for each sheet, of the values that cells show.

Cells are read one by one, where they stand: a cell at the far corner costs itself, not the empty table before it. A formula
whose value was never computed has none. Dates are numbers in a spreadsheet, and become dates by the cell's format. Hidden
sheets are left out. Source: ECMA-376, part 1, 18.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from curate.collect.documents.blocks import Block, Structure, render
from curate.collect.documents.container import Container
from curate.collect.documents.slides import relations
from curate.collect.documents.word import core_title, local
from curate.stages.extractor import Extracted, Unreadable

__all__ = ["read_xlsx"]

CELLS = 2_000_000
COLUMNS = 1_000
"""A row is not wider than this: cells further right follow without the empty ones between."""
PLACE = re.compile(r"([A-Z]{1,3})(\d+)")
DATES = re.compile(r"[ymdhs]", re.IGNORECASE)
QUOTED = re.compile(r'"[^"]*"|\[[^\]]*\]|\\.')
BUILT_IN_DATES = frozenset([*range(14, 23), *range(45, 48)])


def read_xlsx(content: bytes, structure: Structure) -> Extracted:
    """The text of a spreadsheet, and its `title`.

    Raises:
        Unreadable: What `Container` raises; `too_many_cells`; `corrupt`: it has no sheets.
    """
    container = Container(content)
    name = next((one for one in container.names if one.endswith("xl/workbook.xml")), None)
    if name is None:
        raise Unreadable("corrupt", "xlsx: there is no workbook in it")
    book, targets = container.xml(name), relations(container, name)
    sheets = [one for one in book.iter() if local(one) == "sheet"]
    since = (
        datetime(1904, 1, 1)
        if any(one.get("date1904") in ("1", "true") for one in book.iter())
        else datetime(1899, 12, 30)
    )
    reader = _Sheets(container, since)
    blocks: list[Block] = []
    for sheet in sheets:
        key = next((value for attribute, value in sheet.attrib.items() if attribute.endswith("}id")), "")
        if targets.get(key, "") in container and sheet.get("state", "visible") == "visible":
            rows = list(reader.rows(container.read(targets[key])))
            blocks += [Block(sheet.get("name", ""), level=2), Block(rows=rows)] if rows else []
    return Extracted(render(blocks, structure), {"title": core_title(container)})


class _Sheets:
    """The cells of sheets, by the strings and formats that they share."""

    def __init__(self, container: Container, since: datetime) -> None:
        self.left, self.since = CELLS, since
        self.strings: list[str] = []
        if "xl/sharedStrings.xml" in container:
            self.strings = [_shown(one) for one in container.xml("xl/sharedStrings.xml") if local(one) == "si"]
        self.dates = _date_styles(container.xml("xl/styles.xml")) if "xl/styles.xml" in container else frozenset[int]()

    def rows(self, data: bytes) -> Iterator[list[str]]:
        """The rows that have a value, each as wide as its last one."""
        from lxml import etree

        options: dict[str, Any] = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False}
        try:
            for _, row in etree.iterparse(io.BytesIO(data), events=("end",), tag="{*}row", **options):
                cells = list(self._cells(row))
                row.clear()
                while (before := row.getprevious()) is not None and before.getparent() is not None:
                    before.getparent().remove(before)
                if any(cells):
                    yield cells
        except etree.XMLSyntaxError as error:
            raise Unreadable("corrupt", "xlsx: a sheet is not well-formed") from error

    def _cells(self, row: Any) -> Iterator[str]:
        column = 0
        for cell in row:
            if local(cell) != "c":
                continue
            self.left -= 1
            if self.left < 0:
                raise Unreadable("too_many_cells", f"xlsx: more than {CELLS} cells")
            found = PLACE.match(cell.get("r", ""))
            place = _column(found[1]) if found else column
            if column < place <= COLUMNS:
                yield from [""] * (place - column)
            column = max(column, place) + 1
            yield self._value(cell)

    def _value(self, cell: Any) -> str:
        kind = cell.get("t", "n")
        if kind == "inlineStr":
            return _shown(cell)
        text = next((one.text or "" for one in cell if local(one) == "v"), "")
        if kind == "s":
            return self.strings[int(text)] if text.isdigit() and int(text) < len(self.strings) else ""
        if kind == "b":
            return "TRUE" if text == "1" else "FALSE"
        if kind == "n" and text and int(cell.get("s", "0")) in self.dates:
            return self._date(text)
        return text

    def _date(self, text: str) -> str:
        try:
            days = float(text)
            moment = self.since + timedelta(days=days)
        except (ValueError, OverflowError):
            return text
        moment = (moment + timedelta(microseconds=500_000)).replace(microsecond=0)
        if days < 1:
            return moment.time().isoformat()
        return moment.date().isoformat() if days == int(days) else moment.isoformat(" ")


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


def _shown(element: Any) -> str:
    """The text of a string, without the reading aids of Japanese ones."""
    return "".join(one.text or "" for one in element.iter() if local(one) == "t" and local(one.getparent()) != "rPh")


def _date_styles(root: Any) -> frozenset[int]:
    """The numbers of the cell formats that show dates."""
    own = {
        int(one.get("numFmtId", "0")): bool(DATES.search(QUOTED.sub("", one.get("formatCode", ""))))
        for one in root.iter()
        if local(one) == "numFmt"
    }
    formats = next((one for one in root if local(one) == "cellXfs"), ())
    numbers = [int(one.get("numFmtId", "0")) for one in formats]
    return frozenset(place for place, number in enumerate(numbers) if own.get(number, number in BUILT_IN_DATES))
