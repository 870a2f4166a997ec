"""Backend `local`: supervised worker processes on this machine.

A worker says what it is about to do before it does it, so a death or a hang has an address. What counts against the time
limit is the time that a worker computes or sleeps: not the time that it waits for a processor that others use.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.pipeline.backends.contract import Done, Failed, InternalError, Outcome
from curate.pipeline.calls import LOADING
from curate.pipeline.clock import Clock
from curate.pipeline.supervision import MOST_DEATHS, At, Lost, Task

__all__ = ["LocalBackend"]

START_SECONDS = 300.0
"""For a worker to come up, and for a stage to load."""
POLL_SECONDS = 0.25
START_WAIT = 0.5
"""Seconds that tasks wait for the workers there are before more are started: about what the start of one costs."""
THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
    "POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    task: Task | None = None
    at: At | None = None
    ready: bool = False
    heard: bytearray = field(default_factory=bytearray)
    clock: Clock = field(init=False)
    """Of its present call."""

    def __post_init__(self) -> None:
        self.clock = Clock(self.process.pid)

    def begins(self, at: At | None) -> None:
        """It says what it is about to do."""
        self.at = at
        self.clock.begin()


class LocalBackend:
    """Runs tasks on `workers` processes; use as a context manager.

    Args:
        store: Place of the store.
        root: Folder of the pipeline file.
        workers: Most processes.
        threads: Of a process's libraries.
        cwd: Where they are started; None: here.
        environment: Variables that they have beside this process's.
    """

    def __init__(
        self,
        store: str,
        root: Path,
        workers: int,
        *,
        threads: int = 1,
        cwd: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.store, self.root, self.count, self.cwd = store, root, workers, cwd
        self.more = {**(environment or {}), **dict.fromkeys(THREADS, str(threads)), "TOKENIZERS_PARALLELISM": "false"}
        self.workers: list[_Worker] = []
        self.failed_starts = 0
        self.looked = time.monotonic()
        self.selector = selectors.DefaultSelector()

    def __enter__(self) -> LocalBackend:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            self._forget(worker)
        self.selector.close()

    def run(self, waiting: deque[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Do tasks until none is left; yields each with what came of it, in the order in which they finish."""
        begun = time.monotonic()
        while waiting or any(worker.task for worker in self.workers):
            if not self.workers or time.monotonic() - begun > START_WAIT:
                running = sum(worker.task is not None for worker in self.workers)
                while len(self.workers) < min(self.count, running + len(waiting)):
                    self._start()
            for worker in self.workers:
                if worker.ready and worker.task is None and waiting:
                    self._give(worker, waiting.popleft())
            for key, _ in self.selector.select(timeout=POLL_SECONDS):
                worker = key.data
                for message in self._hear(worker):
                    task, worker.task = worker.task, None
                    assert task is not None
                    yield task, Done(message["done"]) if "done" in message else Failed(**message["error"])
            yield from self._bury()

    # ---- processes

    def _start(self) -> None:
        debug = bool(os.environ.get("CURATE_DEBUG"))
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "curate.pipeline.worker", self.store, str(self.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if debug else subprocess.DEVNULL,
            cwd=self.cwd,
            env={**os.environ, **self.more},
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        worker = _Worker(process)
        self.workers.append(worker)
        self.selector.register(process.stdout, selectors.EVENT_READ, worker)

    def _give(self, worker: _Worker, task: Task) -> None:
        assert worker.process.stdin is not None
        worker.task = task
        worker.begins(None)
        with suppress(BrokenPipeError):  # it has died: _bury finds it
            worker.process.stdin.write(json.dumps(task.spec).encode() + b"\n")
            worker.process.stdin.flush()

    def _hear(self, worker: _Worker) -> Iterator[dict[str, Any]]:
        assert worker.process.stdout is not None
        fresh = worker.process.stdout.read(1 << 20) or b""
        known = len(worker.heard)
        worker.heard += fresh
        end = worker.heard.find(b"\n", known)
        if end < 0:
            return
        end = worker.heard.rfind(b"\n")
        lines = bytes(worker.heard[:end]).split(b"\n")
        del worker.heard[: end + 1]
        for line in lines:
            message = json.loads(line)
            if "ready" in message:
                worker.ready, self.failed_starts = True, 0
                worker.begins(None)
            elif "at" in message:
                worker.begins(tuple(message["at"]) if message["at"] else None)
            else:
                yield message

    def _bury(self) -> Iterator[tuple[Task, Lost]]:
        """Leave dead and hanging workers; yields the tasks that were lost with them."""
        due = time.monotonic() - self.looked > POLL_SECONDS
        self.looked = time.monotonic() if due else self.looked
        for worker in list(self.workers):
            limit = self._limit(worker)
            hung = due and limit is not None and worker.clock.look() > limit
            if worker.process.poll() is None and not hung:
                continue
            worker.process.kill()
            self.workers.remove(worker)
            self._forget(worker)
            if worker.task is None:
                self.failed_starts += not worker.ready
                if self.failed_starts >= MOST_DEATHS:
                    raise InternalError("worker processes do not start; CURATE_DEBUG=1 shows what they say")
                continue
            how = f"passed the time limit of {limit:g} s" if hung else f"died (exit {worker.process.returncode})"
            yield worker.task, Lost(worker.at, hung, how)

    def _limit(self, worker: _Worker) -> float | None:
        """Seconds that what it does may take."""
        loads = not worker.ready or (worker.at is not None and worker.at[1] == LOADING)
        return START_SECONDS if loads else worker.task.time_limit if worker.task and worker.at else None

    def _forget(self, worker: _Worker) -> None:
        assert worker.process.stdin is not None
        assert worker.process.stdout is not None
        self.selector.unregister(worker.process.stdout)
        worker.process.stdout.close()
        with suppress(BrokenPipeError):
            worker.process.stdin.close()
        worker.process.wait()
