"""Bringing one shard through stages: verdicts, features and signatures, each stored and with a receipt.

A stage's receipt is keyed by its fingerprint and the shard's state, so a changed stage reruns alone, and what follows it
only where the documents came out otherwise. What a filter measured has a receipt of its own: a changed threshold decides
again and measures nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from curate.dataset.ledger import Shard, Step, apply_step, next_state, replay
from curate.dataset.schema import plain_schema
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.pipeline.calls import Blame, Progress, calls
from curate.pipeline.task import StageSpec, engine_key, text_bytes
from curate.stages.contract import Audit, Filter, Global, Mapper, Verdicts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["cached_step", "record_step", "run_map", "run_steps"]


def run_steps(
    store: Store, shard: Shard, stages: Sequence[StageSpec], force: Sequence[str], blame: Blame, progress: Progress
) -> tuple[list[Step], dict[str, float]]:
    """Bring a shard through stages; those that have a receipt are not run again.

    Returns:
        The steps, and the seconds that each stage took now, by id (absent: cached).
    """
    table: pa.Table | None = None
    steps: list[Step] = []
    seconds: dict[str, float] = {}
    for spec in stages:
        here = shard.after(steps)
        key = engine_key("step", here.state, spec.fingerprint)
        cached = None if spec.id in force else cached_step(store, key, spec.id)
        if cached is None:
            now = replay(store, here) if table is None else table
            assert now.num_rows == here.kept, f"shard {shard.object[:12]}: {now.num_rows} documents, not {here.kept}"
            began = time.perf_counter()
            with spec.at_work():
                cached, table = _run_stage(store, spec, now, here, spec.id in force, blame, progress)
            seconds[spec.id] = time.perf_counter() - began
        else:
            table = None
        steps.append(cached)
    return steps, seconds


def cached_step(store: Store, key: str, stage_id: str) -> Step | None:
    """The step that a receipt records, under the id that the stage has today."""
    receipt = store.read_receipt(key)
    return Step.from_json({**receipt["step"], "stage": stage_id}) if receipt else None


def _run_stage(
    store: Store, spec: StageSpec, table: pa.Table, shard: Shard, force: bool, blame: Blame, progress: Progress
) -> tuple[Step, pa.Table]:
    stage = spec.build()
    if isinstance(stage, Mapper):
        verdicts, features = _map_batches(stage, spec.id, table, blame, progress)
        attached = tuple(features.column_names) if features is not None else ()
        name = store.write_table(features) if features is not None else None
    else:
        assert isinstance(stage, Filter | Audit)
        verdicts, features, name = _measured(store, stage, spec, table, shard.state, force, blame, progress)
        attached = stage.carries if isinstance(stage, Filter) else ()
    step = record_step(store, spec.id, table, shard.state, verdicts, name if table.num_rows else None, attached)
    key = engine_key("step", shard.state, spec.fingerprint)
    store.write_receipt(key, {"step": step.to_json()}, step.objects)
    return step, apply_step(table, verdicts, features, step.attached)


def record_step(
    store: Store,
    stage_id: str,
    table: pa.Table,
    state: str,
    verdicts: pa.Table,
    features: str | None,
    attached: tuple[str, ...],
) -> Step:
    """Store the verdicts, with the ids of their documents, and count them."""
    found: pa.Table | None = verdicts if verdicts.num_rows else None
    reasons: dict[str, dict[str, int]] = {}
    if found is not None:
        rows = found.column("row").to_numpy()
        assert len(set(rows.tolist())) == len(rows), f"stage `{stage_id}` gave two verdicts on one document"
        said = zip(found.column("verdict").to_pylist(), found.column("reason").to_pylist(), strict=True)
        for verdict, reason in said:
            by_reason = reasons.setdefault(verdict, {})
            by_reason[reason] = by_reason.get(reason, 0) + 1
    attached = attached if features else ()
    own = [name for name in plain_schema().names if name in attached]
    if own:
        raise CurateError(
            f"stage `{stage_id}` gives a column named `{own[0]}`",
            hint="texts are edited by verdicts, ids and sources never change; give the column another name",
        )
    return Step(
        stage=stage_id,
        count=table.num_rows,
        bytes=text_bytes(table),
        state=next_state(state, found, features, attached),
        verdicts=store.write_table(found.append_column("id", table.column("id").take(found["row"]))) if found else None,
        features=features,
        attached=attached,
        reasons=reasons,
    )


def _measured(
    store: Store,
    stage: Filter | Audit,
    spec: StageSpec,
    table: pa.Table,
    state: str,
    force: bool,
    blame: Blame,
    progress: Progress,
) -> tuple[pa.Table, pa.Table | None, str | None]:
    """Verdicts, features and the features' object; nothing is measured again for a changed threshold."""
    import pyarrow as pa

    key, has_thresholds = engine_key("measure", state, spec.measure), spec.measure != spec.fingerprint
    receipt = store.read_receipt(key) if has_thresholds and not force else None
    if receipt:
        name = receipt["features"]
        features = store.read_table(name) if name else None
        failed = store.read_table(receipt["failed"]) if receipt["failed"] else Verdicts().table()
    else:
        failed, features = _measure_batches(stage, spec.id, table, blame, progress)
        name = store.write_table(features) if features is not None else None
        if has_thresholds:
            failed_name = store.write_table(failed) if failed.num_rows else None
            objects = [stored for stored in (name, failed_name) if stored]
            store.write_receipt(key, {"features": name, "failed": failed_name}, objects)
    if features is None or isinstance(stage, Audit):
        return failed, features, name
    measured = _other_rows(table.num_rows, failed)
    decided = stage.decide(features.take(measured))
    decided = decided.set_column(0, "row", measured.take(decided.column("row")))
    return pa.concat_tables([failed, decided]).sort_by("row"), features, name


def _other_rows(count: int, verdicts: pa.Table) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    return pa.array(np.setdiff1d(np.arange(count), verdicts.column("row").to_numpy()))


def _map_batches(
    stage: Mapper, stage_id: str, table: pa.Table, blame: Blame, progress: Progress
) -> tuple[pa.Table, pa.Table | None]:
    import pyarrow as pa

    apply = stage.open() if table.num_rows else None
    tables, columns = [Verdicts().table()], []
    for start, result in calls(apply, stage, stage_id, table, blame, progress):
        if isinstance(result, Verdicts):
            tables.append(_shifted(result.table(), start))
            columns.append(None)
            continue
        verdicts, added = result
        tables.append(_shifted(verdicts, start))
        columns.append(pa.table(dict(added)) if added else None)
    return pa.concat_tables(tables), _stack(columns, table.num_rows)


def _measure_batches(
    stage: Filter | Audit | Global, stage_id: str, table: pa.Table, blame: Blame, progress: Progress
) -> tuple[pa.Table, pa.Table | None]:
    import pyarrow as pa

    measure = stage.open() if table.num_rows else None
    failed, measured = [Verdicts().table()], []
    for start, result in calls(measure, stage, stage_id, table, blame, progress):
        if isinstance(result, Verdicts):
            failed.append(_shifted(result.table(), start))
            measured.append(None)
        else:
            measured.append(result)
    return pa.concat_tables(failed), _stack(measured, table.num_rows)


def _stack(tables: Sequence[pa.Table | None], rows: int) -> pa.Table | None:
    """Tables one under another; None stands for one document without values."""
    import pyarrow as pa

    schemas = [table.schema for table in tables if table is not None]
    if not schemas:
        return None
    schema = pa.unify_schemas(schemas, promote_options="permissive")
    empty = pa.table([pa.nulls(1, column.type) for column in schema], schema=schema)
    stacked = pa.concat_tables([empty if table is None else table for table in tables], promote_options="permissive")
    assert stacked.num_rows == rows, f"{stacked.num_rows} rows of features for {rows} documents"
    return stacked.combine_chunks()


def _shifted(verdicts: pa.Table, start: int) -> pa.Table:
    import pyarrow.compute as compute

    return verdicts.set_column(0, "row", compute.add(verdicts.column("row"), start)) if start else verdicts


def run_map(
    store: Store, shard: Shard, spec: StageSpec, force: Sequence[str], blame: Blame, progress: Progress
) -> tuple[dict[str, Any], float | None]:
    """Signatures of a shard's documents for a global stage.

    Returns:
        `{"signatures": object or None, "failed": object or None}` and the seconds it took (None: cached). Signatures
        have the columns `row` and `id` and one row for every document that did not fail.
    """
    import pyarrow as pa

    key = engine_key("map", shard.state, spec.fingerprint)
    receipt = None if spec.id in force else store.read_receipt(key)
    if receipt:
        return {"signatures": receipt["signatures"], "failed": receipt["failed"]}, None
    began = time.perf_counter()
    stage, table = spec.build(), replay(store, shard)
    assert isinstance(stage, Global)
    assert table.num_rows == shard.kept, f"shard {shard.object[:12]}: {table.num_rows} documents, not {shard.kept}"
    failed, signatures = _measure_batches(stage, spec.id, table, blame, progress)
    result: dict[str, Any] = {"signatures": None, "failed": store.write_table(failed) if failed.num_rows else None}
    if signatures is not None:
        rows = _other_rows(table.num_rows, failed)
        kept = signatures.take(rows).append_column("row", rows)
        kept = kept.append_column("id", pa.chunked_array(table.column("id").take(rows)))
        result["signatures"] = store.write_table(kept)
    store.write_receipt(key, result, [name for name in result.values() if name])
    return result, time.perf_counter() - began
