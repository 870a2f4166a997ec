"""`exact_substrings` against a suffix array over everything: the same characters, CPU seconds, memory.

    python benchmarks/substrings.py --data FOLDER [--megabytes 20]

FOLDER has books_sample. Documents: books in pieces of 400 words; to each twentieth a passage of 100 words of another piece is
added. Ours is a whole run of the engine with one worker (median of three, compiled). The peer is libdivsufsort (`pip install
pydivsufsort`) over all texts joined, and a pass over neighbours of the array that marks what two suffixes share, as Lee et al.
2021 do; it holds some 25 bytes for each byte. CPU seconds of the process and its children.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from decontaminate import read_pieces
from minhash import cpu_seconds
from numba import njit

SIZE = 200


def run_curate(texts: list[str]) -> list[str]:
    """The texts that a run leaves, all places taken out."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    import curate

    stage = {"stage": "exact_substrings", "min_bytes": SIZE, "keep": "none", "min_left": 0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parquet.write_table(
            pa.table({"id": [str(one) for one in range(len(texts))], "text": texts}), folder / "t.parquet"
        )
        sources = [{"stage": "files", "paths": ["t.parquet"]}]
        (folder / "p.yaml").write_text(json.dumps({"dataset": "t", "sources": sources, "stages": [stage]}))
        curate.run(folder / "p.yaml", workers=1)
        return curate.open_dataset("t", folder / ".curate").arrow()["text"].to_pylist()


@njit
def mark(data: Any, order: Any, ends: Any, size: int) -> Any:
    """Where windows that another suffix begins with, too, begin (1) and end (-1); Kasai et al. 2001: what neighbours share."""
    count = len(data)
    rank, gone = np.empty(count, np.int64), np.zeros(count + 1, np.int32)
    for place in range(count):
        rank[order[place]] = place
    shared = 0
    for start in range(count):
        if rank[start] == 0:
            shared = 0
            continue
        other = order[rank[start] - 1]
        while start + shared < count and other + shared < count and data[start + shared] == data[other + shared]:
            shared += 1
        if shared >= size and start + size <= ends[start] and other + size <= ends[other]:
            gone[start] += 1
            gone[start + size] -= 1
            gone[other] += 1
            gone[other + size] -= 1
        shared = max(shared - 1, 0)
    return gone[:-1]


def run_suffix_array(texts: list[str]) -> list[str]:
    """The texts without what a suffix array finds."""
    from pydivsufsort import divsufsort

    contents = [text.encode() + b"\xff" for text in texts]  # which is in no text: no window with it counts
    sizes = np.array([len(one) for one in contents])
    stops = np.cumsum(sizes) - 1
    data = np.frombuffer(b"".join(contents), np.uint8).copy()
    marks = np.cumsum(mark(data, divsufsort(data), np.repeat(stops, sizes), SIZE)) > 0
    left = []
    for start, stop in zip(stops - sizes + 1, stops, strict=True):
        begins = np.append(np.flatnonzero((data[start:stop] & 0xC0) != 0x80), stop - start)
        whole = np.minimum.reduceat(marks[start:stop], begins[:-1]) if stop > start else np.zeros(0, bool)
        left.append(data[start:stop][~np.repeat(whole, np.diff(begins))].tobytes().decode())
    return left


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("CURATE_DATA"), help="folder of the data sets")
    parser.add_argument("--megabytes", type=float, default=20)
    options = parser.parse_args()
    pieces = read_pieces(Path(options.data), options.megabytes)
    texts = [
        text + " " + " ".join(pieces[number * 7 % len(pieces)].split(" ")[:100]) if number % 20 == 0 else text
        for number, text in enumerate(pieces)
    ]
    size = sum(len(text.encode()) for text in texts) / 1e6
    run_curate(texts[:100])
    record: dict[str, Any] = {"megabytes": round(size, 1), "documents": len(texts)}
    left = {}
    for name, run, rounds in (("curate", run_curate, 3), ("suffix array", run_suffix_array, 1)):
        seconds = []
        if name == "suffix array":
            run(texts[:5])
        for _ in range(rounds):
            began = cpu_seconds()
            left[name] = run(texts)
            seconds.append(cpu_seconds() - began)
        median = statistics.median(seconds)
        record[name] = {"cpu_s": round(median, 2), "mb_per_cpu_s": round(size / median, 2)}
    record["characters_gone"] = sum(map(len, texts)) - sum(map(len, left["curate"]))
    record["documents_that_differ"] = sum(a != b for a, b in zip(*left.values(), strict=True))
    print(json.dumps(record))


if __name__ == "__main__":
    main()
