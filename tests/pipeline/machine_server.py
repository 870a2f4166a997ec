"""Runs of `curate` in processes of their own, without paying for the imports each time: a server that forks.

A user's modules are imported once a process, so a run after an edit of one needs a new process. This one has imported
curate, pyarrow and datatrove, but nothing of a user's: each request is done in a fork of it (about 30 ms in place of
0.6 CPU-s). `Server` starts it and asks; `python machine_server.py` is the server.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
HOOKS = HERE / "hooks"
MOST_SECONDS = 120


class Outcome(NamedTuple):
    """What a request came to: exit code (negative: the signal that ended it), CPU seconds with its workers', stdout, stderr."""

    code: int
    seconds: float
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


class Server:
    """The server, from the side of those who ask."""

    def __init__(self):
        import curate

        self.seconds = 0.0
        # the project that is tested, wherever the other one of this name is installed
        path = [str(Path(curate.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
        for name in ("CURATE_STORE", "CURATE_DEBUG"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "machine_server.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def curate(self, folder, *arguments, trap=None, **environment):
        """Call the command line in a folder; `trap` is what `hooks/sitecustomize.py` takes."""
        return self._ask({
            "arguments": [str(argument) for argument in arguments], "folder": str(folder), "trap": trap,
            "environment": environment,
        })  # fmt: skip

    def look(self, folder, store, name, identities):
        """What a version says of itself, as JSON, and the story of some of its documents."""
        return self._ask({
            "look": [str(store), name, list(identities)], "folder": str(folder), "trap": None, "environment": {}
        })  # fmt: skip

    def _ask(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the server has ended: its own error stands above"
        outcome = Outcome(**json.loads(answer))
        self.seconds += outcome.seconds
        return outcome

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


# ---- the other side


def main():
    for name in (
        "datatrove.pipeline.filters.base_filter",
        "pyarrow.compute",
        "pyarrow.parquet",
        "curate.cli",
        "pandas",
        "polars",
    ):
        import_module(name)
    for name in ("commands", "pipeline", "dataset", "stages", "collect", "mix", "dedup"):
        package = import_module(f"curate.{name}")
        for module in iter_modules(package.__path__, f"curate.{name}."):
            import_module(module.name)  # and its bytecode is written for the workers
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            child = os.fork()
            if child == 0:
                _serve(request, out, err, folder)
            _, status, used = os.wait4(child, 0)
            outcome = Outcome(
                os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, out.read_text(), err.read_text()
            )
        print(json.dumps(outcome._asdict()), flush=True)


def _serve(request, out, err, folder):
    """Do one request in this process, a fork, and end it."""
    signal.alarm(MOST_SECONDS)
    # code that is edited within a second, at the same size, must not be taken from bytecode
    os.environ["PYTHONDONTWRITEBYTECODE"], sys.dont_write_bytecode = "1", True
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = io.StringIO()
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HOOKS), os.environ["PYTHONPATH"]])
    if request["trap"] and "part" in request["trap"]:
        from tests.object_store import Server as ObjectStore

        url, part, after = (request["trap"][name] for name in ("url", "part", "after"))
        ObjectStore(int(url.rpartition(":")[2])).kill(os.getpid(), part, after)
    elif request["trap"]:
        trap = {**request["trap"], "driver": os.getpid(), "folder": folder}
        os.environ["MACHINE_TRAP"] = json.dumps(trap)
        sys.path.insert(0, str(HOOKS))
        sys.modules.pop("sitecustomize", None)
        import sitecustomize  # noqa: F401
    code = 1
    try:
        if "look" in request:
            json.dump(_look(*request["look"]), sys.stdout, default=str)
        else:
            from curate.cli import main as curate

            sys.argv = ["curate", *request["arguments"]]
            curate()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _look(store, name, identities):
    import curate
    from curate.dataset.why import why

    dataset = curate.open_dataset(name, store)
    stories = {}
    for identity in identities:
        try:
            stories[identity] = why(dataset, identity)
        except curate.CurateError as error:
            stories[identity] = f"refused: {error.problem}"
    return {
        "version": dataset.version,
        "columns": dataset.columns,
        "documents": {split: dataset.arrow(split).to_pylist() for split in dataset.splits},
        "why": stories,
    }


if __name__ == "__main__":
    main()
