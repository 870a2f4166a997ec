"""A supervised worker on a machine elsewhere: a task goes in and what came of it comes out, both as plain JSON.

It is backend `local` with one process, so a document that kills or hangs a worker is found there as it is here; what the
driver's machine cannot see is only the loss of the whole machine.
"""

from __future__ import annotations

import socket
import sys
from collections import deque
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from curate.pipeline.backends.contract import Done, Failed, InternalError, Outcome
from curate.pipeline.backends.local import LocalBackend
from curate.pipeline.supervision import Lost, Task

__all__ = ["Host", "driver", "from_json", "to_json", "versions"]

_DECIDING = ("curate-lm", "numpy", "pyarrow", "spacy")
"""Packages whose version may show in the results of any stage."""


class Host:
    """Does tasks on this machine, one at a time; its worker lives from one to the next, and with this process.

    Args:
        driver: What it says of itself, by `driver`.
        threads: Of the worker's libraries.
    """

    def __init__(self, driver: Mapping[str, Any], threads: int) -> None:
        self.versions = driver["versions"]
        self.local = LocalBackend(
            driver["store"],
            Path(driver["root"]),
            1,
            threads=threads,
            cwd=driver["cwd"],
            environment=driver["environment"],
        )

    def close(self) -> None:
        """End its worker."""
        self.local.__exit__()

    def do(self, told: dict[str, Any]) -> dict[str, Any]:
        """Do a task, by `to_json`; what came of it."""
        theirs = self.versions
        if differing := {
            name: (ours, theirs.get(name)) for name, ours in versions().items() if ours != theirs.get(name)
        }:
            words = ", ".join(f"{name} {ours} (the driver has {other})" for name, (ours, other) in differing.items())
            record = {
                "problem": f"the machine `{socket.gethostname()}` has {words}",
                "where": "--backend",
                "hint": "results could differ: use one environment on all machines",
            }
            return {"failed": {"kind": "CurateError", "records": [record], "traceback": ""}}
        task = Task(told["number"], told["spec"], told["label"], told["time_limit"])
        try:
            ((_, outcome),) = self.local.run(deque([task]))
        except (InternalError, OSError) as error:
            outcome = Failed("internal", [], f"on `{socket.gethostname()}`: {error}")
        match outcome:
            case Done(result):
                return {"done": result}
            case Failed():
                return {"failed": outcome._asdict()}
            case Lost(at, hung, how):
                return {"lost": {"at": at, "hung": hung, "how": f"{how} on `{socket.gethostname()}`"}}


def driver(store: str, root: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """What a driver says of itself to the machines that work for it.

    Args:
        store: Place of the store, the same from every machine.
        root: Folder of the pipeline file, the same from every machine.
        environment: Variables for its workers, where they do not come by another way.
    """
    place = store if "://" in store else str(Path(store).resolve())
    return {
        "store": place, "root": str(root), "cwd": str(Path.cwd()), "environment": dict(environment), "versions": versions(),
    }  # fmt: skip


def versions() -> dict[str, str]:
    """What machines of one run must have in common."""
    python = ".".join(str(part) for part in sys.version_info[:2])
    return {"Python": python, **{name: version(name) for name in _DECIDING}}


def to_json(task: Task) -> dict[str, Any]:
    """A task as a machine elsewhere is told it."""
    return {"number": task.number, "spec": task.spec, "label": task.label, "time_limit": task.time_limit}


def from_json(told: dict[str, Any]) -> Outcome:
    """What a machine elsewhere says came of a task."""
    if "done" in told:
        return Done(told["done"])
    if "failed" in told:
        return Failed(**told["failed"])
    lost = told["lost"]
    return Lost(tuple(lost["at"]) if lost["at"] else None, lost["hung"], lost["how"])
