"""What every benchmark prints beside its numbers: the machine, the spread of the runs, CPU seconds of a command.

Wall time on a shared machine measures the neighbours; CPU time of the whole process tree measures us, but not exactly: a
neighbour that fills the caches makes it some 10 to 30 % longer. So runs alternate, and medians stand beside extremes.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["cpu_seconds", "machine", "spread"]


def machine(*libraries: str) -> dict[str, Any]:
    """Processor, cores, memory, system, Python, how busy it is, and the versions of these distributions."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "processor": next(names, platform.processor() or platform.machine()),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
        "libraries": {name: _version(name) for name in libraries},
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest of the runs."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def cpu_seconds(command: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None) -> float:
    """User and system time of a command and all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
