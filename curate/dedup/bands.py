"""How many bands of how many rows a MinHash signature has, so that duplicates meet in one of them.

Source: Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3.
"""

from __future__ import annotations

import math

__all__ = ["MOST_BANDS", "MOST_ROWS", "choose_bands", "recall"]

_RECALL = 0.99
MOST_BANDS, MOST_ROWS = 1024, 128
_PERMUTATIONS = 128
"""Most values of a signature that `choose_bands` spends: more cost time in proportion."""


def recall(similarity: float, bands: int, rows: int) -> float:
    """Chance that two documents of this Jaccard similarity meet in at least one of the bands."""
    return 1.0 - (1.0 - similarity**rows) ** bands


def choose_bands(similarity: float, bands: int | None = None, rows: int | None = None) -> tuple[int, int]:
    """Bands and rows that find a pair at the threshold with a chance of at least 0.99, where they are not given.

    The rows are as many as 128 values a document allow: the more rows, the fewer pairs below the threshold to compare.

    Raises:
        ValueError: No reasonable number of bands does for the rows given.
    """
    if rows is None:
        enough = [
            row_count
            for row_count in range(1, MOST_ROWS + 1)
            if _fewest_bands(similarity, row_count) <= (bands or _PERMUTATIONS // row_count)
        ]
        rows = max(enough, default=1)
    bands = bands or _fewest_bands(similarity, rows)
    if bands > MOST_BANDS:
        raise ValueError(
            f"at `similarity: {similarity}` no {MOST_BANDS} bands of {rows} rows find 99 pairs in 100; "
            "lower `rows`, or give `bands` as well"
        )
    return bands, rows


def _fewest_bands(similarity: float, rows: int) -> int:
    meets = similarity**rows
    if meets == 1.0:
        return 1
    return math.ceil(math.log(1.0 - _RECALL) / math.log1p(-meets)) if meets > 1e-9 else MOST_BANDS + 1
