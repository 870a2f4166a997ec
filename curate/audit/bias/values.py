"""What the columns of a version say to an audit: numbers, weights, labels, and whether the text is English at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curate.errors import CurateError

__all__ = ["check_sum", "is_missing", "numbers_of", "weights_of", "without_english"]

LOOKED_AT, LEAST_LETTERS = 500, 40
ENGLISH = r"(?i)\b(?:the|and|you|that|with|this|have|was)\b"


def is_missing(value: Any) -> bool:
    """Whether a value says nothing: null, or no number."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def numbers_of(values: Sequence[Any], name: str) -> np.ndarray:
    """A column as float64; nan where there is none.

    Raises:
        CurateError: It holds something else than numbers.
    """
    for value in values:
        if value is not None and not isinstance(value, bool | int | float):
            raise CurateError(
                f"`{name}` holds {type(value).__name__}, and no numbers", hint=f"--by {name} makes groups of its values"
            )
    return np.array([math.nan if value is None else float(value) for value in values], np.float64)


def weights_of(values: Sequence[Any], name: str) -> np.ndarray:
    """Weights; a document without one counts once.

    Raises:
        CurateError: One of them is no finite number of at least 0.
    """
    weights = numbers_of([1.0 if value is None else value for value in values], name)
    bad = weights[~(np.isfinite(weights) & (weights >= 0))]
    if len(bad):
        raise CurateError(
            f"`{name}` has the weight {bad[0]:g} in {len(bad):,} documents: weights are finite, and not below 0",
            hint="--weight names another column",
        )
    return weights


def check_sum(weights: np.ndarray, name: str) -> None:
    """Whether anything is left of the weighted documents.

    Raises:
        CurateError: All weights are 0.
    """
    if len(weights) and not weights.any():
        raise CurateError(
            f"all weights in `{name}` are 0: nothing is left to look at", hint="--weight names another column"
        )


def without_english(texts: pa.Array | pa.ChunkedArray) -> tuple[int, int]:
    """How many texts are of some length, and how many of them begin without any of the commonest English words."""
    import pyarrow.compute as compute

    begin = compute.utf8_slice_codeunits(texts.cast(pa.large_string()), 0, LOOKED_AT)
    begin = begin.filter(compute.greater_equal(compute.utf8_length(begin), LEAST_LETTERS))
    found = compute.sum(compute.match_substring_regex(begin, ENGLISH)).as_py() or 0
    return len(begin), len(begin) - found
