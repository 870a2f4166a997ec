"""Documents that mention the person where nothing can be replaced so that the next run does not bring it back.

A payload (a PDF, a page in UTF-16) is not rewritten; and what a stage made, a repaired encoding or what an expander put
together, is made again of what was read, where the mention does not stand. The documents that were read go as a whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from curate.dataset.store import Store
from curate.erasure.going import Documents, Row
from curate.erasure.scan import Hits

if TYPE_CHECKING:
    from curate.erasure.found import Version

__all__ = ["sealed"]


def sealed(
    store: Store,
    there: Sequence[Version],
    documents: Documents,
    mentions: Mapping[str, set[int]],
    hits: Mapping[str, Hits],
) -> set[Row]:
    """The documents that go for it.

    Args:
        store: The store.
        there: Its versions.
        documents: Its documents.
        mentions: By object of documents as read, the rows in which, or in what became of which, the person is mentioned.
        hits: Objects in which something is.
    """
    found: set[Row] = set()
    made: set[Row] = set()
    for name in documents.shards:
        rows = mentions.get(name, set())
        found |= {(name, row) for row in _payloads(store, name, rows, hits.get(name))}
        made |= {(name, row) for row in rows}
    above: dict[str, set[int]] = defaultdict(set)
    for name, row in documents.above(made):
        above[name].add(row)
    for name, rows in above.items():
        found |= {(name, row) for row in _payloads(store, name, rows, hits.get(name))}
    said = {(name, row) for name in documents.shards if name in hits for row in hits[name].rows}
    return found | (_edited(store, there, hits) | _expanded(documents, hits)) - said


def _expanded(documents: Documents, hits: Mapping[str, Hits]) -> set[Row]:
    """The documents of which an expander made one whose text mentions the person."""
    found: set[Row] = set()
    for name, shard in documents.shards.items():
        rows = _texts(hits[name]) if shard.parent in documents.shards and name in hits else set[int]()
        if rows:
            parents, over = documents.column(name, "parent"), str(shard.parent)
            wanted = {parents[row] for row in rows} - {None}
            found |= {(over, row) for row, one in enumerate(documents.column(over, "id")) if one in wanted}
    return found


def _texts(hits: Hits) -> set[int]:
    return {row for row, column, _, _ in hits.cells if column == "text"}


def _edited(store: Store, there: Sequence[Version], hits: Mapping[str, Hits]) -> set[Row]:
    """The documents of which a stage made a text that mentions the person."""
    found: set[Row] = set()
    for version in there:
        for shard in version.shards:
            for name in {step.verdicts for step in shard.steps if step.verdicts in hits}:
                rows = store.read_table(str(name), ["row"]).column("row").to_pylist()
                found |= {(shard.object, rows[place]) for place in _texts(hits[str(name)])}
    return found


def _payloads(store: Store, name: str, rows: set[int], hits: Hits | None) -> set[int]:
    """The rows with a payload in which nothing can be replaced, though what was made of it mentions the person."""
    import pyarrow as pa

    payloads = [one.name for one in store.read_schema(name) if pa.types.is_binary(one.type)] if rows else []
    table = store.read_table(name, payloads) if payloads else None
    open_cells = {(row, column) for row, column, _, edits in (hits.cells if hits else ()) if edits}
    found: set[int] = set()
    for column in payloads:
        assert table is not None
        values = table.column(column)
        found |= {row for row in rows if values[row].is_valid and (row, column) not in open_cells}
    return found
