"""JSON lines, plain or compressed by the ending of the file: `.zst` (fast and small) or `.gz`.

Values that JSON has not are written as text (curate.plain); NaN and infinities are null, inside lists and structures a
text, and that is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from curate.dataset.export.values import json_bytes, rows
from curate.plain import stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

__all__ = ["changes", "compressed", "not_finite_inside", "write"]


def write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, stream: IO[bytes], name: str) -> int:
    """Write one object a line, its keys in the order of the columns; returns the number of documents."""
    documents = 0
    with compressed(stream, name) as sink:
        for batch in batches:
            lines = [json_bytes(row) for row in rows(batch, schema)]
            sink.write(b"".join(line + b"\n" for line in lines))
            documents += len(lines)
    return documents


def changes(column: pa.Array) -> dict[str, int]:
    """How many values of a column are not written as they are, by what becomes of them."""
    import pyarrow as pa

    if not pa.types.is_floating(column.type):
        return not_finite_inside(column)
    return {"NaN and infinities, which JSON has not, are null": _not_finite(column)}


def not_finite_inside(column: pa.Array) -> dict[str, int]:
    """How many numbers inside the lists and structures of a column JSON has not."""
    import pyarrow as pa

    if not pa.types.is_nested(column.type):
        return {}
    return {"NaN and infinities inside lists and structures, which JSON has not, are texts": _not_finite(column)}


def _not_finite(array: pa.Array) -> int:
    """NaN and infinities among the numbers of an array and of all that is in it; those under a null are none."""
    import pyarrow as pa
    import pyarrow.compute as compute

    array = stored(array)
    kind = array.type
    if pa.types.is_floating(kind):
        return compute.is_finite(array if kind.bit_width > 16 else array.cast(pa.float32())).false_count
    if not pa.types.is_nested(kind) or pa.types.is_union(kind):  # Parquet has no unions
        return 0
    if pa.types.is_map(kind):
        array = array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
    parts = array.flatten()  # type: ignore[attr-defined]
    return sum(map(_not_finite, parts)) if pa.types.is_struct(kind) else _not_finite(parts)


@contextmanager
def compressed(stream: IO[bytes], name: str) -> Iterator[Any]:
    """What to write into, so that the file is compressed as the ending of its name says."""
    if name.endswith(".zst"):
        import zstandard

        with zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(stream, closefd=False) as sink:
            yield sink
    elif name.endswith(".gz"):
        import gzip

        # No name and no time in the header: the same documents give the same bytes.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=stream, mtime=0) as sink:
            yield sink
    else:
        yield stream
