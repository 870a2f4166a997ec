"""What a run would do, and why: the receipts followed as far as they reach, and what changed since the last run."""

from __future__ import annotations

from typing import Any

from curate.dataset.ledger import Shard, Step
from curate.dataset.store import Store
from curate.pipeline.config import ConfiguredStage, Pipeline
from curate.pipeline.plan import (
    FROM_ENVIRONMENT,
    bundle,
    collect_key,
    content_hashes,
    describe,
    last_run,
    plan_parts,
    sections,
    specification,
)
from curate.pipeline.steps import cached_step
from curate.pipeline.task import engine_key
from curate.pipeline.wave import ids_key, reduce_key
from curate.stages.contract import Part

__all__ = ["explain"]


def explain(pipeline: Pipeline, store: Store | None) -> list[dict[str, Any]]:
    """For every stage: how many of its tasks are cached and how many will run, and why.

    A shard's way is followed through the receipts as far as they reach; what lies behind a task that will run is counted
    as running, though it may turn out that nothing has changed for it.
    """
    if store is None:
        return [_row(entry, 0, None, "there is no store yet") for entry in (*pipeline.sources, *pipeline.stages)]
    last = last_run(store, pipeline.settings.dataset)
    with content_hashes(store) as content_hash:
        parts = plan_parts(pipeline, content_hash)
    shards, rows = _plan_sources(pipeline, store, parts, last)
    upstream = next((row["id"] for row in rows if row["run"]), None)
    whole = upstream is None
    if whole:
        shards = _without_repeated_ids(store, shards)
    for fused, final in sections(pipeline.stages):
        for entry in fused:
            spec = specification(entry)
            found = [
                cached_step(store, engine_key("step", shard.state, spec.fingerprint), entry.id) for shard in shards
            ]
            known = [shard.after([step]) for shard, step in zip(shards, found, strict=True) if step]
            missing = len(shards) - len(known)
            row = _row(
                entry,
                len(known),
                missing if whole else None,
                _why(entry, last, missing, upstream if not whole else None),
            )
            rows.append(row)
            shards, whole = known, whole and missing == 0
            upstream = upstream or (entry.id if missing else None)
        if final is not None:
            row, shards, whole = _plan_global(store, final, shards, whole, upstream, last)
            rows.append(row)
            upstream = upstream or (None if whole else final.id)
    return rows


def _plan_sources(
    pipeline: Pipeline, store: Store, parts: list[tuple[ConfiguredStage, Part]], last: dict[str, Any]
) -> tuple[list[Shard], list[dict[str, Any]]]:
    shard_bytes = int(pipeline.settings.shard_megabytes * 1_000_000)
    shards, rows = [], []
    for entry in pipeline.sources:
        spec, cached, missing, news = specification(entry), 0, 0, []
        for owner, together in bundle(parts, shard_bytes):
            if owner is not entry:
                continue
            receipt = store.read_receipt(collect_key(entry, spec, together, shard_bytes, None))
            if receipt:
                cached += 1
                shards.extend(Shard.from_json(record) for record in receipt["shards"])
            else:
                missing += 1
                news += [part.name for part in together]
        why = _why(entry, last, missing, None)
        if missing and why.startswith("its input"):
            why = f"new or changed: {', '.join(sorted(set(news))[:3])}" + (" ..." if len(set(news)) > 3 else "")
        rows.append(_row(entry, cached, missing, why))
    return shards, rows


def _without_repeated_ids(store: Store, shards: list[Shard]) -> list[Shard]:
    live = [shard for shard in shards if shard.documents]
    receipt = store.read_receipt(ids_key(live))
    steps = receipt["steps"] if receipt else [None] * len(live)
    return [shard.after([Step.from_json(step)]) if step else shard for shard, step in zip(live, steps, strict=True)]


def _plan_global(
    store: Store, entry: ConfiguredStage, shards: list[Shard], whole: bool, upstream: str | None, last: dict[str, Any]
) -> tuple[dict[str, Any], list[Shard], bool]:
    spec = specification(entry)
    maps = [store.read_receipt(engine_key("map", shard.state, spec.fingerprint)) for shard in shards]
    known = sum(made is not None for made in maps)
    if whole and known == len(shards):
        receipt = store.read_receipt(reduce_key(shards, [made for made in maps if made], spec))
        if receipt:
            after = [shard.after([Step.from_json(step)]) for shard, step in zip(shards, receipt["steps"], strict=True)]
            return _row(entry, known + 1, 0, "nothing changed"), after, True
    missing = len(shards) - known + 1
    why = _why(entry, last, missing, None if whole else upstream)
    return _row(entry, known, missing if whole else None, why), [], False


def _row(entry: ConfiguredStage, cached: int, run: int | None, why: str) -> dict[str, Any]:
    """A row of the plan; `run` is None where the number is not known before the stages ahead have run."""
    action = "cached" if run == 0 else "will run"
    return {"id": entry.id, "stage": entry.name, "action": action, "cached": cached, "run": run, "why": why}


def _why(entry: ConfiguredStage, last: dict[str, Any], missing: int, upstream: str | None) -> str:
    if missing == 0 and upstream is None:
        return "nothing changed"
    before = last.get("stages", {}).get(entry.id)
    if before is None:
        return "new in this pipeline" if last else "never run"
    now = describe(entry)
    changes = [
        f"setting `{key}` changed{_values(before['settings'].get(key), value)}"
        for key, value in now["settings"].items()
        if before["settings"].get(key) != value
    ]
    if before["version"] != now["version"]:
        changes.append(f"the stage's code changed: version {before['version']} -> {now['version']}")
    elif before.get("source") != now["source"]:
        changes.append("the code in its file changed")
    if before["class"] != now["class"]:
        changes.append("it is another stage now")
    for kind in ("libraries", "models"):
        known = before[kind].items()
        changes.extend(
            f"{name.partition(':')[2] or name} changed"
            for name, value in now[kind].items()
            if (name, value) not in known
        )
    if changes:
        return "; ".join(changes)
    return f"depends on `{upstream}`, which runs" if upstream else "its input changed"


def _values(before: Any, now: Any) -> str:
    """The two values, unless one of them came from the environment."""
    hidden = any(str(value).startswith(FROM_ENVIRONMENT) for value in (before, now))
    return " (it comes from the environment)" if hidden else f": {before!r} -> {now!r}"
