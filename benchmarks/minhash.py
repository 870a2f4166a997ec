"""Near-duplicates: `near_duplicates` against datatrove's four MinHash stages on the same documents.

    python benchmarks/minhash.py --data FOLDER [--megabytes 22] [--json FILE]

FOLDER has books_sample/books.tar.xz. Books are cut into documents of about 600 words; the quickstart's text (what the
packages of this machine say about themselves: short, full of near-duplicates of its own) is added, then near-duplicates
(5% of the documents, each word replaced with a chance of 0.5%) and exact ones (2.5%), and all are shuffled. Both sides
start from texts in memory. Numbers are CPU seconds of the process and its children: of datatrove signatures, buckets,
clusters and filter; of ours a whole run of the engine with one worker (a Parquet file written and read, ids, signatures,
buckets, verification of every pair, clusters, verdicts, the ledger and the version).
`cold` is a run that compiles its kernels first (their cache is empty); `warm` is the median of five runs whose worker finds
them compiled. datatrove runs once, imported and with its tokenizer loaded.

Recall: of the planted pairs with a true similarity of at least 0.8 (a replaced word is too much for some short texts),
those of which one document was dropped. Precision: of the dropped documents, those with
a true Jaccard similarity of at least 0.8 to the document that was kept in their place, computed here with Python sets of
word 5-grams. datatrove drops from about 0.72 by design (14 bands of 8 rows), so its precision at 0.8 is not its aim.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curate.bench.duplicates import judge, plant, run_curate, run_datatrove


def cpu_seconds() -> float:
    """User and system time of this process and of the children it has waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def read_books(folder: Path, megabytes: float) -> list[str]:
    """Documents of about 600 words, cut at a space, until there are enough."""
    texts, size = [], 0
    with tarfile.open(folder / "books_sample" / "books.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            words = file.read().decode().split(" ") if file else []
            for start in range(0, len(words), 600):
                texts.append(" ".join(words[start : start + 600]))
                size += len(texts[-1].encode())
            if size > megabytes * 1e6:
                break
    return texts


def read_installed() -> list[str]:
    """The quickstart's text, as its source reads it."""
    from curate.collect.installed import InstalledPackages
    from curate.stages.contract import SourceContext

    source = InstalledPackages()
    parts = source.plan(SourceContext(Path(), 32_000_000, lambda path: ""))
    tables = [table for part in parts for table in source.read(part)]
    return [text for table in tables for text in table.column("text").to_pylist()]


def measure(run: Callable[[], dict[int, int]], *, runs: int = 1) -> tuple[float, dict[int, int]]:
    """CPU seconds of a run (the median), and what it dropped."""
    seconds, dropped = [], {}
    for _ in range(runs):
        began = cpu_seconds()
        dropped = run()
        seconds.append(cpu_seconds() - began)
    return statistics.median(seconds), dropped


def cold_seconds(options: argparse.Namespace) -> float:
    """CPU seconds of ours without compiled kernels, compilation included."""
    with tempfile.TemporaryDirectory() as cache:
        command = [
            sys.executable,
            __file__,
            "--data",
            str(options.data),
            "--megabytes",
            str(options.megabytes),
            "--cold",
        ]
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        return float(subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("CURATE_DATA"), help="folder of the data sets")
    parser.add_argument("--megabytes", type=float, default=22)
    parser.add_argument("--json", type=Path, help="write the record to this file too")
    parser.add_argument("--cold", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.data is None:
        parser.error("--data FOLDER (or CURATE_DATA) is needed")
    texts, planted = plant([*read_books(options.data, options.megabytes), *read_installed()])
    if options.cold:
        print(measure(lambda: run_curate(texts))[0])
        return

    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    run_curate(texts[:10] * 2)
    run_datatrove(texts[:5] * 2)
    rows = {}
    for name, run in {
        "datatrove": lambda: run_datatrove(texts),
        "curate": lambda: run_curate(texts),
        "curate, 14 bands of 8": lambda: run_curate(texts, bands=14, rows=8),
    }.items():
        seconds, dropped = measure(run, runs=1 if name == "datatrove" else 5)
        rows[name] = {"cpu_s": seconds, "mb_per_cpu_s": megabytes / seconds, **judge(texts, planted, dropped)}
    theirs, cold = rows["datatrove"]["cpu_s"], cold_seconds(options)
    record = {
        "machine": f"{cpu_name()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "documents": len(texts),
        "megabytes": megabytes,
        "planted": {kind: len(pairs) for kind, pairs in planted.items()},
        "rows": rows,
        "cold_cpu_s": cold,
        "ratio": {"warm": theirs / rows["curate"]["cpu_s"], "cold": theirs / cold},
    }
    print(table(record))
    print(json.dumps(record))
    if options.json:
        options.json.write_text(json.dumps(record, indent=2) + "\n")


def cpu_name() -> str:
    """The processor's name."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def table(record: dict[str, Any]) -> str:
    """The record for people."""
    lines = [
        record["machine"],
        f"{record['documents']} documents, {record['megabytes']:.1f} MB, planted {record['planted']}",
        f"{'':24}{'CPU s':>8}{'MB/CPU s':>10}{'dropped':>9}{'near':>8}{'exact':>8}{'precision':>11}",
    ]
    for name, row in record["rows"].items():
        lines.append(
            f"{name:24}{row['cpu_s']:8.2f}{row['mb_per_cpu_s']:10.2f}{row['dropped']:9}"
            f"{row['recall_near']:8.4f}{row['recall_exact']:8.4f}{row['precision']:11.4f}"
        )
    ratio = record["ratio"]
    return "\n".join([*lines, f"ratio: {ratio['warm']:.0f}x warm, {ratio['cold']:.1f}x cold"])


if __name__ == "__main__":
    main()
