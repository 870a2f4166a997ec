"""Looking for a person in everything that a store holds: every string of every object, every small file, byte by byte.

RE2 looks at whole columns (about 500 MB a second of text, decompression aside); only what it lets through is looked at in
Python. There is no index: a scan cannot be stale, and an index of names and numbers would be one more place that holds them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from curate.dataset.cells import Edit, as_text, cells_of, edited, exchanged
from curate.dataset.schema import JSON_FIELD
from curate.dataset.store import Store
from curate.erasure.matching import Matcher

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FETCHED", "Hits", "redacted_json", "scan", "scan_object"]

FETCHED = ("snapshots", "fetches", "manual", "answers")
"""Folders of what was fetched."""
NOT_DATA = ("objects/", "leases/", "temporary/", "tokens/", "browse/", "store.json")


@dataclass(slots=True)
class Hits:
    """What was found in a table.

    Attributes:
        rows: The rows in which something was, by place in the table.
        kinds: How many of each identifier: of its kind, and its number.
        cells: For cells of strings: row, column, what stood there and how it is replaced; None where it cannot be.
        names: Whether a column is called so.
    """

    rows: set[int] = field(default_factory=set)
    kinds: Counter[tuple[str, int]] = field(default_factory=Counter)
    cells: list[tuple[int, str, str, list[Edit] | None]] = field(default_factory=list)
    names: bool = False

    def __bool__(self) -> bool:
        return bool(self.rows or self.names)


def scan(store: Store, matcher: Matcher) -> Iterator[tuple[str, Hits]]:
    """Every object in which something is, and what.

    Raises:
        DamagedError: An object cannot be read, so nobody knows what is in it.
    """
    for blob in store.blobs.list("objects"):
        name = blob.name.rpartition("/")[2].partition(".")[0]
        if hits := scan_object(store, name, matcher):
            yield name, hits


def scan_object(store: Store, name: str, matcher: Matcher) -> Hits:
    """What is in one object."""
    with store.parquet(name) as file:
        schema = file.schema_arrow
        looked = [one.name for one in schema if _may_hold(one.type)]
        hits = Hits(names=any(matcher.find(one) for one in schema.names))
        if looked and file.metadata.num_rows:
            redact(file.read(columns=looked, use_threads=False), matcher, hits)
    return hits


def redact(table: pa.Table, matcher: Matcher, hits: Hits | None = None) -> pa.Table:
    """The table with placeholders for what was found; `hits` is told what."""
    hits = hits if hits is not None else Hits()
    for number, one in enumerate(table.schema):
        column = table.column(number)
        new = _redacted_cells(one, column, matcher, hits) if cells_of(column) is not None else None
        if new is None and _is_nested(one.type):
            new = _redacted_nested(column, matcher, hits)
        if new is not None:
            table = table.set_column(number, one, new)
    if any(matcher.find(name) for name in table.column_names):
        table = table.rename_columns([matcher.redacted(name) for name in table.column_names])
    return table


def _may_hold(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if _is_nested(kind):
        return any(_may_hold(kind.field(number).type) for number in range(kind.num_fields))
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_integer,
            pa.types.is_floating,
            pa.types.is_decimal,
        )
    )


def _is_nested(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_list(kind) or pa.types.is_struct(kind)


def _redacted_cells(one: pa.Field, column: pa.ChunkedArray, matcher: Matcher, hits: Hits) -> pa.ChunkedArray | None:
    import pyarrow as pa

    number = any(is_kind(column.type) for is_kind in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal))
    if number and not matcher.numbers:
        return None
    cells: Any = cells_of(column)
    new: dict[int, Any] = {}
    is_json = JSON_FIELD in (one.metadata or {})
    for row in _candidates(cells, matcher, number=number):
        given = cells[row].as_py()
        value = as_text(given)
        found = matcher.edits(value, is_json=is_json)
        if found:
            edits = [edit for edit, _ in found]
            sound = not isinstance(given, bytes) or value.encode() == given
            hits.rows.add(row)
            hits.kinds.update((one.kind, one.number) for _, one in found)
            hits.cells.append((row, one.name, value, edits if sound else None))
            new[row] = edited(column.type, value, edits) if sound else None
    return exchanged(column, new) if new else None


def _candidates(cells: Any, matcher: Matcher, *, number: bool) -> Sequence[int]:
    import pyarrow as pa
    import pyarrow.compute as compute

    if number:
        return compute.indices_nonzero(compute.is_in(cells, pa.array(sorted(matcher.numbers)))).to_pylist()
    if pa.types.is_binary(cells.type):
        return compute.indices_nonzero(compute.is_valid(cells)).to_pylist()
    if not matcher.forms:
        return []
    return compute.indices_nonzero(compute.match_substring_regex(cells, matcher.pattern)).to_pylist()


def _redacted_nested(column: pa.ChunkedArray, matcher: Matcher, hits: Hits) -> pa.ChunkedArray | None:
    import pyarrow as pa

    if not any(len(_candidates(leaf, matcher, number=False)) for leaf in _leaves(column)):
        return None
    before = column.to_pylist()
    after = [redacted_json(one, matcher) for one in before]
    changed = [row for row, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    hits.rows.update(changed)
    for row in changed:
        said = json.dumps(before[row], ensure_ascii=False, default=str)
        hits.kinds.update((one.kind, one.number) for one in matcher.find(said))
    return pa.chunked_array([pa.array(after, column.type)]) if changed else None


def _leaves(column: Any) -> Iterator[Any]:
    """The columns of strings inside a nested one."""
    import pyarrow as pa

    if pa.types.is_list(column.type):
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            yield from _leaves(chunk.flatten())
    elif pa.types.is_struct(column.type):
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            for one in chunk.flatten():
                yield from _leaves(one)
    elif pa.types.is_string(column.type):
        yield column


def redacted_json(value: Any, matcher: Matcher) -> Any:
    """A JSON value with placeholders in all its strings, and in the keys of its objects."""
    if isinstance(value, str):
        return matcher.redacted(value)
    if isinstance(value, list):
        return [redacted_json(one, matcher) for one in value]
    if isinstance(value, dict):
        return {matcher.redacted(key): redacted_json(one, matcher) for key, one in value.items()}
    return value


def small_files(store: Store, matcher: Matcher) -> Iterator[tuple[str, Any, Any]]:
    """Small files in which something is: name, what they say, and that with placeholders (None: it is no JSON)."""
    for folder in (
        "refs",
        "receipts",
        "measured",
        "annotations",
        "runs",
        "models",
        "plans",
        "erasures",
        "versions",
        *FETCHED,
    ):
        for blob in store.blobs.list(folder):
            text = store.blobs.read(blob.name).decode("utf-8", "replace")
            if not matcher.find(text):
                continue
            try:
                said = json.loads(text)
            except ValueError:
                said = None
            yield blob.name, said, None if said is None else redacted_json(said, matcher)
