"""Engine overhead: jsonl.zst in, no-op stages, a version out, against the same bytes through pyarrow alone.

    python benchmarks/engine.py [--megabytes 200] [--runs 5]

Both read one jsonl.zst and write zstd-3 Parquet. Ours also makes ids, hashes and fsyncs objects, keeps a ledger, checks
conservation, and runs two stages that keep every document. CPU seconds of the whole process tree; runs alternate.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path

from machine import cpu_seconds, machine, spread

PYARROW_ALONE = """
import sys, pyarrow as pa, pyarrow.json as js, pyarrow.parquet as pq
with pa.CompressedInputStream(pa.OSFile(sys.argv[1]), "zstd") as stream:
    table = js.read_json(stream, read_options=js.ReadOptions(block_size=16 << 20))
pq.write_table(table, sys.argv[2], compression="zstd", compression_level=3, row_group_size=2000)
"""

NO_OP_STAGES = '''
from curate.stages.contract import Effect, Filter, Mapper, Rule, Verdicts


class Nothing(Mapper):
    """Edit nothing."""

    def open(self):
        empty = Verdicts().table()
        return lambda batch: Effect(empty, {})


class KeepAll(Filter):
    """Keep every document."""

    def open(self):
        import pyarrow as pa
        import pyarrow.compute as compute

        return lambda batch: pa.table({"bytes": compute.binary_length(batch.column("text"))})

    def rules(self):
        return [Rule("empty", "bytes", minimum=0)]
'''

PIPELINE = """
dataset: engine
sources: [{stage: files, paths: ["in.jsonl.zst"]}]
stages: [{stage: "noop:Nothing"}, {stage: "noop:KeepAll"}]
"""


def make_input(path: Path, megabytes: float) -> int:
    """Sentences of random words: about 3 KB a document. Returns the bytes of the JSON lines."""
    import zstandard

    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(20_000)]
    written = number = 0
    with path.open("wb") as raw, zstandard.ZstdCompressor(3).stream_writer(raw) as stream:
        while written < megabytes * 1e6:
            text = " ".join(draw.choices(words, k=draw.randint(100, 900))).replace(" a", ". A")
            line = json.dumps(
                {"id": f"doc-{number}", "text": text, "url": f"https://example.com/{number}", "n": number}
            )
            written += stream.write(line.encode() + b"\n") and len(line) + 1
            number += 1
    return written


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "noop.py").write_text(NO_OP_STAGES)
        (folder / "pipeline.yaml").write_text(PIPELINE)
        size = make_input(folder / "in.jsonl.zst", options.megabytes)
        ours, theirs = [], []
        for run in range(options.runs):
            theirs.append(cpu_seconds([sys.executable, "-c", PYARROW_ALONE, "in.jsonl.zst", "out.parquet"], folder))
            command = [sys.executable, "-m", "curate.cli", "run", "pipeline.yaml", "--store", f"store{run}"]
            ours.append(cpu_seconds(command, folder))
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    record = {
        "machine": machine("pyarrow", "zstandard", "xxhash"),
        "megabytes": size / 1e6,
        "runs": options.runs,
        "curate_cpu_s": spread(ours),
        "pyarrow_cpu_s": spread(theirs),
        "ratio": spread(ratios),
        "curate_mb_per_cpu_s": size / 1e6 / statistics.median(ours),
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
