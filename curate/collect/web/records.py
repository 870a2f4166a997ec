"""Rows of a snapshot of the web: one for each address that was met, and pages of them as documents.

A row is what a WARC record is (address, time, status, headers, body), and what was found out of it. A body is as it came, but
for texts, which are UTF-8, and lists, which are unpacked: an erasure finds nobody in other bytes. An address
that is no document says why in `reason`, whether it was asked for or not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from curate.collect.charsets import decode_page
from curate.collect.columns import Column, document_table
from curate.collect.fetch.rows import KEY
from curate.collect.media_types import media_type
from curate.dataset.schema import JSON_FIELD
from curate.stages.extractor import CONTENT, MEDIA_TYPE, PAYLOAD
from curate.stages.fetched import erased_rows
from curate.stages.parts import Part, Passed

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.store import Store

__all__ = ["HTML", "MARK", "Row", "charset_of", "documents", "kind_of", "row_of", "table_of"]

Row = dict[str, Any]
HTML = ("text/html", "application/xhtml+xml")
ROWS = 100
MARK = b"\xef\xbb\xbf"
SHOWN = ("fetched_at", "status", "license", "license_evidence", "opt_out")
"""Columns that documents carry beside their address."""
CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';,]+)", re.IGNORECASE)
VAGUE = ("text/plain", "application/octet-stream", "application/xml")


def _schema() -> pa.Schema:
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    kinds = {
        KEY: text, "url": text, "reason": text, "detail": text, "depth": number, "found_on": text, "modified": text,
        "fetched_at": text, "status": number, "headers": text, "media_type": text, "bytes": number, "license": text,
        "license_evidence": text, "opt_out": text, "canonical": text, "title": text, "links": text, "body": pa.binary(),
    }  # fmt: skip
    marked = ("headers", "links")
    return pa.schema(
        [pa.field(name, kind, metadata={JSON_FIELD: b"1"} if name in marked else None) for name, kind in kinds.items()]
    )


def row_of(url: str, /, **values: Any) -> Row:
    """A row; what is not said is null."""
    return {KEY: url, **{name: _written(value) for name, value in values.items()}}


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Rows as a piece of a snapshot."""
    import pyarrow as pa

    schema = _schema()
    columns = [pa.array([_written(row.get(one.name)) for row in rows], one.type) for one in schema]
    return pa.table(columns, schema=schema)


def _written(value: Any) -> Any:
    """A text without halves of characters: JSON in a page may name these, and no table can hold them."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) and not value.isascii() else value


def kind_of(body: bytes, url: str, headers: Mapping[str, str]) -> str:
    """The media type of an answer: by its bytes, then by its header, then by the ending of the address."""
    told = headers.get("content-type", "").partition(";")[0].strip().lower()
    found = media_type(body, urlsplit(url).path.rpartition("/")[2])
    return told if found in VAGUE and told not in ("", *VAGUE) else found


def charset_of(headers: Mapping[str, str]) -> str | None:
    """The encoding that the header of an answer names."""
    found = CHARSET.search(headers.get("content-type", ""))
    return found[1] if found else None


def documents(store: Store, part: Part) -> Iterator[pa.Table | Passed]:
    """The pages of a piece as documents, and counts of what is none by reason.

    A text whose encoding the server named is written as UTF-8 with a mark, since documents carry no headers; all else is
    as it came.
    """
    import pyarrow as pa

    passed = Counter[str]()
    columns = [KEY, "url", "reason", MEDIA_TYPE, "headers", "body", *SHOWN]
    with store.parquet(part.location.partition(":")[2]) as file:
        for batch in file.iter_batches(ROWS, columns=columns, use_threads=False):
            rows = batch.to_pylist()
            passed.update(row["reason"] or "erased_body" for row in rows if row["reason"] or row["body"] is None)
            pages = [row for row in rows if row["reason"] is None and row["body"] is not None]
            if not pages:
                continue
            kept: dict[str, Column] = {
                CONTENT: Column(pa.array(map(_content, pages), pa.binary()), PAYLOAD),
                MEDIA_TYPE: Column(pa.array([row[MEDIA_TYPE] for row in pages], pa.string())),
                "url": Column(pa.array([row["url"] or row[KEY] for row in pages], pa.string())),
            }
            for name in SHOWN:
                kind = pa.int64() if name == "status" else pa.string()
                kept[name] = Column(pa.array([row[name] for row in pages], kind))
            keys = pa.array([row[KEY] for row in pages], pa.string())
            yield document_table(None, keys, keys, name=part.extra["address"], columns=kept)
    yield from (Passed(reason, count) for reason, count in sorted(passed.items()))
    yield from erased_rows(part)


def _content(row: Row) -> bytes:
    from curate import jsontext

    headers: dict[str, str] = jsontext.loads(row["headers"] or "{}")
    declared = charset_of(headers)
    if declared is None or not (row[MEDIA_TYPE].startswith("text/") or row[MEDIA_TYPE] in HTML):
        return row["body"]
    return MARK + decode_page(row["body"], declared=declared).encode()
