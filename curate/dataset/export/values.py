"""Columns as plain values: what formats without Arrow's types write of them.

Columns that the store marks as JSON (field metadata `curate.json`) hold JSON text, because their values have
no one type.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["columns_as_text", "is_json", "json_bytes", "rows"]


def is_json(field: pa.Field) -> bool:
    """Whether the column holds JSON text."""
    return b"curate.json" in (field.metadata or {})


def rows(batch: pa.RecordBatch, schema: pa.Schema) -> Iterator[dict[str, Any]]:
    """The documents of a batch as dictionaries; JSON columns as fragments that `json_bytes` writes as they are."""
    columns = [
        _fragments(column, field.name) if is_json(field) else column.to_pylist()
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
    """One line of JSON: bytes as base64, decimals and durations as text, NaN and infinities as null."""
    import orjson

    return orjson.dumps(value, default=_foreign, option=orjson.OPT_NON_STR_KEYS)


def _foreign(value: Any) -> Any:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, Decimal | timedelta):
        return str(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def _text(value: Any) -> str:
    import orjson

    encoded = json_bytes(value)
    return orjson.loads(encoded) if encoded[:1] == b'"' else encoded.decode()


def columns_as_text(batch: pa.RecordBatch, simple: Callable[[pa.DataType], bool]) -> list[pa.Array]:
    """The columns; of those whose type is not `simple`, values that JSON writes as a string as that text, others as JSON."""
    import pyarrow as pa

    return [
        column
        if simple(column.type)
        else pa.array(
            [None if value is None else _text(value) for value in column.to_pylist()],
            pa.string(),
        )
        for column in batch.columns
    ]
