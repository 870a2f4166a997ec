"""The worker process: reads tasks as JSON lines from standard input, answers with JSON lines on what was standard output.

Started as `python -P -m curate.pipeline.worker STORE ROOT`. Messages: `{"at": [stage id, first row, last row]}` before
every call into a stage, `{"at": null}` when no call is going on, `{"done": result}`, `{"error": {...}}`. Whatever
libraries print goes to standard error. The worker ends when its driver does: at the end of its input, and by the kernel's
signal if the driver is killed. What stages have loaded is kept from task to task.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate.dataset.store import Store
    from curate.pipeline.calls import Blame, Progress
    from curate.pipeline.steps import Opened

__all__ = ["main", "perform"]

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve tasks until the input ends."""
    driver = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != driver:
            return
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    place, root = sys.argv[1], sys.argv[2]
    sys.path.append(root)

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")

    from curate.dataset.store import Store
    from curate.errors import CurateError
    from curate.pipeline.steps import Opened
    from curate.stages.lean import import_lean

    import_lean()
    store, opened = Store.open(place), Opened()
    say({"ready": os.getpid()})
    for line in sys.stdin:
        try:
            say({"done": perform(store, json.loads(line), lambda at: say({"at": at}), opened)})
        except CurateError as error:
            say({"error": {"kind": type(error).__name__, "records": error.records()}})
        except MemoryError:
            os._exit(137)
        except Exception as error:  # the process's edge: the driver reports it as an internal error
            say({"error": {"kind": "internal", "records": [], "traceback": _where(error)}})


def perform(store: Store, task: dict[str, Any], progress: Progress, opened: Opened) -> Any:
    """Do one task; what it takes and gives is JSON."""
    from curate.dataset.ledger import Shard
    from curate.pipeline import agree, expand, fragment, shuffle
    from curate.pipeline.task import StageSpec

    kind, key = task["kind"], task["key"]
    if kind == "collect":
        return _collect(store, task, progress)
    if kind == "agree":
        return agree.run_agree(store, Shard.from_json(task["shard"]), task["columns"], key)
    if kind == "write":
        return fragment.run_write(store, Shard.from_json(task["shard"]), key)
    if kind == "steps":
        return _steps(store, task, progress, opened)
    spec = StageSpec(**task["stage"])
    if kind == "call":
        return shuffle.run_call(store, spec, task["description"], task["method"], task["arguments"], key)
    if kind == "apply":
        return shuffle.run_apply(store, spec, task["description"], task["found"], key)
    assert kind == "expand", kind
    shard = Shard.from_json(task["shard"])
    return expand.run_expand(store, shard, spec, _blame(task), progress, opened, key)


def _collect(store: Store, task: dict[str, Any], progress: Progress) -> dict[str, Any]:
    from curate.pipeline.task import StageSpec, collect
    from curate.stages.contract import Part, Source

    began = time.perf_counter()
    source = StageSpec(**task["stage"]).build()
    assert isinstance(source, Source)
    parts = [Part(**part) for part in task["parts"]]
    shards = collect(
        store, source, task["stage"]["id"], parts, task["identities"], task["shard_bytes"], task["limit"], progress,
        task["dataset"],
    )  # fmt: skip
    result = {"shards": [shard.to_json() for shard in shards]}
    store.write_receipt(task["key"], result, [name for shard in shards for name in shard.objects])
    return {**result, "seconds": time.perf_counter() - began}


def _blame(task: dict[str, Any]) -> Blame:
    from curate.pipeline.calls import Blame

    return Blame(
        {stage: [(first, last) for first, last in ranges] for stage, ranges in task["blame"]["careful"].items()},
        {stage: {int(row): reason for row, reason in rows.items()} for stage, rows in task["blame"]["poison"].items()},
        task["blame"]["cold"],
    )


def _steps(store: Store, task: dict[str, Any], progress: Progress, opened: Opened) -> dict[str, Any]:
    from curate.dataset.ledger import Shard
    from curate.dataset.state import State
    from curate.pipeline.steps import Section, run_section
    from curate.pipeline.task import StageSpec

    state = State(store, Shard.from_json(task["shard"]))
    work = Section(store, state, task["force"], _blame(task), progress, opened)
    specs = [StageSpec(**spec) for spec in task["stages"]]
    return run_section(work, specs, StageSpec(**task["map"]) if task["map"] else None, task["key"])


def _where(error: BaseException) -> str:
    """The traceback without source lines or values; the error's own words only where they are ours, or when debugging.

    What a library says of a value that it does not like is often the text of a document.
    """
    import traceback

    frames = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    told = isinstance(error, AssertionError) or bool(os.environ.get("CURATE_DEBUG"))
    words = f": {str(error)[:500]}" if told and str(error) else ""
    return "\n".join([*frames, f"{type(error).__name__}{words}"])


if __name__ == "__main__":
    main()
