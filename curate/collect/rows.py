"""From Arrow tables as files hold them to tables of documents: strings checked, nested columns as JSON, bad rows rejected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from curate.collect.columns import Column, Selection, document_table, json_text
from curate.dataset.fillers import without_fillers
from curate.errors import CurateError
from curate.stages.contract import Rejected

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["documents_of_rows", "needed_columns"]


def needed_columns(schema: pa.Schema, selection: Selection) -> list[str]:
    """The columns to read for a selection.

    Raises:
        CurateError: The text column is missing or has no text in it, or a column has a reserved name.
    """
    selection.require_text(schema.names)
    carried = selection.carried(schema.names, complete=True)
    if selection.text is not None:
        _check_text(schema.field(selection.text), selection)
    has_id = [selection.id_name] if selection.id_name in schema.names else []
    has_text = [] if selection.text is None else [selection.text]
    return list(dict.fromkeys([*has_text, *has_id, *carried.values()]))


def _check_text(text: pa.Field, selection: Selection) -> None:
    import pyarrow as pa

    kind = text.type.value_type if pa.types.is_dictionary(text.type) else text.type
    if not (_is_text(kind) or _is_binary(kind) or pa.types.is_null(kind)):
        raise CurateError(
            f"column `{selection.text}` holds {text.type}, not strings",
            selection.where,
            "name the column with the text with the source's `text:`",
        )


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def documents_of_rows(row: int, table: pa.Table, selection: Selection, *, name: str) -> Iterator[pa.Table | Rejected]:
    """The documents of a table whose first row has the number `row`, after the rejects among them."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as compute

    rejects: dict[int, tuple[str, str]] = {}
    table = pa.table({column: _plain(table.column(column)) for column in table.column_names})
    valid, broken = _decode(table, binary={selection.text or "", selection.id_name})
    for place, column in broken.items():
        rejects[place] = ("invalid_utf8", f"column `{column}` is not UTF-8")
    if selection.text is not None:
        text = valid.column(selection.text)
        for place in np.flatnonzero(text.is_null().to_numpy()):
            rejects.setdefault(int(place), ("no_text", f"column `{selection.text}` is null"))
        lengths = compute.fill_null(compute.binary_length(text), 0).to_numpy()
        for place in np.flatnonzero(lengths > selection.limit):
            rejects.setdefault(int(place), ("too_long", f"the text is longer than {selection.limit} bytes"))
    for place in sorted(rejects):
        yield Rejected(row + place, *rejects[place])
    rows = np.delete(np.arange(valid.num_rows), sorted(rejects))
    if len(rows) == 0:
        return
    kept = valid.take(pa.array(rows)) if rejects else valid
    carried = selection.carried(kept.column_names, complete=True)
    ids = kept.column(selection.id_name) if selection.has_ids(kept.column_names) else None
    yield document_table(
        None if selection.text is None else kept.column(selection.text).combine_chunks(),
        _as_ids(ids),
        pa.array(rows + row),
        name=name,
        columns={column: _flat(kept.column(known)) for column, known in carried.items()},
    )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dictionaries become their values, texts `string`."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type))
    if _is_text(kind) and not pa.types.is_string(kind):
        return column.cast(pa.string())
    if _is_binary(kind) and not pa.types.is_binary(kind):
        return column.cast(pa.binary())
    return column


def _decode(table: pa.Table, *, binary: set[str]) -> tuple[pa.Table, dict[int, str]]:
    """The table with its strings checked, and the rows where one is not UTF-8, with the column.

    Of the binary columns those in `binary` become strings: older writers have their strings as plain binary.
    """
    import pyarrow as pa

    broken: dict[int, str] = {}
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table.column(name)
        if not (pa.types.is_string(column.type) or (name in binary and pa.types.is_binary(column.type))):
            columns[name] = column
            continue
        strings = column.cast(pa.binary()).combine_chunks()
        try:
            columns[name] = pa.chunked_array([strings.cast(pa.string())])
        except pa.ArrowInvalid:
            decoded = [_string(value) for value in strings.to_pylist()]
            broken.update({row: name for row, value in enumerate(decoded) if value is False})
            columns[name] = pa.chunked_array(
                [pa.array([None if value is False else value for value in decoded], pa.string())]
            )
    return pa.table(columns), broken


def _string(value: bytes | None) -> str | bool | None:
    try:
        return value if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return False


def _as_ids(column: pa.ChunkedArray | None) -> list[Any] | pa.Array | None:
    import pyarrow as pa

    if column is None:
        return None
    nested = pa.types.is_nested(column.type) or pa.types.is_floating(column.type)
    return column.to_pylist() if nested else column.combine_chunks()


def _flat(column: pa.ChunkedArray) -> Column | list[Any]:
    """Nested columns become Python values, which are carried as JSON text."""
    import pyarrow as pa

    if not pa.types.is_nested(column.type):
        return Column(column)
    values = map(without_fillers, column.to_pylist(maps_as_pydicts="lossy"))
    return [value if value is None or isinstance(value, list | dict) else json_text(value) for value in values]
