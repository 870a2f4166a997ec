"""Values of any Arrow type as what JSON writes, and none of them changed.

Python's classes do not hold all that Arrow has (nanoseconds, years beyond 9999, maps whose keys repeat), and what
`to_pylist` makes of a value depends on the packages and time zones that a machine has. Here a value is the same everywhere:

    dates, times   ISO 8601, with a fraction where there is one: `2024-05-01T00:00:00`; with a zone, UTC and `+00:00`
    durations      `PT1.5S`; intervals of months, days and nanoseconds `P1M2DT3S`
    decimals       their digits, as text
    bytes          base64; a uuid as its usual text
    maps           objects, keys as text; lists of {"key", "value"} where two keys are the same
    other extension types, dictionaries, runs: the values that they stand for
    NaN and infinities inside lists and structures: `"NaN"`, `"Infinity"`, `"-Infinity"`
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any
from uuid import UUID

from curate.errors import CurateError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["plain_values", "python_rows", "stored", "without_chunks"]

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
DAY = 24 * 3600 * 10**3
NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def python_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as Python has them; columns with a value that Python's classes do not hold, as `plain_values` has them."""
    import pyarrow as pa

    columns: list[list[Any]] = []
    for column in table.columns:
        try:
            columns.append(column.to_pylist())
        except (ValueError, OverflowError, LookupError, pa.ArrowException):  # a time zone that nobody knows is a lookup
            columns.append(plain_values(column))
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def plain_values(column: pa.Array | pa.ChunkedArray, *, fillers: bool = True) -> list[Any]:
    """The values: null, booleans, integers, floats, strings, and lists and dictionaries of these.

    Args:
        column: Values of any type.
        fillers: Whether fields of structures that are null are there (curate.dataset.fillers); entries of maps always are.

    Raises:
        CurateError: A structure has two fields of one name.
        UnicodeDecodeError: A string is not UTF-8.
    """
    return _values(without_chunks(column), fillers, inside=False)


def without_chunks(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one array, without a copy where it is one already."""
    import pyarrow as pa

    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def stored(array: pa.Array) -> pa.Array:
    """The array without dictionaries, runs and extension types: the values that they stand for."""
    import numpy as np
    import pyarrow as pa

    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        inner = stored(array.storage)  # type: ignore[attr-defined]
        if kind.extension_name == "arrow.uuid":
            return pa.array([None if one is None else str(UUID(bytes=one)) for one in inner.to_pylist()], pa.string())
        return inner.cast(pa.bool_()) if kind.extension_name == "arrow.bool8" else inner
    if pa.types.is_dictionary(kind):
        return stored(array.dictionary_decode())  # type: ignore[attr-defined]
    if pa.types.is_run_end_encoded(kind):
        ends = array.run_ends.to_numpy()  # type: ignore[attr-defined]
        place = np.searchsorted(ends, np.arange(len(array)) + array.offset, side="right")
        return stored(array.values.take(pa.array(place, pa.int64())))  # type: ignore[attr-defined]
    return array


def _values(array: pa.Array, fillers: bool, *, inside: bool) -> list[Any]:
    import pyarrow as pa

    array = stored(array)
    kind = array.type
    if pa.types.is_nested(kind):
        return _nested(array, fillers)
    if pa.types.is_floating(kind):
        found = array.to_pylist()
        return [one if one is None or isfinite(one) else NOT_FINITE[str(one)] for one in found] if inside else found
    write = _writer(kind)
    return array.to_pylist() if write is None else write(array)


# ---- what has parts


def _nested(array: pa.Array, fillers: bool) -> list[Any]:
    import pyarrow as pa

    def values(part: pa.Array) -> list[Any]:
        return _values(part, fillers, inside=True)

    if pa.types.is_struct(array.type):
        return _structures(array, values, fillers)
    if pa.types.is_map(array.type):
        return _maps(array, values)
    return _of_union(array, values) if pa.types.is_union(array.type) else _lists(array, values)


def _lists(array: Any, values: Callable[[pa.Array], list[Any]]) -> list[Any]:
    import pyarrow.compute as compute

    items = iter(values(array.flatten()))
    lengths = compute.list_value_length(array).to_pylist()
    return [None if length is None else [next(items) for _ in range(length)] for length in lengths]


def _structures(array: Any, values: Callable[[pa.Array], list[Any]], fillers: bool) -> list[Any]:
    names = [field.name for field in array.type]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CurateError(f"a structure has two fields called `{twice}`", hint="rename one of them in the input")
    there = array.is_valid().to_pylist()
    if not names:
        return [{} if one else None for one in there]
    rows = zip(*map(values, array.flatten()), strict=True)
    made = [dict(zip(names, row, strict=True)) if one else None for one, row in zip(there, rows, strict=True)]
    if fillers:
        return made
    return [one and {name: value for name, value in one.items() if value is not None} for one in made]


def _maps(array: Any, values: Callable[[pa.Array], list[Any]]) -> list[Any]:
    offsets, there = array.offsets.to_pylist(), array.is_valid().to_pylist()
    keys, items = values(array.keys), values(array.items)
    return [
        _map(keys[start:stop], items[start:stop]) if one else None
        for one, start, stop in zip(there, offsets[:-1], offsets[1:], strict=True)
    ]


def _map(keys: Sequence[Any], items: Sequence[Any]) -> Any:
    from curate.jsontext import dumps

    names = [key if isinstance(key, str) else dumps(key) for key in keys]
    if len(set(names)) < len(names):
        return [{"key": key, "value": item} for key, item in zip(keys, items, strict=True)]
    return dict(zip(names, items, strict=True))


def _of_union(array: Any, values: Callable[[pa.Array], list[Any]]) -> list[Any]:
    import numpy as np
    import pyarrow as pa

    whole = array.take(pa.array(np.arange(len(array))))  # a slice tells the types of its array's first values
    codes = {code: number for number, code in enumerate(whole.type.type_codes)}
    children = [values(whole.field(number)) for number in range(whole.type.num_fields)]
    dense = whole.type.mode == "dense"
    places = whole.offsets.to_pylist() if dense else range(len(whole))
    return [children[codes[code]][place] for code, place in zip(whole.type_codes.to_pylist(), places, strict=True)]


# ---- what has none


def _writer(kind: pa.DataType) -> Callable[[Any], list[Any]] | None:
    """What writes values of a type as text; None for those that Python has."""
    import pyarrow as pa

    types = pa.types
    if types.is_interval(kind):
        return _intervals
    if types.is_date(kind) or types.is_timestamp(kind):
        return _moments
    if types.is_time(kind):
        return _each(lambda count: _clock(count, PER_SECOND[kind.unit]))  # type: ignore[attr-defined]
    if types.is_duration(kind):
        return _each(lambda count: f"PT{_seconds(count, PER_SECOND[kind.unit])}S")  # type: ignore[attr-defined]
    if types.is_decimal(kind):
        return lambda array: array.cast(pa.string()).to_pylist()
    if any(
        test(kind)
        for test in (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    ):
        return lambda array: [None if one is None else b64encode(one).decode() for one in array.to_pylist()]
    return None


def _each(write: Callable[[int], str]) -> Callable[[Any], list[Any]]:
    return lambda array: [None if count is None else write(count) for count in _counts(array).to_pylist()]


def _counts(array: Any) -> Any:
    """The integers that stand for dates, times and durations."""
    import pyarrow as pa

    return array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())


def _moments(array: Any) -> list[Any]:
    import numpy as np
    import pyarrow as pa

    is_date = pa.types.is_date(array.type)
    unit = {32: "D", 64: "ms"}[array.type.bit_width] if is_date else array.type.unit
    counts = _counts(array)
    numbers = counts.fill_null(0).to_numpy().astype(np.int64)
    if is_date and unit == "ms" and not np.any(numbers % DAY):
        unit, numbers = "D", numbers // DAY
    written = np.datetime_as_string(numbers.view(f"M8[{unit}]")).tolist()
    zone = "" if is_date or array.type.tz is None else "+00:00"
    return [
        _moment(text, number, unit) + zone if there else None
        for text, number, there in zip(written, numbers.tolist(), counts.is_valid().to_pylist(), strict=True)
    ]


def _moment(text: str, number: int, unit: str) -> str:
    if text == "NaT":  # the one number that numpy has another use for
        return f"{number} {unit} since 1970-01-01T00:00:00"
    whole, _, fraction = text.partition(".")
    return text if fraction.strip("0") else whole


def _clock(count: int, per_second: int) -> str:
    seconds, rest = divmod(abs(count), per_second)
    sign, fraction = "-" if count < 0 else "", _fraction(rest, per_second)
    return f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}"


def _seconds(count: int, per_second: int) -> str:
    seconds, rest = divmod(abs(count), per_second)
    return f"{'-' if count < 0 else ''}{seconds}{_fraction(rest, per_second)}"


def _fraction(rest: int, per_second: int) -> str:
    return f".{rest:0{len(str(per_second)) - 1}d}" if rest else ""


def _intervals(array: Iterable[Any]) -> list[Any]:
    found = [one.as_py() for one in array]
    return [
        None if one is None else f"P{one.months}M{one.days}DT{_seconds(one.nanoseconds, PER_SECOND['ns'])}S"
        for one in found
    ]
