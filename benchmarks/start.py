"""What it costs to start: commands on three documents, and filters in a fresh process.

    python benchmarks/start.py [--runs 5] [--against TREE]

CPU seconds of the process tree, medians with their least and greatest. `first` compiles the kernels (an empty
NUMBA_CACHE_DIR), as the first run of an installation does; all else has them. `filter` is a process that opens filters and
measures one document, as a worker does; `run` a pipeline of `gopher_quality` over three documents into an empty store. With
--against, the same of another checkout of the repository, run by run in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import machine, spread

HERE = Path(__file__).resolve().parents[1]
FOUR = ("gopher_quality", "gopher_repetition", "fineweb", "c4")
FILTER = """
import sys
from curate.stages.lean import import_lean
import_lean()
import curate.pipeline.worker
from curate.dataset.store import Store
from curate.pipeline.steps import Opened
import pyarrow as pa
from curate.stages.registry import find_stage
text = "It was the well-known harbour of 1903, wasn't it? (See http://example.org/a.b.)\\nThe bells rang... and it's noon."
for stage in sys.argv[1:]:
    find_stage(stage)().open()(pa.table({"text": pa.chunked_array([[text]])}))
"""
PIPELINE = """
dataset: three
sources:
  - {stage: files, paths: d.jsonl}
stages:
  - {stage: gopher_quality, min_words: 1}
"""


def cpu(command: list[str], tree: Path, folder: Path, caches: Path) -> float:
    """CPU seconds of a command and all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(tree), "NUMBA_CACHE_DIR": str(caches), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(tree: Path, folder: Path, caches: Path) -> dict[str, float]:
    """One run of everything."""
    curate = [sys.executable, "-m", "curate"]
    shutil.rmtree(caches, ignore_errors=True)
    found = {"filter, four, first": cpu([sys.executable, "-c", FILTER, *FOUR], tree, folder, caches)}
    found["filter, gopher_quality"] = cpu([sys.executable, "-c", FILTER, FOUR[0]], tree, folder, caches)
    found["filter, four"] = cpu([sys.executable, "-c", FILTER, *FOUR], tree, folder, caches)
    found["curate --help"] = cpu([*curate, "--help"], tree, folder, caches)
    found["curate validate"] = cpu([*curate, "validate", "p.yaml"], tree, folder, caches)
    shutil.rmtree(folder / ".curate", ignore_errors=True)
    found["curate run"] = cpu([*curate, "run", "p.yaml"], tree, folder, caches)
    found["curate run, again"] = cpu([*curate, "run", "p.yaml"], tree, folder, caches)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--against", type=Path, help="another checkout")
    options = parser.parse_args()
    trees = {"here": HERE, **({"against": options.against.resolve()} if options.against else {})}
    costs: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as name:
        for _ in range(options.runs):
            for which, tree in trees.items():
                folder = Path(name) / which
                folder.mkdir(exist_ok=True)
                (folder / "p.yaml").write_text(PIPELINE)
                lines = (
                    json.dumps(
                        {"id": str(n), "text": f"The bells of the harbour rang loudly at {n}, and it's evening."}
                    )
                    for n in range(3)
                )
                (folder / "d.jsonl").write_text("\n".join(lines))
                costs[which].append(measure(tree, folder, folder / "numba"))
    record: dict[str, Any] = {"machine": machine("numba", "pyarrow", "spacy", "datatrove")}
    for which, runs in costs.items():
        record[which] = {key: spread([one[key] for one in runs]) for key in runs[0]}
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
