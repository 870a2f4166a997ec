"""Documents from Parquet files: row groups one by one, in batches of a few megabytes.

Offsets are row numbers. A row group that cannot be read costs its own rows only; page checksums are verified where the
file has them. A file without its footer (cut short) has nothing that can be read.

The old 96-bit times (Spark, Impala) hold nanoseconds of any year, which no Arrow type does: Arrow reads them as nanoseconds,
where the year 9999 becomes 1816. They are read as microseconds, too, and these are taken unless nanoseconds would be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import accumulate
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from curate.collect.columns import Selection
from curate.collect.rows import documents_of_rows, needed_columns
from curate.errors import CurateError
from curate.stages.contract import Rejected

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet

__all__ = ["RowRange", "read_parquet", "row_ranges"]

BATCH_BYTES = 8 << 20
BATCH_ROWS = 65536


class RowRange(NamedTuple):
    """Rows [start, stop); stop None is the end."""

    start: int
    stop: int | None


def row_ranges(open_file: Callable[[], BinaryIO], shard_bytes: int) -> list[RowRange]:
    """Ranges of whole row groups of about `shard_bytes` uncompressed; one range where the file cannot be opened."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    with open_file() as file:
        try:
            metadata = parquet.read_metadata(file)
        except (pa.ArrowException, OSError):
            return [RowRange(0, None)]  # reading it says what is wrong
    ranges: list[RowRange] = []
    start = row = size = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        row, size = row + group.num_rows, size + group.total_byte_size
        if size >= shard_bytes:
            ranges.append(RowRange(start, row))
            start, size = row, 0
    if row > start or not ranges:
        ranges.append(RowRange(start, row))
    return ranges


def read_parquet(
    open_file: Callable[[], BinaryIO], selection: Selection, *, name: str, start: int, stop: int | None
) -> Iterator[pa.Table | Rejected]:
    """Tables of documents, and rejects: `corrupt`, `invalid_utf8`, `no_text`, `too_long`.

    Args:
        open_file: Opens the file.
        selection: Which columns to take.
        name: What the file is called.
        start: First row; row groups that start in [start, stop) are read.
        stop: End of the part; None is the end of the file.

    Raises:
        CurateError: The text column is missing or has no text in it, or a column has a reserved name.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    with ExitStack() as opened:
        try:
            source = opened.enter_context(open_file())
            file = parquet.ParquetFile(source, page_checksum_verification=True)
            schema = file.schema_arrow
            again = opened.enter_context(open_file()) if _has_int96(file) else None
            coarse = again and parquet.ParquetFile(again, coerce_int96_timestamp_unit="us")
        except (pa.ArrowException, OSError) as error:
            yield Rejected(0, "corrupt", f"parquet: {_brief(error)}")
            return
        columns = needed_columns(schema, selection)
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        starts = accumulate((group.num_rows for group in groups), initial=0)
        for number, row in enumerate(list(starts)[:-1]):
            if row < start or (stop is not None and row >= stop):
                continue
            batches = _batches(file, number, row, columns)
            for batch in batches if not coarse else _exact(batches, _batches(coarse, number, row, columns), name):
                if isinstance(batch, Rejected):
                    yield batch
                else:
                    yield from documents_of_rows(*batch, selection, name=name)


def _batches(
    file: pyarrow.parquet.ParquetFile, number: int, row: int, columns: list[str]
) -> Iterator[tuple[int, pa.Table] | Rejected]:
    """The batches of one row group with their first rows; a reject from the row on that cannot be read."""
    import pyarrow as pa

    group = file.metadata.row_group(number)
    rows = BATCH_BYTES * group.num_rows // max(group.total_byte_size, 1)
    batches = file.iter_batches(max(1, min(rows, BATCH_ROWS)), row_groups=[number], columns=columns, use_threads=False)
    end = row + group.num_rows
    while row < end:
        try:
            batch = next(batches)
        except (pa.ArrowException, OSError, StopIteration) as error:
            yield Rejected(row, "corrupt", f"parquet: rows {row} to {end - 1} cannot be read: {_brief(error)}")
            return
        yield row, pa.Table.from_batches([batch])
        row += batch.num_rows


def _has_int96(file: pyarrow.parquet.ParquetFile) -> bool:
    columns = file.metadata.schema
    return any(columns.column(number).physical_type == "INT96" for number in range(len(columns)))


def _exact(
    fine: Iterator[tuple[int, pa.Table] | Rejected], coarse: Iterator[tuple[int, pa.Table] | Rejected], name: str
) -> Iterator[tuple[int, pa.Table] | Rejected]:
    """The batches, with those columns as microseconds that lose nothing by it."""
    for left, right in zip(fine, coarse, strict=False):
        if isinstance(left, Rejected) or isinstance(right, Rejected):
            yield left
            return
        row, table = left
        for number, field in enumerate(table.schema):
            other = right[1].column(number)
            if other.type != field.type and _same_times(table.column(number), other, field.name, name):
                table = table.set_column(number, field.name, other)
        yield row, table


def _same_times(fine: Any, coarse: Any, column: str, name: str) -> bool:
    """Whether microseconds hold all that stands in a column; true where nanoseconds cannot.

    Raises:
        CurateError: It has times that only nanoseconds hold, and others that only microseconds hold.
    """
    import pyarrow as pa

    try:
        return coarse.cast(fine.type).equals(fine)
    except pa.ArrowInvalid:  # a time that nanoseconds do not reach
        if not pa.types.is_timestamp(fine.type):
            return True
    counts, micros = (one.cast(pa.int64()).combine_chunks().fill_null(0).to_numpy() for one in (fine, coarse))
    if (counts[abs(micros) < 2**63 // 1000] % 1000).any():
        problem = f"column `{column}` has 96-bit times with nanoseconds beside times outside of 1677 to 2262"
        raise CurateError(problem, name, "leave it out with the source's `columns:`: no type holds both")
    return True


def _brief(error: Exception) -> str:
    return str(error).split("\n")[0][:200] or "unreadable"
