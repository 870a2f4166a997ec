"""A snapshot and the rows that came after it: what changed takes the place of what was, what did not change changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from curate.collect.fetch.rows import KEY
from curate.stages.fetched import Desk, Piece, Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.store import Store

__all__ = ["merge"]


def merge(desk: Desk, previous: Snapshot) -> None:
    """Put the pieces that the desk has behind those of the snapshot before, by their keys.

    Memory: the keys that came, and one piece of each side.
    """
    import pyarrow as pa

    came: dict[str, Piece] = {}
    for piece in desk.pieces:
        came |= dict.fromkeys(desk.store.read_table(piece.object, [KEY]).column(KEY).to_pylist(), piece)
    keys, same = pa.array(sorted(came), pa.string()), set[str]()
    for piece in previous.pieces:
        old = desk.store.read_table(piece.object)
        unchanged = _unchanged(desk.store, old, came, keys)
        same |= unchanged
        gone = pa.array(sorted(came.keys() - unchanged), pa.string())
        kept = _without(desk.store, piece, old, gone)
        if kept.rows:
            desk.reuse(kept)
    unchanged = pa.array(sorted(same), pa.string())
    desk.pieces[:] = [
        _without(desk.store, piece, desk.store.read_table(piece.object), unchanged) for piece in desk.pieces
    ]


def _unchanged(store: Store, old: pa.Table, came: dict[str, Piece], keys: pa.Array) -> set[str]:
    """The keys of rows that came as they were."""
    import pyarrow.compute as compute

    before = {row[KEY]: row for row in old.filter(compute.is_in(old.column(KEY), keys)).to_pylist()}
    found: set[str] = set()
    for name in {came[key].object for key in before}:
        table = store.read_table(name)
        found |= {row[KEY] for row in table.to_pylist() if row[KEY] in before and _same(row, before[row[KEY]])}
    return found


def _same(row: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether two rows say the same: a NaN is one, and a column that one lacks is null."""
    return all(
        one == other or (one != one and other != other)
        for one, other in ((row.get(name), before.get(name)) for name in {*row, *before})
    )


def _without(store: Store, piece: Piece, table: pa.Table, keys: pa.Array) -> Piece:
    import pyarrow.compute as compute

    stays = compute.invert(compute.is_in(table.column(KEY), keys))
    if compute.all(stays).as_py():
        return piece
    left = table.filter(stays)
    name = store.write_table(left)
    return Piece(name, left.num_rows, store.size(name), piece.erased)
