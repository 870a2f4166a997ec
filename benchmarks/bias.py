"""The bias audit: speed against one RE2 pattern a group, share of a pipeline, and error rates by simulation.

    python benchmarks/bias.py speed [--data ../shared/data] [--megabytes 20]
    python benchmarks/bias.py errors [--runs 200]

`speed` counts all groups of the default lexicon in books. `errors` draws random groups with 200 attributes and no effect, and
groups with odds of 3; the same draws as tests/audit/test_bias_acceptance.py.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.stages import books, table
from curate.audit.bias.lexicon import Lexicon, load_lexicon
from curate.audit.bias.scan import counted, scanner

TIMES = 3


def cpu(work: Callable[[], object]) -> float:
    """Median CPU seconds of three calls after one."""
    work()
    taken = []
    for _ in range(TIMES):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def patterns(lexicon: Lexicon) -> list[str]:
    """One RE2 pattern for each group."""
    found = []
    for axis, group in lexicon.groups():
        words = {
            r"[\s-]+".join(map(re.escape, one.words)) for one in lexicon.terms if (one.axis, one.group) == (axis, group)
        }
        found.append(r"(?i)\b(?:" + "|".join(sorted(words, key=len, reverse=True)) + r")\b")
    return found


def speed(data: Path, megabytes: float) -> None:
    """MB a CPU second: ours, RE2, and stages of a pipeline beside it."""
    from curate.audit.mentions import BiasAudit
    from curate.stages.registry import find_stage

    texts = books(data, megabytes)
    size = sum(len(text.encode()) for text in texts) / 1e6
    lexicon = load_lexicon()
    terms = [term for term in lexicon.terms if term.section == "groups"]
    place = {pair: at for at, pair in enumerate(lexicon.groups())}
    of = np.array([place[term.axis, term.group] for term in terms])
    column, scan = pa.array(texts), scanner(terms)
    ours = cpu(lambda: counted(scan(column), of, len(place)))
    part = pa.array(texts[: len(texts) // 10])
    theirs = cpu(lambda: [compute.count_substring_regex(part, one) for one in patterns(lexicon)]) * 10
    rates = f"{size / ours:.0f} MB/s | RE2, a pattern a group: {size / theirs:.2f} MB/s"
    print(f"| all {len(place)} groups, {size:.0f} MB of books | {rates} |")
    documents = table(texts[: len(texts) // 10])
    names = ("unicode", "gopher_quality", "gopher_repetition", "c4", "fineweb")
    spent = {}
    for name in names:
        stage = find_stage(name).model_validate({})
        call = stage.open()  # pyright: ignore[reportAttributeAccessIssue]
        spent[name] = cpu(lambda call=call, step=stage.batch: [
            call(documents.slice(at, step)) for at in range(0, documents.num_rows, step)])  # fmt: skip
    call = BiasAudit().open()
    mine = cpu(lambda: call(documents))
    print(
        f"| bias_audit beside {', '.join(names)} | {100 * mine / (mine + sum(spent.values())):.2f} % of the CPU time |"
    )


def errors(runs: int) -> None:
    """Shares of runs that flag something, or find what is there."""
    from tests.audit import test_bias_acceptance as draws

    for size in (20, 100, 500):
        flagged = sum(draws.flags(draws.association(draws.null_association(size, run))) > 0 for run in range(runs))
        print(f"| null, 200 attributes, n = {size} a group: runs that flag anything | {100 * flagged / runs:.1f} % |")
    removal = sum(draws.flags(draws.impact(draws.null_removal(run))) > 0 for run in range(runs))
    print(f"| null, 40 groups, a random filter: runs that flag anything | {100 * removal / runs:.1f} % |")
    scores = sum(draws.flags(draws.scored(draws.null_removal(run), {})) > 0 for run in range(runs))
    print(f"| null, 40 groups, a random score: runs that flag anything | {100 * scores / runs:.1f} % |")
    found = sum(draws.finds_association(run) for run in range(runs))
    print(f"| odds of 3 among 200 attributes at n = 500: found in | {100 * found / runs:.1f} % |")
    found = sum(draws.finds_removal(run) for run in range(runs))
    print(f"| a filter with odds of 3 for one of 40 groups at n = 500: found in | {100 * found / runs:.1f} % |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["speed", "errors"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--runs", type=int, default=200)
    given = parser.parse_args()
    if given.what == "speed":
        speed(given.data, given.megabytes)
    else:
        errors(given.runs)
