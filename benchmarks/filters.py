"""Quality filters against datatrove's same blocks, on the same documents.

    python benchmarks/filters.py [--data FOLDER] [--megabytes 100] [--sample 2] [--runs 3]
    python benchmarks/filters.py --parity 22000 [--data FOLDER]

FOLDER has books_sample/books.tar.xz and zyte_article_extraction (by default ../shared/data beside the repository).
Documents are those of filter_texts.py: books, cut into documents of about 600 words (their CRLF is LF, as the stage
`unicode` makes it), and what the packages of a Debian system say about themselves, mixed.

Numbers are CPU seconds of one process, MB are UTF-8 text, 10^6 bytes. Filters: ours with `open()` and `decide()`, in
shards of 16 MB, every stage over the shard before the next one, as the engine does; datatrove's with the block's
`filter()`, without its pipeline, on every n-th document, so that there are `--sample` MB: that gives its rate. Of the
sample's documents the decision, the reason and the text must be equal on both sides, or the benchmark fails. Runs of
the two sides alternate. What each needs to load (imports, tokenizers, kernels that are compiled once per installation)
is not counted: `loading` has it, for a fresh process, as installed and with torch hidden.

States: `cold`, all megabytes with an empty table of chunks; `steady`, the last half of them, which is what most of a
run looks like; `warm`, all of them again: every chunk is known, and no text is. `all_four` runs the filters one after
the other, each on every document.

`--parity` compares decision, reason and text of so many documents, a fifth of them nasty, and counts those that differ.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filter_texts import mixed_texts, parity_texts
from machine import machine, spread

from curate.bench.filters import FILTERS, Pair, block_outcomes, megabytes, pairs, run_blocks, run_stages

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
STATES = ("cold", "steady", "warm")


def timed(run: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """CPU seconds of a call, and its result."""
    began = time.process_time()
    result = run(*arguments)
    return time.process_time() - began, result


def loading(stage: str, *, torch: bool) -> dict[str, float]:
    """CPU seconds and resident memory (MB) of a fresh process that has opened a stage."""
    hide = "" if torch else "sys.modules['torch'] = None; "
    script = (
        f"import sys, psutil, time; {hide}from curate.stages.registry import find_stage; find_stage('{stage}')().open(); "
        "print(time.process_time(), psutil.Process().memory_info().rss / 1e6)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    seconds, megabytes = map(float, done.stdout.split())
    return {"cpu_s": seconds, "memory_mb": megabytes}


# ---- filters


def measure_filters(both: Sequence[Pair], texts: Sequence[str], sample: Sequence[int], runs: int) -> dict[str, Any]:
    """Megabytes per CPU second of both sides, and their ratios, run by run; datatrove's on the documents of a sample."""
    from curate.stages.words import english_tokenizer

    blocks, chosen = [pair.block for pair in both], [texts[number] for number in sample]
    half = len(texts) // 2
    rates: dict[str, list[float]] = {"datatrove": [], **{state: [] for state in STATES}}
    run_blocks(blocks, chosen[:1])
    for _ in range(runs):
        theirs, said = timed(run_blocks, blocks, chosen)
        rates["datatrove"].append(megabytes(chosen) / theirs)
        english_tokenizer.cache_clear()
        opened = [(stage, stage.open()) for stage, _ in both]
        run_stages(opened, ["Three words here."])
        first, first_said = timed(run_stages, opened, texts[:half])
        last, last_said = timed(run_stages, opened, texts[half:])
        rates["cold"].append(megabytes(texts) / (first + last))
        rates["steady"].append(megabytes(texts[half:]) / last)
        english_tokenizer().kept.clear()
        again, _ = timed(run_stages, opened, texts)
        rates["warm"].append(megabytes(texts) / again)
        for one, begun, ended in zip(said, first_said, last_said, strict=True):
            got = [begun.get(number) if number < half else ended.get(number - half) for number in sample]
            assert [
                found or (None, texts[number]) for found, number in zip(got, sample, strict=True)
            ] == block_outcomes(one)
    return {
        "mb_per_cpu_s": {name: spread(values) for name, values in rates.items()},
        "ratio": {
            state: spread([ours / theirs for theirs, ours in zip(rates["datatrove"], rates[state], strict=True)])
            for state in STATES
        },
        "reasons": Counter(reason for one in said for reason, _ in block_outcomes(one) if reason),
    }


def compare(kinds: dict[str, list[str]]) -> dict[str, Any]:
    """Documents by kind, and for each filter how many are decided or edited otherwise than by datatrove."""
    texts = [text for kind in kinds.values() for text in kind]
    differing = {}
    for name, (stage, block) in pairs().items():
        (ours,) = run_stages([(stage, stage.open())], texts)
        theirs = block_outcomes(run_blocks([block], texts)[0])
        differing[name] = sum(ours.get(number, (None, texts[number])) != one for number, one in enumerate(theirs))
    return {
        "documents": {kind: len(one) for kind, one in kinds.items()},
        "megabytes": megabytes(texts),
        "differing": differing,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--sample", type=float, default=2, help="megabytes that datatrove gets")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--parity", type=int, help="compare so many documents, and measure nothing")
    options = parser.parse_args()
    record: dict[str, Any] = {"machine": machine("datatrove", "spacy", "presidio-analyzer", "pyarrow", "torch")}
    if options.parity:
        record |= compare(parity_texts(options.data, options.parity))
        print(json.dumps(record, indent=2))
        return
    texts = mixed_texts(options.data, options.megabytes)
    sample = range(0, len(texts), max(1, round(megabytes(texts) / options.sample)))
    record |= {
        "runs": options.runs,
        "documents": {"ours": len(texts), "datatrove": len(sample)},
        "megabytes": {"ours": megabytes(texts), "datatrove": megabytes([texts[number] for number in sample])},
        "loading": {
            stage: {"as_installed": loading(stage, torch=True), "without_torch": loading(stage, torch=False)}
            for stage in ("gopher_quality", "pii")
        },
    }
    singles = pairs()
    for name, both in {**{name: [singles[name]] for name in FILTERS}, "all_four": list(singles.values())}.items():
        record[name] = measure_filters(both, texts, sample, options.runs)
        print(name, json.dumps(record[name]), file=sys.stderr, flush=True)
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
