"""Types that a stage leaves to Arrow (`pa.array(values)`): they follow from the values of a shard's documents alone.

Arrow infers a type from all values of a batch: beside 0.5, 1 is a float, and by itself an integer. Which documents are
measured together depends on what was measured before, but a version must not. So a stage that is not part of curate is
also called with no documents at all: where that gives a column of the same type, the type is declared, and stays. Other
columns are marked, also in what is remembered of them; over all documents of a shard they get the type that Arrow infers
where numbers without a fraction are integers, and members that are null are not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from curate.dataset.schema import EXACT, INFERRED
from curate.errors import CurateError
from curate.stages.contract import Stage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["declared", "stacked", "together"]


def declared(function: Callable[[pa.Table], Any], stage: Stage, columns: pa.Schema) -> dict[str, pa.DataType] | None:
    """The types that a stage gives to the columns of no documents, empty where it fails on none; None: it is to be trusted."""
    if type(stage).__module__.startswith("curate."):
        return None
    found: dict[str, pa.DataType] = {}
    with suppress(Exception):
        result = function(columns.empty_table())
        added = result[1] if isinstance(result, tuple) else result
        named = added.items() if isinstance(added, dict) else zip(added.column_names, added.columns, strict=True)
        found = {name: column.type for name, column in named}
    return found


def stacked(stage_id: str, results: Sequence[Any], rows: int, types: dict[str, pa.DataType] | None) -> pa.Table | None:
    """The columns that calls gave, one under another; what is no table stands for one document without values."""
    import pyarrow as pa

    given = [_marked(one, types) if isinstance(one, pa.Table) else None for one in results]
    names = dict.fromkeys(name for table in given if table is not None for name in table.column_names)
    if all(table is None for table in given):
        return None
    missing = pa.table({name: pa.nulls(1) for name in names})
    whole = together(stage_id, [missing if table is None else table for table in given])
    assert whole.num_rows == rows, f"{whole.num_rows} rows of features for {rows} documents"
    return whole.combine_chunks()


def _marked(table: pa.Table, types: dict[str, pa.DataType] | None) -> pa.Table:
    """The columns of a stage with a mark on those whose types are not declared."""
    import pyarrow as pa

    if types is None:
        return table
    fields = [
        field.remove_metadata()
        if types.get(field.name) == field.type != pa.null()
        else field.with_metadata({INFERRED: b"1"})
        for field in table.schema
    ]
    return pa.table(table.columns, schema=pa.schema(fields))


def together(stage_id: str, tables: Sequence[pa.Table]) -> pa.Table:
    """What was measured, one under another; columns that are marked in any of them in the type of all their values.

    Raises:
        CurateError: A column is of types that have nothing in common.
    """
    import pyarrow as pa

    try:
        whole = pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise _mixed(stage_id, tables) or error from error
    marked = {field.name for table in tables for field in table.schema if INFERRED in (field.metadata or {})}
    for place, name in enumerate(whole.column_names):
        if name in marked:
            column = _settled(whole.column(name))
            whole = whole.set_column(place, pa.field(name, column.type, metadata={INFERRED: b"1"}), column)
    return whole


def _mixed(stage_id: str, tables: Sequence[pa.Table]) -> CurateError | None:
    for name in dict.fromkeys(name for table in tables for name in table.column_names):
        kinds = dict.fromkeys(str(table.schema.field(name).type) for table in tables if name in table.column_names)
        kinds.pop("null", None)
        if len(kinds) > 1:
            return CurateError(
                f"stage `{stage_id}` gives the column `{name}` as {' for some documents and as '.join(kinds)} for others",
                hint="let it give one type to all documents: `pa.array(values, pa.string())`",
            )
    return None


def _settled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column in the type of its values."""
    import pyarrow as pa
    import pyarrow.compute as compute

    kind = column.type
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column))])
    if not (pa.types.is_float64(kind) or pa.types.is_nested(kind)):
        return column
    if pa.types.is_float64(kind):
        whole = compute.and_(
            compute.equal(column, compute.floor(column)), compute.less_equal(compute.abs(column), EXACT)
        )
        return column.cast(pa.int64()) if compute.all(whole).as_py() else column
    try:
        return pa.chunked_array([pa.array([_plain(value) for value in column.to_pylist()])])
    except pa.ArrowException:  # large integers beside floats
        return column


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= EXACT else value
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if one is not None}
    return value
