"""Backend `slurm`: tasks in job arrays of a Slurm cluster.

Elements of the arrays are workers (`curate worker`) that take tasks from a folder (spool.py), so a wave of small tasks costs no
job of its own. Slurm says which workers live; what one had that does not is tried again. A worker that Slurm has put
back into its queue (preemption, a node that failed) says itself what it had lost. The store, the inputs and the environment
must be at the same place from every node.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from curate.config.resources import Resources
from curate.errors import CurateError
from curate.pipeline.backends.contract import InternalError, Outcome
from curate.pipeline.backends.host import driver, from_json, to_json
from curate.pipeline.backends.spool import Queue, Spool
from curate.pipeline.supervision import Lost, Task

__all__ = ["SlurmBackend", "detach"]

LOOK_SECONDS = 0.25
ASK_SECONDS = 5.0
"""Between questions to Slurm, whose controller serves many."""
MOST_STARTS = 3
"""Arrays in a row whose workers all ended before they had taken a task."""
WAIT_SECONDS = 60.0
PENDING = "PD"
UNREACHED = (
    "Unable to contact slurm controller",
    "resolve_ctls_from_dns_srv",
    "Could not establish a configuration source",
)
"""Words of Slurm's programs where they find nobody to ask."""
MOST_ELEMENTS = 1000
"""Of an array, where Slurm does not say its limit (MaxArraySize)."""


class _Workers:
    """The workers that have certain resources: their queue, and the arrays in which they are."""

    def __init__(self, needs: Resources, queue: Queue) -> None:
        self.needs, self.queue = needs, queue
        self.open: dict[int, Task] = {}
        self.arrays: list[str] = []
        self.alive: dict[str, str] = {}
        """State by name, as Slurm says."""
        self.missing: set[int] = set()
        """Tasks whose worker was not there when Slurm was asked last."""
        self.starts = 0


class SlurmBackend:
    """Runs tasks in job arrays; use as a context manager.

    Args:
        store: Place of the store.
        root: Folder of the pipeline file.
        workers: Most elements of arrays at once; None: 100.
        options: For `sbatch`, as on its command line.
        note: Told what people should know.
    """

    def __init__(
        self, store: str, root: Path, workers: int | None, options: Sequence[str], note: Callable[[str], None]
    ) -> None:
        self.store, self.root, self.count, self.options, self.note = store, root, workers or 100, list(options), note
        self.spool = Spool(root / ".curate-jobs" / f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(4)}")
        self.shapes: dict[Resources, _Workers] = {}
        self.number, self.most = 0, MOST_ELEMENTS
        self.asked = self.told = time.monotonic()

    def __enter__(self) -> SlurmBackend:
        for program in ("sbatch", "squeue", "scancel"):
            if shutil.which(program) is None:
                hint = "run it on a node from which jobs are submitted"
                raise CurateError(f"backend `slurm` needs the program `{program}`", "--backend", hint)
        self.spool.create(driver(self.store, self.root, {}))  # the environment comes by sbatch, and is on no disk
        self.spool.sweep()
        limit = re.search(r"MaxArraySize\s*=\s*(\d+)", _slurm("scontrol", "show", "config").stdout)
        self.most = max(1, int(limit[1]) - 1) if limit else MOST_ELEMENTS
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        arrays = [array for shape in self.shapes.values() for array in shape.arrays]
        if arrays:
            _slurm("scancel", "--quiet", *arrays)
        self.spool.remove(logs=kind is None)  # else they may be wanted

    def run(self, waiting: deque[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Do tasks until none is left; yields each with what came of it, in the order in which they finish."""
        while waiting or any(shape.open for shape in self.shapes.values()):
            while waiting:
                self._hand_out(waiting.popleft())
            self.spool.beat()
            for shape in self.shapes.values():
                for number, told in shape.queue.finished():
                    shape.starts = 0
                    if task := shape.open.pop(number, None):
                        yield task, from_json(told)
            if time.monotonic() - self.asked > ASK_SECONDS:
                self.asked = time.monotonic()
                for shape in list(self.shapes.values()):
                    yield from self._look(shape)
            time.sleep(LOOK_SECONDS)

    def _hand_out(self, task: Task) -> None:
        needs = task.resources
        if needs not in self.shapes:
            queue = self.spool.queue(needs)
            queue.create()
            self.shapes[needs] = _Workers(needs, queue)
            self.asked = 0.0  # look at once whether there are workers for it
        self.number += 1
        self.shapes[needs].open[self.number] = task
        self.shapes[needs].queue.put(self.number, to_json(task))

    # ---- workers

    def _look(self, shape: _Workers) -> Iterator[tuple[Task, Outcome]]:
        """Ask Slurm who lives, start who is missing; yields tasks whose worker is gone."""
        if shape.arrays and not self._ask(shape):
            return  # the controller does not answer: nothing is known
        taken = [one for one in shape.queue.all_taken() if one.number in shape.open]
        # One that is in the queue again will say so, but only when it has been started again: two minutes later, or hours.
        gone = {one.number: one.worker for one in taken if shape.alive.get(one.worker, PENDING) == PENDING}
        for number in shape.missing & gone.keys():  # a second time: its answer may have been on its way
            if (shape.queue.done / str(number)).exists():
                continue
            worker = gone[number]
            (shape.queue.taken / f"{number}.{worker}").unlink(missing_ok=True)
            yield shape.open.pop(number), Lost(None, False, f"was lost with job {worker} ({_state(worker)})")
        shape.missing = set(gone)
        if taken:
            shape.starts = 0
        self._start(shape)
        pending = [state for state in shape.alive.values() if state == PENDING]
        if shape.open and len(pending) == len(shape.alive) and time.monotonic() - self.told > WAIT_SECONDS:
            self.told = time.monotonic()
            self.note(f"{len(pending)} jobs wait in Slurm's queue ({_reasons(shape.arrays)})")

    def _ask(self, shape: _Workers) -> bool:
        """Learn which workers live; whether Slurm said."""
        asked = _slurm("squeue", "--noheader", "--array", "--format", "%F_%K %t", "--jobs", ",".join(shape.arrays))
        if asked.returncode and "Invalid job id" not in asked.stderr:
            return False
        lines = [] if asked.returncode else asked.stdout.split("\n")
        shape.alive = {name: state for name, _, state in (line.strip().partition(" ") for line in lines) if name}
        here = {name.partition("_")[0] for name in shape.alive}
        shape.arrays = [array for array in shape.arrays if array in here]
        return True

    def _start(self, shape: _Workers) -> None:
        """Submit as many workers as there are tasks, up to what was allowed.

        Raises:
            CurateError: Slurm does not take the job.
            InternalError: Workers end before they do anything.
        """
        others = sum(len(other.alive) for other in self.shapes.values() if other is not shape)
        count = min(self.count - others, self.most, len(shape.open)) - len(shape.alive)
        if count <= 0:
            return
        if shape.starts >= MOST_STARTS:
            raise InternalError(f"workers end in Slurm before they do anything:\n{self._last_words()}")
        done = _slurm("sbatch", *self._options(shape.needs, count))
        found = re.match(r"\d+", done.stdout)
        if done.returncode or not found:
            problem, where, hint = _refused(done.stderr)
            if not shape.alive:
                raise CurateError(problem, where, hint)
            if time.monotonic() - self.told > WAIT_SECONDS:
                self.told = time.monotonic()
                self.note(f"{problem}; {len(shape.alive)} workers go on, and it is tried again")
            return
        shape.starts += 1
        shape.arrays.append(found[0])
        shape.alive |= {f"{found[0]}_{element}": PENDING for element in range(count)}

    def _options(self, needs: Resources, count: int) -> list[str]:
        logs = self.spool.folder / "logs"
        logs.mkdir(exist_ok=True)
        memory = [] if needs.memory is None else [f"--mem={max(1, round(needs.memory * 1e9 / 2**20))}M"]
        gpus = [f"--gres=gpu:{needs.gpus}"] if needs.gpus else []
        command = [
            sys.executable, "-P", "-m", "curate", "worker", str(self.spool.folder), "--cpus", str(needs.cpus),
            "--memory", f"{needs.memory or 0.0!r}", "--gpus", str(needs.gpus),
        ]  # fmt: skip
        return [
            "--parsable", "--requeue", "--job-name=curate", f"--array=0-{count - 1}", f"--cpus-per-task={needs.cpus}",
            f"--output={logs}/%A_%a.log", f"--chdir={self.root}", *memory, *gpus, *self.options,
            "--wrap", f"exec {shlex.join(command)}",
        ]  # fmt: skip

    def _last_words(self) -> str:
        """The end of the newest log of a worker."""
        logs = sorted((self.spool.folder / "logs").glob("*.log"), key=lambda path: path.stat().st_mtime)
        words = logs[-1].read_text(errors="replace")[-2000:] if logs else ""
        return words.strip() or "they left no log: does the node see this folder?"


def detach(arguments: Sequence[str], root: Path, options: Sequence[str]) -> tuple[str, Path]:
    """Submit the driver itself as a job; its number, and where it writes.

    Args:
        arguments: Of `curate`, without `--detach`.
        root: Folder of the pipeline file.
        options: For `sbatch`.

    Raises:
        CurateError: Slurm does not take it.
    """
    if shutil.which("sbatch") is None:
        raise CurateError("`--detach` needs the program `sbatch`", "--detach")
    command = shlex.join([sys.executable, "-P", "-m", "curate", *arguments])
    output = f"--output={root}/curate-%j.log"
    done = _slurm(
        "sbatch",
        "--parsable",
        "--job-name=curate-run",
        f"--chdir={Path.cwd()}",
        output,
        *options,
        "--wrap",
        f"exec {command}",
    )
    found = re.match(r"\d+", done.stdout)
    if done.returncode or not found:
        raise CurateError(*_refused(done.stderr))
    return found[0], root / f"curate-{found[0]}.log"


def _refused(said: str) -> tuple[str, str, str]:
    """What `sbatch` complains of, in words: problem, place and hint."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if any(one in said for one in UNREACHED):
        last = lines[-1].rpartition("error: ")[2]
        hint = "`scontrol ping` says whether slurmctld runs, SLURM_CONF which configuration is read"
        return f"no Slurm controller answers ({last})", "--backend", hint
    hint = "`sinfo` shows partitions, `sacctmgr show qos` limits"
    return f"Slurm does not take the job: {' '.join(lines)}", "--sbatch", hint


def _state(worker: str) -> str:
    """What became of a job, in Slurm's word."""
    found = re.search(r"JobState=(\w+)", _slurm("scontrol", "--oneliner", "show", "job", worker).stdout)
    return found[1] if found else "it is not known any more"


def _reasons(arrays: Sequence[str]) -> str:
    said = _slurm("squeue", "--noheader", "--format", "%r", "--jobs", ",".join(arrays)).stdout.split("\n")
    return ", ".join(sorted({line.strip() for line in said if line.strip()})) or "no reason is given"


def _slurm(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
