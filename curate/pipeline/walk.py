"""The way of all documents through a pipeline, as tasks whose receipts may be there already: what `run` does and `plan` tells.

    parts -> collect -> ids -> { stages shard by shard, then one over all documents or one that makes documents }* -> write

There is one walk. Who does the tasks whose receipts are missing is the walk's `hands`: the driver of a run hands them to a
backend; a plan does none, and counts. Behind a task that nobody did nothing is known, so there the walk goes on with the
other shards, or says no more. The driver holds no documents: a few hundred bytes for each shard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from curate.config.pipeline import ConfiguredStage, Pipeline
from curate.dataset.erased import Erased, dataset_of
from curate.dataset.fragments import Fragment
from curate.dataset.ledger import Shard, Step
from curate.dataset.state import State
from curate.dataset.store import Store
from curate.pipeline.agree import agree_key, targets
from curate.pipeline.expand import expand_key
from curate.pipeline.fingerprint import describe
from curate.pipeline.fragment import write_key
from curate.pipeline.ids import DocumentIds
from curate.pipeline.jobs import SMALL, Hands, Job, Unknown, doubts, group_key, share_receipts
from curate.pipeline.plan import Bundle, Inputs, collect_key, sections
from curate.pipeline.steps import section_key
from curate.pipeline.task import StageSpec, engine_key
from curate.pipeline.work import GlobalWork
from curate.stages.contract import Decision, Global

__all__ = ["Live", "Walk"]

COLLECT_SECONDS = 600.0
IDS = "ids"


@dataclass(slots=True)
class Live:
    """A shard on its way.

    Attributes:
        number: Its place in the ledger.
        shard: The shard with the steps that are done.
        identity: What its documents are now; None where that depends on a task that nobody did.
        bytes: UTF-8 bytes of their texts.
    """

    number: int
    shard: Shard
    identity: str | None
    bytes: int

    @property
    def goes_on(self) -> bool:
        """Whether it has documents, and it is known which."""
        return self.identity is not None and self.shard.kept > 0


class Walk:
    """One walk over a pipeline's documents.

    Attributes:
        described: What each source and stage depends on, by id; of one moment, before anything is done.
        shards: The ledger so far, in its order.
        artifacts: Objects worth keeping, by stage and name.
        indexes: The index of ids and places: the objects of its buckets, for each span of groups.
        fragments: What was written.
        doubtful: Documents by stage that are tried again, though there is a verdict: it may be the machine's fault.
    """

    def __init__(
        self, pipeline: Pipeline, store: Store, inputs: Inputs, hands: Hands, *, force: Sequence[str], accept: bool
    ) -> None:
        self.pipeline, self.store, self.inputs, self.hands = pipeline, store, inputs, hands
        self.force, self.accept = list(force), accept
        self.described = {entry.id: describe(entry) for entry in (*pipeline.sources, *pipeline.stages)}
        for one in self.described.values():
            one.spec.check_files()  # what the driver has loaded is what was hashed
        self.live: list[Live] = []
        self.artifacts: dict[str, dict[str, list[tuple[str, int]]]] = {}
        self.indexes: list[list[str]] = []
        self.fragments: list[Fragment] = []
        self.doubtful: Counter[str] = Counter()

    @property
    def shards(self) -> list[Shard]:
        """The ledger so far."""
        return [one.shard for one in self.live]

    @property
    def known(self) -> bool:
        """Whether all that was done so far is known."""
        return all(one.identity is not None for one in self.live)

    def done(self, jobs: Sequence[Job]) -> list[dict[str, Any] | None]:
        """The results of jobs, in their order: from receipts, else from the hands; None where nobody did it.

        Small jobs share a receipt, some 16 of them, which the driver writes when the last of them is done.
        """
        groups = share_receipts(jobs)
        known = [self._known(group) for group in groups]
        results = [result for group in known for result in group]
        missing = [(number, job) for number, job in enumerate(jobs) if results[number] is None]
        group_of = [number for number, group in enumerate(groups) for _ in group]
        left = [group.count(None) for group in known]
        first = [number for number in range(len(jobs)) if number == 0 or group_of[number] != group_of[number - 1]]

        def done(number: int, result: dict[str, Any]) -> None:
            results[number] = result
            group = group_of[number]
            left[group] -= 1
            if not left[group]:
                self._record(groups[group], results[first[group] : first[group] + len(groups[group])])

        if missing:
            self.hands.do(missing, done)
        return results

    def _known(self, group: Sequence[Job]) -> list[dict[str, Any] | None]:
        """The results of jobs that share a receipt; None for those that are to be done."""
        receipt = self.store.read_receipt(group_key(group))
        found: list[Any] = (receipt or {}).get("results", []) if len(group) > 1 else [receipt]
        results: list[dict[str, Any] | None] = [None] * len(group)
        for place, (job, result) in enumerate(zip(group, found, strict=False)):
            doubtful = None if result is None or self.accept else doubts(job, result)
            self.doubtful.update(doubtful or {})
            if result is not None and not job.forced and not doubtful:
                results[place] = result
                self.hands.cached(job, result)
        return results

    def _record(self, group: Sequence[Job], results: Sequence[Any]) -> None:
        if group[0].small:
            objects = [name for one in results for name in one["objects"]]
            whole = {"results": list(results)} if len(group) > 1 else results[0]
            self.store.write_receipt(group_key(group), whole, objects)

    # ---- reading

    def collect(self, bundles: Sequence[Bundle], sample: int | None) -> None:
        """Read all parts; or of each source one bundle after the other until there are `sample` documents."""
        self.hands.begin("read", len(bundles))
        if sample is None:
            for result in self.done([self._collect_job(one, None) for one in bundles]):
                self._add(result)
        else:
            for one in bundles:
                left = sample - sum(live.shard.documents for live in self.live if live.shard.source == one.entry.id)
                if left > 0:
                    self._add(self.done([self._collect_job(one, left)])[0])
        self._agree()
        if self.live:
            self.check_ids(self.live)
        self.hands.stage_done(self.pipeline.sources, self.shards)

    def _add(self, result: dict[str, Any] | None) -> None:
        for record in result["shards"] if result else ():
            shard = Shard.from_json(record)
            self.live.append(Live(len(self.live), shard, self._identity(shard), shard.bytes))
        if result is None:
            self.live.append(Live(len(self.live), Shard("?", "?", "?", 0, 0, "?"), None, 0))

    def _agree(self) -> None:
        """Bring the columns together that stages are given."""
        read = [one for one in self.live if one.identity is not None]
        asked = targets(self.store, [one.shard for one in read], self.pipeline.stages)
        differing = [(one, packed) for one, packed in zip(read, asked, strict=True) if packed]
        jobs = []
        for one, packed in differing:

            def record(one: Live = one, packed: str = packed) -> dict[str, Any]:
                return {"kind": "agree", "shard": one.shard.to_json(), "columns": packed}

            label, small = f"a shard of `{one.shard.part}`", one.shard.bytes < SMALL
            jobs.append(Job(agree_key(one.shard, packed), record, label, (one.shard.source,), small=small))
        for (one, _), result in zip(differing, self.done(jobs), strict=True):
            one.shard = Shard.from_json(result["shard"]) if result else one.shard
            one.identity = self._identity(one.shard) if result else None

    def _identity(self, shard: Shard) -> str:
        """What the documents of a shard are that was just read: all of its object, but for those that were erased."""
        return State(self.store, shard).identity() if shard.steps else shard.object

    @cached_property
    def _by_dataset(self) -> bool:
        erased = Erased.of(self.store)
        return erased is not None and erased.by_dataset

    def _collect_job(self, one: Bundle, limit: int | None) -> Job:
        _, spec, fingerprint = self.described[one.entry.id]
        size, dataset = (
            int(self.pipeline.settings.shard_megabytes * 1_000_000),
            dataset_of(self.pipeline.settings.dataset),
        )

        def record() -> dict[str, Any]:
            known = self.inputs.identities
            files = [name for part in one.parts for name in (part.location, *part.files)]
            identities = {name: known[name] for name in files if name in known}
            return {
                "kind": "collect", "stage": asdict(spec), "parts": [asdict(part) for part in one.parts],
                "identities": identities, "shard_bytes": size, "limit": limit, "dataset": dataset,
            }  # fmt: skip

        name, key = one.entry.id, collect_key(one, fingerprint, size, limit, dataset if self._by_dataset else None)
        label = f"reading `{one.parts[0].name}`"
        return Job(key, record, label, (name,), name in self.force, time_limit=COLLECT_SECONDS)

    def check_ids(self, live: Sequence[Live]) -> None:
        """Quarantine documents whose id an earlier one has, and index them all."""
        stage = DocumentIds.model_validate({})
        code = engine_key("ids", stage.version)
        spec = StageSpec(IDS, f"{DocumentIds.__module__}:DocumentIds", {}, code, code)
        there = [one for one in live if one.goes_on]
        signed = self._section(there, [], spec)
        decision = self._decide(spec, stage, there, signed)
        if decision is not None:
            self.indexes += [[name for name, _ in held] for held in decision.artifacts.values()]

    # ---- stages

    def stages(self) -> None:
        """All stages of the pipeline."""
        for fused, final in sections(self.pipeline.stages):
            specs = [self.described[entry.id].spec for entry in fused]
            last = self.described[final.id].spec if final is not None and isinstance(final.stage, Global) else None
            there = [one for one in self.live if one.goes_on]
            names = [entry.id for entry in (*fused, *([final] if final else []))]
            self.hands.begin(" > ".join(names), len(there))
            signed = self._section(there, specs, last)
            self.hands.stage_done(fused, self.shards)
            if final is None:
                continue
            if last is not None:
                assert isinstance(final.stage, Global)
                decision = self._decide(last, final.stage, there, signed)
                if decision is not None and decision.artifacts:
                    self.artifacts[final.id] = {name: list(held) for name, held in decision.artifacts.items()}
            else:
                self._expand(final, [one for one in there if one.goes_on])
            self.hands.stage_done([final], self.shards)

    def _section(
        self, live: Sequence[Live], specs: Sequence[StageSpec], last: StageSpec | None
    ) -> list[dict[str, Any] | None]:
        """Bring shards through stages; what was signed of each for the stage behind them."""
        if not specs and last is None:
            return [None] * len(live)
        stages = tuple(spec.id for spec in (*specs, *([last] if last else [])))
        forced = [name for name in stages if name in self.force]
        jobs = []
        for one in live:
            assert one.identity

            def record(one: Live = one) -> dict[str, Any]:
                return {
                    "kind": "steps", "shard": one.shard.to_json(), "stages": [asdict(spec) for spec in specs],
                    "map": asdict(last) if last else None, "force": forced, "blame": {"careful": {}, "poison": {}, "cold": []},
                }  # fmt: skip

            key = section_key(one.identity, specs, last)
            label, limit = f"a shard of `{one.shard.part}`", self.pipeline.settings.time_limit
            jobs.append(Job(key, record, label, stages, bool(forced), one.shard.bytes < SMALL, one.shard.kept, limit))
        signed: list[dict[str, Any] | None] = []
        for one, result in zip(live, self.done(jobs), strict=True):
            if result is None:
                one.identity = None
                signed.append(None)
                continue
            one.shard = one.shard.after([Step.from_json(step) for step in result["steps"]])
            one.identity, one.bytes = result["identity"], result["bytes"]
            signed.append(result["signed"])
        return signed

    def _decide(
        self, spec: StageSpec, stage: Global, live: Sequence[Live], signed: Sequence[dict[str, Any] | None]
    ) -> Decision | None:
        """Let a global stage decide about all documents, and apply it; None where that is not known."""
        if not self.known:
            _forget(spec, live)
            return None
        there = [(one, made) for one, made in zip(live, signed, strict=True) if made and one.goes_on]
        if not there:
            return None
        work = GlobalWork(self, spec, [(one.number, one.shard, made, one.bytes) for one, made in there])
        try:
            with spec.at_work():
                decision = stage.decide(work) if work.documents else Decision()
            steps = work.apply(decision.found)
        except Unknown:
            _forget(spec, live)
            return None
        for (one, _), made in zip(there, steps, strict=True):
            step = Step.from_json(made["step"])
            if spec.id == IDS:
                step = replace(step, stage=one.shard.source)
            if spec.id != IDS or step.verdicts:
                one.shard = one.shard.after([step])
                one.identity, one.bytes = made["identity"], made["bytes"]
        return decision

    def _expand(self, entry: ConfiguredStage, live: Sequence[Live]) -> None:
        """Make documents of documents: shards of their own, at the end of the ledger."""
        spec, jobs = self.described[entry.id].spec, []
        for one in live:
            assert one.identity

            def record(one: Live = one) -> dict[str, Any]:
                blame = {"careful": {}, "poison": {}, "cold": []}
                return {"kind": "expand", "shard": one.shard.to_json(), "stage": asdict(spec), "blame": blame}

            limit = self.pipeline.settings.time_limit
            key = expand_key(one.identity, spec)
            label, small = f"a shard of `{one.shard.part}`", one.shard.bytes < SMALL
            jobs.append(Job(key, record, label, (spec.id,), spec.id in self.force, small, one.shard.kept, limit))
        children = []
        for one, result in zip(live, self.done(jobs), strict=True):
            if result is None:
                one.identity = None
                continue
            one.shard = one.shard.after([Step.from_json(result["step"])])
            if result["child"]:
                shard = Shard.from_json(result["child"])
                children.append(Live(len(self.live), shard, shard.object, shard.bytes))
                self.live.append(children[-1])
        if children and self.known:
            self.check_ids(children)

    # ---- writing

    def write(self) -> None:
        """Write what is left of every shard."""
        there = [one for one in self.live if one.goes_on]
        self.hands.begin("write", len(there))
        jobs = []
        for one in there:
            assert one.identity

            def record(one: Live = one) -> dict[str, Any]:
                return {"kind": "write", "shard": one.shard.to_json()}

            label = f"writing a shard of `{one.shard.part}`"
            small, count = one.shard.bytes < SMALL, one.shard.kept
            jobs.append(Job(write_key(one.identity), record, label, ("write",), small=small, documents=count))
        self.fragments = [Fragment.from_json(result["fragment"]) for result in self.done(jobs) if result]


def _forget(spec: StageSpec, live: Sequence[Live]) -> None:
    """What becomes of the documents is not known; of their ids it is taken for granted that none is there twice."""
    for one in live if spec.id != IDS else ():
        one.identity = None
