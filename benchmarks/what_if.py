"""What another threshold would do: `curate what-if` beside a run with the same change, and the pure function by itself.

    python benchmarks/what_if.py --data FOLDER [--megabytes 8] [--runs 3]

FOLDER has books_sample/books.tar.xz; books are cut into documents of about 600 words, and go through `language`, both Gopher
filters and FineWeb's. Then `gopher_quality.min_words` is another one: CPU seconds of the command, and of `curate run` with it,
which decides again and measures only what was let in. `judge`: eight features of a million drawn documents, ten rules.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from machine import cpu_seconds, machine, spread
from minhash import read_books

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CURATE = str(Path(sys.executable).parent / "curate")
PIPELINE = """\
dataset: books
sources: [{stage: files, paths: [books.jsonl]}]
stages: [{stage: language, languages: [en]}, gopher_quality, gopher_repetition, fineweb]
"""
CHANGE = ["--set", "gopher_quality.min_words=560"]


def judging(runs: int) -> list[float]:
    """CPU seconds of judging a million documents by the rules of `gopher_quality`."""
    import numpy as np
    import pyarrow as pa

    from curate.filter.gopher import GopherQuality
    from curate.stages.judge import judge

    draw, stage = np.random.default_rng(0), GopherQuality(min_words=80)
    names = dict.fromkeys(rule.feature for rule in stage.rules())
    whole = ("words", "stop_words")
    features = pa.table({
        name: draw.integers(0, 400, 1_000_000) if name in whole else draw.random(1_000_000) for name in names
    })  # fmt: skip
    taken = []
    for _ in range(runs):
        began = time.process_time()
        judge(stage, features)
        taken.append(time.process_time() - began)
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = read_books(options.data, options.megabytes)
        (folder / "books.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        (folder / "pipeline.yaml").write_text(PIPELINE)
        first = cpu_seconds([CURATE, "run", "pipeline.yaml", "--workers", "1"], folder)
        told, run = [], []
        for number in range(options.runs):
            told.append(cpu_seconds([CURATE, "what-if", "pipeline.yaml", *CHANGE], folder))
            other = folder.parent / f"{folder.name}-{number}"
            shutil.copytree(folder, other)
            run.append(cpu_seconds([CURATE, "run", "pipeline.yaml", "--workers", "1", *CHANGE], other))
            shutil.rmtree(other)
    found = {
        "documents": len(texts), "first_run": first, "what_if": spread(told), "run_again": spread(run),
        "judge_a_million": spread(judging(5)), "machine": machine("datatrove", "pyarrow", "numpy"),
    }  # fmt: skip
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
