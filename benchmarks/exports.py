"""Exports of a version, and a copy of it in another store: CPU seconds, bytes, and what a card costs.

    python benchmarks/exports.py --data FOLDER [--megabytes 40] [--runs 3]

The documents are the parts of FOLDER/books_sample/books.tar.xz between empty lines, over and over up to the size, with ids
and a licence. Formats take turns. Where a peer is installed it writes the same rows, which it has in memory already (ours reads
them from the store, hashes the files and writes the card): webdataset's TarWriter, `datasets` for its own folder, pandas for
Feather; a ratio is taken run by run. A push goes to a folder; the second one finds all of it there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from machine import machine

import curate
from curate.dataset.export import export
from curate.dataset.facts import facts_of
from curate.dataset.reader import Dataset
from curate.dataset.store import Store
from curate.dataset.transfer import transfer

FORMATS = ("jsonl", "jsonl.zst", "csv", "parquet", "arrow", "hf", "tfrecord", "webdataset", "mds")
PIPELINE = 'dataset: books\nsources: [{stage: files, paths: ["in.jsonl"]}]\nstages: []\n'


def write_documents(archive: Path, out: Path, size: int) -> None:
    """Paragraphs as JSON lines, until they have the size."""
    with tarfile.open(archive) as tar:
        books = [tar.extractfile(one).read().decode() for one in tar if one.isfile()]  # type: ignore[union-attr]
    texts = [text for book in books for text in book.split("\n\n") if len(text) > 200]
    written = number = 0
    with out.open("w", encoding="utf-8") as stream:
        while written < size:
            text = texts[number % len(texts)]
            row = {"id": f"p{number}", "text": text, "license": "CC0-1.0", "number": number}
            stream.write(json.dumps(row) + "\n")
            written, number = written + len(text.encode()), number + 1


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of some work in this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def ours(dataset: Dataset, format: str, out: Path) -> None:
    """One export, into one file or a folder."""
    shutil.rmtree(out, ignore_errors=True)
    if format == "jsonl.zst":
        out.mkdir()
        export(dataset, "jsonl", out / "all.jsonl.zst")
    else:
        export(dataset, format, out)


def peers(dataset: Dataset, out: Path) -> dict[str, Callable[[], object]]:
    """What others write of the same rows, which are in memory already."""
    rows = dataset.arrow().to_pylist()

    def webdataset() -> None:
        import webdataset

        with webdataset.TarWriter(str(out / "peer.tar"), encoder=True) as writer:
            for number, row in enumerate(rows):
                other = {name: value for name, value in row.items() if name != "text"}
                writer.write({"__key__": f"{number:09d}", "txt": row["text"], "json": other})

    table = dataset.arrow()
    return {
        "webdataset": webdataset,
        "hf": lambda: dataset.huggingface("train").save_to_disk(str(out / "peer")),  # type: ignore[union-attr]
        "arrow": lambda: table.to_pandas().to_feather(out / "peer.feather", compression="zstd"),
    }


def main() -> None:
    """Measure, and print the rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=40)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_documents(asked.data / "books_sample" / "books.tar.xz", root / "in.jsonl", int(asked.megabytes * 1e6))
        (root / "pipeline.yaml").write_text(PIPELINE)
        curate.run(root / "pipeline.yaml")
        dataset = curate.open_dataset("books", root / ".curate")
        print(json.dumps({**machine("pyarrow", "datasets", "webdataset"), "documents": len(dataset)}))
        measure(dataset, root, asked.runs)


def measure(dataset: Dataset, root: Path, runs: int) -> None:
    """All rows, formats by turns."""
    size, others = dataset.manifest["text_bytes"] / 1e6, peers(dataset, root)
    spent: dict[str, list[float]] = {}
    for _ in range(runs):
        spent.setdefault("card", []).append(cpu(lambda: facts_of(dataset)))
        for format in FORMATS:
            spent.setdefault(format, []).append(cpu(lambda format=format: ours(dataset, format, root / "out")))  # type: ignore[misc]
            if format in others:
                shutil.rmtree(root / "peer", ignore_errors=True)
                try:
                    spent.setdefault(f"{format}, peer", []).append(cpu(others[format]))
                except ImportError:
                    del others[format]
        for what in ("push", "push again"):
            if what == "push":
                shutil.rmtree(root / "other", ignore_errors=True)
            there = Store.open(root / "other", create=True)
            spent.setdefault(what, []).append(cpu(lambda there=there: transfer(dataset.store, there, "books")))  # type: ignore[misc]
    for name, seconds in spent.items():
        beside = spent.get(f"{name}, peer")
        ratios = [other / mine for mine, other in zip(seconds, beside, strict=False)] if beside else []
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else "-"
        middle = statistics.median(seconds)
        print(f"| {name} | {middle:.2f} ({min(seconds):.2f}-{max(seconds):.2f}) | {size / middle:.0f} | {ratio} |")


if __name__ == "__main__":
    main()
