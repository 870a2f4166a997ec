"""The stage `quality_classifier`: its speed beside fastText, and what its models tell apart; n-grams of `perplexity`.

    python benchmarks/quality.py [--megabytes 20] [--runs 5] [--reviews 2000] [--json FILE]

Documents of 4 kB from books, batches of 100, CPU seconds of one process with one thread. The fastText model has random numbers
and the size of one that pages are chosen with (two labels, 100 dimensions, pairs of words, a million buckets, the documents'
words): what its numbers are costs nothing. The other side is the call of fastText's own code that datatrove's filter
(`FastTextClassifierFilter`) makes for each document, without what the filter does around it. What is told apart: film reviews
(of ../shared/data, or `CURATE_DATA`), good from bad, by folds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from machine import machine, spread
from minhash import read_books
from toxicity_data import DATA

from curate.labeling.classifier import fit, save
from curate.labeling.column import held_out
from curate.labeling.features import hashed
from curate.quality.classifier import QualityClassifier

sys.path.append(str(Path(__file__).resolve().parent.parent))


def documents(megabytes: float) -> list[str]:
    """Pieces of books, of 4,000 characters."""
    whole = "\n".join(read_books(DATA, megabytes * 1.2))
    return [whole[start : start + 4000] for start in range(0, len(whole) - 4000, 4000)][: int(megabytes * 250)]


def reviews(count: int) -> tuple[list[str], np.ndarray]:
    """So many film reviews, and which are good."""
    with zipfile.ZipFile(DATA / "nltk_corpora" / "movie_reviews.zip") as file:
        listed = sorted(
            name for name in file.namelist() if name.endswith(".txt") and name.split("/")[-2] in ("pos", "neg")
        )
        names = listed[:: len(listed) // count]
        texts = [file.read(name).decode("utf-8", "replace") for name in names]
    return texts, np.array([name.split("/")[-2] == "pos" for name in names], np.int64)


def fasttext_file(path: Path, texts: list[str]) -> Path:
    """A model that knows the commonest words of the documents."""
    from tests.quality.fasttext_files import write_model

    words = [word for word, _ in Counter(word for text in texts for word in text.split()).most_common(100_000)]
    return write_model(path, words=words, labels=["cc", "hq"], dim=100, ngrams=2, buckets=1_000_000)


def ours(model: Path, label: str) -> Callable[[list[str]], object]:
    """The stage, on batches of a hundred."""
    score = QualityClassifier(model=str(model), label=label).open()

    def run(texts: list[str]) -> object:
        table = pa.table({"text": texts})
        return [score(table.slice(start, 100)) for start in range(0, len(texts), 100)]

    return run


def fasttexts(model: Path) -> Callable[[list[str]], object]:
    """The call that datatrove's filter makes for a document."""
    import fasttext

    known = fasttext.load_model(str(model))
    return lambda texts: [known.predict(text.replace("\n", " "), k=-1) for text in texts]


def ngrams(folder: Path, texts: list[str], runs: int) -> dict[str, Any]:
    """MB a CPU second of an n-gram model of five words over some of the texts, and of KenLM's package where it is installed."""
    from curate.quality.ngrams import open_ngrams
    from tests.quality.arpa_files import write_arpa

    lines = [line for text in texts for line in text.split("\n") if line.split()]
    path = write_arpa(folder / "model.arpa", lines[: len(lines) // 4], order=5)
    read, column = open_ngrams(path), pa.chunked_array([texts])
    asked: dict[str, Callable[[list[str]], object]] = {"ours": lambda _: read(column)}
    if find_spec("kenlm"):
        model = import_module("kenlm").Model(str(path))
        asked["kenlm"] = lambda _: [model.score(line) for line in lines]
    size = sum(len(text.encode()) for text in texts) / 1e6
    read(column.slice(0, 1))
    spent = {name: list[float]() for name in asked}
    for _ in range(runs):
        for name, run in asked.items():
            spent[name].append(size / timed(run, texts))
    return {name: spread(values) for name, values in spent.items()}


def timed(run: Callable[[list[str]], object], texts: list[str]) -> float:
    """CPU seconds."""
    began = time.process_time()
    run(texts)
    return time.process_time() - began


def measure(megabytes: float, runs: int, count: int, folder: Path) -> dict[str, Any]:
    """Speed of all, alternating, and what the linear models tell apart."""
    texts = documents(megabytes)
    size = sum(len(text.encode()) for text in texts) / 1e6
    known, labels = reviews(count)
    told: dict[str, Any] = {"megabytes": round(size, 1), "documents": len(texts), "held_out": {}}
    asked: dict[str, Callable[[list[str]], object]] = {}
    for name, characters in (("linear, words", False), ("linear, words and characters", True)):
        began = time.process_time()
        fitted = fit(hashed(known, characters=characters), labels, 2, seed=0)
        told["held_out"][name] = {
            "fit_cpu_s": round(time.process_time() - began, 1), **held_out(fitted, labels, ["neg", "pos"])["held_out"]
        }  # fmt: skip
        save(fitted.model, folder / f"{characters}.safetensors", ["neg", "pos"])
        asked[name] = ours(folder / f"{characters}.safetensors", "pos")
    file = fasttext_file(folder / "model.bin", texts)
    for warm in range(2):
        began = time.process_time()
        asked["fastText's model, ours"] = ours(file, "hq")
        told["fasttext_load_cpu_s"] = round(time.process_time() - began, 2) if warm else None
    asked["fastText's model, fastText"] = fasttexts(file)
    spent = {name: list[float]() for name in asked}
    for run in asked.values():
        run(texts[:50])
    for _ in range(runs):
        for name, run in asked.items():
            spent[name].append(timed(run, texts))
    told["mb_per_cpu_s"] = {name: spread([size / one for one in values]) for name, values in spent.items()}
    told["ngrams_mb_per_cpu_s"] = ngrams(folder, texts, runs)
    theirs = spent["fastText's model, fastText"]
    told["ratio"] = {
        name: spread([them / one for them, one in zip(theirs, values, strict=True)]) for name, values in spent.items()
    }
    return told


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--reviews", type=int, default=2000, help="how many the models learn from")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = {
            "machine": machine("numba", "fasttext-predict"),
            **measure(given.megabytes, given.runs, given.reviews, Path(folder)),
        }
    text = json.dumps(told, indent=2)
    if given.json:
        given.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
