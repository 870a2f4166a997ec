"""The driver of a run: plans the tasks, hands them to a backend, accounts for every document, commits the version.

    parts -> collect -> check_ids -> { per-shard stages fused, then a global stage }* -> write -> manifest -> ref

The driver holds no documents. Only it writes refs, last of all; whatever kills it before leaves the old version the head,
and every finished task in the store.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from curate.dataset.ledger import Shard, Step, state_schema
from curate.dataset.refs import commit
from curate.dataset.schema import pack_schema, plain_schema, unify
from curate.dataset.store import Store
from curate.errors import CurateError, GateError
from curate.pipeline.backends.local import LocalBackend, Task
from curate.pipeline.config import ConfiguredStage, Pipeline, load_pipeline
from curate.pipeline.manifest import Conservation, make_manifest, stage_rows
from curate.pipeline.plan import bundle, collect_key, content_hashes, plan_parts, record_run, sections, specification
from curate.pipeline.progress import Progress, Quiet
from curate.pipeline.steps import cached_step
from curate.pipeline.task import StageSpec, engine_key
from curate.pipeline.validation import mask
from curate.stages.contract import Part

__all__ = ["RunResult", "run", "run_pipeline"]

COLLECT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run made. The fields are those of `curate run --json`.

    Attributes:
        dataset: Name of the dataset.
        version: Id of the version: equal input, configuration and code give an equal id.
        tag: The version's tag.
        documents: `in`, `kept`, `dropped`, `quarantined`.
        stages: One record a stage, sources first.
        tasks: How many tasks were `run` and how many `cached`.
        seconds: Wall time.
    """

    dataset: str
    version: str
    tag: str
    documents: dict[str, int]
    stages: list[dict[str, Any]]
    tasks: dict[str, int]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {"schema": 1, **asdict(self)}


def run(
    pipeline: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    store: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    sample: int | None = None,
    force: Sequence[str] = (),
) -> RunResult:
    """Run a pipeline file and commit the version that comes out.

    Args:
        pipeline: The YAML file.
        overrides: `ID.key=value` settings, as with `--set`.
        store: The store's folder; by default `CURATE_STORE`, then `.curate` beside the file.
        workers: Worker processes; by default one for each CPU.
        sample: Read only the first so many documents.
        force: Ids of stages to run again though nothing changed.

    Raises:
        CurateError: The configuration, the input or the store is wrong, or a gate failed.
    """
    loaded = load_pipeline(Path(pipeline), overrides)
    root = default_store(loaded, Path(store) if store is not None else None)
    return run_pipeline(loaded, root, workers=workers, sample=sample, force=force, progress=Quiet())


def default_store(pipeline: Pipeline, store: Path | None) -> Path:
    """The store that a run uses: the option, then `CURATE_STORE`, then `.curate` beside the pipeline file."""
    named = os.environ.get("CURATE_STORE")
    return store or (Path(named) if named else pipeline.root / ".curate")


def run_pipeline(
    pipeline: Pipeline,
    root: Path,
    *,
    workers: int | None,
    sample: int | None,
    force: Sequence[str],
    progress: Progress,
) -> RunResult:
    """Run a checked pipeline on the store at `root`."""
    known = {entry.id for entry in (*pipeline.sources, *pipeline.stages)}
    for name in force:
        if name not in known:
            raise CurateError(f"no stage has the id `{name}`", "--force", f"ids: {', '.join(sorted(known))}")
    if sample is not None:
        pipeline = replace(
            pipeline, settings=pipeline.settings.model_copy(update={"dataset": f"{pipeline.settings.dataset}-sample"})
        )
    store = Store.open(root, create=True)
    with store.lock("shared"):
        store.sweep()
        count = workers or len(os.sched_getaffinity(0))
        with progress, LocalBackend(store.root, pipeline.root, count, progress.note) as backend:
            try:
                return _Run(pipeline, store, backend, progress, list(force)).result(sample)
            except CurateError as error:
                for entry in (*pipeline.sources, *pipeline.stages):
                    error.problem, error.hint = (
                        mask(error.problem, entry.written),
                        mask(error.hint or "", entry.written),
                    )
                raise


@dataclass
class _Run:
    """One run: what it works with, and what it has counted so far."""

    pipeline: Pipeline
    store: Store
    backend: LocalBackend
    progress: Progress
    force: list[str]
    tasks_run: int = 0
    tasks_cached: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def result(self, sample: int | None) -> RunResult:
        began = time.monotonic()
        with content_hashes(self.store) as content_hash:
            parts = plan_parts(self.pipeline, content_hash)
        shards = self._collect(bundle(parts, self._shard_bytes), sample)
        shards = self._check_ids(shards)
        for fused, final in sections(self.pipeline.stages):
            shards = self._section(shards, fused, final)
        files, schema = self._write(shards)
        rows = stage_rows(self.pipeline, shards, self.artifacts)
        Conservation(shards, files, rows).check()
        manifest = make_manifest(self.pipeline, parts, shards, files, rows, schema, sample)
        version = self.store.write_manifest(manifest)
        tag = commit(self.store, self.pipeline.settings.dataset, version)
        record_run(self.store, self.pipeline)
        stages = [
            {key: row[key] for key in ("id", "stage", "in", "kept", "dropped", "edited", "quarantined", "bytes")}
            | {"seconds": round(self.seconds.get(row["id"], 0.0), 3)}
            for row in rows
        ]
        done = RunResult(
            self.pipeline.settings.dataset, version, tag, manifest["documents"], stages,
            {"run": self.tasks_run, "cached": self.tasks_cached}, round(time.monotonic() - began, 3),
        )  # fmt: skip
        self._gate(done)
        return done

    def _count(self, stage: str, seconds: float | None) -> None:
        if seconds is None:
            self.tasks_cached += 1
        else:
            self.tasks_run += 1
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def _gate(self, done: RunResult) -> None:
        limit, found = self.pipeline.settings.max_quarantined, done.documents["quarantined"]
        if limit is None:
            return
        allowed = limit * done.documents["in"] if isinstance(limit, float) else limit
        if found > allowed:
            raise GateError(
                f"{found} of {done.documents['in']} documents are quarantined, more than `max_quarantined: {limit}` allows",
                str(self.pipeline.path),
                f"version {done.version[:12]} is complete without them; `curate report` shows why they are",
                result=done.to_json(),
            )

    # ---- collect

    @property
    def _shard_bytes(self) -> int:
        return int(self.pipeline.settings.shard_megabytes * 1_000_000)

    def _collect(self, bundles: Sequence[tuple[ConfiguredStage, tuple[Part, ...]]], sample: int | None) -> list[Shard]:
        specs = {entry.id: specification(entry) for entry in self.pipeline.sources}
        self.progress.begin("read", len(bundles))
        if sample is not None:
            return self._collect_sample(bundles, specs, sample)
        found: dict[int, list[Shard]] = {}
        tasks = []
        for number, (entry, parts) in enumerate(bundles):
            task = self._collect_task(number, entry, specs[entry.id], parts, None)
            receipt = None if entry.id in self.force else self.store.read_receipt(task.spec["key"])
            if receipt:
                found[number] = [Shard.from_json(record) for record in receipt["shards"]]
                self._count(entry.id, None)
            else:
                tasks.append(task)
        for task, result in self.backend.run(tasks):
            shards = [Shard.from_json(record) for record in result["shards"]]
            found[task.spec["number"]] = shards
            self._count(task.spec["stage"]["id"], result["seconds"])
            self.progress.advance(sum(shard.documents for shard in shards))
        return [shard for number in range(len(bundles)) for shard in found[number]]

    def _collect_sample(
        self, bundles: Sequence[tuple[ConfiguredStage, tuple[Part, ...]]], specs: dict[str, StageSpec], sample: int
    ) -> list[Shard]:
        """The first documents, in the order of the sources: one bundle after the other, until there are enough."""
        shards: list[Shard] = []
        for number, (entry, parts) in enumerate(bundles):
            left = sample - sum(shard.documents for shard in shards)
            if left <= 0:
                break
            task = self._collect_task(number, entry, specs[entry.id], parts, left)
            receipt = None if entry.id in self.force else self.store.read_receipt(task.spec["key"])
            result = receipt or next(iter(self.backend.run([task])))[1]
            self._count(entry.id, None if receipt else result["seconds"])
            shards.extend(Shard.from_json(record) for record in result["shards"])
            self.progress.advance(sum(shard.documents for shard in shards))
        return shards

    def _collect_task(
        self, number: int, entry: ConfiguredStage, spec: StageSpec, parts: Sequence[Part], limit: int | None
    ) -> Task:
        size = self._shard_bytes
        record = {
            "kind": "collect", "number": number, "stage": asdict(spec), "parts": [asdict(part) for part in parts],
            "shard_bytes": size, "limit": limit, "key": collect_key(entry, spec, parts, size, limit),
        }  # fmt: skip
        return Task(record, f"reading `{parts[0].name}`", COLLECT_SECONDS)

    def _check_ids(self, shards: list[Shard]) -> list[Shard]:
        live = [shard for shard in shards if shard.documents]
        if not live:
            return shards
        result, seconds = self._one({"kind": "ids", "shards": [shard.to_json() for shard in live]}, "checking ids")
        self._count("ids", seconds)
        steps = iter(result["steps"])
        checked = [next(steps) if shard.documents else None for shard in shards]
        checked = [
            shard.after([Step.from_json(step)]) if step else shard for shard, step in zip(shards, checked, strict=True)
        ]
        for row in stage_rows(replace(self.pipeline, stages=()), checked, {}):
            self._announce(row, _line(row))
        return checked

    def _one(self, spec: dict[str, Any], label: str) -> Any:
        return next(iter(self.backend.run([Task(spec, label)])))[1]

    # ---- stages

    def _section(
        self, shards: list[Shard], fused: Sequence[ConfiguredStage], final: ConfiguredStage | None
    ) -> list[Shard]:
        specs = [specification(entry) for entry in fused]
        last = specification(final) if final else None
        self.progress.begin(" > ".join([entry.id for entry in (*fused, *([final] if final else []))]), len(shards))
        after: list[Shard] = list(shards)
        maps: list[dict[str, Any] | None] = [None] * len(shards)
        tasks = []
        for number, shard in enumerate(shards):
            if not shard.documents:
                continue
            after[number], maps[number], complete = self._cached(shard, specs, last)
            if complete:
                for spec in (*specs, *([last] if last else [])):
                    self._count(spec.id, None)
                self.progress.advance(shard.kept)
            else:
                tasks.append(self._steps_task(number, shard, specs, last))
        for task, result in self.backend.run(tasks):
            number = task.spec["number"]
            after[number] = shards[number].after([Step.from_json(step) for step in result["steps"]])
            maps[number] = result["map"]
            for spec in (*specs, *([last] if last else [])):
                self._count(spec.id, result["seconds"].get(spec.id))
            self.progress.advance(shards[number].kept)
        if last:
            after = self._reduce(after, maps, last)
        self._tell(after, [*fused, *([final] if final else [])])
        return after

    def _cached(
        self, shard: Shard, specs: Sequence[StageSpec], last: StageSpec | None
    ) -> tuple[Shard, dict[str, Any] | None, bool]:
        """Follow the receipts; says whether they reach to the end of the section."""
        for spec in specs:
            step = cached_step(self.store, engine_key("step", shard.state, spec.fingerprint), spec.id)
            if step is None or spec.id in self.force:
                return shard, None, False
            shard = shard.after([step])
        if last is None:
            return shard, None, True
        receipt = self.store.read_receipt(engine_key("map", shard.state, last.fingerprint))
        if receipt is None or last.id in self.force:
            return shard, None, False
        return shard, {"signatures": receipt["signatures"], "failed": receipt["failed"]}, True

    def _steps_task(self, number: int, shard: Shard, specs: Sequence[StageSpec], last: StageSpec | None) -> Task:
        record = {
            "kind": "steps", "number": number, "shard": shard.to_json(), "stages": [asdict(spec) for spec in specs],
            "map": asdict(last) if last else None, "force": self.force, "blame": {"careful": {}, "poison": {}},
        }  # fmt: skip
        return Task(record, f"a shard of `{shard.part}`", self.pipeline.settings.time_limit)

    def _reduce(self, shards: list[Shard], maps: list[dict[str, Any] | None], last: StageSpec) -> list[Shard]:
        live = [(number, made) for number, made in enumerate(maps) if made is not None]
        if not live:
            return shards
        spec = {
            "kind": "reduce", "shards": [shards[number].to_json() for number, _ in live], "maps": [made for _, made in live],
            "stage": asdict(last), "force": self.force,
        }  # fmt: skip
        self.progress.begin(last.id, 1)
        result, seconds = self._one(spec, f"stage `{last.id}` over all documents")
        self._count(last.id, seconds)
        self.artifacts[last.id] = result["artifacts"]
        after = list(shards)
        for (number, _), step in zip(live, result["steps"], strict=True):
            after[number] = shards[number].after([Step.from_json(step)])
        return after

    def _tell(self, shards: list[Shard], stages: Sequence[ConfiguredStage]) -> None:
        for row in stage_rows(replace(self.pipeline, sources=(), stages=tuple(stages)), shards, {}):
            self._announce(row, _line(row) + f" ({self.seconds.get(row['id'], 0.0):.1f} s)")

    def _announce(self, row: dict[str, Any], line: str) -> None:
        self.progress.stage_done(line)
        reasons = row["reasons"].get("quarantined", {})
        if reasons:
            told = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(reasons.items()))
            share = "all" if row["quarantined"] == row["in"] else f"{row['quarantined']:,} of"
            self.progress.note(
                f"`{row['id']}` quarantined {share} {row['in']:,} documents ({told}); listed by "
                f"`curate data show {self.pipeline.settings.dataset} --quarantined`"
            )

    # ---- write

    def _write(self, shards: list[Shard]) -> tuple[list[dict[str, Any]], str]:
        live = [shard for shard in shards if shard.kept]
        states = [state_schema(self.store, shard) for shard in live or shards]
        schema = pack_schema(unify([plain_schema(), *states]))
        attached = {name for shard in live for step in shard.steps for name in step.attached}
        if "split" not in attached and any("split" in state.names for state in states):
            self.progress.note(
                "the data has a column `split`, but all documents are in the split `train`: the stage "
                "`{stage: split, column: split}` takes it over"
            )
        self.progress.begin("write", len(live))
        common = {"kind": "write", "schema": schema, "by_split": "split" in attached}
        tasks = [
            Task({**common, "number": number, "shard": shard.to_json()}, f"writing a shard of `{shard.part}`")
            for number, shard in enumerate(live)
        ]
        files: dict[int, list[dict[str, Any]]] = {}
        for task, (result, seconds) in self.backend.run(tasks):
            files[task.spec["number"]] = result["files"]
            self._count("write", seconds)
            self.progress.advance(sum(file["documents"] for file in result["files"]))
        return [file for number in range(len(live)) for file in files[number]], schema


def _line(row: dict[str, Any]) -> str:
    parts = [f"{row['in']:,} in", f"{row['kept']:,} kept"]
    parts += [f"{row[verdict]:,} {verdict}" for verdict in ("dropped", "edited", "quarantined") if row[verdict]]
    return f"{row['id']}: {', '.join(parts)}"
