"""Documents made of documents: a shard's documents leave as expanded, and a new shard holds what was made of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from curate.dataset.ledger import Shard, Step
from curate.dataset.state import SIZE, State
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.pipeline.calls import Blame, Progress, calls
from curate.pipeline.steps import Opened, count_verdicts, no_text
from curate.pipeline.task import StageSpec, engine_key, make_ids, shard_of
from curate.stages.contract import Expander, Expansion, Verdicts
from curate.stages.selectors import is_plain
from curate.stages.verdicts import verdict_schema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["NOTHING_MADE", "expand_key", "run_expand"]

NOTHING_MADE = "nothing_made"
"""Why a document is dropped of which an expander made none."""


def expand_key(identity: str, spec: StageSpec) -> str:
    """The key of the receipt of `run_expand`."""
    return engine_key("expand", identity, spec.id, spec.fingerprint)


def run_expand(
    store: Store, shard: Shard, spec: StageSpec, blame: Blame, progress: Progress, opened: Opened, key: str | None
) -> dict[str, Any]:
    """Make documents of a shard's documents.

    Returns:
        The `step` of the shard, the `child` shard (None where nothing was made), and `seconds`.
    """
    began = time.perf_counter()
    stage, state = spec.build(), State(store, shard)
    assert isinstance(stage, Expander)
    rows = state.rows()
    table = state.table(rows)
    if is_plain(stage.on) and "text" not in table.column_names:
        raise no_text(spec.id, table.column_names)
    children, failed, parents = [], [verdict_schema().empty_table()], []
    with spec.at_work():
        function = opened.get(spec, stage, table, blame, progress)
        for start, result in calls(function, stage, spec.id, table, rows, blame, progress):
            if isinstance(result, Verdicts):
                failed.append(_shifted(result.table(), rows, start))
                continue
            children.append(_children(spec.id, table.slice(start, stage.batch), result))
            parents.append(result.parent.to_numpy(zero_copy_only=False) + start)
    step = _step(store, spec.id, state, rows, failed, parents)
    child = None
    if step.made:
        part = f"{shard.part} ({spec.id})"
        child = shard_of(store, children, part=part, source=spec.id, parent=shard.object)
    objects = [*step.objects, *(child.objects if child else [])]
    made = child.to_json() if child else None
    result = {"step": step.to_json(), "child": made, "provisional": step.provisional, "objects": objects}
    if key:
        store.write_receipt(key, result, objects)
    return {**result, "seconds": time.perf_counter() - began}


def _shifted(verdicts: pa.Table, rows: np.ndarray, start: int) -> pa.Table:
    import pyarrow as pa

    return verdicts.set_column(0, "row", pa.array(rows[verdicts.column("row").to_numpy() + start]))


def _children(stage_id: str, batch: pa.Table, made: Expansion) -> pa.Table:
    """The new documents of a batch, with their ids, places and the columns of their parents."""
    import numpy as np
    import pyarrow as pa

    parent = made.parent.to_numpy(zero_copy_only=False).astype(np.int64)
    if len(parent) and (np.diff(parent) < 0).any():
        raise CurateError(f"stage `{stage_id}` gives new documents out of order", hint="`parent` has to be ascending")
    own = [name for name in ("id", "source_uri", "parent", "ordinal") if name in made.columns]
    if own:
        raise CurateError(
            f"stage `{stage_id}` gives a column named `{own[0]}`",
            hint="ids and places of new documents are made of their parents'; give the column another name",
        )
    first = np.searchsorted(parent, parent)
    ordinal = np.arange(len(parent)) - first
    carried = batch.drop_columns([name for name in ("text", SIZE, "parent", "ordinal") if name in batch.column_names])
    table = carried.take(pa.array(parent))
    ids, places = table.column("id").to_pylist(), table.column("source_uri").to_pylist()
    names = [f"{one}\n{stage_id}\n{number}" for one, number in zip(ids, ordinal.tolist(), strict=True)]
    uris = [f"{place}/{stage_id}.{number}" for place, number in zip(places, ordinal.tolist(), strict=True)]
    new = {"id": make_ids(names), "source_uri": pa.array(uris, pa.string()), **made.columns}
    new |= {"parent": pa.array(ids, pa.string()), "ordinal": pa.array(ordinal, pa.int64())}
    for name, column in new.items():
        where = table.schema.get_field_index(name)
        table = table.append_column(name, column) if where < 0 else table.set_column(where, name, column)
    return table


def _step(
    store: Store, stage_id: str, state: State, rows: np.ndarray, failed: list[pa.Table], parents: list[np.ndarray]
) -> Step:
    """Every document leaves: quarantined where the stage failed on it, dropped where nothing was made of it."""
    import numpy as np
    import pyarrow as pa

    from curate.stages.decide import verdict_table

    expanded = rows[np.unique(np.concatenate([np.zeros(0, np.int64), *parents]).astype(np.int64))]
    quarantined = pa.concat_tables(failed)
    nothing = np.setdiff1d(np.setdiff1d(rows, expanded), quarantined.column("row").to_numpy())
    tables = [
        quarantined,
        verdict_table(expanded, "expanded", stage_id),
        verdict_table(nothing, "dropped", NOTHING_MADE),
    ]
    verdicts = pa.concat_tables(tables).sort_by("row")
    held = None
    if verdicts.num_rows:
        ids = state.column("id", verdicts.column("row").to_numpy())
        held = store.write_table(verdicts.append_column("id", ids))
    return Step(
        stage=stage_id, count=state.kept, bytes=state.bytes(), verdicts=held, reasons=count_verdicts(verdicts),
        made=sum(len(one) for one in parents),
    )  # fmt: skip
