"""Parquet, zstd 3, in row groups of about 20,000 documents; the schema with its metadata as the store has it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["write"]

DOCUMENTS_PER_GROUP = 20_000
BYTES_PER_GROUP = 64_000_000


def write(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, stream: IO[bytes], name: str, *, group_bytes: int = BYTES_PER_GROUP
) -> int:  # fmt: skip
    """Write the documents, in row groups of at most about so many bytes in memory; returns their number."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    documents = 0
    # Statistics on texts (ids, which may be addresses, too) would put whole ones into the footer, where nobody looks.
    measured = [field.name for field in schema if pa.types.is_primitive(field.type)]
    with parquet.ParquetWriter(
        stream,
        schema,
        compression="zstd",
        compression_level=3,
        write_statistics=measured or False,  # pyright: ignore[reportArgumentType]
    ) as writer:
        group: list[pa.RecordBatch] = []
        for batch in batches:
            group.append(batch)
            documents += batch.num_rows
            if (
                sum(part.num_rows for part in group) >= DOCUMENTS_PER_GROUP
                or sum(part.nbytes for part in group) >= group_bytes
            ):
                writer.write_table(pa.Table.from_batches(group, schema))
                group = []
        if group:
            writer.write_table(pa.Table.from_batches(group, schema))
    return documents
