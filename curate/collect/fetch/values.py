"""Values as database drivers give them, as Arrow columns: one form for each kind, so that the same rows are the same bytes.

    int         int64, beyond it JSON text      str        string           bool    bool
    float       float64                         bytes      binary           UUID    string, with hyphens
    Decimal     decimal128(38, scale of the column), where it has one; else its digits as text, none lost
    datetime    timestamp in microseconds; with a zone in UTC               date    date32
    time        time64 in microseconds          timedelta  duration in microseconds
    list, dict  JSON text; so is every value of a column that the database calls JSON

Anything else is an error that names the column: a guess would be another one on another day.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

from curate.collect.columns import Column, json_text, typed_column
from curate.dataset.schema import JSON_FIELD
from curate.errors import CurateError

__all__ = ["ColumnFacts", "arrow_column", "key_text", "mark_json", "mark_value"]

DIGITS = 38
BYTES = (bytes, bytearray, memoryview)
TYPED = frozenset({int, float, bool, str})


class ColumnFacts(NamedTuple):
    """What the database says of a column: its name, decimal places where it has them, whether it holds JSON."""

    name: str
    scale: int | None = None
    is_json: bool = False


def arrow_column(values: Sequence[Any], facts: ColumnFacts, where: str) -> Column:
    """The values of a column.

    Raises:
        CurateError: They are of a kind that has no form here, or of several that have none together.
    """
    import pyarrow as pa

    kinds = {_kind(value) for value in values if value is not None}
    if facts.is_json:
        return Column(pa.array([None if one is None else json_text(one) for one in values], pa.string()), JSON_FIELD)
    if kinds <= TYPED or kinds <= {list, dict}:
        return typed_column(values)
    if len(kinds) > 1:
        listed = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise _refused(f"column `{facts.name}` holds values of several types: {listed}", facts.name, where)
    kind = kinds.pop()
    if kind is decimal.Decimal:
        return _decimals(values, facts.scale)
    if kind is uuid.UUID:
        return Column(pa.array([None if one is None else str(one) for one in values], pa.string()))
    if kind is bytes:
        return Column(pa.array([None if one is None else bytes(one) for one in values], pa.binary()))
    if kind is datetime.datetime:
        return _times(values, facts.name, where)
    kept = {datetime.date: pa.date32(), datetime.time: pa.time64("us"), datetime.timedelta: pa.duration("us")}
    if kind not in kept:
        raise _refused(f"column `{facts.name}` holds values of the type `{kind.__name__}`", facts.name, where)
    return Column(pa.array(values, kept[kind]))


def _kind(value: Any) -> type:
    """The class that says what a value is: drivers have subclasses of their own."""
    if isinstance(value, BYTES):
        return bytes
    known = (bool, int, float, str, list, dict, decimal.Decimal, uuid.UUID, datetime.datetime, datetime.date)
    return next((kind for kind in known if isinstance(value, kind)), type(value))


def _refused(problem: str, name: str, where: str) -> CurateError:
    hint = f"make text of it in a query (`CAST({name} AS ...)`), or leave it out with `columns:`"
    return CurateError(problem, where, hint)


def _decimals(values: Sequence[Any], scale: int | None) -> Column:
    import pyarrow as pa

    if scale is not None and 0 <= scale <= DIGITS:
        try:
            return Column(pa.array(values, pa.decimal128(DIGITS, scale)))
        except pa.ArrowInvalid:
            pass  # more digits than 38, or NaN: as text
    return Column(pa.array([None if one is None else format(one, "f") for one in values], pa.string()))


def _times(values: Sequence[Any], name: str, where: str) -> Column:
    import pyarrow as pa

    zoned = {one.tzinfo is not None for one in values if one is not None}
    if len(zoned) > 1:
        raise _refused(f"column `{name}` holds times with a zone and without", name, where)
    zone = "UTC" if zoned == {True} else None
    return Column(pa.array(values, pa.timestamp("us", zone)))


# ---- keys and watermarks


def key_text(values: Sequence[Any]) -> str:
    """A key as text: the value, or a JSON list of several."""
    texts = [_plain(value) for value in values]
    return texts[0] if len(texts) == 1 else json.dumps(texts, ensure_ascii=False)


def _plain(value: Any) -> str:
    if isinstance(value, BYTES):
        return bytes(value).hex()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)


def mark_json(value: Any) -> list[Any]:
    """A watermark as JSON: what it is, and its value."""
    if isinstance(value, datetime.datetime):
        return ["time", value.isoformat()]
    if isinstance(value, datetime.date):
        return ["date", value.isoformat()]
    if isinstance(value, decimal.Decimal):
        return ["decimal", format(value, "f")]
    return ["plain", value]


def mark_value(mark: Sequence[Any], lag: float) -> Any:
    """The watermark less a lag: in seconds for times (whole days for dates), in units for numbers.

    Raises:
        CurateError: It is text, of which nothing can be taken.
    """
    kind, value = mark
    if kind == "time":
        return datetime.datetime.fromisoformat(value) - datetime.timedelta(seconds=lag)
    if kind == "date":
        return datetime.date.fromisoformat(value) - datetime.timedelta(days=-(-lag // 86_400))
    if kind == "decimal":
        return decimal.Decimal(value) - decimal.Decimal(str(lag))
    if not lag:
        return value
    if isinstance(value, str):
        hint = "`lag: 0`; or a query that makes a time or a number of it"
        raise CurateError("the watermark is text, from which no lag can be taken", hint=hint)
    return value - (math.ceil(lag) if isinstance(value, int) else lag)  # a float holds no nanoseconds since 1970
