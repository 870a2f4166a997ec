"""From Arrow tables as files hold them to tables of documents: any type of column, strings checked, bad rows rejected.

Columns keep the types that the store holds exactly (numbers, decimals, strings, bytes, dates, times, durations). Dictionaries,
runs and extension types become the values that they stand for, uuids and intervals text, decimals whose scale is below zero
and times that no Parquet type holds too; everything with parts (lists, structures, maps, unions) becomes JSON text
(curate.plain).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from curate import jsontext
from curate.collect.columns import Column, Selection, document_table, json_text
from curate.dataset.schema import JSON_FIELD
from curate.errors import CurateError
from curate.plain import plain_values, stored, without_chunks
from curate.stages.contract import Rejected

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["documents_of_rows", "needed_columns"]

DEPTH = 100
"""Levels of lists and structures in one another; JSON text has up to 254."""
DAY = 24 * 3600 * 10**3


def needed_columns(schema: pa.Schema, selection: Selection) -> list[str]:
    """The columns to read for a selection.

    Raises:
        CurateError: The text column is missing or has no text in it, a column has a reserved name, two have the same, or
            one has a type that documents cannot hold.
    """
    selection.require_text(schema.names)
    carried = selection.carried(schema.names, complete=True)
    has_id = [selection.id_name] if selection.id_name in schema.names else []
    has_text = [] if selection.text is None else [selection.text]
    needed = list(dict.fromkeys([*has_text, *has_id, *carried.values()]))
    for name in needed:
        if schema.names.count(name) > 1:
            others = ", ".join(other for other in carried.values() if other != name)
            hint = f"rename one of them, or list the columns to keep: `columns: [{others}]`"
            raise CurateError(f"two columns are called `{name}`", selection.where, hint)
        _check_depth(schema.field(name), selection)
    if selection.text is not None:
        _check_text(schema.field(selection.text), selection)
    return needed


def _check_depth(field: pa.Field, selection: Selection) -> None:
    level, depth = [field.type], 0
    while level:
        level = [kind.field(number).type for kind in map(_held, level) for number in range(kind.num_fields)]
        depth += 1
    if depth > DEPTH:
        raise CurateError(
            f"column `{field.name}` has values in {depth} levels of one another; {DEPTH} can be read",
            selection.where,
            "leave it out with the source's `columns:`",
        )


def _held(kind: Any) -> Any:
    """The type of the values that a type stands for."""
    import pyarrow as pa

    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
            kind = kind.value_type
        else:
            return kind


def _check_text(text: pa.Field, selection: Selection) -> None:
    import pyarrow as pa

    kind = _held(text.type)
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
    """The documents of a table whose first row has the number `row`, after the rejects among them.

    Raises:
        CurateError: A structure in a column has two fields of one name.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as compute

    rejects: dict[int, tuple[str, str]] = {}
    columns: dict[str, Column] = {}
    for field, values in zip(table.schema, table.columns, strict=True):
        columns[field.name], broken = _column(field, without_chunks(values), selection)
        for place in broken:
            rejects[place] = ("invalid_utf8", f"column `{field.name}` is not UTF-8")
    if selection.text is not None:
        text = columns[selection.text].values
        for place in np.flatnonzero(text.is_null().to_numpy(zero_copy_only=False)):
            rejects.setdefault(int(place), ("no_text", f"column `{selection.text}` is null"))
        lengths = compute.fill_null(compute.binary_length(text), 0).to_numpy()
        for place in np.flatnonzero(lengths > selection.limit):
            rejects.setdefault(int(place), ("too_long", f"the text is longer than {selection.limit} bytes"))
    for place in sorted(rejects):
        yield Rejected(row + place, *rejects[place])
    rows = np.delete(np.arange(table.num_rows), sorted(rejects))
    if len(rows) == 0:
        return
    if rejects:
        kept = pa.array(rows)
        columns = {known: column._replace(values=column.values.take(kept)) for known, column in columns.items()}
    carried = selection.carried(columns, complete=True)
    yield document_table(
        None if selection.text is None else columns[selection.text].values,
        _ids(columns[selection.id_name]) if selection.has_ids(columns) else None,
        pa.array(rows + row),
        name=name,
        columns={column: columns[known] for column, known in carried.items()},
    )


def _column(field: pa.Field, array: pa.Array, selection: Selection) -> tuple[Column, Sequence[int]]:
    """A column as documents hold it, and the rows where it has a string that is not UTF-8.

    Texts and ids may be plain binary: older writers have their strings so. Ids of one width are hexadecimal.
    """
    import pyarrow as pa

    is_text, is_id = field.name == selection.text, field.name == selection.id_name
    array = stored(array)
    kind = array.type
    if pa.types.is_nested(kind):
        return _nested(field, array, selection)
    if _is_text(kind) or (_is_binary(kind) and (is_text or is_id)):
        column, broken = _strings(array)
        is_json = not (is_text or is_id) and _says_json(field) and _all_json(column)
        return Column(column, JSON_FIELD if is_json else None), broken
    if pa.types.is_fixed_size_binary(kind):
        if is_id:
            digits = [None if one is None else one.hex() for one in array.to_pylist()]
            return Column(pa.array(digits, pa.string())), ()
        return Column(array.cast(pa.binary())), ()
    if is_text:  # null: there is no other type
        return Column(array.cast(pa.string())), ()
    return Column(array.cast(pa.binary()) if _is_binary(kind) else _storable(array)), ()


def _strings(array: pa.Array) -> tuple[pa.Array, list[int]]:
    import pyarrow as pa

    data = array.cast(pa.binary())
    try:
        return data.cast(pa.string()), []
    except pa.ArrowInvalid:
        decoded = [_string(value) for value in data.to_pylist()]
        broken = [row for row, value in enumerate(decoded) if value is False]
        return pa.array([None if value is False else value for value in decoded], pa.string()), broken


def _string(value: bytes | None) -> str | bool | None:
    try:
        return value if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return False


def _says_json(field: pa.Field) -> bool:
    return JSON_FIELD in (field.metadata or {}) or getattr(field.type, "extension_name", None) == "arrow.json"


def _all_json(column: pa.Array) -> bool:
    import orjson

    try:
        for text in column.to_pylist():
            if text is not None:
                orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _nested(field: pa.Field, array: pa.Array, selection: Selection) -> tuple[Column, list[int]]:
    """Values with parts as JSON text."""
    import pyarrow as pa

    broken: list[int] = []
    try:
        try:
            values = plain_values(array, fillers=False)
        except UnicodeDecodeError:
            broken = [row for row in range(len(array)) if not _decodes(array.slice(row, 1))]
            values = [None if row in broken else _one(array.slice(row, 1)) for row in range(len(array))]
    except CurateError as error:
        problem = f"column `{field.name}`: {error.problem}"
        raise CurateError(problem, selection.where, "leave it out with the source's `columns:`") from error
    texts = [None if value is None else json_text(value) for value in values]
    return Column(pa.array(texts, pa.string()) if any(texts) else pa.nulls(len(texts)), JSON_FIELD), broken


def _one(row: pa.Array) -> Any:
    return plain_values(row, fillers=False)[0]


def _decodes(row: pa.Array) -> bool:
    try:
        plain_values(row)
    except UnicodeDecodeError:
        return False
    return True


def _storable(array: pa.Array) -> pa.Array:
    """The values in a type that Parquet holds; as text, where one of them has none."""
    import pyarrow as pa

    kind: Any = array.type
    wanted = kind
    if pa.types.is_decimal(kind):
        wanted = kind if kind.bit_width > 64 else pa.decimal128(kind.precision, kind.scale)
        wanted = wanted if kind.scale >= 0 else pa.string()
    elif pa.types.is_interval(kind):
        wanted = pa.string()
    elif pa.types.is_date64(kind):
        wanted = pa.date32() if _fits(array, DAY, None) else pa.timestamp("ms")
    elif pa.types.is_timestamp(kind) and kind.unit == "s":
        wanted = pa.timestamp("ms", kind.tz) if _fits(array, None, 2**63 // 1000) else pa.string()
    elif pa.types.is_time32(kind) and kind.unit == "s":
        wanted = pa.time32("ms") if _fits(array, None, 2**31 // 1000) else pa.string()
    return pa.array(plain_values(array), pa.string()) if pa.types.is_string(wanted) else array.cast(wanted)


def _fits(array: Any, multiple: int | None, bound: int | None) -> bool:
    """Whether the integers that stand for times are multiples of a number, and lie below a bound on both sides."""
    import numpy as np
    import pyarrow as pa

    numbers = array.view(pa.int32() if array.type.bit_width == 32 else pa.int64()).drop_null().to_numpy()
    whole = multiple is None or not np.any(numbers % multiple)
    return whole and (bound is None or bool(np.all((numbers < bound) & (numbers > -bound))))


def _ids(column: Column) -> list[str | None] | pa.Array:
    """Ids as text; a NaN is no id."""
    import pyarrow as pa

    array = column.values
    if pa.types.is_string(array.type):
        return array
    values = plain_values(array)
    if pa.types.is_floating(array.type):
        return [None if value is None or value != value else jsontext.number_text(value) for value in values]
    return [value if value is None or isinstance(value, str) else jsontext.dumps(value) for value in values]
