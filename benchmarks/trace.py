"""`curate trace` at 50 million tokens: sorting them, and finding the spans of 512 tokens in them.

    python benchmarks/trace.py [--data FOLDER] [--tokens 50000000] [--queries 200] [--json FILE]

FOLDER has books_sample/books.tar.xz, wikitext2/ and tinyshakespeare/. Their text is cut into documents of about 600 words and
tokenized (a byte-pair vocabulary of 16,384 that is learned from them); 50 million tokens are made of them by repeating the
documents in other orders, with a share of the words (5 %) replaced at random from the second time on.
A query is 512 tokens: spans of 10 to 200 tokens of random documents, one behind the other. `search` is all that is asked of
the index: maximal spans, and where each of the ten rarest stands; `told` is a whole `Tracer.trace`, with the names of the
documents out of the store, and their excerpts. Both in milliseconds, after ten queries, of a process with one thread.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tarfile
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from machine import machine

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LENGTH, WORDS, NOISE = 512, 600, 0.05
TRAIN = """dataset: corpus
run: traced
steps: 1
model: {layers: 1, width: 16, heads: 2, feed_forward: 16}
tokenizer: {vocabulary: 16384, sample_megabytes: 20}
batch: {sequences: 1, length: 128}
"""


def texts(data: Path) -> list[str]:
    """The corpus, in pieces of about 600 words."""
    with tarfile.open(data / "books_sample" / "books.tar.xz") as books:
        whole = [books.extractfile(one).read().decode(errors="replace") for one in books if one.isfile()]
    for folder in ("wikitext2", "tinyshakespeare"):
        whole += [
            path.read_text(errors="replace") for path in sorted((data / folder).glob("*")) if path.suffix != ".md"
        ]
    pieces = [one.split(" ") for one in whole if len(one) > 10_000]
    return [" ".join(words[at : at + WORDS]) for words in pieces for at in range(0, len(words), WORDS)]


def documents(found: list[str], tokens: int, folder: Path) -> None:
    """Write JSON lines of about so many tokens: repeated, from the second time on with noise."""
    random = np.random.default_rng(0)
    words = np.array(sorted({word for text in found[:500] for word in text.split(" ")}))
    written, want = 0, tokens * 4.1  # characters
    with (folder / "corpus.jsonl").open("w") as stream:
        while written < want:
            noisy = written > 0
            for place in random.permutation(len(found)).tolist():
                if written >= want:
                    return
                text = found[place]
                if noisy:
                    some = np.array(text.split(" "), dtype=object)
                    changed = random.random(len(some)) < NOISE
                    some[changed] = random.choice(words, int(changed.sum()))
                    text = " ".join(some.tolist())
                written += len(text)
                stream.write(json.dumps({"text": text}) + "\n")


def run_folder(folder: Path) -> Path:
    """A run that was given the tokens, as `curate train` leaves it before its first step."""
    from curate import run
    from curate.dataset.reader import open_dataset
    from curate.train.data.tasks import pack_all
    from curate.train.runs.folder import RunFolder, prepare
    from curate.train.settings.file import load_config

    (folder / "pipeline.yaml").write_text(
        "dataset: corpus\nsources: [{stage: files, paths: [corpus.jsonl]}]\n"
        "stages: [{stage: split, train: 1.0, validation: 0.0, test: 0.0}]\n"
    )
    run(folder / "pipeline.yaml", workers=1)
    (folder / "train.yaml").write_text(TRAIN)
    config = load_config(folder / "train.yaml")
    packs = pack_all(config, lambda name: open_dataset(name, folder / ".curate"), tokenizer=None)
    made = RunFolder(folder / "runs" / "traced")
    made.path.mkdir(parents=True)
    prepare(made, config, packs)
    return made.path


def queries(stream, count: int) -> list[np.ndarray]:
    """Spans of the stream one behind the other, 512 tokens each."""
    random = np.random.default_rng(1)
    found = []
    for _ in range(count):
        parts, have = [], 0
        while have < LENGTH:
            start = int(random.integers(0, len(stream) - 200))
            parts.append(stream.tokens(start, start + int(random.integers(10, 200))))
            have += len(parts[-1])
        found.append(np.concatenate(parts)[:LENGTH])
    return found


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Median, 95th percentile and greatest, in milliseconds."""
    found = np.array(seconds) * 1e3
    return {"median": float(np.median(found)), "p95": float(np.percentile(found, 95)), "most": float(found.max())}


def search(tracer, query: np.ndarray) -> None:
    """All that a trace asks of the index."""
    found = tracer.spans(query, 8)
    rarity = [tracer._log_unigrams[query[start:stop]].sum() for start, stop in found.tolist()]
    for at in np.argsort(rarity)[:10].tolist():
        tracer._places(query, *found[at].tolist(), 0, 0)


def measured(folder: Path, count: int) -> dict:
    """Build, then search."""
    from curate.dataset.store import Store
    from curate.interpret.trace import Tracer

    place, store = run_folder(folder), Store.open(folder / ".curate")
    cpu, wall = time.process_time(), time.perf_counter()
    tracer = Tracer(place, store, say=lambda words: print(words, file=sys.stderr))
    built = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    cpu, wall = time.process_time(), time.perf_counter()
    tracer = Tracer(place, store, say=lambda words: print(words, file=sys.stderr))
    opened = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    (shard,) = tracer._shards
    taken, spans = {name: [] for name in ("search_wall", "search_cpu", "told_wall", "told_cpu")}, []
    for number, query in enumerate(queries(shard.stream, count + 10)):
        query[np.isin(query, tracer._special)] = -1
        text = tracer._tokenizer.decode(query[query >= 0].tolist())
        for name, ask in (
            ("search", partial(search, tracer, query)),
            ("told", partial(tracer.trace, text, documents=3)),
        ):
            wall, cpu = time.perf_counter(), time.process_time()
            found = ask()
            if number >= 10:
                taken[f"{name}_wall"].append(time.perf_counter() - wall)
                taken[f"{name}_cpu"].append(time.process_time() - cpu)
        spans.append(found["found"])
    index = next((folder / ".curate" / "tokens").glob("*/*.suffixes"))
    return {
        "tokens": len(shard.stream), "documents": len(shard.stream.ends), "queries": count, "build": built,
        "peak_mb": peak, "index_bytes_a_token": index.stat().st_size / len(shard.stream), "open": opened,
        **{name: percentiles(seconds) for name, seconds in taken.items()}, "spans_a_query": float(np.mean(spans)),
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--tokens", type=int, default=50_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        documents(texts(options.data), options.tokens, Path(name))
        found = {**measured(Path(name), options.queries), "machine": machine("pydivsufsort", "numpy", "numba")}
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
