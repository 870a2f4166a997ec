"""What compiled kernels over UTF-8 share: decoding a character, and the finalizer of a hash."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["decode", "mix"]

_MIX_A = np.uint64(0xFF51AFD7ED558CCD)
_MIX_B = np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)


@njit(cache=True, nogil=True, forceinline=True)
def mix(value):  # noqa: ANN001, ANN201
    """The finalizer of MurmurHash3 (uint64): every bit of the input moves every bit of the output."""
    value ^= value >> _SHIFT
    value *= _MIX_A
    value ^= value >> _SHIFT
    value *= _MIX_B
    return value ^ (value >> _SHIFT)


@njit(cache=True, nogil=True)
def decode(data, position: int, stop: int):  # noqa: ANN001, ANN201
    """The non-ASCII character at `position` (int64) and the position after it; a truncated one ends the text."""
    lead = np.int64(data[position])
    width = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    if position + width > stop:
        return np.int64(0), stop
    code = lead & (0xFF >> (width + 1))
    for offset in range(1, width):
        code = (code << 6) | (np.int64(data[position + offset]) & 0x3F)
    return code, position + width
