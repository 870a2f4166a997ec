"""Looking for a person: the quick expression, the thorough one, and both with decompression, on books.

    python benchmarks/erasure.py [--data FOLDER] [--runs 5]

FOLDER has books_sample/ (by default ../shared/data beside the repository). The subject has an e-mail address, two phone
numbers and two names, none of which stands in the books. `decompress` reads the same texts from a store's objects; `scan`
is what an erasure does with them, per MB of text; `thorough alone` is RE2 on the expressions of the second step, which is
what the quick one is for. CPU seconds of one process.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as compute
from machine import machine, spread
from minhash import read_books

from curate.dataset.store import Store
from curate.erasure.matching import Matcher
from curate.erasure.scan import scan, scan_object
from curate.erasure.subject import Subject

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LENGTH = 1500
SUBJECT = Subject(
    ("wilhelmina.vandermolen@example.org",),
    ("+49 30 90182023", "+1 212-555-0199"),
    ("Wilhelmina Vandermolen", "Zoltan Kovacs"),
)


def main() -> None:
    """Print the rows."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--runs", type=int, default=5)
    given = arguments.parse_args()
    books = read_books(given.data, 26)
    texts = pa.array([text[at : at + LENGTH] for text in books for at in range(0, len(text), LENGTH)])
    megabytes, matcher = texts.nbytes / 1e6, Matcher(SUBJECT)
    loose = "|".join(re.sub(r"\(\?<?[=!][^()]*\)", "", one.exact) for one in matcher.forms)
    some = texts.slice(0, 300)
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(folder, create=True)
        name = store.write_table(pa.table({"text": texts}))
        rows: dict[str, tuple[Callable[[], object], float]] = {
            "quick expression": (lambda: compute.match_substring_regex(texts, matcher.pattern), megabytes),
            "thorough alone": (lambda: compute.match_substring_regex(some, loose), some.nbytes / 1e6),
            "decompress": (lambda: store.read_table(name), megabytes),
            "scan": (lambda: scan_object(store, name, matcher), megabytes),
        }
        assert not list(scan(store, matcher)), "nobody of that name stands in the books"
        for label, (work, size) in rows.items():
            rates = []
            for _ in range(given.runs):
                began = time.process_time()
                work()
                rates.append(size / (time.process_time() - began))
            found = spread(rates)
            print(f"| {label} | {found['median']:.3g} ({found['min']:.3g}-{found['max']:.3g}) MB per CPU s |")


if __name__ == "__main__":
    main()
