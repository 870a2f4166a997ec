"""The worker process: reads tasks as JSON lines from standard input, answers with JSON lines on what was standard output.

Started as `python -P -m curate.pipeline.worker STORE ROOT`. Messages: `{"at": [stage id, start, stop]}` before every call
into a stage, `{"at": null}` when no call is going on, `{"done": result}`, `{"error": {...}}`. Whatever libraries print
goes to standard error. The worker ends when its driver does: at the end of its input, and by the kernel's signal if the
driver is killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate.dataset.ledger import Shard
    from curate.dataset.store import Store
    from curate.pipeline.calls import Progress

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
    store, root = Path(sys.argv[1]), sys.argv[2]
    sys.path.append(root)

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")

    from curate.dataset.store import Store
    from curate.errors import CurateError

    opened = Store(store)
    say({"ready": os.getpid()})
    for line in sys.stdin:
        try:
            say({"done": perform(opened, json.loads(line), lambda at: say({"at": at}))})
        except CurateError as error:
            say({"error": {"kind": type(error).__name__, "records": error.records()}})
        except MemoryError:
            os._exit(137)
        except Exception as error:  # the process's edge: the driver reports it as an internal error
            say({"error": {"kind": "internal", "records": [], "traceback": _where(error)}})


def perform(store: Store, task: dict[str, Any], progress: Progress) -> Any:
    """Do one task; what it takes and gives is JSON."""
    from curate.dataset.ledger import Shard
    from curate.pipeline import wave
    from curate.pipeline.task import StageSpec

    kind = task["kind"]
    if kind == "collect":
        return _collect(store, task, progress)
    if kind == "ids":
        return wave.check_ids(store, [Shard.from_json(record) for record in task["shards"]])
    if kind == "reduce":
        shards = [Shard.from_json(record) for record in task["shards"]]
        spec = StageSpec(**task["stage"])
        with spec.at_work():
            return wave.run_reduce(store, shards, task["maps"], spec, task["force"])
    shard = Shard.from_json(task["shard"])
    if kind == "write":
        return wave.write_shard(store, shard, task["schema"], task["by_split"])
    assert kind == "steps", kind
    return _steps(store, shard, task, progress)


def _collect(store: Store, task: dict[str, Any], progress: Progress) -> dict[str, Any]:
    from curate.pipeline.task import StageSpec, collect
    from curate.stages.contract import Part, Source

    began = time.perf_counter()
    source = StageSpec(**task["stage"]).build()
    assert isinstance(source, Source)
    parts = [Part(**part) for part in task["parts"]]
    shards = collect(store, source, task["stage"]["id"], parts, task["shard_bytes"], task["limit"], progress)
    objects = [name for shard in shards for name in (shard.object, shard.rejected) if name]
    result = {"shards": [shard.to_json() for shard in shards]}
    store.write_receipt(task["key"], result, objects)
    return {**result, "seconds": time.perf_counter() - began}


def _steps(store: Store, shard: Shard, task: dict[str, Any], progress: Progress) -> dict[str, Any]:
    from curate.pipeline.calls import Blame
    from curate.pipeline.steps import run_map, run_steps
    from curate.pipeline.task import StageSpec

    blame = Blame(
        {stage: [(first, last) for first, last in ranges] for stage, ranges in task["blame"]["careful"].items()},
        {stage: {int(row): reason for row, reason in rows.items()} for stage, rows in task["blame"]["poison"].items()},
    )
    specs = [StageSpec(**spec) for spec in task["stages"]]
    steps, seconds = run_steps(store, shard, specs, task["force"], blame, progress)
    result: dict[str, Any] = {"steps": [step.to_json() for step in steps], "seconds": seconds, "map": None}
    if task["map"]:
        final = StageSpec(**task["map"])
        with final.at_work():
            result["map"], spent = run_map(store, shard.after(steps), final, task["force"], blame, progress)
        if spent is not None:
            seconds[final.id] = spent
    return result


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
