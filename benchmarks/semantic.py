"""`semantic_duplicates`: recall against a comparison of all pairs, and CPU seconds.

    python benchmarks/semantic.py [--documents 20000] [--size 384]

Made embeddings: directions around 200 topics, and for a tenth of them a near copy (cosines of .87 to 1). Ours is a whole run of
the engine with one worker, a Parquet file read and a version written (median of three). The other side compares all pairs by
matrix products in blocks, in memory, with the same rule; recall is the share of what it drops that ours drops too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np
from minhash import cpu_seconds

SIMILARITY = 0.95


def directions(documents: int, size: int) -> np.ndarray:
    """Made embeddings, near copies last."""
    draw = np.random.default_rng(1)
    topics = draw.normal(size=(200, size))
    rows = topics[draw.integers(0, 200, documents - documents // 10)] + draw.normal(
        size=(documents - documents // 10, size)
    )
    copies = rows[: documents // 10] + draw.uniform(0, 0.55, (documents // 10, 1)) * draw.normal(
        size=(documents // 10, size)
    )
    whole = np.concatenate([rows, copies])
    return (whole / np.linalg.norm(whole, axis=1)[:, None]).astype(np.float32)


def run_curate(rows: np.ndarray) -> set[int]:
    """The documents that a run drops."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    import curate

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids = [str(one) for one in range(len(rows))]
        table = pa.table({"id": ids, "text": ids, "e": pa.array(list(rows), pa.list_(pa.float32()))})
        parquet.write_table(table, folder / "t.parquet")
        stage = {"stage": "semantic_duplicates", "embedding": "e", "similarity": SIMILARITY}
        sources = [{"stage": "files", "paths": ["t.parquet"]}]
        (folder / "p.yaml").write_text(json.dumps({"dataset": "t", "sources": sources, "stages": [stage]}))
        curate.run(folder / "p.yaml", workers=1)
        kept = curate.open_dataset("t", folder / ".curate").arrow()["id"].to_pylist()
        return set(range(len(rows))) - {int(one) for one in kept}


def run_pairs(rows: np.ndarray) -> set[int]:
    """What a comparison of all pairs drops."""
    from curate.dedup.vectors import first_alike

    return set(np.flatnonzero(first_alike(rows, SIMILARITY)[0] >= 0).tolist())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=384)
    options = parser.parse_args()
    rows = directions(options.documents, options.size)
    run_curate(rows[:100])
    found, record = {}, {}
    for name, run, rounds in (("curate", run_curate, 3), ("all pairs", run_pairs, 1)):
        seconds = []
        for _ in range(rounds):
            began = cpu_seconds()
            found[name] = run(rows)
            seconds.append(cpu_seconds() - began)
        record[name] = {"cpu_s": round(statistics.median(seconds), 2), "dropped": len(found[name])}
    record["recall"] = round(len(found["curate"] & found["all pairs"]) / len(found["all pairs"]), 4)
    record["precision"] = round(len(found["curate"] & found["all pairs"]) / len(found["curate"]), 4)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
