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
from curate.collect.documents.container import Container, main_part, relations
from curate.collect.documents.word import core_title, local
from curate.stages.extractor import Extracted, Unreadable

__all__ = ["read_xlsx"]

CELLS = 2_000_000
COLUMNS = 1_000
"""A row is not wider than this: cells further right follow without the empty ones between."""
PLACE = re.compile(r"([A-Z]{1,3})(\d+)")
DATES = re.compile(r"[ymdhs]", re.IGNORECASE)
QUOTED = re.compile(r'"[^"]*"|\\.|[_*].|\[[^\]]*\]')
"""What is shown as it stands, padding as wide as a letter (`_D`), filling, colours and conditions."""
ELAPSED = re.compile(r"\[(?:h+|m+|s+)\]", re.IGNORECASE)
BUILT_IN_DATES, BUILT_IN_ELAPSED = frozenset([*range(14, 23), 45, 47]), frozenset([46])


def read_xlsx(content: bytes, structure: Structure) -> Extracted:
    """The text of a spreadsheet, and its `title`.

    Raises:
        Unreadable: What `Container` raises; `too_many_cells`; `corrupt`: it has no sheets.
    """
    container = Container(content)
    name = main_part(container, "xl/workbook.xml")
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
        styles = container.xml("xl/styles.xml") if "xl/styles.xml" in container else ()
        self.dates, self.elapsed = _date_styles(styles)

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
        style = _number(cell.get("s"))
        if kind == "n" and text and style in self.elapsed:
            return _duration(text)
        if kind == "n" and text and style in self.dates:
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


def _duration(text: str) -> str:
    """Days as hours, minutes and seconds; hours go on beyond a day."""
    try:
        seconds = round(float(text) * 86_400)
    except (ValueError, OverflowError):
        return text
    sign, seconds = "-" * (seconds < 0), abs(seconds)
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 10 else 0


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


def _shown(element: Any) -> str:
    """The text of a string, without the reading aids of Japanese ones."""
    return "".join(one.text or "" for one in element.iter() if local(one) == "t" and local(one.getparent()) != "rPh")


def _date_styles(root: Any) -> tuple[frozenset[int], frozenset[int]]:
    """The numbers of the cell formats that show dates, and of those that show how long something took."""
    own: dict[int, str] = {
        _number(one.get("numFmtId")): one.get("formatCode", "")
        for part in root
        for one in part.iter()
        if local(one) == "numFmt"
    }
    formats = next((one for one in root if local(one) == "cellXfs"), ())
    dates, elapsed = set[int](), set[int]()
    for place, number in enumerate(_number(one.get("numFmtId")) for one in formats):
        code = own.get(number)
        if number in BUILT_IN_ELAPSED if code is None else ELAPSED.search(code):
            elapsed.add(place)
        elif number in BUILT_IN_DATES if code is None else DATES.search(QUOTED.sub("", code)):
            dates.add(place)
    return frozenset(dates), frozenset(elapsed)
