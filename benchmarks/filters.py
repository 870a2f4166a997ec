"""Quality filters against datatrove's same blocks, on the same documents.

    python benchmarks/filters.py [--data FOLDER] [--megabytes 3] [--runs 5] [--crlf]

FOLDER has books_sample/books.tar.xz (by default ../shared/data beside the repository). Books are
cut into documents of about 600 words. Their lines end with CRLF, which becomes LF, as the stage `unicode` makes it.
`--crlf` leaves it: a CR hides the full stop of every line, the line rules drop most documents, and datatrove, which
stops at the first rule that fails, hardly cuts a word: its best case, since ours measures every rule.

Numbers are CPU seconds of one process. Runs of the two sides alternate. What each needs to load (imports, tokenizers,
recognizers) is not counted: `loading` has it, for a fresh process, as installed and with torch hidden, which spaCy and
Presidio import where they find it.

Filters: ours with `open()` and `decide()`, datatrove's with the block's `filter()`, without its pipeline. Three states
of our tokenizer's cache: `cold`, empty; `steady`, after four times as many megabytes of other books, which is what most
of a run looks like; `warm`, after the very same documents: the second filter of a pipeline that cuts words. `all_four`
runs them one after the other, each on every document. The decision, the reason and the text of every
document must be equal on both sides, or the benchmark fails. MB are UTF-8 text, 10^6 bytes.
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
from typing import Any, NamedTuple

from machine import machine, spread
from minhash import read_books

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
STATES = ("cold", "steady", "warm")
Outcome = tuple[str | None, str]
"""The reason of a drop, or None, and the text afterwards."""


class Pair(NamedTuple):
    """Our stage, and the block of datatrove that it decides as."""

    stage: Any
    block: Any


def pairs() -> dict[str, list[Pair]]:
    """The filters with their defaults on both sides, each alone, and all four one after the other."""
    from datatrove.pipeline import filters

    from curate.filter.c4 import C4
    from curate.filter.fineweb import FineWeb
    from curate.filter.gopher import GopherQuality, GopherRepetition

    single = {
        "gopher_quality": Pair(GopherQuality(), filters.GopherQualityFilter()),
        "gopher_repetition": Pair(GopherRepetition(), filters.GopherRepetitionFilter()),
        "fineweb": Pair(FineWeb(), filters.FineWebQualityFilter()),
        "c4": Pair(C4(), filters.C4QualityFilter()),
    }
    return {**{name: [pair] for name, pair in single.items()}, "all_four": list(single.values())}


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


def batches(texts: Sequence[str], size: int) -> list[Any]:
    """The texts as the engine hands them to a stage."""
    import pyarrow as pa

    ids = [str(number) for number in range(len(texts))]
    table = pa.table({"id": ids, "text": list(texts), "source_uri": ids})
    return [table.slice(start, size) for start in range(0, len(texts), size)]


# ---- filters


def run_stages(opened: Sequence[tuple[Any, Any, Sequence[Any]]]) -> list[list[Any]]:
    """The verdicts of every batch, for each stage: given as the stage, its function and its batches."""
    return [
        [stage.decide(apply(part)) if stage.kind == "filter" else apply(part).verdicts for part in parts]
        for stage, apply, parts in opened
    ]


def run_blocks(blocks: Sequence[Any], texts: Sequence[str]) -> list[list[tuple[Any, Any]]]:
    """What each block says of every document, and the document."""
    from datatrove.data import Document

    return [
        [(block.filter(document), document) for document in (Document(text, "") for text in texts)] for block in blocks
    ]


def stage_outcomes(texts: Sequence[str], verdicts: Sequence[Any], size: int) -> list[Outcome]:
    """Ours, one for each document."""
    outcomes: list[Outcome] = [(None, text) for text in texts]
    for number, table in enumerate(verdicts):
        for verdict in table.to_pylist():
            row = number * size + verdict["row"]
            dropped = verdict["verdict"] == "dropped"
            outcomes[row] = (verdict["reason"], "") if dropped else (None, verdict["text"])
    return outcomes


def block_outcomes(said: Sequence[tuple[Any, Any]]) -> list[Outcome]:
    """datatrove's, one for each document; a result is True, False, or False with a reason."""
    results = (result if isinstance(result, tuple) else (result, None) for result, _ in said)
    return [
        (None, document.text) if kept else (reason, "")
        for (kept, reason), (_, document) in zip(results, said, strict=True)
    ]


def measure_filters(both: Sequence[Pair], texts: Sequence[str], others: Sequence[str], runs: int) -> dict[str, Any]:
    """CPU seconds of both sides, and their ratios, run by run."""
    from curate.stages.words import english_tokenizer

    blocks = [pair.block for pair in both]
    seconds: dict[str, list[float]] = {"datatrove": [], **{state: [] for state in STATES}}
    run_blocks(blocks, texts[:1])
    for _ in range(runs):
        theirs, said = timed(run_blocks, blocks, texts)
        seconds["datatrove"].append(theirs)
        expected = [block_outcomes(one) for one in said]
        for state in STATES:
            if state != "warm":
                english_tokenizer.cache_clear()
                opened = [(stage, stage.open(), batches(texts, stage.batch)) for stage, _ in both]
            for text in others if state == "steady" else ():
                english_tokenizer().word_tokenize(text)
            ours, verdicts = timed(run_stages, opened)
            seconds[state].append(ours)
            got = [stage_outcomes(texts, one, pair.stage.batch) for pair, one in zip(both, verdicts, strict=True)]
            assert got == expected
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    ratios = {
        state: [theirs / ours for theirs, ours in zip(seconds["datatrove"], seconds[state], strict=True)]
        for state in STATES
    }
    return {
        "cpu_s": {name: spread(values) for name, values in seconds.items()},
        "mb_per_cpu_s": {name: megabytes / spread(values)["median"] for name, values in seconds.items()},
        "ratio": {state: spread(values) for state, values in ratios.items()},
        "reasons": Counter(reason for one in expected for reason, _ in one if reason),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--megabytes", type=float, default=3)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--crlf", action="store_true", help="leave the line ends of the books as they are")
    options = parser.parse_args()
    line_end = "\r\n" if options.crlf else "\n"
    books = [text.replace("\r\n", line_end) for text in read_books(options.data, 5 * options.megabytes)]
    texts, others = books[: len(books) // 5], books[len(books) // 5 :]
    record = {
        "machine": machine("datatrove", "spacy", "presidio-analyzer", "pyarrow", "torch"),
        "runs": options.runs,
        "line_end": repr(line_end),
        "documents": len(texts),
        "megabytes": sum(len(text.encode()) for text in texts) / 1e6,
        "filters": {name: measure_filters(both, texts, others, options.runs) for name, both in pairs().items()},
        "loading": {
            stage: {"as_installed": loading(stage, torch=True), "without_torch": loading(stage, torch=False)}
            for stage in ("gopher_quality", "pii")
        },
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
