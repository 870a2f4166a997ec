"""The quickstart as a user runs it: `curate init`, `run`, `run` again, `train` and `report` in an empty folder.

    python benchmarks/quickstart.py [--steps N] [--keep FOLDER]

For every command: wall seconds; CPU seconds of the process tree; the most memory (RSS) of one process, as the kernel
says; and of the whole tree at one time, sampled 20 times a second (pages that processes share count once for each, and a
shorter peak is missed). Then what came out: documents, version, loss, bits per byte, size of the report. The documents
are the descriptions of the packages that are installed, so that counts differ from one installation to the next.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from machine import machine

CURATE = [sys.executable, "-c", "import sys; from curate.cli import main; sys.argv[0] = 'curate'; sys.exit(main())"]
EVERY = 0.05


def measure(arguments: list[str], cwd: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """What a command costs, and what it printed with `--json`."""
    with tempfile.TemporaryFile() as output:
        began, together = time.monotonic(), 0
        environment = {name: value for name, value in os.environ.items() if name != "CURATE_STORE"}
        child = subprocess.Popen([*CURATE, *arguments, "--json"], cwd=cwd, stdout=output, env=environment)
        watched = psutil.Process(child.pid)
        while True:
            ended, status, used = os.wait4(child.pid, os.WNOHANG)
            if ended:
                break
            together = max(together, tree_bytes(watched))
            time.sleep(EVERY)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        printed = output.read()
    if child.returncode:
        raise SystemExit(f"curate {' '.join(arguments)} ended with {child.returncode}: {printed.decode()}")
    cost = {
        "wall_s": wall,
        "cpu_s": used.ru_utime + used.ru_stime,
        "largest_process_mb": used.ru_maxrss * 1024 / 1e6,
        "tree_mb": together / 1e6,
    }
    return cost, json.loads(printed)


def tree_bytes(process: psutil.Process) -> int:
    """Resident bytes of a process and all below it."""
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:  # it ended while it was looked at; what was added up stands
        pass
    return total


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, help="steps of training; by default as the template says")
    parser.add_argument("--keep", type=Path, help="work in this folder (which must not be there) and leave it")
    options = parser.parse_args()
    train = ["train", "train.yaml", *([] if options.steps is None else ["--set", f"steps={options.steps}"])]
    with tempfile.TemporaryDirectory() as name:
        folder = (options.keep or Path(name) / "quickstart").resolve()
        costs = {}
        costs["init"], _ = measure(["init", str(folder)], Path(name))
        costs["run"], run = measure(["run", "pipeline.yaml"], folder)
        costs["run_again"], again = measure(["run", "pipeline.yaml"], folder)
        costs["train"], trained = measure(train, folder)
        costs["report"], report = measure(["report", run["dataset"], "--out", "report.html"], folder)
        size = (folder / report["report"]).stat().st_size
    assert again["version"] == run["version"] and not again["tasks"]["run"]
    record = {
        "machine": machine("curate-lm", "torch", "pyarrow", "spacy", "datatrove", "presidio-analyzer"),
        "costs": costs,
        "wall_s": sum(cost["wall_s"] for cost in costs.values()),
        "cpu_s": sum(cost["cpu_s"] for cost in costs.values()),
        "documents": run["documents"],
        "stages": {stage["id"]: stage["seconds"] for stage in run["stages"]},
        "version": run["version"],
        "training": {key: trained[key] for key in ("steps", "tokens", "tokens_per_second", "loss", "validation")},
        "report_bytes": size,
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
