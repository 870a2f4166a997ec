"""How fast training data is looked through for the items of tasks: MB of text a CPU second, on one core.

    python benchmarks/contamination.py

2,000 items of 100 words are looked for in the 40 books of ../shared/data/books_sample that they are from.
The data has no peer here: harnesses take n-grams that somebody else has collected.
"""

from __future__ import annotations

import os
import tarfile
import time
from pathlib import Path

from curate.evaluation.contamination import Overlaps

DATA = Path(os.environ.get("CURATE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
ROUNDS = 5


def main() -> None:
    """Print the rate."""
    with tarfile.open(DATA / "books_sample" / "books.tar.xz") as archive:
        files = [archive.extractfile(one) for one in archive if one.isfile() and one.name.endswith(".md")]
        texts = [file.read().decode() for file in files[:40] if file]
    items = [" ".join(text.split()[place * 100 : place * 100 + 100]) for text in texts for place in range(50)]
    overlaps, size, rates = Overlaps(items), sum(len(text.encode()) for text in texts) / 1e6, []
    overlaps.see(texts[0])  # compiles
    for _ in range(ROUNDS):
        began = time.process_time()
        for text in texts:
            overlaps.see(text)
        rates.append(size / (time.process_time() - began))
    print(f"{len(items):,} items, {size:.1f} MB: {sorted(rates)[ROUNDS // 2]:.0f} MB a CPU second")


if __name__ == "__main__":
    main()
