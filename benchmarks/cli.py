"""Start-up of the command line: CPU seconds of `curate --help` and `curate validate`, beside a Python that does nothing.

    python benchmarks/cli.py [--runs 15] [--imports 5]

Targets: 0.25 CPU seconds for the help, 0.5 for a file of ten built-in stages; a `use:` item imports datatrove and has
none. Runs alternate. Bytecode is kept in a temporary folder and is there before the first counted run, as it is after
pip has installed a package (without any, the standard library's included, the same calls take three times as long).
`import_ms` says where the time goes: self time by top-level package (`-X importtime`, medians), in milliseconds of wall
time, for their order rather than their sum.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from machine import cpu_seconds, machine, spread

CURATE = ["-c", "import sys; from curate.cli import main; sys.argv[0] = 'curate'; sys.exit(main())"]
MODULES = "import atexit, sys; atexit.register(lambda: print(len(sys.modules), file=sys.stderr)); "

BUILT_IN = """
dataset: start
sources: [{stage: files, paths: ["in/*.jsonl"]}]
stages:
  - {stage: unicode}
  - {stage: gopher_quality, min_words: 30}
  - {stage: gopher_repetition}
  - {stage: c4}
  - {stage: fineweb}
  - {stage: exact_duplicates}
  - {stage: near_duplicates, similarity: 0.8, keep: longest}
  - {stage: pii}
  - {stage: sample, fraction: 0.5, seed: 1}
  - {stage: split, train: 0.9, validation: 0.05, test: 0.05}
"""
DATATROVE = """
dataset: start
sources: [{stage: files, paths: ["in/*.jsonl"]}]
stages: [{use: datatrove.pipeline.filters.GopherRepetitionFilter, dup_line_frac: 0.2}]
"""

CASES: dict[str, tuple[list[str], float | None]] = {
    "python": (["-c", "pass"], None),
    "help": ([*CURATE, "--help"], 0.25),
    "validate_10_built_in": ([*CURATE, "validate", "built_in.yaml"], 0.5),
    "validate_1_datatrove": ([*CURATE, "validate", "datatrove.yaml"], None),
}


def modules(arguments: list[str], cwd: Path, environment: Mapping[str, str]) -> int:
    """How many modules a call has loaded when it ends."""
    command = [sys.executable, "-c", MODULES + arguments[1], *arguments[2:]]
    done = subprocess.run(command, check=True, cwd=cwd, env=environment, capture_output=True, text=True)
    return int(done.stderr.split()[-1])


def import_times(arguments: list[str], cwd: Path, environment: Mapping[str, str]) -> Counter[str]:
    """Milliseconds that a call spends in the modules of each top-level package."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, check=True, cwd=cwd, env=environment, capture_output=True, text=True)
    spent: Counter[str] = Counter()
    for line in done.stderr.splitlines():
        took, _, name = line.removeprefix("import time:").split("|") if line.count("|") == 2 else ("", "", "")
        if took.strip().isdigit():
            spent[name.strip().partition(".")[0]] += int(took) / 1000
    return spent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--imports", type=int, default=5, help="runs with -X importtime")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "built_in.yaml").write_text(BUILT_IN)
        (folder / "datatrove.yaml").write_text(DATATROVE)
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        commands = {case: [sys.executable, *arguments] for case, (arguments, _) in CASES.items()}
        for command in commands.values():
            cpu_seconds(command, folder, environment)
        seconds: dict[str, list[float]] = {case: [] for case in CASES}
        for _ in range(options.runs):
            for case, command in commands.items():
                seconds[case].append(cpu_seconds(command, folder, environment))
        rows = {}
        for case, (arguments, target) in CASES.items():
            times = [import_times(arguments, folder, environment) for _ in range(options.imports)]
            packages = {package: statistics.median(one[package] for one in times) for package in set().union(*times)}
            slowest = sorted(packages, key=lambda package: -packages[package])[:8]
            rows[case] = {
                "cpu_s": spread(seconds[case]),
                "target_cpu_s": target,
                "met": None if target is None else statistics.median(seconds[case]) < target,
                "modules": modules(arguments, folder, environment),
                "import_ms": {package: round(packages[package], 1) for package in slowest},
            }
    record: dict[str, Any] = {
        "machine": machine("typer", "pydantic", "ruamel.yaml", "datatrove"),
        "runs": options.runs,
        "rows": rows,
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
