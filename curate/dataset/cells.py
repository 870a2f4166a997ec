"""Strings of tables one by one: what a document says, cells as text, and tables with other values in some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "FEWEST",
    "Edit",
    "as_text",
    "blanked",
    "cells_of",
    "content_of",
    "edited",
    "exchanged",
    "replaced",
]

FEWEST = 32
"""Bytes of text that tell a document from others; of a shorter one all strings are compared."""
PLACES = ("id", "source_uri", "parent")


class Edit(NamedTuple):
    """Characters [start, stop) of a string, and what stands there now."""

    start: int
    stop: int
    by: str


def content_of(table: pa.Table) -> pa.Array:
    """What each document says, by which it is known again where its id only tells where it stood: its text, or all strings.

    Columns in which it has nothing do not count: which there are depends on the documents that it is read with.
    """
    import pyarrow as pa
    import pyarrow.compute as compute

    names = [one.name for one in table.schema if pa.types.is_string(one.type) and one.name not in PLACES]
    if not names:
        return pa.array([""] * table.num_rows, pa.string())
    lines = [compute.fill_null(table.column(name), "").combine_chunks() for name in sorted(names)]
    ended = [
        compute.if_else(compute.equal(one, ""), "", compute.binary_join_element_wise(one, "", "\n")) for one in lines
    ]
    whole = compute.utf8_rtrim(compute.binary_join_element_wise(*ended, ""), "\n")
    if "text" not in names:
        return whole
    text = compute.fill_null(table.column("text"), "").combine_chunks()
    return compute.if_else(compute.greater_equal(compute.binary_length(text), FEWEST), text, whole)


def cells_of(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """A column whose values may name somebody, as strings or bytes; None for other columns. Whole numbers are their digits."""
    import pyarrow as pa

    kind = column.type
    if any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string)):
        return column
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.string())
    if pa.types.is_floating(kind):
        whole = [
            None if one is None or one != one or one % 1 or abs(one) > 2**53 else int(one) for one in column.to_pylist()
        ]
        return pa.chunked_array([pa.array(whole, pa.int64()).cast(pa.string())])
    return None


def as_text(value: str | bytes) -> str:
    """A cell as it is hashed and looked at; bytes that are no UTF-8 byte by byte."""
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def edited(kind: pa.DataType, value: str, edits: Sequence[Edit]) -> Any:
    """What stands in a cell after edits: numbers that name somebody become null."""
    import pyarrow as pa

    if not (pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind)):
        return None
    text = replaced(value, edits)
    return text.encode() if pa.types.is_binary(kind) else text


def replaced(text: str, edits: Sequence[Edit]) -> str:
    """The string with the edits made; they are in order and disjoint."""
    parts, last = [], 0
    for edit in edits:
        parts += [text[last : edit.start], edit.by]
        last = edit.stop
    return "".join([*parts, text[last:]])


def exchanged(column: pa.ChunkedArray, new: dict[int, Any]) -> pa.ChunkedArray:
    """A column with other values in some rows."""
    import numpy as np
    import pyarrow as pa

    rows = sorted(new)
    place = np.arange(len(column))
    place[rows] = len(column) + np.arange(len(rows))
    chunks = [*column.chunks, pa.array([new[row] for row in rows], column.type)]
    return pa.chunked_array(chunks, column.type).take(pa.array(place))


def blanked(table: pa.Table, rows: Sequence[int]) -> pa.Table:
    """The table with null in every column of some rows."""
    import numpy as np
    import pyarrow as pa

    mask = np.zeros(table.num_rows, dtype=bool)
    mask[list(rows)] = True
    place = pa.array(np.arange(table.num_rows), mask=mask)
    return table.combine_chunks().take(place)
