"""Decontamination: recall on planted items, false flags, and MB a CPU second, against datatrove's n-gram block.

    python benchmarks/decontaminate.py --data FOLDER [--megabytes 20] [--ngram 13]

FOLDER has books_sample, gsm8k, hellaswag and mmlu_arc_csqa. What is looked for: the questions of GSM8K (test), the contexts of
HellaSwag (validation), the questions of ARC (test) and CommonsenseQA (validation). Documents: books, cut every 400 words.

Recall: each item is planted in the middle of a piece of a book of its own, verbatim and changed in three ways; found is one
whose document is over the default thresholds with this very item. Items shorter than the shortest that is looked for (8
words) are counted apart. False flags: pieces of books, nothing planted, that are over the thresholds.
Rate: CPU seconds of the function that measures over texts in memory, compiled, median of five rounds, alternating with
datatrove's `NGramsDecontFilter` on a tenth of the documents with the hashes of the same items (its indexer needs
lighteval, so its `compute_hashes` is called and the file written here); its tokenizer is loaded before.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.contamination.index import Index, build_index, find_texts
from curate.contamination.items import EvaluationFiles, evaluation_texts
from curate.stages.buffers import text_buffer

SHORTEST, MAX_SHARE, MAX_WORDS = 8, 0.2, 50


def read_items(data: Path) -> list[str]:
    """The texts that are looked for."""
    ask = [EvaluationFiles(files=(str(data / "gsm8k" / "test.jsonl"),), fields=("question",))]
    answers = [f"answer_{number}" for number in range(5)]
    for folder, count in (("ai2_arc/test/*.csv", 4), ("commonsense_qa/val/*.csv", 5)):
        columns = ("question", *answers[:count], "gold")
        files = (str(data / "mmlu_arc_csqa" / folder),)
        ask.append(EvaluationFiles(files=files, columns=columns, fields=("question",)))
    hellaswag = EvaluationFiles(
        files=(str(data / "hellaswag" / "hellaswag_val_full.txt.bz2"),),
        columns=("query", "gold", "first", "second", "third", "fourth"),
        fields=("query",),
    )
    return [one.text for one in evaluation_texts([*ask, hellaswag], ())]


def read_pieces(data: Path, megabytes: float) -> list[str]:
    """Pieces of books of 400 words."""
    pieces, size = [], 0
    with tarfile.open(data / "books_sample" / "books.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".md") else None
            words = file.read().decode().split(" ") if file else []
            for start in range(0, len(words), 400):
                pieces.append(" ".join(words[start : start + 400]))
                size += len(pieces[-1].encode())
            if size > megabytes * 1e6:
                break
    return pieces


def verbatim(text: str, draw: random.Random) -> str:
    """As it is."""
    return text


def rewrapped(text: str, draw: random.Random) -> str:
    """The words in lines of other lengths."""
    return "".join(word + ("\n" if draw.random() < 0.15 else " ") for word in text.split())


def recased(text: str, draw: random.Random) -> str:
    """In capitals, or each word in another case."""
    return (
        text.upper()
        if draw.random() < 0.5
        else " ".join(draw.choice([word.lower(), word.title()]) for word in text.split())
    )


def repunctuated(text: str, draw: random.Random) -> str:
    """Marks at the ends of words taken away, and others put there."""
    words = (word.strip('.,;:!?"()[]-') for word in text.split())
    return " ".join(word + draw.choice(["", "", "", ",", ";", " -", "..."]) for word in words)


def over(texts: list[str], index: Index) -> set[tuple[int, int]]:
    """Documents and items over the thresholds."""
    found = find_texts(*text_buffer(pa.array(texts)), index)
    there = (found.shares > MAX_SHARE) | (found.longest > MAX_WORDS)
    return set(zip(found.documents[there].tolist(), found.texts[there].tolist(), strict=True))


def datatrove_filter(items: list[str], folder: str, ngram: int):
    """Datatrove's block, with the hashes of the items."""
    from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer

    config = NGramsDecontConfig(n_grams=ngram, find_overlap_ngrams=False)
    indexer = object.__new__(NGramsDecontIndexer)
    block = NGramsDecontFilter(folder, config=config)
    indexer.config, indexer.tokenizer, indexer.hash_func = config, block.tokenizer, block.hash_func
    hashes = {one for item in items for one in indexer.compute_hashes(item)}
    np.array(list(hashes), config.hash_config.np_descr).tofile(f"{folder}/items.index.hashes")
    return block


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("CURATE_DATA"), help="folder of the data sets")
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--ngram", type=int, default=13)
    options = parser.parse_args()
    from datatrove.data import Document

    items, pieces = read_items(Path(options.data)), read_pieces(Path(options.data), options.megabytes)
    index = build_index(items, ngram=options.ngram, shortest=min(SHORTEST, options.ngram))
    long = np.flatnonzero(index.words >= index.shortest).tolist()
    short = len(items) - len(long)
    size = index.nbytes / len(index.keys)
    print(f"{len(items):,} items, {short:,} too short; {len(index.keys):,} n-grams, {size:.0f} bytes each")
    for change in (verbatim, rewrapped, recased, repunctuated):
        draw = random.Random(1)
        planted = [
            f"{text[:900]}\n{change(items[item], draw)}\n{text[900:]}"
            for item, text in zip(long, itertools.cycle(pieces), strict=False)
        ]
        found = over(planted, index)
        right = sum((place, item) in found for place, item in enumerate(long))
        print(f"{change.__name__}: recall {right / len(long):.4f}")
    flagged = {document for document, _ in over(pieces, index)}
    print(f"{len(flagged)} of {len(pieces):,} pieces flagged ({len(flagged) / len(pieces):.2%})")

    data, offsets = text_buffer(pa.array(pieces))
    some = pieces[::10]
    size, part = len(data) / 1e6, sum(len(one.encode()) for one in some) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        block = datatrove_filter([items[item] for item in long], folder, options.ngram)
        dropped = sum(block.filter(Document(one, "")) is not True for one in some)
        ours, theirs = [], []
        for _ in range(5):
            began = time.process_time()
            find_texts(data, offsets, index)
            ours.append(size / (time.process_time() - began))
            began = time.process_time()
            for one in some:
                block.filter(Document(one, ""))
            theirs.append(part / (time.process_time() - began))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(json.dumps({
        "megabytes": round(size, 1), "mb_per_cpu_s": round(statistics.median(ours), 1),
        "datatrove_mb_per_cpu_s": round(statistics.median(theirs), 3), "ratio": round(statistics.median(ratios)),
        "ratios": [round(min(ratios)), round(max(ratios))], "datatrove_dropped": dropped,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
