"""How long a process has worked at something: what it computed or slept, not what it waited for a processor others use."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

__all__ = ["Clock"]


class Clock:
    """Seconds that another process computes or sleeps; exact to the time between two looks.

    Args:
        pid: The process.
    """

    def __init__(self, pid: int) -> None:
        self.pid, self.spent, self.computed = pid, 0.0, 0.0
        self.looked = time.monotonic()

    def begin(self) -> None:
        """It does something new from here on."""
        self.spent, self.looked, self.computed = 0.0, time.monotonic(), self._computed()

    def look(self) -> float:
        """Seconds since the beginning that count."""
        now, computed = time.monotonic(), self._computed()
        passed, self.looked = now - self.looked, now
        worked, self.computed = computed - self.computed, computed
        with suppress(psutil.Error):
            if psutil.Process(self.pid).status() in (psutil.STATUS_SLEEPING, psutil.STATUS_STOPPED):
                worked = max(worked, passed)
        self.spent += worked
        return self.spent

    def _computed(self) -> float:
        with suppress(psutil.Error):
            times = psutil.Process(self.pid).cpu_times()
            return times.user + times.system
        return self.computed
