"""CRC32C (Castagnoli) in native code, and the framing of TFRecord that needs it.

Reflected polynomial 0x82F63B78 (RFC 3720, appendix B.4), eight bytes a step with eight tables ("slicing by 8",
Kounavis and Berry, 2005): over 1 GB/s on one core. The standard library has only CRC-32, whose polynomial is
another one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

__all__ = ["crc32c", "frame_records"]

POLYNOMIAL = np.uint32(0x82F63B78)
MASK_DELTA = np.uint64(0xA282EAD8)


def _tables() -> np.ndarray:
    """Table 0 is the CRC of each byte; table k is that of the byte followed by k zeros."""
    tables = np.zeros((8, 256), dtype=np.uint32)
    tables[0] = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        tables[0] = (tables[0] >> 1) ^ np.where(tables[0] & 1, POLYNOMIAL, np.uint32(0))
    for k in range(1, 8):
        tables[k] = (tables[k - 1] >> 8) ^ tables[0][tables[k - 1] & 0xFF]
    return tables


TABLES = _tables()


@njit(cache=True, nogil=True)
def _crc(data: np.ndarray, start: int, stop: int, tables: np.ndarray) -> np.uint32:
    crc = np.uint32(0xFFFFFFFF)
    low = np.uint32(0xFF)
    at = start
    while at + 8 <= stop:
        first = (
            np.uint32(data[at])
            | np.uint32(data[at + 1]) << 8
            | np.uint32(data[at + 2]) << 16
            | np.uint32(data[at + 3]) << 24
        )
        first = np.uint32(first) ^ crc
        crc = (
            tables[7, first & low]
            ^ tables[6, (first >> 8) & low]
            ^ tables[5, (first >> 16) & low]
            ^ tables[4, first >> 24]
            ^ tables[3, data[at + 4]]
            ^ tables[2, data[at + 5]]
            ^ tables[1, data[at + 6]]
            ^ tables[0, data[at + 7]]
        )
        at += 8
    while at < stop:
        crc = np.uint32(tables[0, (crc ^ data[at]) & low] ^ (crc >> 8))
        at += 1
    return np.uint32(crc ^ np.uint32(0xFFFFFFFF))


@njit(cache=True, nogil=True)
def _put(data: np.ndarray, at: int, number: np.uint64, size: int) -> None:
    for k in range(size):
        data[at + k] = np.uint8((number >> np.uint64(8 * k)) & np.uint64(0xFF))


@njit(cache=True, nogil=True)
def _masked(crc: np.uint32) -> np.uint64:
    rotated = (np.uint64(crc) >> np.uint64(15)) | (np.uint64(crc) << np.uint64(17))
    return (rotated + MASK_DELTA) & np.uint64(0xFFFFFFFF)


@njit(cache=True, nogil=True)
def _frame(data: np.ndarray, sizes: np.ndarray, tables: np.ndarray) -> None:
    at = 0
    for k in range(sizes.size):
        size = sizes[k]
        _put(data, at, np.uint64(size), 8)
        _put(data, at + 8, _masked(_crc(data, at, at + 8, tables)), 4)
        _put(data, at + 12 + size, _masked(_crc(data, at + 12, at + 12 + size, tables)), 4)
        at += size + 16


def crc32c(data: bytes) -> int:
    """The CRC32C of some bytes."""
    return int(_crc(np.frombuffer(data, dtype=np.uint8), 0, len(data), TABLES))


def frame_records(records: Sequence[bytes]) -> bytes:
    """TFRecord's framing of some records: lengths, data and masked checksums, one after the other."""
    gap = bytes(12)
    data = np.frombuffer(bytearray(b"".join(gap + record + gap[:4] for record in records)), dtype=np.uint8)
    _frame(data, np.array([len(record) for record in records], dtype=np.int64), TABLES)
    return data.tobytes()
