"""Documents from Arrow files: the file format (also called Feather 2) and the stream format, told apart by their first bytes.

Offsets are row numbers. Batches are read one after the other and checked whole before they are believed, since their
offsets come from the file; what cannot be read costs the rest of the file, as nothing tells where the next batch begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from curate.collect.columns import Selection
from curate.collect.rows import documents_of_rows, needed_columns
from curate.stages.contract import Rejected

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["arrow_schema", "read_arrow"]

MAGIC = b"ARROW1"
BATCH_BYTES = 8 << 20
BATCH_ROWS = 65536


def arrow_schema(open_file: Callable[[], BinaryIO]) -> pa.Schema:
    """The columns of a file.

    Raises:
        ArrowInvalid: It is no Arrow file.
    """
    with open_file() as source:
        return _open(source).schema


def _open(source: BinaryIO) -> Any:
    import pyarrow as pa

    head = source.read(len(MAGIC))
    source.seek(0)
    return (pa.ipc.open_file if head == MAGIC else pa.ipc.open_stream)(source)


def read_arrow(open_file: Callable[[], BinaryIO], selection: Selection, *, name: str) -> Iterator[pa.Table | Rejected]:
    """Tables of documents, and rejects: `corrupt`, `invalid_utf8`, `no_text`, `too_long`.

    Args:
        open_file: Opens the file.
        selection: Which columns to take.
        name: What the file is called.

    Raises:
        CurateError: The text column is missing or has no text in it, or a column cannot be carried.
    """
    import pyarrow as pa

    row = 0
    with open_file() as source:
        try:
            file = _open(source)
        except (pa.ArrowException, OSError) as error:
            yield _corrupt(0, error)
            return
        columns = needed_columns(file.schema, selection)
        for batch in _batches(file):
            if isinstance(batch, Exception):
                yield _corrupt(row, batch)
                return
            table = pa.Table.from_batches([batch]).select(columns)
            rows = max(1, min(BATCH_ROWS, BATCH_BYTES * len(table) // max(batch.nbytes, 1)))
            for start in range(0, len(table), rows):
                yield from documents_of_rows(row + start, table.slice(start, rows), selection, name=name)
            row += len(table)


def _batches(file: Any) -> Iterator[pa.RecordBatch | Exception]:
    """The batches of a file; last, why the next one cannot be read."""
    import pyarrow as pa

    numbered = hasattr(file, "num_record_batches")
    batches = iter(map(file.get_batch, range(file.num_record_batches)) if numbered else file)
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            _check(batch)
        except (pa.ArrowException, OSError) as error:
            yield error
            return
        yield batch


def _check(batch: pa.RecordBatch) -> None:
    """Check all that is read by; not whether strings are UTF-8 and times of day within a day, which costs no file.

    Raises:
        ArrowInvalid: The file does not hold what it says.
    """
    import pyarrow as pa

    for column in batch.columns:
        if pa.types.is_primitive(column.type):
            column.validate()
            continue
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            if "UTF8" not in str(error) or pa.types.is_nested(column.type):
                raise


def _corrupt(row: int, error: Exception) -> Rejected:
    detail = str(error).split("\n")[0][:200] or "unreadable"
    return Rejected(row, "corrupt", f"arrow: nothing can be read from row {row} on: {detail}")
