"""Work that one stage does and others find done, such as the cutting of texts into words: how long a process was at it.

Whichever stage comes first does it for all, so it is no cost of this stage: `curate plan --reorder` leaves it out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["SPENT", "Spent", "preparing"]


@dataclass(slots=True)
class Spent:
    """What this process has spent.

    Attributes:
        seconds: In blocks that have ended.
        depth: How many it is in.
    """

    seconds: float = 0.0
    depth: int = 0


SPENT = Spent()


@contextmanager
def preparing() -> Iterator[None]:
    """Around such work; a block within another counts once."""
    began = time.perf_counter()
    SPENT.depth += 1
    try:
        yield
    finally:
        SPENT.depth -= 1
        if not SPENT.depth:
            SPENT.seconds += time.perf_counter() - began
