"""Examples by number: the contract between data and everything that orders or reads it (docs/decisions/0005-trainer.md)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from curate.train.data.batch import Arrays

__all__ = ["Source"]

Integers = NDArray[np.int64]


class Source(Protocol):
    """Examples by number, without state and without randomness.

    Attributes:
        cut: Examples that are longer than they may be, and so are cut.
    """

    cut: int

    def __len__(self) -> int:
        """Examples."""
        ...

    def read(self, numbers: Integers) -> Arrays:
        """These examples, a row each, with their `numbers`; -1 is an empty row, without targets."""
        ...

    def difficulty(self) -> NDArray[np.float64]:
        """How hard each example is.

        Raises:
            CurateError: No column says so.
        """
        ...
