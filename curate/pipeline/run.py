"""The driver of a run: walks the documents through the pipeline, accounts for every one of them, commits the version.

The driver holds no documents. Only it writes refs, last of all; whatever kills it before leaves the old version the head,
and every finished task in the store.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from curate.config.pipeline import ConfiguredStage, Pipeline, load_pipeline
from curate.config.resources import most_of
from curate.config.validation import mask
from curate.dataset import refs
from curate.dataset.erased import erasures
from curate.dataset.leases import lease
from curate.dataset.manifest import check_values, make_manifest, version_schema
from curate.dataset.reader import Dataset
from curate.dataset.runs import State, Thing, now, record, run_id, state_after
from curate.dataset.store import Store, canonical_json
from curate.errors import ConfigurationErrors, CurateError, GateError
from curate.pipeline.backends.contract import Backend, carry_out
from curate.pipeline.backends.named import Placement, open_backend
from curate.pipeline.explain import record_plan
from curate.pipeline.fetch import fetch
from curate.pipeline.gates import failed_gate
from curate.pipeline.jobs import Job
from curate.pipeline.manifest import Conservation, as_written, pipeline_lineage, stage_rows
from curate.pipeline.plan import Inputs, bundle, plan_parts
from curate.pipeline.preview import check_columns
from curate.pipeline.progress import Progress, Quiet
from curate.pipeline.remarks import remarks
from curate.pipeline.walk import Walk
from curate.pipeline.weights import check_weights
from curate.stages.fetched import Snapshot

__all__ = ["RunResult", "default_store", "run", "run_pipeline"]

MADE_ID = re.compile(r"[0-9a-f]{32}")
HERE = Placement()
SHOWN = ("id", "stage", "in", "kept", "dropped", "edited", "quarantined", "bytes")


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run made. The fields are those of `curate run --json`.

    Attributes:
        dataset: Name of the dataset.
        version: Id of the version: equal input, configuration and code give an equal id.
        tag: The version's number; empty where it failed a gate.
        documents: `in`, `kept`, `dropped`, `quarantined`; and `made`, `expanded` where documents were made of others.
        stages: One record a stage, sources first.
        tasks: How many tasks were `run` and how many `cached`.
        seconds: Wall time.
        store: Where the version is.
    """

    dataset: str
    version: str
    tag: str
    documents: dict[str, int]
    stages: list[dict[str, Any]]
    tasks: dict[str, int]
    seconds: float
    store: str

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return {"schema": 1, **asdict(self)}


def run(
    pipeline: str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    store: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    backend: str = "local",
    address: str | None = None,
    sbatch: Sequence[str] = (),
    sample: int | None = None,
    force: Sequence[str] = (),
    accept_quarantined: bool = False,
    offline: bool = False,
) -> RunResult:
    """Run a pipeline file and commit the version that comes out.

    Args:
        pipeline: The YAML file.
        overrides: `ID.key=value` settings, as with `--set`.
        store: The store's folder or URL; by default `CURATE_STORE`, then `.curate` beside the file.
        workers: Most tasks at once; by default as many as the machine or the Ray cluster has CPUs, and 100 on Slurm.
        backend: Where tasks run: `local`, `ray` or `slurm`.
        address: Of a Ray cluster.
        sbatch: Options for Slurm's `sbatch`.
        sample: Read only the first so many documents of each source.
        force: Ids of stages to run again though nothing changed.
        accept_quarantined: Leave documents that passed the time limit or cost a worker in quarantine; by default they are
            tried again.
        offline: Refuse to fetch what no lock file pins.

    Raises:
        CurateError: The configuration, the input or the store is wrong, or a gate failed.
    """
    loaded = load_pipeline(Path(pipeline), overrides)
    place = default_store(loaded, None if store is None else os.fspath(store))
    return run_pipeline(
        loaded, place, placement=Placement(backend, workers, address, tuple(sbatch)), sample=sample, force=force,
        accept=accept_quarantined, offline=offline, progress=Quiet(),
    )  # fmt: skip


def default_store(pipeline: Pipeline, store: str | Path | None) -> str:
    """The store that a run uses: the option, then `CURATE_STORE`, then `.curate` beside the pipeline file."""
    named = store if store is not None else os.environ.get("CURATE_STORE")
    return str(named or pipeline.root / ".curate")


def run_pipeline(
    pipeline: Pipeline,
    place: str,
    *,
    progress: Progress,
    placement: Placement = HERE,
    sample: int | None = None,
    force: Sequence[str] = (),
    accept: bool = False,
    offline: bool = False,
) -> RunResult:
    """Run a checked pipeline on the store at a place."""
    known = {entry.id for entry in (*pipeline.sources, *pipeline.stages)}
    for name in force:
        if name not in known:
            raise CurateError(f"no stage has the id `{name}`", "--force", f"ids: {', '.join(sorted(known))}")
    if sample is not None:
        name = f"{pipeline.settings.dataset}-sample"
        pipeline = replace(pipeline, settings=pipeline.settings.model_copy(update={"dataset": name}))
    store = Store.open(place, create=True)
    with lease(store, "run"), _masked(pipeline):
        store.blobs.sweep()
        fetched = fetch(pipeline, store, offline=offline, say=progress.note)
        with progress, open_backend(placement, str(place), pipeline.root, progress.note) as backend:
            run = _Run(pipeline, store, backend, progress, list(force), accept, fetched)
            with run.recorded():
                return run.result(sample)


@contextmanager
def _masked(pipeline: Pipeline) -> Iterator[None]:
    """Errors name variables of the environment, never their values."""
    try:
        yield
    except CurateError as error:
        for entry in (*pipeline.sources, *pipeline.stages):
            error.problem = mask(error.problem, entry.written)
            error.hint = mask(error.hint or "", entry.written)
        raise


@dataclass
class _Run:
    """One run: what it works with, and what it has counted so far. It is the hands of its walk."""

    pipeline: Pipeline
    store: Store
    backend: Backend
    progress: Progress
    force: list[str]
    accept: bool
    fetched: Mapping[str, Snapshot]
    began: str = field(default_factory=now)
    identity: str | None = None
    """Of its record in the store, once there is one."""
    tasks_run: int = 0
    tasks_cached: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    measured: Counter[str] = field(default_factory=Counter)
    """How many documents each stage measured, where that is known."""
    own: dict[str, float] = field(default_factory=dict)
    """Seconds that each stage itself worked at them."""

    def result(self, sample: int | None) -> RunResult:
        clock = time.monotonic()
        if any(one["state"] != "done" for one in erasures(self.store)):
            self.progress.note(
                "an erasure was interrupted: what it is to remove may be in this version; the same `curate data erase` goes on"
            )
        inputs = Inputs(self.store)
        walk = Walk(self.pipeline, self.store, inputs, self, force=self.force, accept=self.accept)
        parts = plan_parts(self.pipeline, inputs, self.fetched)
        shard_bytes = int(self.pipeline.settings.shard_megabytes * 1_000_000)
        walk.collect(bundle(parts, inputs, shard_bytes), sample)
        self._check_columns(walk, sampled=sample is not None)
        walk.stages()
        walk.write()
        assert walk.known
        rows = stage_rows(self.pipeline, walk.shards, walk.artifacts)
        Conservation(walk.shards, walk.fragments, rows).check()
        schema = version_schema(self.store, walk.fragments or walk.shards)
        check_values(self.store, walk.fragments, schema)
        self._split_column(schema.names, walk)
        manifest = make_manifest(
            self.store, dataset=self.pipeline.settings.dataset, schema=schema, fragments=walk.fragments,
            shards=walk.shards, stages=rows, indexes=walk.indexes,
            lineage=pipeline_lineage(self.store, self.pipeline, parts, inputs, sample),
        )  # fmt: skip
        version = self.store.write_manifest(manifest)
        failed = failed_gate(self.pipeline.settings, self.store, version)
        is_new = version != refs.head(self.store, self.pipeline.settings.dataset)
        tag = "" if failed else refs.commit(self.store, self.pipeline.settings.dataset, version)
        record_plan(self.store, self.pipeline, walk.described)
        for remark in remarks(Dataset(self.store, refs.Reference(self.pipeline.settings.dataset, version, None))):
            self.progress.note(remark)
        self._note_provisional(manifest["provisional"])
        done = self._told(version, tag, manifest, rows, round(time.monotonic() - clock, 3))
        if self.identity or is_new:
            given: Thing = {"kind": "inputs", "id": manifest["lineage"]["inputs"], "name": "documents"}
            made: Thing = {"kind": "version", "id": version, "name": f"{done.dataset}@{tag or version[:12]}"}
            facts = {"documents": done.documents, "tasks": done.tasks, "seconds": done.seconds, "costs": self._costs()}
            self._record("failed" if failed else "done", inputs=[given], outputs=[made], facts=facts)
        if failed:
            refs.refuse(self.store, done.dataset, version, failed[0])
            raise GateError(failed[0], str(self.pipeline.path), failed[1], result=done.to_json())
        return done

    def _told(
        self, version: str, tag: str, manifest: dict[str, Any], rows: list[dict[str, Any]], seconds: float
    ) -> RunResult:
        stages = []
        for row in rows:
            more = {key: row[key] for key in ("made", "expanded", "passed") if row[key]}
            told = {key: row[key] for key in SHOWN} | more
            stages.append(told | {"seconds": round(self.seconds.get(row["id"], 0.0), 3)})
        tasks = {"run": self.tasks_run, "cached": self.tasks_cached}
        name, place = self.pipeline.settings.dataset, self.store.location
        return RunResult(name, version, tag, manifest["documents"], stages, tasks, seconds, place)

    def _costs(self) -> dict[str, dict[str, float]]:
        """What each stage measured and how long it worked at that: for `plan --reorder`."""
        return {name: {"documents": self.measured[name], "own_seconds": spent} for name, spent in self.own.items()}

    # ---- its record

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """The block ends, whatever happens in it, in the record of a run that did anything; killed, it stays `running`."""
        try:
            yield
        except BaseException as error:
            if self.identity and not isinstance(error, GateError):
                self._record(state_after(error), facts={"costs": self._costs()})
            raise

    def _record(
        self,
        state: State,
        *,
        inputs: Sequence[Thing] = (),
        outputs: Sequence[Thing] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.identity = self.identity or run_id()
        written = hashlib.sha256(canonical_json(as_written(self.pipeline))).hexdigest()
        pipeline: Thing = {"kind": "pipeline", "id": written, "name": self.pipeline.path.name}
        record(
            self.store, "run", self.identity, name=self.pipeline.settings.dataset, state=state, began=self.began,
            inputs=[pipeline, *inputs], outputs=list(outputs), facts=dict(facts or {}),
        )  # fmt: skip

    # ---- notes

    def _note_provisional(self, count: int) -> None:
        if count:
            self.progress.note(
                f"{count} documents are quarantined because of the time limit, a lost worker or a failure of the system: the "
                "next run tries them again; `--accept-quarantined` leaves them where they are"
            )

    def _split_column(self, columns: Sequence[str], walk: Walk) -> None:
        attached = {name for shard in walk.shards for step in shard.steps for name in step.attached}
        if "split" in columns and "split" not in attached:
            self.progress.note(
                "the data has a column `split`, but all documents are in the split `train`: the stage "
                "`{stage: split, column: split}` takes it over"
            )

    def _check_columns(self, walk: Walk, *, sampled: bool) -> None:
        """Stages find the columns that they are given; one that protects people says which strings it does not look at."""
        names = dict.fromkeys(shard.schema for shard in walk.shards if shard.documents)
        if names:
            schemas = [self.store.read_schema(name).remove_metadata() for name in names]
            errors, notes, _ = check_columns(self.pipeline.stages, schemas, own_ids=self._own_ids(walk))
            if errors:
                raise ConfigurationErrors(errors)
            for note in notes:
                self.progress.note(note)
            if not sampled:  # the first documents need not have every cell; which are empty is told after the mixing
                check_weights(self.pipeline.stages, self.store, walk.shards)

    def _own_ids(self, walk: Walk) -> bool:
        """Whether ids come from the data, by the first documents of some shards: made ones are 32 hexadecimal digits."""
        for shard in [one for one in walk.shards if one.documents][:16]:
            with self.store.parquet(shard.object) as file:
                ids = (
                    next(file.iter_batches(16, columns=["id"])).column(0).drop_null()
                )  # those that were erased have none
            if len(ids) and not MADE_ID.fullmatch(ids[0].as_py()):
                return True
        return False

    # ---- the hands of the walk

    def begin(self, label: str, tasks: int) -> None:
        """A step of the walk begins."""
        self.progress.begin(label, tasks)

    def cached(self, job: Job, result: dict[str, Any]) -> None:
        """This was done before."""
        self.tasks_cached += len(job.stages)
        self.progress.advance(job.documents)

    def do(self, jobs: Sequence[tuple[int, Job]], done: Callable[[int, dict[str, Any]], None]) -> None:
        """Have the backend do these."""
        if jobs and not self.identity:
            self._record("running")
        by_number = dict(jobs)
        needs = {entry.id: entry.resources for entry in (*self.pipeline.sources, *self.pipeline.stages)}
        tasks = (
            replace(job.task(number), resources=most_of(needs.get(stage) for stage in job.stages))
            for number, job in jobs
        )
        for task, result in carry_out(self.backend, tasks, self.progress.note):
            job = by_number[task.number]
            self._count(job, result.pop("seconds"))
            self.measured.update(result.pop("measured", {}))
            for stage, spent in result.pop("own", {}).items():
                self.own[stage] = self.own.get(stage, 0.0) + spent
            done(task.number, result)
            self.progress.advance(job.documents or sum(one["documents"] for one in result.get("shards", ())))

    def _count(self, job: Job, seconds: float | dict[str, float]) -> None:
        """A stage of a section all of whose measurements were known did nothing; deciding again costs nothing."""
        spent = seconds if isinstance(seconds, dict) else dict.fromkeys(job.stages, seconds)
        self.tasks_run += len(spent)
        self.tasks_cached += len(job.stages) - len(spent)
        for stage, time_spent in spent.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time_spent

    def stage_done(self, entries: Sequence[ConfiguredStage], shards: Sequence[Any]) -> None:
        """All shards are through some stages: say what they did."""
        chosen = {entry.id for entry in entries}
        sources = tuple(entry for entry in self.pipeline.sources if entry.id in chosen)
        stages = tuple(entry for entry in self.pipeline.stages if entry.id in chosen)
        for row in stage_rows(replace(self.pipeline, sources=sources, stages=stages), shards, {}):
            self.progress.stage_done(f"{_line(row)} ({self.seconds.get(row['id'], 0.0):.1f} s)")
            by_id = {entry.id: entry.stage for entry in stages}
            if row["edited"] and row["id"] in by_id and (lost := by_id[row["id"]].lost(row["id"])):
                self.progress.note(lost)
            reasons = row["reasons"].get("quarantined", {})
            if reasons:
                told = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(reasons.items()))
                share = "all" if row["quarantined"] == row["in"] else f"{row['quarantined']:,} of"
                self.progress.note(
                    f"`{row['id']}` quarantined {share} {row['in']:,} documents ({told}); listed by "
                    f"`curate data show {self.pipeline.settings.dataset} --quarantined`"
                )


def _line(row: dict[str, Any]) -> str:
    parts = [f"{row['in']:,} in", f"{row['kept']:,} kept"]
    parts += [f"{row[name]:,} {name}" for name in ("made", "dropped", "edited", "quarantined", "expanded") if row[name]]
    passed = [f"{count:,} {kind}" for kind, count in sorted(row["passed"].items())]
    return f"{row['id']}: {', '.join(parts)}" + (f"; no documents: {', '.join(passed)}" if passed else "")
