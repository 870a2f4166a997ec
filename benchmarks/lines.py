"""`exact_lines` against datatrove's sentence deduplication, which is told to take lines: MB a CPU second.

    python benchmarks/lines.py --data FOLDER [--megabytes 20]

FOLDER has books_sample. Documents: books in pieces of 400 words; into each tenth, four lines of a footer that is one of 50.
Ours is a whole run of the engine with one worker, a Parquet file read and a version written (median of three, compiled);
datatrove's are the `run` of its three stages on documents in memory, once, without an executor, spans of one line. CPU seconds
of the process and its children. The footers that were left in any document but the first are counted on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

from decontaminate import read_pieces
from minhash import cpu_seconds

FOOTERS = [
    "\n" + "\n".join(f"This is line {line} of the footer that site {site} has on every page." for line in range(4))
    for site in range(50)
]


def run_curate(texts: list[str]) -> list[str]:
    """The texts that a run leaves."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    import curate

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parquet.write_table(
            pa.table({"id": [str(one) for one in range(len(texts))], "text": texts}), folder / "t.parquet"
        )
        sources = [{"stage": "files", "paths": ["t.parquet"]}]
        pipeline = {"dataset": "t", "sources": sources, "stages": [{"stage": "exact_lines"}]}
        (folder / "p.yaml").write_text(json.dumps(pipeline))
        curate.run(folder / "p.yaml", workers=1)
        return curate.open_dataset("t", folder / ".curate").arrow()["text"].to_pylist()


def run_datatrove(texts: list[str]) -> list[str]:
    """The texts that datatrove's stages leave."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import SentenceDedupFilter, SentenceDedupSignature, SentenceFindDedups
    from datatrove.pipeline.dedup.sentence_dedup import SentDedupConfig

    config = SentDedupConfig(n_sentences=1, split_sentences=False, min_doc_words=0, min_num_sentences=0)
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        SentenceDedupSignature(f"{folder}/a", config=config).run(iter(documents), 0, 1)
        SentenceFindDedups(f"{folder}/a", f"{folder}/b", config=config).run(None, 0, 1)
        return [one.text for one in SentenceDedupFilter(f"{folder}/b", config=config).run(iter(documents), 0, 1)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("CURATE_DATA"), help="folder of the data sets")
    parser.add_argument("--megabytes", type=float, default=20)
    options = parser.parse_args()
    pieces = read_pieces(Path(options.data), options.megabytes)
    texts = [text + FOOTERS[number // 10 % 50] if number % 10 == 0 else text for number, text in enumerate(pieces)]
    size = sum(len(text.encode()) for text in texts) / 1e6
    run_curate(texts[:100])
    record = {"megabytes": round(size, 1), "documents": len(texts)}
    for name, run, rounds in (("curate", run_curate, 3), ("datatrove", run_datatrove, 1)):
        seconds, left = [], []
        for _ in range(rounds):
            began = cpu_seconds()
            left = run(texts)
            seconds.append(cpu_seconds() - began)
        footers = sum(text.count("This is line 0 of the footer") for text in left)
        record[name] = {
            "cpu_s": round(statistics.median(seconds), 2),
            "mb_per_cpu_s": round(size / statistics.median(seconds), 2),
            "footers_left": footers,
        }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
