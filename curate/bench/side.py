"""One side of one measurement, in a process of its own: `python -P -m curate.bench.side SIDE WHAT TEXTS ANSWER`.

So its memory is its own, and what it loads does not warm the other side. TEXTS is a Parquet file with a column `text`; what was
decided goes to ANSWER as JSON, the figures to stdout. CPU seconds are those of the process and of the children that it has
waited for; loading (imports, tokenizers, kernels) is counted apart, by a call with a few words.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

from curate.bench.duplicates import run_curate, run_datatrove
from curate.bench.filters import block_outcomes, pairs, run_blocks, run_stages

__all__ = ["main"]


def main() -> None:
    """Measure, and print the figures."""
    import pyarrow.parquet as parquet

    side, what, texts_file, answer = sys.argv[1:]
    texts = parquet.read_table(texts_file, columns=["text"]).column("text").to_pylist()
    if what == "near_duplicates":
        figures, said = _duplicates(side, texts)
    else:
        figures, said = _ours(what, texts) if side == "curate" else _theirs(what, texts)
    Path(answer).write_text(json.dumps(said))
    kilobytes = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({**figures, "peak_rss_mb": round(kilobytes * 1024 / 1e6)}))  # noqa: T201 -- the parent reads it


def _ours(what: str, texts: list[str]) -> tuple[dict[str, float], list[Any]]:
    """Our filter on words never seen, and again on words that it knows and texts that it does not."""
    from curate.stages.words import english_tokenizer

    began = _seconds()
    stage = pairs(theirs=False)[what].stage
    opened = [(stage, stage.open())]
    run_stages(opened, ["Three words here."])
    loaded = _seconds()
    (said,) = run_stages(opened, texts)
    cold = _seconds()
    english_tokenizer().kept.clear()
    run_stages(opened, texts)
    figures = {"load_s": loaded - began, "cold_s": cold - loaded, "warm_s": _seconds() - cold}
    return figures, [said.get(number, (None, text)) for number, text in enumerate(texts)]


def _theirs(what: str, texts: list[str]) -> tuple[dict[str, float], list[Any]]:
    from datatrove.utils.word_tokenizers import load_word_tokenizer

    began = _seconds()
    block = pairs(ours=False)[what].block
    load_word_tokenizer("eng").word_tokenize("Three words here.")  # it is loaded late: by the first text that needs it
    run_blocks([block], ["Three words here."])
    loaded = _seconds()
    (said,) = run_blocks([block], texts)
    return {"load_s": loaded - began, "cold_s": _seconds() - loaded}, block_outcomes(said)


def _duplicates(side: str, texts: list[str]) -> tuple[dict[str, float], list[Any]]:
    """Ours is a run of the engine, with its worker and its store; datatrove's are its four stages on texts in memory.

    What a second run of a few texts takes, the start of a worker above all, is counted as loading: it does not grow with them.
    """
    find = run_curate if side == "curate" else run_datatrove
    began = _seconds()
    find(texts[:5] * 2)
    loaded = _seconds()
    find(texts[:5] * 2)
    begun = _seconds()
    dropped = find(texts)
    fixed = begun - loaded
    figures = {"load_s": loaded - began, "cold_s": max(_seconds() - begun - fixed, 0.0)}
    return figures, sorted(dropped.items())


def _seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    main()
