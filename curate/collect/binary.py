"""One document a file, of any kind: its bytes in `content`, and what they are in `media_type`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from curate.collect.columns import Column, Selection, document_table
from curate.collect.compression import ByteStream
from curate.collect.media_types import media_type
from curate.collect.pages import whole_file
from curate.stages.contract import Passed, Rejected
from curate.stages.extractor import CONTENT, MEDIA_TYPE, PAYLOAD

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["payload_table", "read_binary"]


def read_binary(stream: ByteStream, selection: Selection, *, name: str) -> Iterator[pa.Table | Rejected | Passed]:
    """The file as one document at offset 0 without a text, or why it is none: `too_long`, or damage of the file.

    An empty file is none, and counted.
    """
    data = whole_file(stream, selection.limit)
    if isinstance(data, Rejected):
        yield data
        return
    if not data:
        if not stream.damage:
            yield Passed("empty file", 1)
        return
    yield payload_table([data], [media_type(data, name)], [0], selection, name=name)


def payload_table(
    contents: Sequence[bytes], types: Sequence[str], offsets: Sequence[int], selection: Selection, *, name: str
) -> pa.Table:
    """Documents without a text: their bytes, and what these are."""
    import pyarrow as pa

    columns = {
        CONTENT: Column(pa.array(contents, pa.binary()), PAYLOAD),
        MEDIA_TYPE: Column(pa.array(types, pa.string())),
    }
    carried = selection.carried(columns, complete=True)
    return document_table(None, None, offsets, name=name, columns={new: columns[old] for new, old in carried.items()})
