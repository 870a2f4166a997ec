"""What to do when a worker is lost: try again, look closer, or blame a document. Pure: any backend can ask.

The shard of a worker that was lost is tried again as it is (it may have been somebody else's memory); when it is lost again
at the same stage, the documents of that batch are done one at a time, and the one that loses its worker twice, or passes
the time limit, is quarantined: provisionally, for the next run tries it again. What was measured before is in the store
already and is not done again.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from curate.config.resources import Resources
from curate.pipeline.calls import LOADING

__all__ = ["Lost", "Task", "next_attempt"]

MOST_DEATHS = 8
"""Losses of one task for which no document can be blamed (in a reader, in a global stage)."""
MOST_HANGS = 3
At = tuple[str, int, int]
NOTHING_SPECIAL = Resources.model_validate({})


class Lost(NamedTuple):
    """A worker that is gone.

    Attributes:
        at: What it was about to do: stage, first and last row; None where no call was going on.
        hung: Whether it passed its time limit; else it died.
        how: What happened, in words.
    """

    at: At | None
    hung: bool
    how: str

    def place(self) -> str:
        """Where it was, in words for a message; nothing where that is not known."""
        if self.at is None:
            return ""
        stage, start, stop = self.at
        return f" at stage `{stage}`, " + ("loading" if start == LOADING else f"documents {start}-{stop}")


@dataclass(frozen=True, slots=True)
class Task:
    """A task on its way: what to do, and what is known of earlier attempts.

    Attributes:
        number: Which of the tasks that were handed over together.
        spec: What the worker gets: plain JSON.
        label: What to call it in messages.
        time_limit: Seconds for one call into a stage; None is no limit.
        resources: What it needs of a machine.
        lost: How many workers were lost with it.
        suspects: What they were about to do.
        stages: Ids of the stages that it is for.
    """

    number: int
    spec: dict[str, Any]
    label: str
    time_limit: float | None = None
    resources: Resources = NOTHING_SPECIAL
    lost: int = 0
    suspects: frozenset[At] = field(default_factory=frozenset)
    stages: tuple[str, ...] = ()


def next_attempt(task: Task, lost: Lost) -> Task | str:
    """The task as it is to be tried again, with what its next attempt must do otherwise; or why there is no use in it."""
    times, at = task.lost + 1, lost.at
    again = replace(task, lost=times, suspects=task.suspects | ({at} if at else frozenset()))
    loads = at is not None and at[1] == LOADING
    if at is not None and loads and "blame" in task.spec and at[0] not in task.spec["blame"]["cold"]:
        spec = copy.deepcopy(task.spec)
        spec["blame"]["cold"].append(
            at[0]
        )  # what it dies of may be a document after all: that shows without loading first
        return replace(again, spec=spec)
    if "blame" not in task.spec or at is None or loads:
        if times >= (MOST_HANGS if lost.hung else MOST_DEATHS):
            asks = "did not finish in time" if lost.hung else "is there enough memory for it?"
            return f"{task.label} killed {times} workers; {asks}"
        return again
    stage, start, stop = at
    spec = copy.deepcopy(task.spec)
    blame = spec["blame"]
    if stop - start == 1 and (lost.hung or at in task.suspects):
        blame["poison"].setdefault(stage, {})[str(start)] = "time_limit" if lost.hung else "worker_died"
    elif lost.hung or times > 1:
        blame["careful"].setdefault(stage, []).append([start, stop])
    return replace(again, spec=spec)
