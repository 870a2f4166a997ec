"""One schema for tables whose columns differ: the union of the columns, and the narrowest type that holds both.

Sources type a column by the values they see, so shards may disagree: null against anything is that thing, integers
against floats are floats, numbers against JSON text are JSON text, booleans and numbers against strings are strings.
Numbers that were read from text as they are written there (CSV) are that text again beside anything but their like.
Anything else is a `CurateError`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING

from curate.errors import CurateError
from curate.jsontext import number_text
from curate.plain import plain_values

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["AS_WRITTEN", "JSON_FIELD", "conform", "pack_schema", "plain_schema", "unify", "unpack_schema"]

JSON_FIELD = b"curate.json"
"""Arrow field metadata of string columns that hold JSON text."""
AS_WRITTEN = b"curate.as_written"
"""Arrow field metadata of numbers that were text, and are written as the text that they were: `5`, `0.5`, `1.0`."""


def plain_schema(*, text: bool = True) -> pa.Schema:
    """The columns that every document has, and `text`, which most have."""
    import pyarrow as pa

    names = ("id", "text", "source_uri") if text else ("id", "source_uri")
    return pa.schema([(name, pa.string()) for name in names])


def unify(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The schema that all tables can be brought to by `conform`; columns in the order in which they first appear."""
    import pyarrow as pa

    fields: dict[str, pa.Field] = {}
    for schema in schemas:
        for field in schema:
            known = fields.get(field.name)
            fields[field.name] = field if known is None else _join(known, field)
    return pa.schema(list(fields.values()))


def _join(left: pa.Field, right: pa.Field) -> pa.Field:
    import pyarrow as pa

    if left.type == right.type:
        same = (left.metadata or {}) == (right.metadata or {})
        return left if same else left.remove_metadata()
    if pa.types.is_null(left.type):
        return right
    if pa.types.is_null(right.type):
        return left
    if _marked(left, JSON_FIELD, right) or _marked(right, JSON_FIELD, left):
        return pa.field(left.name, pa.string(), metadata={JSON_FIELD: b"1"})
    if _marked(left, AS_WRITTEN, right) and _marked(right, AS_WRITTEN, left):
        return pa.field(left.name, pa.string())
    if _is_number(left.type) and _is_number(right.type):
        both_integers = pa.types.is_integer(left.type) and pa.types.is_integer(right.type)
        return pa.field(left.name, pa.int64() if both_integers else pa.float64())
    if _is_simple(left.type) and _is_simple(right.type):
        return pa.field(left.name, pa.string())
    raise CurateError(
        f"column `{left.name}` is {left.type} in one shard and {right.type} in another",
        hint="leave it out with the source's `columns:`, or give it one type in the input",
    )


def _marked(field: pa.Field, mark: bytes, other: pa.Field) -> bool:
    """Whether the field has the mark, and the other one is a number."""
    return mark in (field.metadata or {}) and _is_number(other.type)


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _is_simple(kind: pa.DataType) -> bool:
    import pyarrow as pa

    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return text or _is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_temporal(kind)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly these columns and types; columns that it lacks become null."""
    import pyarrow as pa

    if table.schema.equals(schema, check_metadata=True):
        return table
    columns = []
    for field in schema:
        if field.name in table.column_names:
            columns.append(_cast(table.column(field.name), field))
        else:
            columns.append(pa.nulls(table.num_rows, field.type))
    return pa.table(columns, schema=schema)


def _cast(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    import pyarrow as pa

    if pa.types.is_floating(column.type) and pa.types.is_string(field.type):
        return _number_texts(column, is_json=JSON_FIELD in (field.metadata or {}))
    if pa.types.is_temporal(column.type) and pa.types.is_string(field.type):
        return pa.chunked_array([pa.array(plain_values(column), pa.string())])
    try:
        return column.cast(field.type)
    except pa.ArrowInvalid:  # its words hold the value
        raise CurateError(
            f"column `{field.name}` has a value that no {field.type} holds, as it is in other shards ({column.type} here)",
            hint="leave it out with the source's `columns:`, or give it one type in the input",
        ) from None


def _number_texts(column: pa.ChunkedArray, *, is_json: bool) -> pa.ChunkedArray:
    """Doubles as JSON writes them (Arrow's own cast makes `1` of 1.0); NaN and infinities are null where JSON is meant."""
    import pyarrow as pa

    texts = [None if number is None else number_text(number) for number in column.to_pylist()]
    if is_json:
        texts = [None if text in ("nan", "inf", "-inf") else text for text in texts]
    return pa.chunked_array([pa.array(texts, pa.string())])


def pack_schema(schema: pa.Schema) -> str:
    """A schema as text, for receipts."""
    return b64encode(schema.serialize().to_pybytes()).decode()


def unpack_schema(packed: str) -> pa.Schema:
    """The schema that `pack_schema` made text of."""
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(b64decode(packed)))
