"""What a backend is: something that does tasks, wherever that is, and says of each what came of it: done, failed or lost.

A task is idempotent and takes and gives plain JSON, so it may be done twice. What to do about one that was lost is not a
backend's to know: `carry_out` asks curate/pipeline/supervision.py, and puts the next attempt before what waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from curate import errors
from curate.errors import CurateError
from curate.pipeline.supervision import Lost, Task, next_attempt

__all__ = ["Backend", "Done", "Failed", "InternalError", "Outcome", "carry_out"]


class InternalError(Exception):
    """A task failed in our own code, or cost too many workers."""


class Done(NamedTuple):
    """A task was done.

    Attributes:
        result: What `curate.pipeline.worker.perform` gave.
    """

    result: Any


class Failed(NamedTuple):
    """A task raised an error; the same would come of it anywhere.

    Attributes:
        kind: The name of a class of `curate.errors`; else it is a fault of ours.
        records: What the user is told (`CurateError.records`).
        traceback: Where it was, if it is ours.
    """

    kind: str
    records: list[dict[str, Any]]
    traceback: str = ""


Outcome = Done | Failed | Lost


class Backend(Protocol):
    """Does tasks."""

    def run(self, waiting: deque[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Take tasks from the left as there is room; yields each with what came of it, as they finish.

        Ends when none waits and none is being done: tasks may be added while the caller looks at an outcome.

        Raises:
            InternalError: No tasks can be done at all.
        """
        ...


def carry_out(backend: Backend, tasks: Iterable[Task], note: Callable[[str], None]) -> Iterator[tuple[Task, Any]]:
    """Have all tasks done; yields each with its result, in the order in which they finish.

    Raises:
        CurateError: A task met a problem that the user can solve.
        InternalError: A task failed in our own code, or no document can be blamed for what it cost.
    """
    waiting = deque(tasks)
    for task, outcome in backend.run(waiting):
        if isinstance(outcome, Done):
            yield task, outcome.result
        elif isinstance(outcome, Failed):
            raise _error(task, outcome)
        else:
            note(f"a worker {outcome.how} on {task.label}{outcome.place()}; trying again")
            again = next_attempt(task, outcome)
            if isinstance(again, str):
                raise InternalError(again)
            waiting.appendleft(again)


def _error(task: Task, failed: Failed) -> Exception:
    kind = getattr(errors, failed.kind, None)
    if kind is errors.ConfigurationErrors:
        return kind([CurateError(**record) for record in failed.records])
    if isinstance(kind, type) and issubclass(kind, CurateError):
        return kind(**failed.records[0])
    return InternalError(f"{task.label} failed:\n{failed.traceback}")
