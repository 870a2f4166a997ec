"""What mixing and selecting count by: the cell that a document stands in, and its size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from curate.mix.numbers import numbers

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["NONE", "UNITS", "cells_of", "sizes_of"]

NONE = "(none)"
UNITS = ("documents", "bytes", "words")
"""Sizes that are counted; any other name is that of a column."""


def cells_of(batch: pa.Table, by: Sequence[str]) -> pa.Array:
    """The values of columns, joined by ` / `: strings, `(none)` where a document has none."""
    import pyarrow as pa
    import pyarrow.compute as compute

    values = [compute.fill_null(batch.column(name).cast(pa.string()), NONE) for name in by]
    joined = compute.binary_join_element_wise(*values, " / ")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def sizes_of(batch: pa.Table, size: str) -> pa.Array:
    """The size of each document: int64 of `UNITS`, float64 of a column, in which nothing is 0.

    Raises:
        CurateError, Unfit: As `numbers`, the reasons beginning with `size`.
    """
    import pyarrow as pa
    import pyarrow.compute as compute

    if size == "documents":
        return pa.array([1] * batch.num_rows, pa.int64())
    if size == "bytes":
        counted = compute.binary_length(batch.column("text"))
    elif size == "words":
        counted = compute.count_substring_regex(batch.column("text"), r"\S+")
    else:
        return compute.fill_null(numbers(batch.column(size), size, "size"), 0.0)
    return pa.concat_arrays([chunk.cast(pa.int64()) for chunk in counted.chunks] or [pa.array([], pa.int64())])
