"""A walk's jobs: tasks with the key of their receipt, who does them, and which small ones share a receipt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from curate.config.pipeline import ConfiguredStage
from curate.dataset.ledger import Shard, Step
from curate.pipeline.supervision import Task
from curate.pipeline.task import engine_key

__all__ = ["SMALL", "Hands", "Job", "Unknown", "doubts", "group_key", "share_receipts"]

SMALL = 2_000_000
"""Bytes of text below which a shard shares its receipts."""
SHARING, MOST_SHARING = 16, 64
"""About how many share one, and how many at most."""


class Job(NamedTuple):
    """A task, and what its receipt is called.

    Attributes:
        key: Of the receipt.
        record: Makes what the worker gets, but for the key: only where the job is done.
        label: What to call it in messages.
        stages: Ids of the stages that it is counted for.
        forced: Whether it is done again though there is a receipt.
        small: Whether it shares a receipt with its neighbours.
        documents: How many it is about, for progress.
        time_limit: Seconds for one call into a stage.
        describes: Whether `record` writes to the store what the job is about.
    """

    key: str
    record: Callable[[], dict[str, Any]]
    label: str
    stages: tuple[str, ...]
    forced: bool = False
    small: bool = False
    documents: int = 0
    time_limit: float | None = None
    describes: bool = False

    def task(self, number: int) -> Task:
        """The job as a task for a backend."""
        spec = {**self.record(), "key": None if self.small else self.key}
        return Task(number, spec, self.label, self.time_limit, stages=self.stages)


class Hands(Protocol):
    """Who does what is not done yet, and is told what is."""

    def begin(self, label: str, tasks: int) -> None:
        """A step of the walk begins."""
        ...

    def cached(self, job: Job, result: dict[str, Any]) -> None:
        """This was done before."""
        ...

    def do(self, jobs: Sequence[tuple[int, Job]], done: Callable[[int, dict[str, Any]], None]) -> None:
        """Do these; `done` is told each result, by number, as it comes."""
        ...

    def stage_done(self, entries: Sequence[ConfiguredStage], shards: Sequence[Shard]) -> None:
        """All shards are through some stages."""
        ...


class Unknown(Exception):
    """What comes next depends on a task that nobody did."""


def doubts(job: Job, result: Mapping[str, Any]) -> Counter[str]:
    """Documents by stage that a result has verdicts about which may be the machine's fault."""
    if not result.get("provisional"):
        return Counter()
    steps = [Step.from_json(step) for step in (result["steps"] if "steps" in result else [result["step"]])]
    found = Counter({step.stage: step.provisional for step in steps})
    found[job.stages[-1]] += result["provisional"] - found.total()  # those of a stage over all documents are in no step
    return +found


def share_receipts(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs, in their order, cut into groups that share a receipt.

    A group ends at keys that are chosen by their value, so one job that changes costs its own group and no other.
    """
    groups: list[list[Job]] = []
    is_open = False
    for job in jobs:
        if is_open and job.small:
            groups[-1].append(job)
        else:
            groups.append([job])
        is_open = job.small and len(groups[-1]) < MOST_SHARING and int(job.key[:4], 16) % SHARING != 0
    return groups


def group_key(group: Sequence[Job]) -> str:
    """The key of the receipt that jobs share; a job alone has its own."""
    return group[0].key if len(group) == 1 else engine_key("group", [job.key for job in group])
