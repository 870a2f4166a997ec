"""What a batch holds: arrays or tensors with the rows first, by the keys of docs/decisions/0005-trainer.md."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["IGNORED", "PADDING", "TASK", "Arrays", "Batch", "filled", "widened"]

Integers = NDArray[np.int64]
Batch = dict[str, Tensor]
Arrays = dict[str, NDArray[Any]]
"""A batch: arrays with the rows first, by the keys of the decision; always `numbers`."""

IGNORED = -100
"""A target that does not count."""
TASK = "task"
"""Key of a batch of several tasks: the number of its task, in every row."""
MULTIPLE = 8
"""Widths of padded batches are multiples of it: few different ones, and tensor cores want it."""
PADDING: dict[str, float] = {
    "targets": IGNORED,
    "labels": IGNORED,
    "documents": -1,
    "answers": -1,
    "columns": -1,
    "weights": 1,
}
"""What stands where there is nothing, by key; tokens have the padding token, all else 0."""


def filled(rows: list[Integers | None], *, value: int, most: int | None = None, left: bool = False) -> Integers:
    """Rows of several lengths as one array, filled up to the longest, rounded up to a multiple of 8.

    Args:
        rows: None is an empty row.
        value: What they are filled with.
        most: Most that the width may be; no row is longer.
        left: Fill before the rows, not after them.
    """
    longest = max((len(row) for row in rows if row is not None), default=0)
    width = max(-(-longest // MULTIPLE) * MULTIPLE, MULTIPLE)
    width = width if most is None else min(width, most)
    made = np.full((len(rows), width), value, dtype=np.int64)
    for number, row in enumerate(rows):
        if row is not None and len(row):
            made[number, -len(row) if left else 0 : None if left else len(row)] = row
    return made


def widened(values: NDArray[Any], width: int, *, value: float, left: bool = False) -> NDArray[Any]:
    """An array filled up along its last dimension."""
    missing = width - values.shape[-1]
    sides = [(0, 0)] * (values.ndim - 1) + [(missing, 0) if left else (0, missing)]
    return np.pad(values, sides, constant_values=value)
