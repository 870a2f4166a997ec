"""WebDataset: a tar file in which members that share a name are a sample: `train-000000000.txt`, `train-000000000.json`.

The text of a document is `.txt`, all its other columns are one object in `.json`, with the values of JSON lines. Members are
named by the file and their number in it, since ids may hold dots and slashes, which a reader takes for endings and folders; the
id stands in `.json`. Plain USTAR headers without time or owner, so that the same documents give the same bytes. A document
without a text has no `.txt`. Each member takes whole blocks of 512 bytes, and one for its name: small texts become much larger.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any

from curate.dataset.export.jsonl import changes
from curate.dataset.export.values import json_bytes, rows

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["changes", "write"]


def write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, stream: IO[bytes], name: str) -> int:
    """Write a sample for each document; returns their number."""
    documents, stem = 0, name.removesuffix(".tar").replace(".", "-")
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for batch in batches:
            for row in rows(batch, schema):
                text: Any = row.pop("text", None)
                if isinstance(text, str):
                    _add(tar, f"{stem}-{documents:09d}.txt", text.encode())
                _add(tar, f"{stem}-{documents:09d}.json", json_bytes(row))
                documents += 1
    return documents


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))
