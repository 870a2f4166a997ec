"""Writing what a shard has become as a fragment of the version; texts only where they changed.

A shard whose texts nobody edited is not written: the object of its documents as read serves, with a list of the rows that
stay. Where texts were edited, or over `GONE` of the rows have left, or a payload was used up, the documents that stay are
written once more, each in its row; rows that left are blank, which costs next to nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from curate.dataset.fragments import Fragment, Sidecar
from curate.dataset.ledger import Shard
from curate.dataset.state import State
from curate.dataset.store import Store
from curate.pipeline.task import engine_key

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["run_write", "write_key"]

GONE = 0.3
"""Share of rows gone from which on the rest is written again, so that readers do not pass over them for ever."""


def write_key(identity: str) -> str:
    """The key of the receipt of `run_write`."""
    return engine_key("write", identity, GONE)


def run_write(store: Store, shard: Shard, key: str | None) -> dict[str, Any]:
    """The fragment of a shard that has documents left, and `seconds`."""
    import pyarrow as pa

    began = time.perf_counter()
    state = State(store, shard)
    rows = state.rows()
    name = shard.object
    if state.edited[rows].any() or state.consumed or len(rows) < (1 - GONE) * shard.documents:
        name = store.write_table(_in_place(state, rows))
    kept = None
    if len(rows) < shard.documents:
        kept = store.write_table(pa.table({"kept": pa.array(state.alive)}))
    sidecars: dict[str, list[str]] = {}
    beside = state.beside()
    for column in state.attached:
        sidecars.setdefault(beside.get(column) or _edited(state, column, rows), []).append(column)
    fragment = Fragment(
        object=name, rows=shard.documents, kept=kept, documents=len(rows), text_bytes=state.bytes(),
        bytes=store.size(name),
        schema=store.write_table(state.schema.empty_table()),
        sidecars=tuple(Sidecar(one, tuple(columns)) for one, columns in sidecars.items()),
        splits=_splits(state, rows),
    )  # fmt: skip
    result = {"fragment": fragment.to_json(), "objects": fragment.objects}
    if key:
        store.write_receipt(key, result, fragment.objects)
    return {**result, "seconds": time.perf_counter() - began}


def _in_place(state: State, rows: np.ndarray) -> pa.Table:
    """The documents that stay, each in its row; without the columns that lie beside them."""
    import numpy as np
    import pyarrow as pa

    place = np.full(state.shard.documents, -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    take = pa.array(place, mask=place < 0)
    own = [name for name in state.schema.names if name not in state.attached]
    base = state.store.read_schema(state.shard.schema)
    table = state.table(rows, own).take(take)
    fields = [base.field(name) if name in base.names else table.schema.field(name) for name in own]
    return pa.table(table.columns, schema=pa.schema(fields))


def _edited(state: State, column: str, rows: np.ndarray) -> str:
    """An attached column whose strings were edited, as an object of its own."""
    import pyarrow as pa

    field = state.schema.field(column)
    schema = pa.schema([pa.field("row", pa.int32()), field])
    return state.store.write_table(pa.table([pa.array(rows, pa.int32()), state.column(column, rows)], schema=schema))


def _splits(state: State, rows: np.ndarray) -> dict[str, dict[str, int]]:
    import numpy as np

    sizes = state.sizes[rows]
    if "split" not in state.attached:
        return {"train": {"documents": len(rows), "text_bytes": int(sizes.sum())}}
    names = np.array(state.column("split", rows).to_pylist())
    found = {}
    for name in np.unique(names).tolist():
        mine = names == name
        found[name] = {"documents": int(mine.sum()), "text_bytes": int(sizes[mine].sum())}
    return found
