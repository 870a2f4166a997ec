"""What people have written into a store by hand: `manual/<name>.json` names pieces of rows, with author and time.

An entry is added by replacing this small file, if nobody else has meanwhile; nothing that was added is changed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from curate.dataset.leases import lease
from curate.dataset.snapshots import put_together
from curate.dataset.store import DATASET_NAME, Store, canonical_json, friendly_os_errors
from curate.errors import CurateError
from curate.stages.fetched import Piece

__all__ = ["Added", "add_entry", "entries_of"]

MOST_PIECES = 32
"""More are put together."""


class Added(NamedTuple):
    """An entry: its id, who wrote it, and when (UTC, ISO 8601)."""

    id: str
    author: str
    added: str


def entries_of(store: Store, name: str) -> tuple[list[Piece], int]:
    """The pieces of what was added under a name, and the number of the next entry."""
    record = store.read_json(_file(name)) or {"pieces": [], "next": 1}
    return [Piece(**one) for one in record["pieces"]], record["next"]


def add_entry(store: Store, name: str, text: str, *, author: str, license: str | None = None) -> Added:
    """Add an entry; never beside an erasure or a garbage collection, which would miss it, or take it for garbage.

    Raises:
        CurateError: The name is none, the text is empty, or one of these is going on.
    """
    if not DATASET_NAME.fullmatch(name):
        raise CurateError(f"`{name}` is no name", hint="letters, digits, `.`, `_` and `-`")
    if not text.strip():
        raise CurateError("the text is empty: nothing was added")
    with lease(store, "run"):
        return _added(store, name, text, author, license)


def _added(store: Store, name: str, text: str, author: str, license: str | None) -> Added:
    while True:
        seen = store.blobs.read(_file(name)) if store.blobs.exists(_file(name)) else None
        pieces, number = entries_of(store, name)
        added = Added(f"{name}-{number}", author, datetime.now(UTC).isoformat(timespec="seconds"))
        pieces.append(_written(store, added, text, license))
        pieces = put_together(store, pieces) if len(pieces) > MOST_PIECES else pieces
        record = {
            "schema": 1, "next": number + 1, "facts": {"address": f"manual:{name}"},
            "pieces": [piece._asdict() for piece in pieces],
        }  # fmt: skip
        with friendly_os_errors(store.location):
            if store.blobs.swap(_file(name), seen, canonical_json(record)):
                return added


def _file(name: str) -> str:
    return f"manual/{name}.json"


def _written(store: Store, added: Added, text: str, license: str | None) -> Piece:
    import pyarrow as pa

    row: dict[str, Any] = {"@key": added.id, "text": text, "author": added.author, "license": license}
    fields = [(name, pa.string()) for name in row]
    row["added"] = datetime.fromisoformat(added.added)
    schema = pa.schema([*fields, ("added", pa.timestamp("ms", "UTC"))])
    name = store.write_table(pa.Table.from_pylist([row], schema=schema))
    return Piece(name, 1, store.size(name))
