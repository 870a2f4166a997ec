"""Near-duplicates of millions of short documents: time, memory of each process, what new documents cost.

    python benchmarks/documents.py 1 3 10        millions of documents

Documents are 40 words of a vocabulary of 50,000, one in ten a copy of an earlier one with one word changed; a fixed seed. The
pipeline is `near_duplicates` (0.8, 5-grams) and nothing else. Memory is that of the largest process, looked at five times a
second (resident, without mapped files where the system tells them apart). Then 1% of new documents are added and it runs again;
then 1% more, of which a tenth repeat earlier ones from everywhere with one word changed, so that all that is there is touched.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as parquet

WORDS, LENGTH, FILE = 50_000, 40, 100_000
PIPELINE = """\
dataset: many
sources: [{stage: files, paths: ["in/*.parquet"]}]
stages: [{stage: near_duplicates, similarity: 0.8}]
"""


def write_file(folder: Path, number: int, documents: int) -> None:
    """One file of documents; a tenth of them repeat one of the same file with one word changed."""
    draw = np.random.default_rng(number)
    words = draw.integers(0, WORDS, (documents, LENGTH))
    copies = np.flatnonzero(draw.random(documents) < 0.1)
    copies = copies[copies > 0]
    words[copies] = words[(draw.random(len(copies)) * copies).astype(int)]
    words[copies, draw.integers(0, LENGTH, len(copies))] = WORDS + 1
    vocabulary = np.array([f"w{word}" for word in range(WORDS + 2)], dtype=object)
    texts = [" ".join(row) for row in vocabulary[words]]
    ids = [f"{number}-{row}" for row in range(documents)]
    parquet.write_table(pa.table({"id": ids, "text": texts}), folder / f"{number:05}.parquet", compression="zstd")


def write_likes(folder: Path, number: int, documents: int) -> None:
    """One more file; a tenth of its documents repeat one of an earlier file with its last word changed."""
    write_file(folder, number, documents)
    path, draw = folder / f"{number:05}.parquet", np.random.default_rng(number)
    texts = parquet.read_table(path).column("text").to_pylist()
    for source in range(number):
        earlier = parquet.read_table(folder / f"{source:05}.parquet", columns=["text"]).column("text")
        for _ in range(documents // 10 // number):
            like = earlier[int(draw.integers(len(earlier)))].as_py()
            texts[int(draw.integers(documents))] = like.rsplit(" ", 1)[0] + f" w{WORDS + 1}"
    ids = [f"{number}-{row}" for row in range(documents)]
    parquet.write_table(pa.table({"id": ids, "text": texts}), path, compression="zstd")


def measured_run(root: Path, workers: int) -> dict[str, object]:
    """Run the pipeline; wall and CPU seconds, and the most memory that one process held."""
    command = [str(Path(sys.executable).parent / "curate"), "run", "p.yaml", "--json", "--workers", str(workers)]
    began, most, cpu = time.monotonic(), {"driver": 0, "worker": 0}, {}
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, cwd=root, stdout=out, stderr=subprocess.DEVNULL)
        driver = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                for one in (driver, *driver.children(recursive=True)):
                    memory = one.memory_full_info() if hasattr(one, "memory_full_info") else one.memory_info()
                    held = getattr(memory, "uss", memory.rss)
                    role = "driver" if one.pid == driver.pid else "worker"
                    most[role] = max(most[role], held)
                    times = one.cpu_times()
                    cpu[one.pid] = times.user + times.system
            except psutil.Error:
                pass
            time.sleep(0.2)
        out.seek(0)
        done = json.loads(out.read())
    return {
        "documents": done["documents"]["in"], "dropped": done["documents"]["dropped"], "tasks": done["tasks"]["run"],
        "wall_s": round(time.monotonic() - began, 1), "cpu_s": round(sum(cpu.values()), 1),
        "driver_mb": most["driver"] >> 20, "worker_mb": most["worker"] >> 20,
    }  # fmt: skip


def main() -> None:
    """A row for each size, and for what 1% more costs."""
    for millions in map(float, sys.argv[1:] or ["1"]):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "in").mkdir()
            (root / "p.yaml").write_text(PIPELINE)
            files = int(millions * 1e6 / FILE)
            for number in range(files):
                write_file(root / "in", number, FILE)
            print(json.dumps({"millions": millions, **measured_run(root, 2)}), flush=True)
            write_file(root / "in", files, int(millions * 1e4))
            print(json.dumps({"millions": millions, "then 1% more": True, **measured_run(root, 2)}), flush=True)
            write_likes(root / "in", files + 1, int(millions * 1e4))
            print(
                json.dumps({"millions": millions, "then 1% like old ones": True, **measured_run(root, 2)}), flush=True
            )


if __name__ == "__main__":
    main()
