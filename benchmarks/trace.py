"""`curate trace` at 50 million tokens: sorting them, and finding the spans of 512 tokens in them.

    python benchmarks/trace.py [--data FOLDER] [--tokens 50000000] [--queries 200] [--json FILE]

FOLDER has books_sample/books.tar.xz, wikitext2/ and tinyshakespeare/. Their text is cut into documents of about 600 words and
tokenized (a byte-pair vocabulary of 16,384 that is learned from them); 50 million tokens are made of the tokens by repeating
the documents in other orders, with a share of the tokens (5 %) replaced at random from the second time on.
A query is 512 tokens: spans of 10 to 200 tokens of random places, one behind the other. `search` is all that a trace asks of
the index of the 50 million: maximal spans, and where each of the ten rarest stands. `told` is a whole `Tracer.trace` over the
tokens that are not repeated, with the documents' ids out of the store, and excerpts. In milliseconds by wall and by CPU time,
after ten queries, of a process with one thread. MB of memory are the process's greatest so far.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import machine

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LENGTH, WORDS, NOISE, SHORTEST = 512, 600, 0.05, 8
VOCABULARY = 16384
TRAIN = """dataset: corpus
run: traced
steps: 1
model: {layers: 1, width: 16, heads: 2, feed_forward: 16}
tokenizer: {vocabulary: 16384, sample_megabytes: 5}
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


def repeated(stream, tokens: int, end: int, folder: Path):
    """A pack of about so many tokens, made of a stream's documents."""
    from curate.tokenize.pack import Pack
    from curate.tokenize.rows import Stream
    from curate.tokenize.streams import Piece, write_stream

    random, count = np.random.default_rng(0), len(stream.ends)
    starts = stream.ends - stream.lengths
    used = np.unique(stream.files[0])
    used = used[used != end]

    def pieces():
        written = 0
        while written < tokens:
            noisy = written > 0
            for place in random.permutation(count).tolist():
                some = stream.tokens(int(starts[place]), int(stream.ends[place]))
                if noisy:
                    changed = random.random(len(some) - 1) < NOISE
                    some[:-1][changed] = random.choice(used, int(changed.sum()))
                written += len(some)
                yield Piece(some, 0)
                if written >= tokens:
                    return

    folder.mkdir()
    shards, _ = write_stream(folder, "train", "text", pieces(), "uint16")
    manifest = {"tokenizer": {"vocabulary": VOCABULARY}, "roles": {"end_of_text": end}}
    return Pack(folder, manifest, ""), Stream(folder, shards, "uint16")


def run_folder(folder: Path, found: list[str]) -> Path:
    """A run that was given the tokens, as `curate train` leaves it before its first step."""
    from curate import run
    from curate.dataset.reader import open_dataset
    from curate.train.data.tasks import pack_all
    from curate.train.runs.folder import RunFolder, prepare
    from curate.train.settings.file import load_config

    (folder / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in found))
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


def search(shard, logs: np.ndarray, query: np.ndarray) -> int:
    """All that a trace asks of the index; how many spans there are."""
    from curate.interpret.matching import interval, longest_matches, maximal

    longest = np.zeros(len(query), np.int64)
    longest_matches(*shard[:4], query, longest)
    found = maximal(longest, SHORTEST)
    rarity = [logs[query[start:stop]].sum() for start, stop in found.tolist()]
    for at in np.argsort(rarity)[:10].tolist():
        low, high = interval(*shard[:4], query, *found[at].tolist())
        np.unique(np.searchsorted(shard.ends, np.sort(shard.starts[low:high]), side="right"))
    return len(found)


def timed(ask, asked: list) -> dict:
    """Milliseconds of each, but the first ten."""
    wall, cpu = [], []
    for one in asked:
        began, used = time.perf_counter(), time.process_time()
        ask(one)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
    return {"wall": percentiles(wall[10:]), "cpu": percentiles(cpu[10:])}


def measured(folder: Path, found: list[str], tokens: int, count: int) -> dict:
    """Build, then search."""
    from curate.dataset.store import Store
    from curate.interpret.suffixes import suffixes_of
    from curate.interpret.trace import Tracer

    place, store = run_folder(folder, found), Store.open(folder / ".curate")
    tracer = Tracer(place, store, say=lambda words: print(words, file=sys.stderr))
    (shard,) = tracer._shards
    pack, stream = repeated(shard.stream, tokens, shard.suffixes.separator, folder / "repeated")
    facts, before = {}, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    for name in ("build", "open"):
        cpu, wall = time.process_time(), time.perf_counter()
        large = suffixes_of(pack, stream, 0, lambda words: print(words, file=sys.stderr))
        facts[name] = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    logs = np.log(np.maximum(large.counts, 1) / large.counts.sum())
    asked = queries(stream, count + 10)
    for query in asked:
        query[query == large.separator] = -1
    spans = [search(large, logs, query) for query in asked]
    words = [tracer._tokenizer.decode(query[query >= 0].tolist()) for query in queries(shard.stream, 60)]
    size = (folder / "repeated" / "train-00000.ds.suffixes").stat().st_size
    return {
        "tokens": len(stream), "documents": len(stream.ends), "queries": count, **facts, "mb_before": before, "mb": peak,
        "index_bytes_a_token": size / len(stream), "spans_a_query": float(np.mean(spans)),
        "search": timed(lambda query: search(large, logs, query), asked),
        "told_tokens": len(shard.stream), "told": timed(lambda text: tracer.trace(text, documents=3), words),
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
        found = measured(Path(name), texts(options.data), options.tokens, options.queries)
        found = {**found, "machine": machine("pydivsufsort", "numpy", "numba")}
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
