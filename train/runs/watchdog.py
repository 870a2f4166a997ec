"""Notice a step that never ends, and tell which process hangs and where it stands.

Each process has a thread that counts time since the last beat; the loop beats before each step. The thread counts its own
waking, not the clock, so that a run that was suspended (Ctrl-Z, a laptop that slept) is not taken for one that hangs.
When a step takes too long each process writes where its threads stand. Of several processes all but the one that hangs
wait for it in a collective operation of torch.distributed; whoever does not, or wrote nothing, is named.

Limits: in one process a C function that keeps the interpreter's lock for ever is not noticed. On CUDA, where work is
queued, peers may wait outside of torch.distributed, and more than one process is named.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from curate.errors import ResumableError

__all__ = ["ProcessDied", "Watchdog", "hang_error"]

FRAMES = 12
_FRAME = re.compile(r'  File "(.+)", line (\d+) in (.+)')
_WRAPPERS = ("/torch/_ops.py", "/torch/utils/_contextlib.py")


class ProcessDied(ResumableError):
    """A process was killed, or hung: the others cannot go on without it, but may be started again."""


class Watchdog:
    """Calls a function, in a thread, when no beat has come for some time; the first beat starts it.

    Args:
        seconds: How long a step may take.
        expired: What to do, once.
    """

    def __init__(self, seconds: float, expired: Callable[[], None]) -> None:
        self.seconds, self.expired = seconds, expired
        self.interval = min(1.0, seconds / 10)
        self.passed: float | None = None
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()

    def beat(self) -> None:
        """A step begins."""
        self.passed = 0.0

    def _watch(self) -> None:
        while not self.stopped.wait(self.interval):
            if self.passed is not None:
                self.passed += self.interval
                if self.passed > self.seconds:
                    self.expired()
                    return


def hang_error(stacks: Path, size: int, seconds: float, *, silent: Sequence[int] = ()) -> ProcessDied:
    """The error that names the processes that hang, from the stacks that each has written.

    Args:
        stacks: Folder of `0.txt`, `1.txt`, ...
        size: Number of processes.
        seconds: How long a step could take.
        silent: Those that did not notice it themselves, as one that was stopped: they hang, wherever they stand.
    """
    found = [_threads(stacks / f"{rank}.txt") for rank in range(size)]
    hanging = [rank for rank, threads in enumerate(found) if rank in silent or not any(map(_waits, threads))]
    if not hanging:
        who, where = f"all {size} processes wait for each other", None
    else:
        who = f"process {hanging[0]} of {size} hangs"
        if len(hanging) > 1:
            who = f"processes {', '.join(map(str, hanging))} of {size} hang"
        where = _told(found[hanging[0]])
    return ProcessDied(
        f"{who}: a step took longer than {seconds:g} s",
        where,
        f"the stacks are in {stacks}; run the same command again: it goes on from the last checkpoint "
        "(`timeout` is the seconds that a step may take)",
    )


Frames = Sequence[tuple[str, int, str]]


def _threads(path: Path) -> list[Frames]:
    """Frames (file, line, function) of the threads that compute, the innermost first."""
    text = path.read_text() if path.is_file() else ""
    threads = [
        [(file, int(line), function) for file, line, function in _FRAME.findall(part)] for part in text.split("\n\n")
    ]
    return [frames for frames in threads if frames and not frames[-1][2].startswith("_bootstrap")]


def _waits(frames: Frames) -> bool:
    """The thread waits for other processes."""
    inner = next((file for file, _, _ in frames if not file.endswith(_WRAPPERS)), "")
    return "/torch/distributed/" in inner


def _told(threads: Sequence[Frames]) -> str:
    if not threads:
        return "it left no stack: it is stopped, gone, or on another machine"
    frames = max(threads, key=len)
    started = next(
        (number for number, (file, _, _) in enumerate(frames) if file.endswith("/train/runs/launch.py")), FRAMES
    )
    told = frames[: min(started, FRAMES) or FRAMES]
    return " < ".join(f"{'/'.join(Path(file).parts[-2:])}:{line} in {function}" for file, line, function in told)
