"""One document a file, of any kind: its bytes in `content`, and what they are in `media_type`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from curate.collect.columns import Column, Selection, document_table
from curate.collect.compression import ByteStream
from curate.collect.media_types import media_type
from curate.collect.pages import whole_file
from curate.stages.contract import Passed, Rejected
from curate.stages.extractor import CONTENT, MEDIA_TYPE, PAYLOAD

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_binary"]


def read_binary(stream: ByteStream, selection: Selection, *, name: str) -> Iterator[pa.Table | Rejected | Passed]:
    """The file as one document at offset 0 without a text, or why it is none: `too_long`, or damage of the file.

    An empty file is none, and counted.
    """
    import pyarrow as pa

    data = whole_file(stream, selection.limit)
    if isinstance(data, Rejected):
        yield data
        return
    if not data:
        if not stream.damage:
            yield Passed("empty file", 1)
        return
    columns = {
        CONTENT: Column(pa.array([data], pa.binary()), PAYLOAD),
        MEDIA_TYPE: Column(pa.array([media_type(data, name)], pa.string())),
    }
    carried = selection.carried(columns, complete=True)
    yield document_table(None, None, [0], name=name, columns={new: columns[old] for new, old in carried.items()})
