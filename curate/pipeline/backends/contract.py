"""What a backend is: something that does tasks, wherever that is, and says of each what came of it.

A task is idempotent and takes and gives plain JSON, so it may be done twice. A backend that loses a worker asks
`curate.pipeline.supervision.next_attempt` what to do. The errors that end a run it raises itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from curate.pipeline.supervision import Task

__all__ = ["Backend", "InternalError"]


class InternalError(Exception):
    """A task failed in our own code, or cost too many workers."""


class Backend(Protocol):
    """Does tasks."""

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Any]]:
        """Do all tasks; yields each with its result, in the order in which they finish.

        Raises:
            CurateError: A task met a problem that the user can solve.
            InternalError: A task failed in our own code, or no document can be blamed for what it cost.
        """
        ...
