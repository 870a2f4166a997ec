"""Processes of `curate` that tests start are forks of one process that has loaded what they load.

A run of a test computes for milliseconds; loading libraries, in its driver and in its workers, takes seconds: that was most of
what the suite took. All but the start is as it is: a process of its own, a child of who started it, with its pipes, its
environment and its folder. `subprocess` does the rest, in the tests and in curate, and knows nothing of this.

Started as for users are: processes with other options of the interpreter (`-c`, `-X`), in sessions of their own, with variables
that count when something is loaded, those of scripts and of other programs, and all where `CURATE_TEST_COLD` is set.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import io
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy

__all__ = ["open_nurseries"]

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
MODULES = {
    (sys.executable, "-P", "-m", "curate.pipeline.worker"): "curate.pipeline.worker",
    (sys.executable, "-m", "curate"): "curate.cli",
    (sys.executable, "-m", "curate.cli"): "curate.cli",
}
"""Beginnings of commands, and the module with the `main` that they run."""
READ_AT_START = (
    "PYTHON",
    "LD_",
    "NUMBA",
    "OMP_",
    "OPENBLAS",
    "MKL_",
    "POLARS",
    "RAYON",
    "ARROW",
    "TOKENIZERS",
    "LANG",
    "LC_",
)
"""Beginnings of variables that count when something is loaded."""
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "NUMBA_NUM_THREADS",
     "RAYON_NUM_THREADS"), "1"
) | {"TOKENIZERS_PARALLELISM": "false"}  # fmt: skip
"""What workers have, and drivers may have."""
LOADED = (
    "curate.pipeline.worker", "curate.pipeline.agree", "curate.pipeline.expand", "curate.pipeline.fragment",
    "curate.pipeline.shuffle", "curate.pipeline.steps", "curate.pipeline.run", "curate.stages.registry", "curate.commands.run",
    "curate.commands.data", "curate.commands.why", "curate.commands.plan", "curate.commands.validate", "curate.dataset.reader",
    "typer.main", "rich.console", "rich.table", "numpy", "numba", "polars", "pyarrow.compute", "pyarrow.dataset",
    "pyarrow.parquet", "spacy", "presidio_analyzer", "ftfy",
)  # fmt: skip

TESTS = Path(__file__).parent
_ordinary = subprocess.Popen._execute_child


# ---- who asks


class _Nursery:
    """The end of a channel to it."""

    def __init__(self, channel: socket.socket, environment: dict[str, str]) -> None:
        self.channel, self.lock, self.environment = channel, threading.Lock(), environment

    def suits(self, environment: dict[str, str]) -> bool:
        known, asked = _path(self.environment), _path(environment)
        new = [Path(one) for one in asked if one not in known]
        strange = [one for one in new if not one.is_relative_to(TESTS) or (one / "sitecustomize.py").exists()]
        if "CURATE_TEST_COLD" in environment or strange or not set(known) <= set(asked):
            return False
        return _at_start({**ONE_THREAD, **environment}) == _at_start(self.environment)

    def birth(
        self, module: str, arguments: list[str], cwd: str, environment: dict[str, str], streams: list[int]
    ) -> int:
        asked = {"module": module, "arguments": arguments, "cwd": cwd, "environment": environment}
        libc = ctypes.CDLL(None)
        with self.lock:
            libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
            try:
                socket.send_fds(self.channel, [json.dumps(asked).encode()], streams)
                pid = int(self.channel.recv(100))
                assert self.channel.recv(100) == b"born"
                return pid
            finally:
                libc.prctl(PR_SET_CHILD_SUBREAPER, 0)


def _at_start(environment: dict[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if name.startswith(READ_AT_START) and name != "PYTHONPATH"
    }


def _path(environment: dict[str, str]) -> list[str]:
    return [one for one in environment.get("PYTHONPATH", "").split(os.pathsep) if one]


def open_nurseries() -> None:
    """From now on, processes of `curate` are born there, by turns in two with other hashes of strings: sets differ in order."""
    seeds = itertools.cycle((1, 2))
    _send_there(lambda: _started(next(seeds)))


@functools.cache
def _started(seed: int) -> _Nursery:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {**os.environ, **ONE_THREAD}
    process = subprocess.Popen(
        [sys.executable, "-P", __file__, str(theirs.fileno())], env={**environment, "PYTHONHASHSEED": str(seed)},
        pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
    )  # fmt: skip
    theirs.close()
    atexit.register(lambda: (ours.close(), process.wait()))
    return _Nursery(ours, environment)


def _send_there(which: Callable[[], _Nursery]) -> None:
    owner = os.getpid()

    def execute(process: Any, *given: Any) -> None:
        (args, executable, preexec, _, pass_fds, cwd, env, _, _, shell, read_in, write_in, read_out, write_out,
         read_error, write_error, _, gid, gids, uid, umask, session, group) = given  # fmt: skip
        command = [os.fspath(one) for one in args] if isinstance(args, (list, tuple)) else []
        module, rest = next(
            (
                (name, command[len(begins) :])
                for begins, name in MODULES.items()
                if tuple(command[: len(begins)]) == begins
            ),
            (None, []),
        )
        special = (
            executable or preexec or pass_fds or shell or gid or gids or uid or session or umask != -1 or group != -1
        )
        if module is None or special or os.getpid() != owner:  # a fork of who asks would take its answers
            return _ordinary(process, *given)
        environment, nursery = {**(os.environ if env is None else env)}, which()
        if not nursery.suits(environment):
            return _ordinary(process, *given)
        streams = [standard if one == -1 else one for standard, one in enumerate((read_in, write_out, write_error))]
        process.pid = nursery.birth(module, rest, os.fspath(cwd or str(Path.cwd())), environment, streams)
        process._child_created = True
        process._close_pipe_fds(read_in, write_in, read_out, write_out, read_error, write_error)
        return None

    subprocess.Popen._execute_child = execute


# ---- the nursery


def _serve(channel: socket.socket) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    while True:
        line, streams, _, _ = socket.recv_fds(channel, 1 << 20, 3)
        if not line:
            return
        between = os.fork()
        if not between:
            _between(channel, json.loads(line), streams)
        os.waitpid(between, 0)
        channel.send(b"born")
        for one in streams:
            os.close(one)


def _between(channel: socket.socket, asked: dict[str, Any], streams: list[int]) -> None:
    """The process whose end makes its child one of who asked."""
    me = os.getpid()
    child = os.fork()
    if child:
        channel.send(str(child).encode())
        os._exit(0)
    while os.getppid() == me:
        time.sleep(0.0005)
    channel.close()
    _live(asked, streams)


def _live(asked: dict[str, Any], streams: list[int]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for standard, one in enumerate(streams):
        os.dup2(one, standard)
        os.close(one)
    os.chdir(asked["cwd"])
    known, path = _path(dict(os.environ)), _path(asked["environment"])
    sys.path[:] = [*path, *(one for one in sys.path if one not in known)]
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    random.seed()
    numpy.random.seed()
    if asked["module"] == "curate.cli":
        sys.path.insert(0, asked["cwd"])
        own = _of_its_own()
        _send_there(lambda: own)
    _open_streams()
    sys.argv = [str(import_module(asked["module"]).__file__), *asked["arguments"]]
    sys.modules["__main__"] = types.ModuleType("__main__")
    status = 1
    try:
        import_module(asked["module"]).main()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            threading._shutdown()
            atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                status = status or 120
        os._exit(status)


def _of_its_own() -> _Nursery:
    """For the workers of a driver: they are to be its children."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {**os.environ, **ONE_THREAD}
    if not os.fork():
        ours.close()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nowhere, standard)
        with contextlib.suppress(BaseException):
            _serve(theirs)
        os._exit(0)
    theirs.close()
    return _Nursery(ours, environment)


def _open_streams() -> None:
    """Streams as the interpreter opens them at its start: what a terminal gets is written line by line."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)
        raw = io.FileIO(number, "r" if number == 0 else "w", closefd=False)
        buffered = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
        lines = number == 2 or (number == 1 and raw.isatty())
        stream = io.TextIOWrapper(buffered, old.encoding, old.errors, line_buffering=lines)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    for _name in LOADED:
        import_module(_name)
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
