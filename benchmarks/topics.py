"""Topics against gold ones, beside scikit-learn's tf-idf, TruncatedSVD and KMeans on the same documents; difficulty's speed.

    python benchmarks/topics.py --data FOLDER [--books 20] [--pieces 100] [--runs 3]

FOLDER has books_sample/books.tar.xz. Gold topics are books: of each of `--books` books `--pieces` pieces of about 300 words
(a proxy: what a book is about tells it from others; so do its names and its author). Quality: normalized mutual
information, adjusted Rand index, and purity, over the seeds 1 to `--runs`. CPU seconds are of the whole run of the engine
with one worker, and of scikit-learn's fit and assignment, with four beginnings of k-means as ours. scikit-learn has its
list of English stop words; ours has none.
"""

from __future__ import annotations

import argparse
import json
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine, spread
from minhash import cpu_seconds

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pieces(data: Path, books: int, number: int) -> list[tuple[int, str]]:
    """The book of each piece, and its text; books that are long enough, in the order of the archive."""
    found: list[tuple[int, str]] = []
    book = 0
    with tarfile.open(data / "books_sample" / "books.tar.xz") as archive:
        for member in (one for one in archive if one.isfile()):
            file = archive.extractfile(member)
            words = file.read().decode().split(" ") if file else []
            if len(words) < 300 * number or book == books:
                continue
            found += [(book, " ".join(words[300 * n : 300 * n + 300])) for n in range(number)]
            book += 1
    return found


def ours(documents: list[tuple[int, str]], topics: int, seed: int, stage: str = "topics") -> tuple[list[Any], float]:
    """The topic of each document, and the CPU seconds of a run."""
    import curate

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [json.dumps({"id": str(number), "text": text}) for number, (_, text) in enumerate(documents)]
        (folder / "in.jsonl").write_text("\n".join(lines))
        settings = {"topics": topics, "seed": seed} if stage == "topics" else {}
        pipeline = {"dataset": "d", "sources": [{"stage": "files", "paths": ["in.jsonl"]}]}
        (folder / "p.yaml").write_text(json.dumps({**pipeline, "stages": [{"stage": stage, **settings}]}))
        began = cpu_seconds()
        curate.run(folder / "p.yaml", workers=1)
        taken = cpu_seconds() - began
        rows = curate.open_dataset("d", folder / ".curate").arrow().to_pylist()
        name = "topic" if stage == "topics" else "difficulty"
        return [row[name] for row in sorted(rows, key=lambda row: int(row["id"]))], taken


def theirs(documents: list[tuple[int, str]], topics: int, seed: int) -> tuple[list[int], float]:
    """The same of scikit-learn."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    began = time.process_time()
    matrix = TfidfVectorizer(
        sublinear_tf=True, min_df=3, max_df=0.5, max_features=30_000, stop_words="english"
    ).fit_transform([text for _, text in documents])
    vectors = normalize(TruncatedSVD(64, random_state=seed).fit_transform(matrix))
    labels = KMeans(topics, n_init=4, random_state=seed).fit_predict(vectors)
    return labels.tolist(), time.process_time() - began


def quality(gold: list[int], found: list[Any]) -> dict[str, float]:
    """NMI, ARI and purity."""
    import numpy as np
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix

    labels = [-1 if one is None else one for one in found]
    table = contingency_matrix(gold, labels)
    return {
        "nmi": normalized_mutual_info_score(gold, labels),
        "ari": adjusted_rand_score(gold, labels),
        "purity": float(np.max(table, axis=0).sum() / table.sum()),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--books", type=int, default=20)
    parser.add_argument("--pieces", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    documents = pieces(options.data, options.books, options.pieces)
    gold = [book for book, _ in documents]
    topics = len(set(gold))
    found: dict[str, Any] = {"documents": len(documents), "books": topics}
    found["megabytes"] = sum(len(text.encode()) for _, text in documents) / 1e6
    for name, run in (("curate", ours), ("sklearn", theirs)):
        results = [run(documents, topics, seed) for seed in range(1, options.runs + 1)]
        measured = [quality(gold, labels) for labels, _ in results]
        found[name] = {key: spread([one[key] for one in measured]) for key in measured[0]}
        found[name]["cpu_seconds"] = spread([taken for _, taken in results])
    taken = [ours(documents, topics, 1, "difficulty")[1] for _ in range(options.runs)]
    print(
        json.dumps(
            {**found, "difficulty_cpu_seconds": spread(taken), "machine": machine("scikit-learn", "numpy")}, indent=2
        )
    )


if __name__ == "__main__":
    main()
