"""Arrow IPC files (Feather 2), compressed with zstd: what pandas, polars, R and Arrow itself read, in part where asked to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["write"]


def write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, stream: IO[bytes], name: str) -> int:
    """Write the documents; returns their number."""
    import pyarrow as pa

    documents = 0
    with pa.ipc.new_file(stream, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        for batch in batches:
            writer.write_batch(batch)
            documents += batch.num_rows
    return documents
