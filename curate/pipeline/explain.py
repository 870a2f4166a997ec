"""What a run would do, and why: the walk with nobody to do anything, and what changed since the last run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from curate.config.pipeline import ConfiguredStage, Pipeline
from curate.dataset.leases import lease
from curate.dataset.ledger import Shard
from curate.dataset.store import Store, canonical_json
from curate.pipeline.fetch import known_snapshots
from curate.pipeline.fingerprint import FROM_ENVIRONMENT, Described
from curate.pipeline.jobs import Job
from curate.pipeline.measured import Measured
from curate.pipeline.plan import Inputs, bundle, plan_parts
from curate.pipeline.walk import Walk
from curate.stages.contract import Filter
from curate.stages.fetched import Fetched

__all__ = ["changed_code", "explain", "last_plan", "record_plan"]


class _NoHands:
    """Does nothing, and counts what there would be to do."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.done: Counter[str] = Counter()
        self.missing: Counter[str] = Counter()
        self.known: Counter[str] = Counter()
        self.reading: list[str] = []

    def begin(self, label: str, tasks: int) -> None:
        """A step of the walk begins."""

    def stage_done(self, entries: Sequence[ConfiguredStage], shards: Sequence[Any]) -> None:
        """All that is known is through some stages."""

    def cached(self, job: Job, result: dict[str, Any]) -> None:
        """This was done before."""
        self.done.update(job.stages)

    def do(self, jobs: Sequence[tuple[int, Job]], done: object) -> None:
        """Nothing; but look what is measured already of the shards that come."""
        for _, job in jobs:
            self.missing.update(job.stages)
            if job.describes:
                continue
            spec = job.record()
            if spec["kind"] == "collect":
                self.reading += [part["name"] for part in spec["parts"]]
            if spec["kind"] == "steps":
                measured = Measured(self.store, Shard.from_json(spec["shard"])).entries
                stages = [*spec["stages"], *([spec["map"]] if spec["map"] else [])]
                self.known.update(stage["id"] for stage in stages if stage["measure"] in measured)


def explain(pipeline: Pipeline, store: Store | None) -> list[dict[str, Any]]:
    """For every stage: how many of its tasks are cached and how many will run, and why.

    A shard's way is followed through the receipts as far as they reach; what lies behind a task that will run is counted
    as running, though it may turn out that nothing has changed for it. A filter that only decides again, since all it
    needs is measured, has the action `decide`. Nothing is written but a lease and hashes of the inputs, where that is allowed.
    """
    if store is None:
        plan_parts(pipeline, Inputs(None), known_snapshots(pipeline, None))
        return [_row(entry, 0, None, "there is no store yet") for entry in (*pipeline.sources, *pipeline.stages)]
    with lease(store, "plan"):
        return _explained(pipeline, store)


def _explained(pipeline: Pipeline, store: Store) -> list[dict[str, Any]]:
    inputs, fetched = Inputs(store), known_snapshots(pipeline, store)
    parts = plan_parts(pipeline, inputs, fetched)
    last, hands = last_plan(store, pipeline.settings.dataset), _NoHands(store)
    walk = Walk(pipeline, store, inputs, hands, force=(), accept=False)
    walk.collect(bundle(parts, inputs, int(pipeline.settings.shard_megabytes * 1_000_000)), None)
    walk.stages()
    rows, upstream, only_decides = [], None, True
    for entry in (*pipeline.sources, *pipeline.stages):
        if isinstance(entry.stage, Fetched) and entry.id not in fetched:
            rows.append(_row(entry, 0, None, "nothing is pinned: it is fetched first"))
            upstream, only_decides = upstream or entry.id, False
            continue
        cached, missing = hands.done[entry.id], hands.missing[entry.id]
        changes = _changes(entry.id, walk.described[entry.id].facts, last)
        again = walk.doubtful[entry.id]
        measured = missing and not again and hands.known[entry.id] >= missing and entry.id in last.get("stages", {})
        decides = measured and isinstance(entry.stage, Filter)
        newcomers = bool(measured and not changes and upstream and only_decides)
        runs = missing if upstream is None or (missing and not newcomers) else None
        if measured and not changes and not upstream:
            runs, cached, missing = 0, cached + missing, 0  # it shares a section with one that has changed
        why = f"only documents that `{upstream}` lets in" if newcomers else ""
        if again and not changes:
            why = f"tries documents again that the machine may have failed: {again:,}"
        why = why or _why(entry, changes, last, missing, upstream, hands.reading)
        rows.append(_row(entry, cached, runs if missing or upstream else 0, why, decides=bool(decides and missing)))
        if missing or runs is None:
            only_decides = only_decides and (newcomers or bool(decides))
            upstream = upstream or entry.id
    return rows


def _row(entry: ConfiguredStage, cached: int, run: int | None, why: str, *, decides: bool = False) -> dict[str, Any]:
    """A row of the plan; `run` is None where the number is not known before the stages ahead have run."""
    action = "cached" if run == 0 else "decide" if decides else "will run"
    return {"id": entry.id, "stage": entry.name, "action": action, "cached": cached, "run": run, "why": why}


def _why(
    entry: ConfiguredStage,
    changes: list[str],
    last: dict[str, Any],
    missing: int,
    upstream: str | None,
    reading: Sequence[str],
) -> str:
    if changes:
        return "; ".join(changes)
    if missing == 0 and upstream is None:
        return "nothing changed"
    if entry.id not in last.get("stages", {}):
        return "new in this pipeline" if last else "never run"
    if upstream:
        return f"depends on `{upstream}`, which runs"
    if entry.stage.kind == "source" and reading:
        names = sorted(set(reading))
        return f"new or changed: {', '.join(names[:3])}" + (" ..." if len(names) > 3 else "")
    return "its input changed"


def _changes(name: str, now: dict[str, Any], last: dict[str, Any]) -> list[str]:
    """What a stage depends on that was otherwise in the last run."""
    before = last.get("stages", {}).get(name)
    if before is None:
        return []
    changes = [
        f"setting `{key}` changed{_values(before['settings'].get(key), value)}"
        for key, value in now["settings"].items()
        if before["settings"].get(key) != value
    ]
    return changes + changed_code(name, now, last)


def changed_code(name: str, now: dict[str, Any], last: dict[str, Any]) -> list[str]:
    """What a stage depends on beside its settings that was otherwise in the last run."""
    before = last.get("stages", {}).get(name)
    if before is None:
        return []
    changes: list[str] = []
    if before["class"] != now["class"]:
        changes.append("it is another stage now")
    if before["version"] != now["version"]:
        changes.append(f"the stage's code changed: version {before['version']} -> {now['version']}")
    for kind in ("code", "libraries", "models", "others"):
        known = before.get(kind, {}).items()
        told = {"code": "the code in `{}` changed"}.get(kind, "{} changed")
        changes += [
            told.format(name.partition(":")[2] or name)
            for name, value in now.get(kind, {}).items()
            if (name, value) not in known
        ]
    return changes


def _values(before: Any, now: Any) -> str:
    """The two values, unless one of them came from the environment."""
    hidden = any(str(value).startswith(FROM_ENVIRONMENT) for value in (before, now))
    return " (it comes from the environment)" if hidden else f": {before!r} -> {now!r}"


def last_plan(store: Store, dataset: str) -> dict[str, Any]:
    """What the last run of a dataset's pipeline depended on ({} where there was none)."""
    return store.read_sealed(f"plans/{dataset}.json") or {}


def record_plan(store: Store, pipeline: Pipeline, described: Mapping[str, Described]) -> None:
    """Remember what this run depends on, so that the next plan can say what changed."""
    plan = json.loads(canonical_json({"stages": {name: one.facts for name, one in described.items()}}))
    if last_plan(store, pipeline.settings.dataset) != plan:
        store.write_sealed(f"plans/{pipeline.settings.dataset}.json", plan)
