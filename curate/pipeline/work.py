"""What a global stage may ask of the driver: calls about all documents and about groups of shards, as jobs of the walk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from curate.dataset.ledger import Shard
from curate.pipeline.jobs import Job, Unknown
from curate.pipeline.shuffle import apply_key, call_key, describe_group, group_digest, group_shards
from curate.pipeline.task import StageSpec
from curate.stages.work import Cut, of_group

if TYPE_CHECKING:
    from curate.pipeline.walk import Walk

__all__ = ["GlobalWork"]


class GlobalWork:
    """The driver's side of `curate.stages.work.Work`."""

    def __init__(self, walk: Walk, spec: StageSpec, members: Sequence[tuple[int, Shard, dict[str, Any], int]]) -> None:
        self.walk, self.spec = walk, spec
        counts = [signed["count"] for _, _, signed, _ in members]
        self.groups = [list(members[first:last]) for first, last in group_shards(counts)]
        self.documents: int = sum(counts)
        self.bounds: Sequence[int] = [group[0][0] for group in self.groups]
        self.digests = [group_digest(group) for group in self.groups]
        self._descriptions: dict[int, str] = {}

    def _describe(self, group: int) -> str:
        if group not in self._descriptions:
            self._descriptions[group] = describe_group(self.walk.store, self.groups[group])
        return self._descriptions[group]

    def each(self, method: str, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Calls that look at no documents."""
        return self._calls(method, [(None, call) for call in calls])

    def each_group(
        self, method: str, calls: Sequence[Mapping[str, Any]], groups: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Calls about groups, by default one for every group."""
        return self._calls(method, list(zip(range(len(calls)) if groups is None else groups, calls, strict=True)))

    def _calls(self, method: str, calls: Sequence[tuple[int | None, Mapping[str, Any]]]) -> list[dict[str, Any]]:
        jobs = []
        for group, call in calls:
            digest = None if group is None else self.digests[group]
            record: dict[str, Any] = {"kind": "call", "method": method, "arguments": dict(call)}
            key, label = call_key(self.spec, digest, method, dict(call)), f"stage `{self.spec.id}` over all documents"
            jobs.append(self._job(key, record, label, group))
        return [result["result"] for result in self._all(jobs)]

    def apply(self, found: Sequence[Cut]) -> list[dict[str, Any]]:
        """A step for every shard."""
        jobs = []
        for group, digest in enumerate(self.digests):
            mine, label = of_group(found, group), f"stage `{self.spec.id}` on a group of shards"
            jobs.append(self._job(apply_key(self.spec, digest, mine), {"kind": "apply", "found": mine}, label, group))
        return [step for result in self._all(jobs) for step in result["steps"]]

    def _job(self, key: str, record: dict[str, Any], label: str, group: int | None) -> Job:
        """A job; the group that it looks at is described in the store only where it is done."""

        def whole() -> dict[str, Any]:
            description = None if group is None else self._describe(group)
            return {**record, "stage": asdict(self.spec), "description": description}

        return Job(key, whole, label, (self.spec.id,), self.spec.id in self.walk.force, describes=True)

    def _all(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        results = [result for result in self.walk.done(jobs) if result is not None]
        if len(results) < len(jobs):
            raise Unknown
        return results
