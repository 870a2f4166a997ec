"""Which documents hang together by pairs: union-find over all of them, in a mapped file.

Pairs are read object by object, to unite, and to send each pair to the bucket of its set. Held in memory: one object of
pairs, and a bit for each document. On disk: 8 bytes for each document of the shards that have pairs. Linear in the pairs
but for a factor below 5.
Source: Tarjan 1975; path halving, and the smaller address becomes the root, so that a set is called by its first document.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numba import njit

from curate.stages.work import SHARD_BITS, bucket_of, buckets_for

if TYPE_CHECKING:
    from curate.stages.work import Cut, Desk, OfGroup

__all__ = ["unite"]

SET_DOCUMENTS = 1 << 16
"""About how many documents one bucket of sets gets."""
_CHUNK = 1 << 22
_MIX = np.uint64(0x9E3779B97F4A7C15)


def unite(
    desk: Desk, pairs: Sequence[str], copies: Sequence[OfGroup], bounds: Sequence[int], *, first: int
) -> dict[str, Any]:
    """Label every document that hangs together with one of the groups from `first` on.

    Args:
        desk: Reads and writes.
        pairs: Objects of pairs (`left`, `right`) that were proposed.
        copies: Pairs of equal documents; `right` is the copy.
        bounds: The first shard of each group.
        first: The first group that is new.

    Returns:
        `labels`: `document`, `set`, `copy`, cut by group; `edges`: runs of the pairs (`left`, `right`, `equal`) cut by set;
        `sets`: into how many buckets the sets are cut (0: there are none).
    """

    def tables(*, equal: bool | None = None) -> Iterator[tuple[pa.Table, bool]]:
        yield from ((desk.read(name), False) for name in pairs if not equal)
        yield from ((desk.read_group(one), True) for one in copies if equal is not False)

    none = {"labels": [], "edges": [], "sets": 0}
    starts = _room(table for table, _ in tables())
    if not len(starts):
        return none
    with tempfile.TemporaryFile(prefix="curate-sets-") as file:
        total = int(starts[-1])
        file.truncate(total * 8)
        mapped = np.memmap(file, dtype=np.int64, mode="r+", shape=(total,))
        parents = mapped.view(np.ndarray)
        for start in range(0, total, _CHUNK):  # -1: in no pair
            parents[start : start + _CHUNK] = -1
        for table, _ in tables():
            _unite(parents, *(_dense(table.column(side).to_numpy(), starts) for side in ("left", "right")))
        if first:
            _leave(parents, int(starts[min(bounds[first], len(starts) - 1)]))
        members = sum(int((parents[start : start + _CHUNK] >= 0).sum()) for start in range(0, total, _CHUNK))
        if not members:
            return none
        sets = buckets_for(members, SET_DOCUMENTS)
        edges = [_scatter(desk, table, parents, starts, sets, equal=equal) for table, equal in tables()]
        copied = _copied((table for table, _ in tables(equal=True)), starts, total)
        labels = [
            _labels(desk, parents, copied, starts, start, bounds)
            for start in range(0, total, _CHUNK)
            if (parents[start : start + _CHUNK] >= 0).any()
        ]
    edges = [name for name in edges if name]
    return {"labels": labels, "edges": edges, "sets": sets, "objects": [*(one["run"] for one in labels), *edges]}


def _room(tables: Iterable[pa.Table]) -> np.ndarray:
    """Where each shard's documents begin in one numbering of all: as many as the highest row that a pair names."""
    highest = np.zeros(0, dtype=np.int64)
    for table in tables:
        for side in ("left", "right"):
            document = table.column(side).to_numpy()
            shard, row = _split(document)
            if len(shard) and shard.max() >= len(highest):
                highest = np.concatenate([highest, np.zeros(int(shard.max()) + 1 - len(highest), dtype=np.int64)])
            np.maximum.at(highest, shard, row + 1)
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(highest)]) if len(highest) else highest


def _split(documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shard = (documents >> np.uint64(SHARD_BITS)).astype(np.int64)
    return shard, (documents & np.uint64((1 << SHARD_BITS) - 1)).astype(np.int64)


def _dense(documents: np.ndarray, starts: np.ndarray) -> np.ndarray:
    shard, row = _split(documents)
    return starts[shard] + row


def _address(numbers: np.ndarray, starts: np.ndarray) -> np.ndarray:
    shard = np.searchsorted(starts, numbers, side="right") - 1
    return (shard.astype(np.uint64) << np.uint64(SHARD_BITS)) | (numbers - starts[shard]).astype(np.uint64)


@njit(cache=True, nogil=True)
def _find(parents, number):  # noqa: ANN001, ANN202
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return number


@njit(cache=True, nogil=True)
def _unite(parents, left, right) -> None:  # noqa: ANN001
    for pair in range(len(left)):
        for number in (left[pair], right[pair]):
            if parents[number] < 0:
                parents[number] = number
        one, other = _find(parents, left[pair]), _find(parents, right[pair])
        if one < other:
            parents[other] = one
        else:
            parents[one] = other


@njit(cache=True, nogil=True)
def _leave(parents, start) -> None:  # noqa: ANN001
    """Take documents out whose set has none from `start` on."""
    wanted = np.zeros(len(parents) // 8 + 1, dtype=np.uint8)
    for number in range(start, len(parents)):
        if parents[number] >= 0:
            root = _find(parents, number)
            wanted[root >> 3] |= np.uint8(1 << (root & 7))
    for number in range(len(parents) - 1, -1, -1):  # a root comes before those that it leads
        if parents[number] >= 0:
            root = _find(parents, number)
            if not wanted[root >> 3] & (1 << (root & 7)):
                parents[number] = -1


@njit(cache=True, nogil=True)
def _roots(parents, numbers):  # noqa: ANN001, ANN202
    found = np.empty(len(numbers), dtype=np.int64)
    for index in range(len(numbers)):
        found[index] = _find(parents, numbers[index])
    return found


def _key(roots: np.ndarray) -> np.ndarray:
    """The hash by which a set's bucket is chosen."""
    mixed = (roots.astype(np.uint64) + np.uint64(1)) * _MIX
    return mixed ^ (mixed >> np.uint64(31)) * _MIX


def _scatter(
    desk: Desk, table: pa.Table, parents: np.ndarray, starts: np.ndarray, sets: int, *, equal: bool
) -> str | None:
    numbers = _dense(table.column("left").to_numpy(), starts)
    there = parents[numbers] >= 0
    if not there.any():
        return None
    if not there.all():
        table, numbers = table.filter(pa.array(there)), numbers[there]
    roots = _roots(parents, numbers)
    told = pa.array(np.full(table.num_rows, equal))
    return desk.write_run(table.append_column("equal", told), bucket_of(_key(roots), sets), sets)


def _copied(copies: Iterable[pa.Table], starts: np.ndarray, total: int) -> np.ndarray:
    """Which documents are copies, one bit each."""
    bits = np.zeros(total // 8 + 1, dtype=np.uint8)
    for table in copies:
        numbers = _dense(table.column("right").to_numpy(), starts)
        np.bitwise_or.at(bits, numbers >> 3, np.uint8(1) << (numbers & 7).astype(np.uint8))
    return bits


def _labels(
    desk: Desk, parents: np.ndarray, copied: np.ndarray, starts: np.ndarray, start: int, bounds: Sequence[int]
) -> Cut:
    numbers = np.flatnonzero(parents[start : start + _CHUNK] >= 0) + start
    documents = _address(numbers, starts)
    copy = (copied[numbers >> 3] >> (numbers & 7).astype(np.uint8)) & 1
    table = pa.table(
        {"document": documents, "set": _key(_roots(parents, numbers)), "copy": pa.array(copy.astype(bool))}
    )
    return desk.write_cut(table, documents, bounds)
