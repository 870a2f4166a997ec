"""A number between 0 and 1 for each key, drawn by hashing it: the same whatever shard, batch or run it stands in."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from xxhash import xxh3_64_intdigest

__all__ = ["draw"]

_MASK = (1 << 64) - 1


def draw(keys: Iterable[str], *, purpose: str, seed: int) -> np.ndarray:
    """One float64 in [0, 1) for each key, a multiple of 2^-53.

    Draws for different purposes are independent, also under one seed: were they not, a split after a sample of one half
    would find all its documents in the lower half. Cost: 0.2 microseconds a key.
    """
    mixed = xxh3_64_intdigest(purpose.encode(), seed & _MASK)
    hashes = np.fromiter((xxh3_64_intdigest(key.encode(), mixed) for key in keys), np.uint64)
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
