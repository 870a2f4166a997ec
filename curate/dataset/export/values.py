"""Columns as plain values: what formats without Arrow's types write of them (curate.plain says how).

Columns that the store marks as JSON (field metadata `curate.json`) hold JSON text, because their values have
no one type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError
from curate.plain import plain_values

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["columns_as_text", "is_json", "json_bytes", "rows"]


def is_json(field: pa.Field) -> bool:
    """Whether the column holds JSON text."""
    return b"curate.json" in (field.metadata or {})


def rows(batch: pa.RecordBatch, schema: pa.Schema) -> Iterator[dict[str, Any]]:
    """The documents of a batch as dictionaries; JSON columns as fragments that `json_bytes` writes as they are."""
    columns = [
        _fragments(column, field.name) if is_json(field) else plain_values(column)
        for field, column in zip(schema, batch.columns, strict=True)
    ]
    for values in zip(*columns, strict=True):
        yield dict(zip(schema.names, values, strict=True))


def _fragments(column: pa.Array, name: str) -> list[Any]:
    import orjson

    fragments: list[Any] = []
    for text in column.to_pylist():
        if text is None:
            fragments.append(None)
            continue
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise CurateError(f"column `{name}` is marked as JSON, and has a value that is not: {error}") from error
        # Inside a JSON string a line end is always escaped, so these are only spaces between tokens.
        fragments.append(orjson.Fragment(text.replace("\n", " ").replace("\r", " ")))
    return fragments


def json_bytes(value: Any) -> bytes:
    """One line of JSON, of plain values; NaN and infinities are null."""
    import orjson

    return orjson.dumps(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json_bytes(value).decode()


def columns_as_text(batch: pa.RecordBatch, simple: Callable[[pa.DataType], bool]) -> list[pa.Array]:
    """The columns; of those whose type is not `simple`, values that JSON writes as a string as that text, others as JSON."""
    import pyarrow as pa

    return [
        column
        if simple(column.type)
        else pa.array(
            [None if value is None else _text(value) for value in plain_values(column)],
            pa.string(),
        )
        for column in batch.columns
    ]
