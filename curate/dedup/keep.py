"""Which document of a set of duplicates stays: the first, the longest, or the best by a column.

Duplicates are decided in one order over all documents, the most wanted first; ties stand in the order of the sources,
so that the outcome depends on the documents alone, never on shards or workers. Cost: one sort.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from curate.errors import CurateError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["Keep", "Order", "check_keep", "keep_column", "preference_order"]

Keep = Literal["first", "longest", "best"]
Order = Literal["highest", "lowest"]


def check_keep(keep: Keep, by: str | None, order: Order) -> None:
    """A `ValueError` unless `by` is given for `best`, and `by` and `order` for `best` alone."""
    if keep == "best" and by is None:
        raise ValueError("`keep: best` needs `by:`, the column that says which document is best")
    if keep != "best" and by is not None:
        raise ValueError(f"`by: {by}` is read for `keep: best` alone, and this is `keep: {keep}`")
    if keep != "best" and order != "highest":
        raise ValueError(f"`order: {order}` is read for `keep: best` alone, and this is `keep: {keep}`")


def keep_column(batch: pa.Table, keep: Keep, by: str | None) -> dict[str, pa.ChunkedArray]:
    """The signature column `preference` that the keep policy needs: a length in characters, the column, or none.

    Raises:
        CurateError: The documents have no column `by`, or it holds lists or records, which have no order.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if keep == "first":
        return {}
    if keep == "longest":
        return {"preference": pc.utf8_length(batch.column("text")).cast("int64")}
    if by not in batch.column_names:
        raise CurateError(
            f"there is no column `{by}` to keep the best document by",
            hint=f"the documents have the columns {', '.join(batch.column_names)}",
        )
    column = batch.column(by)
    if pa.types.is_nested(column.type):
        raise CurateError(
            f"column `{by}` holds {column.type}: such values have no order",
            hint="keep the best by a column of numbers, strings or times",
        )
    return {"preference": column}


def preference_order(signatures: pa.Table, order: Order) -> np.ndarray:
    """Numbers of the documents (int64), the most wanted first; null and NaN come last, ties in the order given."""
    import numpy as np
    import pyarrow.compute as pc

    if "preference" not in signatures.column_names:
        return np.arange(signatures.num_rows)
    direction = "descending" if order == "highest" else "ascending"
    keys = [("preference", direction)]
    return pc.sort_indices(signatures.select(["preference"]), sort_keys=keys).to_numpy().astype(np.int64)
