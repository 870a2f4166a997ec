"""What is not done again: a changed threshold, an unchanged pipeline, many tiny files.

    python benchmarks/reruns.py thresholds [--data FOLDER] [--documents 20000] [--words 200]
    python benchmarks/reruns.py files [500 5000]

FOLDER has books_sample/books.tar.xz (by default ../shared/data beside the repository); documents are that many words of it.
`thresholds`: gopher_quality, gopher_repetition, c4 and fineweb in a row; then `gopher_quality.min_words` is changed such that
some documents more are dropped, and back such that they come in again. `files`: that many JSON lines files of one document
each, a shard for each (they are as long as a shard), through five stages; then again, unchanged, and the files of the store
for each shard. CPU seconds of the process tree.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from machine import cpu_seconds, machine
from minhash import read_books

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FILTERS = "[gopher_quality, gopher_repetition, c4, fineweb]"
FIVE = "[unicode, {stage: exact_duplicates}, {stage: sample, fraction: 1}, text_statistics, {stage: split}]"


def run(root: Path, *more: str) -> float:
    """CPU seconds of a run, with two workers."""
    return cpu_seconds([sys.executable, "-m", "curate", "run", str(root / "p.yaml"), "--workers", "2", *more], root)


def thresholds(data: Path, documents: int, length: int) -> None:
    """A row for each change."""
    words = " ".join(read_books(data, 100)).split()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        pieces = (" ".join(words[n * length : (n + 1) * length]) for n in range(documents))
        (root / "in.jsonl").write_text("".join(json.dumps({"text": piece}) + "\n" for piece in pieces))
        (root / "p.yaml").write_text(
            f"dataset: d\nshard_megabytes: 2\nsources: [{{stage: files, paths: in.jsonl}}]\nstages: {FILTERS}\n"
        )
        cold = run(root)
        print(f"{documents:,} documents of {length} words, cold: {cold:.1f} CPU s")
        for setting in ("gopher_quality.min_mean_word_length=4", "gopher_quality.min_mean_word_length=3.9"):
            again = run(root, "--set", setting)
            print(f"{setting}: {again:.2f} CPU s, {again / cold:.1%}")
        print(f"back to the first settings: {run(root):.2f} CPU s")


def files(count: int) -> None:
    """A row: cold, warm, and what the store holds."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "in").mkdir()
        for number in range(count):
            text = f"document {number} says {number * 7919 % 10007} times " * 8
            (root / "in" / f"{number:05}.jsonl").write_text(json.dumps({"text": text}) + "\n")
        settings = "shard_megabytes: 0.0001\n"  # a shard for each file
        (root / "p.yaml").write_text(
            f'dataset: d\n{settings}sources: [{{stage: files, paths: "in/*.jsonl"}}]\nstages: {FIVE}\n'
        )
        cold, warm = run(root), run(root)
        held = sum(path.is_file() for path in (root / ".curate").rglob("*"))
        print(f"{count:,} shards: cold {cold:.1f} CPU s, again {warm:.2f}, {held / count:.1f} files for each")
        (root / "p.yaml").write_text((root / "p.yaml").read_text().replace(settings, ""))
        cold = run(root, "--store", str(root / "bundled"))
        warm = run(root, "--store", str(root / "bundled"))
        held = sum(path.is_file() for path in (root / "bundled").rglob("*"))
        print(f"{count:,} files of one document: cold {cold:.1f} CPU s, again {warm:.2f}, {held:,} files")


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["thresholds", "files"])
    parser.add_argument("counts", nargs="*", type=int, default=[500, 5000])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--words", type=int, default=200)
    given = parser.parse_args()
    print(machine())
    if given.what == "thresholds":
        thresholds(given.data, given.documents, given.words)
    else:
        for count in given.counts:
            files(count)


if __name__ == "__main__":
    main()
