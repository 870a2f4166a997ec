"""A folder through which tasks go to workers on other machines, and what came of them comes back.

    FOLDER/told.json             what all workers are told: store, root, versions, the driver's pace
    FOLDER/driver                touched while the driver lives
    FOLDER/NEEDS/waiting/N       a task; a worker takes it by renaming it, which a file system does for one of them only
    FOLDER/NEEDS/taken/N.WORKER
    FOLDER/NEEDS/done/N          what came of it

Every file is written aside and renamed, so none is ever seen in part. A worker ends where nothing has waited for a while,
or the driver is gone. NEEDS are the resources that the workers of a folder have.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.config.resources import Resources
from curate.errors import CurateError
from curate.files import write_durably

if TYPE_CHECKING:
    from curate.pipeline.backends.host import Host

__all__ = ["Queue", "Spool", "Taken", "serve"]

IDLE_SECONDS = 60.0
"""For which a worker waits for another task."""
LOOK_SECONDS = 0.25
ABANDONED_SECONDS = 3600.0
SILENT_SECONDS = 120.0
"""After which a driver is taken for dead that has touched nothing."""


class Taken(NamedTuple):
    """A task that a worker has taken."""

    number: int
    worker: str


class Queue:
    """Tasks for workers that have certain resources.

    Args:
        folder: Of these resources, inside the spool.
    """

    def __init__(self, folder: Path) -> None:
        self.waiting, self.taken, self.done = (folder / name for name in ("waiting", "taken", "done"))

    def create(self) -> None:
        """Make the folders."""
        for path in (self.waiting, self.taken, self.done):
            path.mkdir(parents=True, exist_ok=True)

    def put(self, number: int, told: dict[str, Any]) -> None:
        """Let a task wait."""
        _write(self.waiting / str(number), told)

    def take(self, worker: str) -> tuple[int, dict[str, Any]] | None:
        """The task that has waited longest; None where none waits."""
        for number in sorted(int(name) for name in _names(self.waiting) if name.isdigit()):
            mine = self.taken / f"{number}.{worker}"
            with suppress(FileNotFoundError):  # another one was faster, or so a server says that was asked twice
                (self.waiting / str(number)).rename(mine)
            if mine.is_file():
                return number, json.loads(mine.read_bytes())
        return None

    def finish(self, taken: Taken, told: dict[str, Any]) -> None:
        """Say what came of a task, and give it back."""
        if not self.done.is_dir():
            return  # the run has ended, and its folder is gone
        _write(self.done / str(taken.number), told)
        (self.taken / f"{taken.number}.{taken.worker}").unlink(missing_ok=True)

    def all_taken(self) -> list[Taken]:
        """Tasks that workers have."""
        found = (name.partition(".") for name in _names(self.taken))
        return [Taken(int(number), worker) for number, _, worker in found if number.isdigit() and worker]

    def finished(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Take what came of tasks."""
        for name in _names(self.done):
            if name.isdigit():
                told = json.loads((self.done / name).read_bytes())
                (self.done / name).unlink()
                yield int(name), told


class Spool:
    """The folder of a run.

    Args:
        folder: Seen by all machines.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pulse = folder / "driver"

    def create(self, told: dict[str, Any]) -> None:
        """Make it; only its owner may read what is in it."""
        self.folder.mkdir(parents=True, mode=0o700)
        self.beat()
        _write(self.folder / "told.json", told)

    def remove(self, *, logs: bool) -> None:
        """Remove it, with what tasks say, which may be secret; `logs` of workers only where that is so."""
        for path in self.folder.iterdir():
            if logs or path.name != "logs":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in (self.folder / "logs", self.folder, self.folder.parent):  # where it is empty
            with suppress(OSError):
                path.rmdir()

    def sweep(self) -> None:
        """Remove what drivers have left beside it that were killed."""
        now = self.pulse.stat().st_mtime
        for pulse in self.folder.parent.glob("*/driver"):
            with suppress(OSError):
                if now - pulse.stat().st_mtime > ABANDONED_SECONDS:
                    Spool(pulse.parent).remove(logs=True)

    def beat(self) -> None:
        """The driver lives."""
        self.pulse.touch()

    def told(self) -> dict[str, Any]:
        """What all workers are told.

        Raises:
            CurateError: The folder is none of these.
        """
        try:
            return json.loads((self.folder / "told.json").read_bytes())
        except (OSError, ValueError):
            hint = "it is made by `curate run --backend slurm`, and must be seen from here"
            raise CurateError("there are no tasks in this folder", str(self.folder), hint) from None

    def queue(self, needs: Resources) -> Queue:
        """The tasks of these needs."""
        return Queue(self.folder / f"{needs.cpus}-{needs.memory or 0.0!r}-{needs.gpus}")


class _Watch:
    """Whether the driver lives: by its pulse, in a thread, also while a task is done; what is done for a dead one is ended."""

    def __init__(self, pulse: Path, host: Host) -> None:
        self.pulse, self.host = pulse, host
        self.seen, self.heard, self.over = 0, time.monotonic(), threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def silent(self) -> bool:
        """Whether it has been silent for too long."""
        with suppress(OSError):
            if (fresh := self.pulse.stat().st_mtime_ns) != self.seen:
                self.seen, self.heard = fresh, time.monotonic()
        return time.monotonic() - self.heard > SILENT_SECONDS

    def _run(self) -> None:
        while not self.over.wait(LOOK_SECONDS * 4):
            if self.silent():
                for worker in list(self.host.local.workers):
                    worker.process.kill()


def serve(folder: Path, needs: Resources, worker: str) -> int:
    """Do tasks of a spool until nothing waits any more; how many were done.

    The store is held as in use meanwhile: no erasure and no clearing up passes a worker by.

    Args:
        folder: The spool.
        needs: Whose queue.
        worker: A name that no other has. One that is started again under it says first what it lost before.

    Raises:
        CurateError: The folder is none.
    """
    from curate.dataset.leases import lease
    from curate.dataset.store import Store
    from curate.pipeline.backends.host import Host

    spool = Spool(folder)
    told, queue = spool.told(), spool.queue(needs)
    for lost in queue.all_taken():
        if lost.worker == worker:
            queue.finish(lost, {"lost": {"at": None, "hung": False, "how": f"was ended and started again ({worker})"}})
    host = Host(told, needs.cpus)
    watch = _Watch(spool.pulse, host)
    try:
        with lease(Store.open(told["store"]), "run"):
            return _tasks(queue, host, watch, worker)
    finally:
        watch.over.set()
        watch.thread.join()
        host.close()


def _tasks(queue: Queue, host: Host, watch: _Watch, worker: str) -> int:
    count, idle = 0, time.monotonic()
    while not watch.silent() and queue.waiting.is_dir() and time.monotonic() - idle < IDLE_SECONDS:
        task = queue.take(worker)
        if task is None:
            time.sleep(LOOK_SECONDS)
            continue
        number, what = task
        queue.finish(Taken(number, worker), host.do(what))
        count, idle = count + 1, time.monotonic()
    return count


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:  # the run has just ended
        return []


def _write(path: Path, told: dict[str, Any]) -> None:
    write_durably(path, json.dumps(told).encode(), name=False)
