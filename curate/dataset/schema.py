"""One schema for tables whose columns differ: the union of the columns, and the narrowest type that holds both.

Sources type a column by the values they see, so shards may disagree: null against anything is that thing, integers
against floats are floats (JSON text where there are integers beyond 2^53, which no double holds), numbers against JSON text
are JSON text, booleans and numbers against strings are strings. Floats that were read from text as they are written there
(CSV) are that text again beside anything but their like. Anything else is a `CurateError`, and so is a value that the
common type does not hold: no value is changed.
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

__all__ = [
    "AS_WRITTEN",
    "EXACT",
    "INFERRED",
    "JSON_FIELD",
    "as_json",
    "conform",
    "fits",
    "pack_schema",
    "plain_schema",
    "unify",
    "unify_tables",
    "unpack_schema",
]

EXACT = 2**53
"""Up to here a double holds every integer."""

JSON_FIELD = b"curate.json"
"""Arrow field metadata of string columns that hold JSON text."""
AS_WRITTEN = b"curate.as_written"
"""Arrow field metadata of numbers that were text, and are written as the text that they were: `5`, `0.5`, `1.0`."""
INFERRED = b"curate.inferred"
"""Arrow field metadata of what a stage measured without declaring its type (curate/pipeline/inferred.py)."""


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
    """What holds the values of both: commutative and associative, so that the order of the shards is no matter."""
    import pyarrow as pa

    if left.equals(right, check_metadata=True) or pa.types.is_null(right.type):
        return left
    if pa.types.is_null(left.type):
        return right
    kinds = left.type, right.type
    if all(map(_is_simple, kinds)) and (_is_written_float(left) or _is_written_float(right)):
        return pa.field(left.name, pa.string())
    if _is_json_beside_number(left, right) or _is_json_beside_number(right, left):
        return pa.field(left.name, pa.string(), metadata={JSON_FIELD: b"1"})
    if kinds[0] == kinds[1]:
        return left.remove_metadata()
    if all(map(_is_number, kinds)):
        number = _join_numbers(*kinds)
        return pa.field(left.name, number) if number else pa.field(left.name, pa.string(), metadata={JSON_FIELD: b"1"})
    if all(map(_is_simple, kinds)):
        return pa.field(left.name, pa.string())
    raise CurateError(
        f"column `{left.name}` is {left.type} in one shard and {right.type} in another",
        hint="leave it out with the source's `columns:`, or give it one type in the input",
    )


def _is_written_float(field: pa.Field) -> bool:
    import pyarrow as pa

    return AS_WRITTEN in (field.metadata or {}) and pa.types.is_floating(field.type)


def _is_json_beside_number(field: pa.Field, other: pa.Field) -> bool:
    return JSON_FIELD in (field.metadata or {}) and _is_number(other.type)


def _join_numbers(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    """The narrowest type of numbers that holds both; None where there is none."""
    import pyarrow as pa

    kinds = left, right
    unsigned = [pa.types.is_unsigned_integer(kind) for kind in kinds]
    if pa.uint64() in kinds and not all(unsigned):
        return None
    if not all(map(pa.types.is_integer, kinds)):
        return pa.float64()
    width = max(kind.bit_width for kind in kinds)
    if all(unsigned):
        return getattr(pa, f"uint{width}")()
    needed = [kind.bit_width * (2 if positive else 1) for kind, positive in zip(kinds, unsigned, strict=True)]
    return getattr(pa, f"int{max(needed)}")()


def unify_tables(tables: Sequence[pa.Table], schemas: Sequence[pa.Schema] = ()) -> pa.Schema:
    """The schema that these tables, and tables of these schemas, can be brought to: large integers beside floats are JSON."""
    whole = unify([*schemas, *(table.schema for table in tables)])
    for name in whole.names:
        if any(name in table.column_names and not fits(table.column(name), whole.field(name)) for table in tables):
            whole = as_json(whole, name)
    return whole


def as_json(schema: pa.Schema, name: str) -> pa.Schema:
    """The schema with a column as JSON text."""
    import pyarrow as pa

    field = pa.field(name, pa.string(), metadata={JSON_FIELD: b"1"})
    return schema.set(schema.get_field_index(name), field)


def fits(column: pa.ChunkedArray, field: pa.Field) -> bool:
    """Whether a field of floats holds a column of integers; all else is no question."""
    import pyarrow as pa
    import pyarrow.compute as compute

    if not pa.types.is_floating(field.type) or not pa.types.is_integer(column.type):
        return True
    ends = compute.min_max(column).as_py()
    return ends["min"] is None or (ends["min"] >= -EXACT and ends["max"] <= EXACT)


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
    except pa.ArrowException:  # its words hold the value
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
