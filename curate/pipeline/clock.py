"""How long a process has worked at something: what it computed or slept, not what it waited for a processor others use.

Asleep is whatever has no thread that runs or is ready to: one that waits for a disk, is stopped, or whose first thread has
ended while others sleep.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

__all__ = ["Clock"]


class Clock:
    """Seconds that another process computes or sleeps; exact to the time between two looks.

    Args:
        pid: The process.
        family: What it has started counts, too: it sleeps only where all of them do.
    """

    def __init__(self, pid: int, *, family: bool = False) -> None:
        self.pid, self.family, self.spent, self.computed = pid, family, 0.0, 0.0
        self.looked = time.monotonic()

    def begin(self) -> None:
        """It does something new from here on."""
        self.spent, self.looked, self.computed = 0.0, time.monotonic(), self._computed()

    def look(self) -> float:
        """Seconds since the beginning that count."""
        now, computed = time.monotonic(), self._computed()
        passed, self.looked = now - self.looked, now
        worked, self.computed = max(computed - self.computed, 0.0), computed
        with suppress(psutil.Error):
            if not any(_runs(one) for one in self._processes()):
                worked = max(worked, passed)
        self.spent += worked
        return self.spent

    def threads(self) -> int:
        """How many threads the process has; 0 where it is gone."""
        with suppress(psutil.Error):
            return psutil.Process(self.pid).num_threads()
        return 0

    def _processes(self) -> list[psutil.Process]:
        one = psutil.Process(self.pid)
        return [one, *(_started_by(one) if self.family else [])]

    def _computed(self) -> float:
        with suppress(psutil.Error):
            times = [one.cpu_times() for one in self._processes()]
            ended = times[0].children_user + times[0].children_system if self.family else 0.0
            return ended + sum(one.user + one.system for one in times)
        return self.computed


def _started_by(process: psutil.Process) -> list[psutil.Process]:
    """What it has started, and what that has.

    Linux lists children: psutil reads every process of the machine for them, and a run of rewards asks for each completion.
    """
    if not Path("/proc/thread-self/children").exists():
        return process.children(recursive=True)
    found: list[psutil.Process] = []
    with suppress(OSError):  # it has just ended
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            for pid in (task / "children").read_bytes().split():
                with suppress(psutil.Error):
                    child = psutil.Process(int(pid))
                    found += [child, *_started_by(child)]
    return found


def _runs(process: psutil.Process) -> bool:
    """Whether a thread of it runs, or is ready to."""
    with suppress(psutil.Error, OSError):
        if sys.platform != "linux":
            return process.status() == psutil.STATUS_RUNNING
        tasks = Path(f"/proc/{process.pid}/task").iterdir()
        return any(_state(task) == b"R" for task in tasks)
    return False


def _state(task: Path) -> bytes:
    with suppress(OSError):  # it has just ended
        return (task / "stat").read_bytes().rpartition(b")")[2].split()[0]
    return b""
