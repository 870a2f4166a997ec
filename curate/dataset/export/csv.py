"""CSV as RFC 4180 has it: a header, every text quoted, quotes doubled, line ends kept; null is empty and unquoted.

A spreadsheet runs a cell that begins with `=`, `+`, `-`, `@`, a tab or a line end (OWASP, "CSV Injection");
`escape_formulas` puts an apostrophe before such texts, which changes them: leave it off for machines. Numbers (decimals
too) and booleans are written as they are, dates, times and durations as ISO 8601, binary values as base64; lists and
structures become JSON text (curate.plain). Of a single column, null is the empty text, quoted: its line would be empty, and
readers skip such lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, TYPE_CHECKING

from curate.dataset.export.jsonl import not_finite_inside
from curate.dataset.export.values import columns_as_text

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["changes", "write"]

# The last four are the full-width forms, which some spreadsheets read as the plain ones.
FORMULA = r"\A([=+\-@\t\r\n" + "\uff1d\uff0b\uff0d\uff20" + "])"


def write(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    stream: IO[bytes],
    name: str,
    *,
    escape_formulas: bool = False,
) -> int:
    """Write the documents; returns their number."""
    import pyarrow as pa
    from pyarrow import csv

    if len(schema.names) == 1:
        return _write_column(batches, schema.names[0], stream, escape_formulas)
    header = pa.array(schema.names, pa.string())
    names = (_escaped(header) if escape_formulas else header).to_pylist()
    types = [kind if _simple(kind) else pa.string() for kind in schema.types]
    flat = pa.schema(list(zip(names, types, strict=True)))
    documents = 0
    with csv.CSVWriter(stream, flat) as writer:
        for batch in batches:
            columns = columns_as_text(batch, _simple)
            if escape_formulas:
                columns = [_escaped(column) if _is_text(column.type) else column for column in columns]
            writer.write_batch(pa.record_batch(columns, schema=flat))
            documents += batch.num_rows
    return documents


def _write_column(batches: Iterable[pa.RecordBatch], name: str, stream: IO[bytes], escape_formulas: bool) -> int:
    """A single column: as Arrow writes it, but for null."""
    import pyarrow as pa
    import pyarrow.compute as compute

    def lines(column: pa.Array) -> bytes:
        texts = column.cast(pa.string())
        if _is_text(column.type):
            texts = _escaped(texts) if escape_formulas else texts
            quoted = compute.replace_substring(texts, '"', '""')  # pyright: ignore[reportAttributeAccessIssue]
            texts = compute.binary_join_element_wise('"', quoted, '"', "")  # pyright: ignore[reportAttributeAccessIssue]
        return "".join(f"{one}\n" for one in texts.fill_null('""').to_pylist()).encode()

    documents = 0
    stream.write(lines(pa.array([name])))
    for batch in batches:
        stream.write(lines(columns_as_text(batch, _simple)[0]))
        documents += batch.num_rows
    return documents


def changes(column: pa.Array) -> dict[str, int]:
    """How many values of a column are not written as they are, by what becomes of them."""
    return not_finite_inside(column)


def _escaped(texts: pa.Array) -> pa.Array:
    import pyarrow.compute as compute

    return compute.replace_substring_regex(texts, FORMULA, r"'\1")  # pyright: ignore[reportAttributeAccessIssue]


def _is_text(type_: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(type_) or pa.types.is_large_string(type_)


def _simple(type_: pa.DataType) -> bool:
    import pyarrow as pa

    number = pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)
    return number or pa.types.is_boolean(type_) or pa.types.is_null(type_) or _is_text(type_)
