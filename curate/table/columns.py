"""What kind of column a table has: numbers, dates in their standard form, categories, or text that is none of them.

Kinds follow from the rows of the train split and the type of the column, in the same way in every stage behind
`table_types`, so that none has to be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Literal

from curate.errors import CurateError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = [
    "Kind", "as_floats", "as_strings", "check_names", "days", "from_days", "is_number", "kind_of", "mean_of", "too_large",
]  # fmt: skip

Kind = Literal["number", "date", "category", "text", "empty"]
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
EPOCH = date(1970, 1, 1).toordinal()


def kind_of(column: pa.ChunkedArray, most_categories: int) -> Kind:
    """The kind of a column, from the rows of the train split.

    Args:
        column: Its cells.
        most_categories: Different values beyond which strings are text.
    """
    if column.null_count == len(column):
        return "number" if is_number(column.type) and len(column) == 0 else "empty"
    if is_number(column.type):
        return "number"
    values = column.unique().drop_null().to_pylist()
    if all(_day(value) is not None for value in values):
        return "date"
    return "category" if len(values) <= most_categories else "text"


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers."""
    import pyarrow as pa

    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def check_names(setting: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse names of columns in a setting that the table has not.

    Raises:
        CurateError: It names the columns that are there.
    """
    for name in given:
        if name not in known:
            there = f"those that are worked on: {', '.join(known)}"
            raise CurateError(
                f"the table has no column `{name}`, which `{setting}` names", hint=did_you_mean(name, known) or there
            )


def as_floats(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """(rows,) float64: a column of numbers, NaN where a cell is empty or holds no finite number.

    Raises:
        CurateError: It holds text that is no number.
    """
    import numpy as np

    values = _numbers(column) if len(column) else np.zeros(0)
    return np.where(np.isfinite(values), values, np.nan)


def too_large(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """(rows,) bool: where a column of numbers has infinity, which `as_floats` gives as NaN."""
    import numpy as np

    return np.isinf(_numbers(column)) if len(column) else np.zeros(0, dtype=bool)


def _numbers(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    import pyarrow as pa

    try:
        return column.cast("float64").to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        raise CurateError(
            f"a column that holds numbers in the train split holds something else in other rows: {error}",
            hint="put `table_types` before it, so that cells are read as numbers",
        ) from error


def mean_of(values: np.ndarray) -> float:
    """The mean of finite numbers, whose sum may be beyond all floats."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(values.mean())
    return mean if np.isfinite(mean) else float((values / len(values)).sum())


def as_strings(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """(rows,) of strings, None where a cell is empty."""
    import numpy as np

    return np.array([*column.cast("string").to_pylist(), None], dtype=object)[:-1]


def days(values: Sequence[str | None]) -> np.ndarray:
    """(rows,) float64: days since 1970 of dates in their standard form, NaN of what is none."""
    import numpy as np

    return np.array([None if value is None else _day(value) for value in values], dtype=np.float64)


def _day(text: str) -> int | None:
    """Days since 1970 of a date in its standard form; None of what is none, as 2024-02-30."""
    try:
        return date.fromisoformat(text).toordinal() - EPOCH if _ISO.fullmatch(text) else None
    except ValueError:
        return None


def from_days(day: float) -> str:
    """A date in its standard form."""
    return date.fromordinal(int(day) + EPOCH).isoformat()
