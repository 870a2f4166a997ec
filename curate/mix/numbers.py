"""Columns of numbers that decide about documents: weights, sizes. What is none is quarantined, each with its own reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.errors import CurateError
from curate.stages.verdicts import Unfit

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["numbers"]

LONGEST = 40


def numbers(column: pa.ChunkedArray | pa.Array, name: str, what: str, *, negative: bool = False) -> pa.Array:
    """A column of numbers, or of strings that say them, as float64; nothing stays null.

    Args:
        column: The values.
        name: What the column is called.
        what: What they are (`weight`), the beginning of the reasons.
        negative: Whether they may be below 0.

    Raises:
        CurateError: The column's type holds no numbers.
        Unfit: `WHAT_is_no_number` (NaN and infinite ones are none), or `WHAT_is_negative`, where they may not be.
    """
    import numpy as np
    import pyarrow as pa

    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        found = pa.array([_number(value, name, what) for value in column.to_pylist()], pa.float64())
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        found = column.cast(pa.float64(), safe=False)  # of whole numbers above 2^53 the nearest
    else:
        raise CurateError(f"column `{name}` holds {kind}, and a {what} is a number")
    flat = (
        pa.concat_arrays([pa.array([], pa.float64()), *found.chunks]) if isinstance(found, pa.ChunkedArray) else found
    )
    values = flat.drop_null().to_numpy(zero_copy_only=False)
    if len(wrong := values[~np.isfinite(values)]):
        raise Unfit(f"{what}_is_no_number", f"`{name}` is {wrong[0]}")
    if not negative and len(wrong := values[values < 0]):
        raise Unfit(f"{what}_is_negative", f"`{name}` is {wrong[0]:g}")
    return flat


def _number(value: str | None, name: str, what: str) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        shown = value if value is None or len(value) <= LONGEST else f"{value[: LONGEST - 3]}..."
        raise Unfit(f"{what}_is_no_number", f"`{name}` is {shown!r}") from None
