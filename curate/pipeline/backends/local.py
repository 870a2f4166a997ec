"""Backend `local`: supervised worker processes on this machine.

A worker says what it is about to do before it does it, so a death or a hang has an address. The shard of a worker that
died is tried again as it is (it may have been somebody else's memory); when it dies again at the same stage, the documents
of that batch are done one at a time, and the one that kills its worker twice, or passes the time limit, is quarantined.
The work of the stages before is in the store already and is not done again.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate import errors
from curate.errors import CurateError

__all__ = ["InternalError", "LocalBackend", "Task"]

START_SECONDS = 120.0
MOST_DEATHS = 8
"""Deaths of one task for which no document can be blamed (in a reader, in a global stage), or of workers in their start."""
MOST_HANGS = 3


class InternalError(Exception):
    """A worker failed in our own code."""


@dataclass(slots=True)
class Task:
    """A task on its way: what to do, and what is known of earlier attempts.

    Attributes:
        spec: What the worker gets.
        label: What to call it in messages.
        time_limit: Seconds for one call into a stage; None is no limit.
        deaths: How many workers have died of it.
        suspects: What they were about to do: stage, first and last row.
    """

    spec: dict[str, Any]
    label: str
    time_limit: float | None = None
    deaths: int = 0
    suspects: set[tuple[str, int, int]] = field(default_factory=set)


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    task: Task | None = None
    at: tuple[str, int, int] | None = None
    since: float = field(default_factory=time.monotonic)
    ready: bool = False
    heard: bytes = b""


class LocalBackend:
    """Runs tasks on `workers` processes; use as a context manager."""

    def __init__(self, store: Path, root: Path, workers: int, note: Callable[[str], None]) -> None:
        self.store, self.root, self.count, self.note = store, root, workers, note
        self.workers: list[_Worker] = []
        self.failed_starts = 0
        self.selector = selectors.DefaultSelector()

    def __enter__(self) -> LocalBackend:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            self._forget(worker)
        self.selector.close()

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Any]]:
        """Do all tasks; yields each with its result, in the order in which they finish.

        Raises:
            CurateError: A task met a problem that the user can solve.
            InternalError: A task failed in our own code, or keeps killing its workers where no document is to blame.
        """
        waiting = deque(tasks)
        running = 0
        while waiting or running:
            while len(self.workers) < min(self.count, running + len(waiting)):
                self._start()
            for worker in self.workers:
                if worker.ready and worker.task is None and waiting:
                    self._give(worker, waiting.popleft())
                    running += 1
            for key, _ in self.selector.select(timeout=0.5):
                worker = key.data
                for message in self._hear(worker):
                    if "done" in message:
                        task, worker.task = worker.task, None
                        running -= 1
                        assert task is not None
                        yield task, message["done"]
                    elif "error" in message:
                        raise _error(worker.task, message["error"])
            running -= self._bury(waiting)

    # ---- processes

    def _start(self) -> None:
        debug = bool(os.environ.get("CURATE_DEBUG"))
        threads = {
            name: "1" for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS")
        }
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "curate.pipeline.worker", str(self.store), str(self.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if debug else subprocess.DEVNULL,
            env={**os.environ, **threads, "TOKENIZERS_PARALLELISM": "false"},
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        worker = _Worker(process)
        self.workers.append(worker)
        self.selector.register(process.stdout, selectors.EVENT_READ, worker)

    def _give(self, worker: _Worker, task: Task) -> None:
        assert worker.process.stdin is not None
        worker.task, worker.at, worker.since = task, None, time.monotonic()
        with suppress(BrokenPipeError):  # it has died: _bury finds it
            worker.process.stdin.write(json.dumps(task.spec).encode() + b"\n")
            worker.process.stdin.flush()

    def _hear(self, worker: _Worker) -> Iterator[dict[str, Any]]:
        assert worker.process.stdout is not None
        block = worker.process.stdout.read(1 << 20) or b""
        *lines, worker.heard = (worker.heard + block).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "ready" in message:
                worker.ready, worker.since, self.failed_starts = True, time.monotonic(), 0
            elif "at" in message:
                worker.at = tuple(message["at"]) if message["at"] else None
                worker.since = time.monotonic()
            else:
                yield message

    def _bury(self, waiting: deque[Task]) -> int:
        """Replace dead and hanging workers; their tasks go back to the front. Returns how many tasks did."""
        returned = 0
        for worker in list(self.workers):
            hangs = self._hangs(worker)
            if worker.process.poll() is None and not hangs:
                continue
            worker.process.kill()
            task = worker.task
            self.workers.remove(worker)
            self._forget(worker)
            if task is None:
                self.failed_starts += not worker.ready
                if self.failed_starts >= MOST_DEATHS:
                    raise InternalError("worker processes do not start; CURATE_DEBUG=1 shows what they say")
                continue
            self._blame(task, worker, hangs)
            waiting.appendleft(task)
            returned += 1
        return returned

    def _hangs(self, worker: _Worker) -> bool:
        limit = START_SECONDS if not worker.ready else worker.task.time_limit if worker.task and worker.at else None
        return limit is not None and time.monotonic() - worker.since > limit

    def _blame(self, task: Task, worker: _Worker, hangs: bool) -> None:
        """Write into the task what its next attempt must do otherwise."""
        task.deaths += 1
        how = "passed the time limit" if hangs else f"died (exit {worker.process.returncode})"
        place = f" at stage `{worker.at[0]}`, documents {worker.at[1]}-{worker.at[2]}" if worker.at else ""
        self.note(f"a worker {how} on {task.label}{place}; trying again")
        if task.spec["kind"] != "steps" or worker.at is None:
            if task.deaths >= (MOST_HANGS if hangs else MOST_DEATHS):
                asks = "did not finish in time" if hangs else "is there enough memory for it?"
                raise InternalError(f"{task.label} killed {task.deaths} workers; {asks}")
            return
        stage, start, stop = worker.at
        blame = task.spec["blame"]
        if stop - start == 1 and (hangs or worker.at in task.suspects):
            blame["poison"].setdefault(stage, {})[str(start)] = "time_limit" if hangs else "worker_died"
        elif hangs or task.deaths > 1:
            blame["careful"].setdefault(stage, []).append([start, stop])
        task.suspects.add(worker.at)

    def _forget(self, worker: _Worker) -> None:
        assert worker.process.stdin is not None
        assert worker.process.stdout is not None
        self.selector.unregister(worker.process.stdout)
        worker.process.stdout.close()
        with suppress(BrokenPipeError):
            worker.process.stdin.close()
        worker.process.wait()


def _error(task: Task | None, message: dict[str, Any]) -> Exception:
    kind = getattr(errors, message["kind"], None)
    if kind is errors.ConfigurationErrors:
        return kind([CurateError(**record) for record in message["records"]])
    if isinstance(kind, type) and issubclass(kind, CurateError):
        return kind(**message["records"][0])
    return InternalError(f"{task.label if task else 'a task'} failed:\n{message['traceback']}")
