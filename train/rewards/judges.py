"""The processes that judge: rewards run apart from training, so one that hangs, dies or eats memory costs its own completion.

A worker has one completion and one reward at a time, so what loses it has an address. What counts against
`reward_limits.seconds` is the time that it and its programs compute or sleep (`pipeline/clock.py`): a busy machine fails
none. A worker that was lost is ended with all that it has started, and another takes its place. Verdicts come in the order of
the completions, whoever gave them, so they do not depend on the number of workers. Every question has a number, which its
verdict repeats: a worker that says anything else, to the last line, is lost, too, since no one knows what it answers.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.pipeline.clock import Clock
from curate.train.rewards.completion import Completion
from curate.train.rewards.jail import remove
from curate.train.rewards.load import Verdict
from curate.train.settings.rewards import RewardLimits, RewardSettings

__all__ = ["Judges"]

START_SECONDS = 300.0
"""For a worker to come up, modules of one's own included."""
POLL_SECONDS = 0.25
BEAT_SECONDS = 2.0
MOST_SAID = 1 << 20
"""Bytes of a line."""
Task = tuple[int, dict[str, Any]]


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    task: Task | None = None
    ready: bool = False
    heard: bytearray = field(default_factory=bytearray)
    astray: bool = False
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(self.process.pid, family=True)

    def write(self, message: dict[str, Any]) -> None:
        """Send it a line."""
        assert self.process.stdin is not None
        self.clock.begin()
        with suppress(BrokenPipeError):  # it has died: that is found where its answer is missed
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def end(self) -> None:
        """End it and what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        self.process.wait()


class Judges:
    """The rewards of a run, in processes of their own; close it, or leave it as a context.

    Args:
        rewards: Each by its settings.
        limits: What one may take for a completion.
        folder: Of the run, for what a reward keeps; None: nothing is kept.

    The first worker comes up while something else is done. Any method that looks after workers raises CurateError where a
    reward cannot be loaded.
    """

    def __init__(self, rewards: Sequence[RewardSettings], limits: RewardLimits, *, folder: Path | None = None) -> None:
        self.rewards, self.limits, self.run = tuple(rewards), limits, folder
        self.selector = selectors.DefaultSelector()
        self.workers: list[_Worker] = []
        self.looked, self.asked = time.monotonic(), 0
        self.folder = tempfile.TemporaryDirectory(prefix="rewards-")  # what a worker that is ended leaves goes with it
        self._start()

    def wait(self, beat: Callable[[], object] = lambda: None) -> None:
        """Until the first worker has loaded the rewards.

        Args:
            beat: Called a few times a second.

        Raises:
            CurateError: A reward cannot be loaded.
        """
        while not self.workers[0].ready:
            self._look()
            beat()

    def __enter__(self) -> Judges:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        while self.workers:
            self._forget(self.workers[0])
        self.selector.close()
        remove(self.folder.name)
        self.folder.cleanup()

    def __call__(
        self,
        completions: Sequence[Completion],
        samples: Sequence[int],
        *,
        beat: Callable[[], object] = lambda: None,
    ) -> list[list[Verdict]]:
        """Judge completions; a verdict of each reward for each of them.

        Args:
            completions: What is judged.
            samples: The number of each in the whole run, from which a reward that draws at random draws.
            beat: Called every two seconds or so.
        """
        count = len(self.rewards)
        asked = [
            {"number": number, "reward": reward, "sample": sample, **given._asdict()}
            for number, (given, sample, reward) in enumerate(
                (
                    (given, sample, reward)
                    for given, sample in zip(completions, samples, strict=True)
                    for reward in range(count)
                ),
                self.asked,
            )
        ]
        self.asked += len(asked)  # a number is never asked again: what comes too late answers nothing
        found: list[Verdict | None] = [None] * len(asked)
        waiting, beaten = deque(enumerate(asked)), time.monotonic()
        for worker in [worker for worker in self.workers if worker.process.poll() is not None]:
            self._forget(worker)  # it died while nothing was asked of it
        while waiting or any(worker.task for worker in self.workers):
            while len(self.workers) < min(self.limits.workers, len(waiting)):
                self._start()
            for worker in self.workers:
                if worker.ready and worker.task is None and waiting:
                    worker.task = waiting.popleft()
                    worker.write(worker.task[1])
            for number, verdict in self._look():
                found[number] = verdict
            if time.monotonic() - beaten > BEAT_SECONDS:
                beaten = time.monotonic()
                beat()
        verdicts = [verdict for verdict in found if verdict]
        assert len(verdicts) == len(asked)
        return [verdicts[start : start + count] for start in range(0, len(verdicts), count)]

    # ---- processes

    def _start(self) -> None:
        debug = bool(os.environ.get("CURATE_DEBUG"))
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "curate.train.rewards.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if debug else subprocess.DEVNULL,
            env={
                **os.environ,
                "TMPDIR": self.folder.name,
                "PYTHONHASHSEED": "0",
                "OMP_NUM_THREADS": "1",
                "TOKENIZERS_PARALLELISM": "false",
            },
            start_new_session=True,
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        worker = _Worker(process)
        self.workers.append(worker)
        self.selector.register(process.stdout, selectors.EVENT_READ, worker)
        entries = [one.model_dump(mode="json") for one in self.rewards]
        worker.write(
            {"rewards": entries, "path": sys.path, "memory": self.limits.memory, "folder": str(self.run or "")}
        )

    def _look(self) -> list[tuple[int, Verdict]]:
        """Verdicts that have come, or that follow from the loss of a worker."""
        found: list[tuple[int, Verdict]] = []
        for key, _ in self.selector.select(timeout=POLL_SECONDS):
            found += self._hear(key.data)
        due = time.monotonic() - self.looked > POLL_SECONDS
        self.looked = time.monotonic() if due else self.looked
        for worker in list(self.workers):
            limit = self.limits.seconds if worker.ready else START_SECONDS
            busy = worker.task is not None or not worker.ready
            hung = due and busy and worker.clock.look() > limit
            if worker.process.poll() is None and not hung and not worker.astray:
                continue
            found += self._hear(worker)  # what it said last
            found += self._lost(worker, hung)
        return found

    def _hear(self, worker: _Worker) -> list[tuple[int, Verdict]]:
        assert worker.process.stdout is not None
        worker.heard += worker.process.stdout.read(MOST_SAID) or b""
        *lines, rest = bytes(worker.heard).split(b"\n")
        worker.heard = bytearray(rest)
        found: list[tuple[int, Verdict]] = []
        for line in lines:
            message = _message(line)
            if "error" in message and not worker.ready:
                (record,) = message["error"]
                raise CurateError(record["problem"], record["where"], record["hint"])
            if "ready" in message and not worker.ready:
                worker.ready = True
                continue
            verdict = _verdict(message, worker.task[1]["number"]) if worker.task else None
            if worker.astray or worker.task is None or verdict is None:
                worker.astray = True
                break
            found.append((worker.task[0], verdict))
            worker.task = None
        worker.astray |= len(rest) > MOST_SAID
        return found

    def _lost(self, worker: _Worker, hung: bool) -> list[tuple[int, Verdict]]:
        """The verdict on what a worker was lost with.

        Raises:
            CurateError: It had not come up yet.
        """
        astray, code, task = worker.astray, worker.process.poll(), worker.task
        self._forget(worker)
        if task is None and worker.ready:
            return []
        said = "said what is no verdict" if astray else f"died (exit {code})"
        if task is None:
            how = f"was not ready after {START_SECONDS:g} s" if hung else f"{said} before it was ready"
            raise CurateError(f"the process of the rewards {how}", "objective", "CURATE_DEBUG=1 shows what it says")
        name = self.rewards[task[1]["reward"]].called
        if hung:
            return [(task[0], Verdict(None, f"the reward `{name}` took more than {self.limits.seconds:g} s"))]
        return [(task[0], Verdict(None, f"the process of the reward `{name}` {said}"))]

    def _forget(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        self.selector.unregister(worker.process.stdout)  # pyright: ignore[reportArgumentType]
        worker.end()


def _message(line: bytes) -> dict[str, Any]:
    """What a worker said; empty where it is none of ours."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _verdict(message: dict[str, Any], number: int) -> Verdict | None:
    """The verdict on the question of this number; None where the message is something else."""
    if message.keys() != {"number", *Verdict._fields} or message["number"] != number:
        return None
    value, problem, hint = (message[name] for name in Verdict._fields)
    if not all(text is None or isinstance(text, str) for text in (problem, hint)):
        return None
    known = type(value) is float and math.isfinite(value)
    return Verdict(value, problem, hint) if known or (value is None and problem) else None
