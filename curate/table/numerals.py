"""Numbers, dates and names as people write them in tables, in one standard form each.

Numbers: separators of thousands (`1,234.5`, `1.234,5`, `1 234,5`, `1'234.5`), a percent sign (a hundredth), a unit. Where both
marks stand, the last is the decimal one; one that stands twice, or once before other than three digits, says itself what it is;
`1,234` alone is read by the mark of its column. Dates: year first, or day and month in the order that the column shows; one
with a time of the day is none, but for midnight.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal

__all__ = [
    "Number", "as_date", "as_number", "date_order", "decimal_mark", "folded", "is_code", "is_plain", "like_date",
    "loses_digits",
]  # fmt: skip

Number = float | None
_NUMERAL = re.compile(
    r"([+-]?)\s?(\D{0,12}?)\s?([+-]?\d[\d.,' \u00a0\u202f\u2019]*|\.\d+)(?:[eE]([+-]?\d{1,3}))?\s?(\D{0,12})"
)
_CODE = re.compile(r"[+-]?(0\d[\d]*|\d{16,})")
_YEAR_FIRST = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ]00:00(?::00(?:\.0+)?)?Z?)?")
_YEAR_LAST = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})(?:[T ]00:00(?::00(?:\.0+)?)?Z?)?")
_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_PHONE = re.compile(r"\+\s?\d+(?:[ \u00a0\u202f\u2019'.]\d+)+")
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_LIKE_DATE = re.compile(
    r"(?:\d{1,2}[-/.]\d{1,2}[-/.](?:\d{2}|\d{4})|\d{1,2}[-/]\d{4}|\d{4}[-/.]\d{1,2}(?:[-/.]\d{1,2})?)"
    r"(?:[T ]\d{1,2}:\d\d.*)?"
)
LONGEST = 64
"""Characters beyond which no text is a number."""
_SPACES = str.maketrans("", "", "' \u00a0\u202f\u2019")


def is_code(text: str) -> bool:
    """A key made of digits: as a number it would lose its zeros (`007`), or its last digits (more than 15)."""
    return _CODE.fullmatch(text) is not None


def is_plain(text: str) -> bool:
    """Written as numbers are: digits, and a point where there is a fraction."""
    return _PLAIN.fullmatch(text) is not None


def loses_digits(text: str, mark: str) -> bool:
    """A number with more digits than a float holds.

    Args:
        text: What `as_number` reads.
        mark: The decimal mark of its column.
    """
    body = _body(text)
    digits = _grouped(body, decimal_mark(text) or mark) if body else None
    return digits is not None and Decimal(repr(float(digits))) != Decimal(digits)


def _is_key(text: str) -> bool:
    """A telephone number or an address of the internet, whose groups of digits are no thousands."""
    groups = text.split(".") if _ADDRESS.fullmatch(text) else None
    return bool(_PHONE.fullmatch(text) and text.count(".") != 1) or (groups is not None and max(map(int, groups)) < 256)


def decimal_mark(text: str) -> str | None:
    """The decimal mark that a number shows beyond doubt; None where it shows none."""
    body = _body(text)
    if body is None:
        return None
    marks = [mark for mark in ".," if mark in body]
    if len(marks) == 2:
        return max(marks, key=body.rfind)
    if not marks or body.count(marks[0]) > 1:
        return {".": ",", ",": "."}[marks[0]] if marks else None
    whole, fraction = body.split(marks[0])
    return None if len(fraction) == 3 and 1 <= len(whole) <= 3 and whole != "0" else marks[0]


def _body(text: str) -> str | None:
    found = _NUMERAL.fullmatch(text) if len(text) <= LONGEST else None
    return found[3].strip("+-").translate(_SPACES) if found else None


def as_number(text: str, mark: str, units: Mapping[str, float]) -> Number:
    """The number that a text is, in the base unit; None where it is none, infinity where it is beyond all numbers.

    Args:
        text: Without spaces around it.
        mark: The decimal mark of its column, for what does not show its own.
        units: What a number with this sign before or behind it is multiplied with (compared in small letters).
    """
    if text.lower().lstrip("+-") in ("inf", "infinity"):
        return float("inf")
    found = _NUMERAL.fullmatch(text) if len(text) <= LONGEST else None
    if found is None or _is_key(text):
        return None
    sign, before, body, exponent, behind = found.groups()
    if sign and body[0] in "+-":
        return None
    factor = divisor = 1.0
    for word in (before.strip().lower(), behind.strip().lower()):
        if word == "%":
            divisor *= 100
        elif word in units:
            factor *= units[word]
        elif word:
            return None
    digits = _grouped(body.strip("+-").strip(), decimal_mark(text) or mark)
    if digits is None:
        return None
    value = float(f"{'-' if '-' in (sign, body[0]) else ''}{digits}{'e' + exponent if exponent else ''}")
    return value * factor / divisor


def _grouped(body: str, mark: str) -> str | None:
    """A number's digits with a point; None where what stands before it is not in groups of three."""
    whole, _, fraction = body.partition(mark)
    groups = re.split(r"[.,' \u00a0\u202f\u2019]", whole)
    if len(groups) > 1 and (not 1 <= len(groups[0]) <= 3 or any(len(group) != 3 for group in groups[1:])):
        return None
    if fraction and not fraction.isdigit():
        return None
    return f"{''.join(groups) or '0'}.{fraction or '0'}"


def like_date(text: str) -> bool:
    """Looks like a date or a month, read as one or not (`01/02/24`, `03/2024`, `2024-03-01 12:30`)."""
    return _LIKE_DATE.fullmatch(text) is not None


def date_order(text: str) -> str | None:
    """`day` or `month`: what a date with the year last begins with, beyond doubt; None where it does not show."""
    found = _YEAR_LAST.fullmatch(text)
    if not found:
        return None
    first, second = int(found[1]), int(found[2])
    return "day" if first > 12 >= second else "month" if second > 12 >= first else None


def as_date(text: str, order: str | None) -> str | None:
    """A date as YYYY-MM-DD; None where it is none, or its order is not known."""
    if found := _YEAR_FIRST.fullmatch(text):
        year, month, day = map(int, found.groups())
    elif found := _YEAR_LAST.fullmatch(text):
        first, second, year = map(int, found.groups())
        order = date_order(text) or order
        if order is None and first != second:
            return None
        day, month = (first, second) if order != "month" else (second, first)
    else:
        return None
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None


def folded(text: str) -> str:
    """A category without what people do not mean: case, and spaces around and in a row."""
    return " ".join(text.casefold().split())
