"""Backend `ray`: tasks on the machines of a Ray cluster.

Ray places the tasks and says when a machine is lost; what is done about it is decided here, as for any backend, so Ray
itself tries nothing again. A Ray process keeps its worker from task to task. The store and the inputs must be at the
same place from every machine: a shared folder, or an object store.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any

from curate.config.resources import Resources
from curate.errors import CurateError
from curate.pipeline.backends.contract import Failed, Outcome
from curate.pipeline.backends.host import Host, driver, from_json, to_json
from curate.pipeline.supervision import Lost, Task

__all__ = ["RayBackend", "do_task"]

POLL_SECONDS = 1.0
NOWHERE = Path(os.devnull)
CONNECT_SECONDS = 10.0
LONG_SECONDS = 30.0
"""With nothing done for so long a task may be waiting for a machine that nobody has."""
MOST_QUEUED = 64
"""Tasks given to Ray at least, where it has fewer processors: so a cluster that grows by demand sees some."""
OF_MACHINE = re.compile(
    "(PATH|HOME|USER|LOGNAME|SHELL|PWD|OLDPWD|HOSTNAME|TMPDIR|VIRTUAL_ENV|(LD|CUDA|NVIDIA|ROCR|HIP|RAY|SLURM|XDG|KUBERNETES)_.*)$"
)
"""Variables that a machine has its own of; a worker has all others of the driver's, as here."""
_hosts: dict[tuple[Any, ...], Host] = {}


def do_task(run: str, told_driver: dict[str, Any], threads: int, told: dict[str, Any]) -> dict[str, Any]:
    """Do a task in this Ray process, which keeps a worker for as long as it lives."""
    kept = (run, threads, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if kept not in _hosts:
        for host in _hosts.values():
            host.close()  # tasks of other needs: their worker would only hold memory
        _hosts.clear()
        _hosts[kept] = Host(told_driver, threads)
    return _hosts[kept].do(told)


def _reach(address: str | None) -> None:
    """See whether anyone listens there: Ray itself asks for minutes.

    Raises:
        OSError: Nobody does.
    """
    found = re.fullmatch(r"(?:ray://)?(.+):(\d+)", address or "")
    if found:
        socket.create_connection((found[1], int(found[2])), timeout=CONNECT_SECONDS).close()


class RayBackend:
    """Runs tasks on a Ray cluster; use as a context manager.

    Args:
        store: Place of the store.
        root: Folder of the pipeline file.
        workers: Most tasks at once; None: as many as the cluster has processors.
        address: Of the cluster, as Ray writes it; None: `RAY_ADDRESS`, or the cluster that runs on this machine, or one that is
            started on it for this run.
        note: Told what people should know.
    """

    def __init__(
        self, store: str, root: Path, workers: int | None, address: str | None, note: Callable[[str], None]
    ) -> None:
        self.count, self.address, self.note, self.quiet = workers, address, note, ExitStack()
        self.run_id = secrets.token_hex(8)
        self.driver = driver(
            store, root, {name: value for name, value in os.environ.items() if not OF_MACHINE.match(name)}
        )

    def __enter__(self) -> RayBackend:
        try:
            import ray
        except ImportError:
            raise CurateError("backend `ray` needs Ray", "--backend", "pip install 'curate-lm[ray]'") from None
        self.ray = ray
        debug = bool(os.environ.get("CURATE_DEBUG"))
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            _reach(self.address or os.environ.get("RAY_ADDRESS"))
            ray.init(
                address=self.address,
                log_to_driver=debug,
                logging_level=logging.ERROR,
                namespace="curate",
                ignore_reinit_error=True,
            )
        except (OSError, ValueError, RuntimeError) as error:
            hint = "`ray status` shows whether there is a cluster; its head prints the address"
            raise CurateError(f"the Ray cluster does not answer: {error}", "--address", hint) from None
        self.remote, self.told = ray.remote(do_task), ray.put(self.driver)
        # Ray prints what its daemons say to stdout, which is for data.
        self.quiet.enter_context(redirect_stdout(sys.stderr if debug else self.quiet.enter_context(NOWHERE.open("w"))))
        return self

    def __exit__(self, *_: object) -> None:
        self.ray.shutdown()
        self.quiet.close()

    def run(self, waiting: deque[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Do tasks until none is left; yields each with what came of it, in the order in which they finish."""
        running: dict[Any, Task] = {}
        heard = time.monotonic()
        try:
            while waiting or running:
                while waiting and len(running) < self._most():
                    task = waiting.popleft()
                    running[self._submit(task)] = task
                ready, _ = self.ray.wait(list(running), timeout=POLL_SECONDS)
                if ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > LONG_SECONDS:
                    heard = time.monotonic()
                    self._complain(running.values())
                for one in ready:
                    yield running.pop(one), self._outcome(one)
        finally:
            for one in running:
                self.ray.cancel(one, force=True)

    def _most(self) -> int:
        return self.count or max(MOST_QUEUED, 2 * int(self.ray.cluster_resources().get("CPU", 0)))

    def _submit(self, task: Task) -> Any:
        needs = task.resources
        options: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "max_retries": 0, "name": task.label}
        if needs.memory is not None:
            options["memory"] = int(needs.memory * 1e9)
        return self.remote.options(**options).remote(self.run_id, self.told, needs.cpus, to_json(task))

    def _outcome(self, one: Any) -> Outcome:
        from ray import exceptions as failures

        try:
            return from_json(self.ray.get(one))
        except failures.RayTaskError as error:  # it is raised on the other machine, outside of any stage
            return Failed("internal", [], str(error))
        except failures.RayError as error:
            how = str(error).strip().partition("\n")[0]
            return Lost(None, False, f"was lost with its machine or process ({type(error).__name__}: {how})")

    def _complain(self, running: Any) -> None:
        """Say which needs no machine of the cluster meets."""
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        stages = dict[Resources, dict[str, None]]()
        for task in running:
            stages.setdefault(task.resources, {}).update(dict.fromkeys(task.stages))
        for needs, names in stages.items():
            asked = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": int((needs.memory or 0) * 1e9)}
            if not any(all(has.get(name, 0) >= count for name, count in asked.items()) for has in machines):
                who = " and ".join(f"`{name}`" for name in names) or "a task"
                self.note(
                    f"{who} needs {needs.in_words()} on one machine, and no machine of the Ray cluster has that: it waits "
                    "until one joins; Ctrl-C ends the run, and with other `resources:` in the file it goes on from here"
                )
