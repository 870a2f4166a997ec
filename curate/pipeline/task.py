"""The units of work that a worker process does: read a part, bring a shard through stages, write a shard out.

Every task takes and gives plain JSON, reads and writes objects of the store, and is idempotent: done twice, it gives the
same objects and receipts. So any backend can run it, anywhere that sees the store, as often as it likes.

    collect   part -> shards          the documents as read, about `shard_bytes` of text each
    steps     shard + stages -> steps  one receipt a stage: a changed stage reruns alone
    map       shard + global stage -> signatures
    reduce    shards + signatures -> steps for every shard (curate.pipeline.wave)
    write     shard -> objects of the version, one for each split

A stage that raises on a batch is given its documents one by one; the one that raises is quarantined. A stage that hangs
or kills its process cannot be caught here: `progress` says before each call what is about to be done, and the backend
that finds the process dead names the rows in `careful` (one by one, please) or `poison` (leave out).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from curate.dataset.ledger import Shard, Step, apply_step, next_state, replay
from curate.dataset.schema import conform, pack_schema, plain_schema, unify
from curate.dataset.store import Store, canonical_json
from curate.stages.contract import Audit, Filter, Global, Mapper, Part, Rejected, Source, Stage, Verdicts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Blame", "StageSpec", "collect", "engine_key", "run_map", "run_steps", "text_bytes"]

ENGINE = 1
"""Raised when the engine's own results change."""

Progress = Callable[[str, int, int], None]


def engine_key(kind: str, *parts: Any) -> str:
    """The key of a task's receipt: what it does and everything that its result depends on."""
    return hashlib.sha256(canonical_json([kind, ENGINE, metadata.version("pyarrow"), *parts])).hexdigest()


@dataclass(frozen=True, slots=True)
class StageSpec:
    """A stage as sent to workers.

    Attributes:
        id: Its id in the pipeline.
        target: `module:Class`.
        settings: All its settings, as JSON.
        fingerprint: Identity of class version, settings, library versions and model files.
        measure: The same without the settings that only decide; equal to `fingerprint` for other kinds than filters.
    """

    id: str
    target: str
    settings: dict[str, Any]
    fingerprint: str
    measure: str

    def build(self) -> Stage:
        """The stage itself."""
        module, _, name = self.target.partition(":")
        return getattr(import_module(module), name).model_validate(self.settings)


@dataclass(slots=True)
class Blame:
    """What earlier attempts at a shard found out.

    Attributes:
        careful: Rows by stage id, as [start, stop) ranges, that are to be done one document at a time.
        poison: Reason by row by stage id: documents that hung or killed a worker, to be quarantined unseen.
    """

    careful: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    poison: dict[str, dict[int, str]] = field(default_factory=dict)


def text_bytes(table: pa.Table) -> int:
    """UTF-8 bytes of the texts."""
    import pyarrow.compute as compute

    return compute.sum(compute.binary_length(table.column("text"))).as_py() or 0


# ---- collect


def collect(
    store: Store, source: Source, source_id: str, part: Part, shard_bytes: int, limit: int | None, progress: Progress
) -> list[Shard]:
    """Read a part into shards; at most `limit` documents (None: all)."""
    shards: list[Shard] = []
    tables: list[pa.Table] = []
    rejects: list[Rejected] = []
    size = documents = 0

    def flush() -> None:
        nonlocal tables, rejects, size
        if tables or rejects:
            shards.append(_shard(store, source_id, part, tables, rejects))
        tables, rejects, size = [], [], 0

    progress(source_id, 0, 0)
    for item in source.read(part):
        if isinstance(item, Rejected):
            rejects.append(item)
        else:
            table = item if limit is None else item.slice(0, limit - documents)
            documents += table.num_rows
            if table.num_rows:
                tables.append(_with_ids(table))
                size += text_bytes(table)
        if size >= shard_bytes:
            flush()
        if limit is not None and documents >= limit:
            break
        progress(source_id, documents, documents)
    flush()
    return shards


def _with_ids(table: pa.Table) -> pa.Table:
    """Documents without an id get the hash of where they stand."""
    import pyarrow as pa
    import pyarrow.compute as compute
    from xxhash import xxh3_128_hexdigest

    ids = table.column("id") if "id" in table.column_names else pa.nulls(table.num_rows, pa.string())
    if ids.null_count:
        made = pa.array([xxh3_128_hexdigest(uri) for uri in table.column("source_uri").to_pylist()], pa.string())
        ids = compute.coalesce(ids.cast(pa.string()), made)
    if "id" in table.column_names:
        return table.set_column(table.schema.get_field_index("id"), "id", ids)
    return table.add_column(0, "id", ids)


def _shard(store: Store, source_id: str, part: Part, tables: list[pa.Table], rejects: list[Rejected]) -> Shard:
    import pyarrow as pa
    from xxhash import xxh3_128_hexdigest

    schema = unify([plain_schema(), *(table.schema for table in tables)])
    whole = pa.concat_tables([conform(table, schema) for table in tables]) if tables else schema.empty_table()
    rejected, counts = None, {}
    if rejects:
        uris = [f"{part.name}#{reject.offset}" for reject in rejects]
        records = [
            {"id": xxh3_128_hexdigest(uri), "source_uri": uri, "reason": reject.reason, "detail": reject.detail}
            for uri, reject in zip(uris, rejects, strict=True)
        ]
        names = ("id", "source_uri", "reason", "detail")
        rejected = store.write_table(pa.Table.from_pylist(records, schema=pa.schema([(n, pa.string()) for n in names])))
        for reject in rejects:
            counts[reject.reason] = counts.get(reject.reason, 0) + 1
    return Shard(
        part=part.name, source=source_id, object=store.write_table(whole), documents=whole.num_rows,
        bytes=text_bytes(whole), schema=pack_schema(schema), rejected=rejected, rejects=counts,
    )  # fmt: skip


# ---- per-shard stages


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
            table = replay(store, here) if table is None else table
            assert table.num_rows == here.kept, (
                f"shard {shard.object[:12]}: {table.num_rows} documents, not {here.kept}"
            )
            began = time.perf_counter()
            cached, table = _run_stage(store, spec, table, here, key, blame, progress)
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
    store: Store, spec: StageSpec, table: pa.Table, shard: Shard, key: str, blame: Blame, progress: Progress
) -> tuple[Step, pa.Table]:
    stage = spec.build()
    if isinstance(stage, Mapper):
        verdicts, features = _map_batches(stage, spec.id, table, blame, progress)
        attached = tuple(features.column_names) if features is not None else ()
        name = store.write_table(features) if features is not None else None
    else:
        assert isinstance(stage, Filter | Audit)
        verdicts, features, name = _measured(store, stage, spec, table, shard.state, blame, progress)
        attached = stage.carries if isinstance(stage, Filter) else ()
    step = record_step(store, spec.id, table, shard.state, verdicts, name if table.num_rows else None, attached)
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
        for verdict, reason in zip(
            found.column("verdict").to_pylist(), found.column("reason").to_pylist(), strict=True
        ):
            by_reason = reasons.setdefault(verdict, {})
            by_reason[reason] = by_reason.get(reason, 0) + 1
    attached = attached if features else ()
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
    store: Store, stage: Filter | Audit, spec: StageSpec, table: pa.Table, state: str, blame: Blame, progress: Progress
) -> tuple[pa.Table, pa.Table | None, str | None]:
    """Verdicts, features and the features' object; nothing is measured again for a changed threshold."""
    import pyarrow as pa

    key = engine_key("measure", state, spec.measure)
    receipt = store.read_receipt(key) if spec.measure != spec.fingerprint else None
    if receipt:
        features = store.read_table(receipt["features"]) if receipt["features"] else None
        failed = store.read_table(receipt["failed"]) if receipt["failed"] else Verdicts().table()
        name = receipt["features"]
    else:
        failed, features = _measure_batches(stage, spec.id, table, blame, progress)
        name = store.write_table(features) if features is not None else None
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


# ---- calls that may fail


def calls(
    function: Callable[[pa.Table], Any] | None,
    stage: Stage,
    stage_id: str,
    table: pa.Table,
    blame: Blame,
    progress: Progress,
) -> Any:
    """Call `function` on batches; yields (first row, result), or for a failed document (row, its `Verdicts`)."""
    if function is None:
        return
    poison = blame.poison.get(stage_id, {})
    for start in range(0, table.num_rows, stage.batch):
        stop = min(start + stage.batch, table.num_rows)
        careful = any(start < last and first < stop for first, last in blame.careful.get(stage_id, ()))
        if not careful and not any(start <= row < stop for row in poison):
            progress(stage_id, start, stop)
            try:
                yield start, function(table.slice(start, stop - start))
                continue
            except (MemoryError, KeyboardInterrupt):
                raise
            except Exception:  # noqa: BLE001, S110  a stage may raise anything; the document at fault is found below
                pass
        for row in range(start, stop):
            yield row, _call_one(function, stage_id, table, row, poison.get(row), progress)


def _call_one(
    function: Callable[[pa.Table], Any],
    stage_id: str,
    table: pa.Table,
    row: int,
    poison: str | None,
    progress: Progress,
) -> Any:
    from curate.errors import CurateError

    verdicts = Verdicts()
    if poison:
        verdicts.quarantine(0, poison)
        return verdicts
    progress(stage_id, row, row + 1)
    try:
        return function(table.slice(row, 1))
    except CurateError:
        raise
    except Exception as error:  # noqa: BLE001  the worker's edge: whatever a stage raises is this document's reason
        place = error.__traceback__
        while place and place.tb_next:
            place = place.tb_next
        line = f"{place.tb_frame.f_code.co_filename.rpartition('/')[2]}:{place.tb_lineno}" if place else "?"
        verdicts.quarantine(0, "stage_failed", detail=f"{type(error).__name__} at {line}")
        return verdicts


# ---- global stages


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
