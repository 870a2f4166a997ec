"""Pieces of snapshots as documents: each row has a column `@key`, which says where it stands whatever piece it is in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from curate.collect.columns import Selection
from curate.collect.rows import documents_of_rows, needed_columns
from curate.stages.fetched import erased_rows
from curate.stages.parts import Part, Passed, Rejected

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.store import Store

__all__ = ["KEY", "documents_of_piece"]

ROWS = 2000
"""Rows of a piece that are held at once."""
KEY = "@key"
"""Column of a piece: what tells a row from all others of its source."""


def documents_of_piece(
    store: Store, part: Part, selection: Selection, *, ids: bool
) -> Iterator[pa.Table | Rejected | Passed]:
    """The documents of a piece: their `source_uri` is the address and the key.

    Args:
        store: Has the piece.
        part: Names it; `extra["address"]` is where it came from.
        selection: Which columns become what; one with the id that is not there is none.
        ids: Whether the key is the id of documents that have none of their own.

    Raises:
        CurateError: The text column is missing, or a column has a name that documents use themselves.
    """
    import pyarrow as pa
    import pyarrow.compute as compute

    start = 0
    with store.parquet(part.location.partition(":")[2]) as file:
        schema = file.schema_arrow.remove(file.schema_arrow.get_field_index(KEY))
        columns = needed_columns(schema, selection)
        for batch in file.iter_batches(ROWS, columns=[KEY, *columns], use_threads=False):
            table = pa.Table.from_batches([batch]).cast(file_schema(file.schema_arrow, [KEY, *columns]))
            keys = table.column(KEY).combine_chunks()
            for piece in documents_of_rows(start, table.select(columns), selection, name=""):
                if isinstance(piece, Rejected):
                    yield piece
                    continue
                rows = compute.subtract(compute.utf8_slice_codeunits(piece["source_uri"], 1).cast(pa.int64()), start)
                own = keys.take(rows.combine_chunks())
                places = compute.binary_join_element_wise(pa.scalar(str(part.extra["address"])), own, "#")
                piece = piece.set_column(piece.schema.get_field_index("source_uri"), "source_uri", places)
                if ids and piece["id"].null_count:
                    named = compute.coalesce(piece["id"], own)
                    piece = piece.set_column(piece.schema.get_field_index("id"), "id", named)
                yield piece
            start += table.num_rows
    yield from erased_rows(part)


def file_schema(schema: pa.Schema, names: list[str]) -> pa.Schema:
    """Some fields of a schema, with what they say of themselves."""
    import pyarrow as pa

    return pa.schema([schema.field(name) for name in names])
