"""The texts of a column as one UTF-8 buffer and its offsets, for code that reads bytes in place."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

__all__ = ["reading", "text_buffer"]


def reading(array: np.ndarray) -> np.ndarray:
    """The same array, not to be written to: compiled code is made anew for each kind, so it is given this one only."""
    if array.flags.writeable:
        array = array.view()
        array.setflags(write=False)
    return array


def text_buffer(column: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """UTF-8 bytes (uint8) and offsets (int64, one more than there are texts); no copy of a single, 64-bit chunk."""
    array = column.cast(pa.large_string())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], pa.large_string())
    _, offsets, data = array.buffers()
    bounds, content = np.zeros(len(array) + 1, dtype=np.int64), np.zeros(0, dtype=np.uint8)
    if len(array):
        bounds = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    if data is not None and data.size:
        content = np.frombuffer(data, dtype=np.uint8)
    return reading(content), reading(bounds)
