"""Work over all documents: what a global stage may ask of the engine, in the driver and in a worker.

The documents of all shards have addresses (`shard` << 32 | `row`) in the order of the sources. The driver holds none of
them; it has methods of the stage called in workers, each with a `Desk` and plain JSON, and gets plain JSON back. What the
calls exchange are runs: immutable objects of records cut into buckets, of which a call reads the bucket it is about. A
call with the same arguments is not done again, so new documents cost what they change. What goes back to groups is cut by
them, with a digest of what each group gets: a call that is given it (`of_group`) is known by the digests, so it is done
again only where its own group's records changed. Groups are taken in spans (`spans`), each compared with those before.

    signatures -> scatter by key into buckets -> one call a bucket finds what belongs together -> ... -> by shard again
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = [
    "BUCKET_RECORDS",
    "SHARD_BITS",
    "Cut",
    "Desk",
    "OfGroup",
    "Work",
    "bucket_of",
    "buckets_for",
    "group_of",
    "of_group",
    "spans",
]

SHARD_BITS = 32
"""A document's address is its shard's number, shifted by this, and its row."""

BUCKET_RECORDS = 1 << 21
"""About how many records of 16 bytes one call looks at: 32 MB, and some 100 MB while they are sorted."""
_MOST_BUCKETS = 1 << 14

Cut = Mapping[str, Any]
"""A run cut by group, as JSON: `run`, its name, and `groups`, a digest of the records of each group that has some."""
OfGroup = dict[str, Any]
"""One group's records in some cuts, as JSON: `runs`, the `group`, and their `digests`, by which a call is known."""


def buckets_for(records: int, size: int = BUCKET_RECORDS) -> int:
    """How many buckets (a power of two) records are cut into."""
    return min(1 << max(0, -(-records // size) - 1).bit_length(), _MOST_BUCKETS)


class Work(Protocol):
    """In the driver: how much there is to do, and who does it."""

    documents: int
    """Documents that have signatures."""
    bounds: Sequence[int]
    """The first shard of each group; a group is some consecutive shards whose signatures fit into a worker."""

    def each(self, method: str, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Call `stage.<method>(desk, **call)` for every call, in workers; the results in the order of the calls.

        Arguments and results are JSON; names of objects that a result names stand in its list `objects`.
        """
        ...

    def each_group(
        self, method: str, calls: Sequence[Mapping[str, Any]], groups: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """The same with calls about groups, by default one for every group, whose documents the desk then has."""
        ...


class Desk(Protocol):
    """In a worker: what a call reads and writes."""

    def signatures(self, columns: Sequence[str] | None = None) -> pa.Table:
        """What `open()` gave of the documents of the group, with their `document` (uint64 address), ascending, and `id`.

        Of the columns of `open()` those named that there are; by default all.
        """
        ...

    def signatures_by_shard(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The same, a shard at a time: where a document's signature has no bound."""
        ...

    def texts(self, documents: np.ndarray) -> pa.Array:
        """The texts of documents of the group as they are compared (`as_compared`), by ascending address."""
        ...

    def write_run(self, table: pa.Table, bucket: np.ndarray, buckets: int) -> str:
        """Write records cut by bucket, in each in the order given; the name of the object."""
        ...

    def read_run(self, names: Sequence[str], bucket: int) -> pa.Table:
        """The records of a bucket, of all these runs in their order."""
        ...

    def read_joined(
        self, before: Sequence[str], runs: Sequence[str], bucket: int, key: str, columns: Sequence[str] | None = None
    ) -> tuple[pa.Table, int]:
        """The records of a bucket of `runs`, after those of `before` that share their `key` (uint64); how many these are."""
        ...

    def write_cut(self, table: pa.Table, documents: np.ndarray, bounds: Sequence[int]) -> Cut:
        """Write records cut by the groups of these documents, in each in the order given."""
        ...

    def read_group(self, one: OfGroup) -> pa.Table:
        """The records of a group, of all cuts in their order."""
        ...

    def write(self, table: pa.Table) -> str:
        """Write an object; its name."""
        ...

    def read(self, name: str) -> pa.Table:
        """Read an object."""
        ...


def of_group(cuts: Sequence[Cut], group: int) -> OfGroup:
    """A group's records in these cuts, for a call to read."""
    held = [one for one in cuts if str(group) in one["groups"]]
    return {
        "runs": [one["run"] for one in held],
        "group": group,
        "digests": [one["groups"][str(group)] for one in held],
    }


def spans(groups: int) -> list[tuple[int, int]]:
    """Consecutive groups that are compared with all before them, as [first, last) numbers.

    The last group, which grows, alone; before it powers of two, the longest first: a group more leaves the spans before
    as they are, or makes one of the last ones, so each is gone through as often as its logarithm, and there are as few.
    """
    edges, left = [0], groups - 1
    while left > 0:
        size = 1 << (left.bit_length() - 1)
        edges.append(edges[-1] + size)
        left -= size
    return list(pairwise([*edges, groups])) if groups else []


def group_of(documents: np.ndarray, bounds: Sequence[int]) -> np.ndarray:
    """The groups of documents, from their addresses (int64)."""
    import numpy as np

    return np.searchsorted(np.array(bounds), (documents >> np.uint64(SHARD_BITS)).astype(np.int64), side="right") - 1


def bucket_of(keys: np.ndarray, buckets: int) -> np.ndarray:
    """The bucket of each key, a hash (uint64): its highest bits."""
    import numpy as np

    bits = max(1, buckets).bit_length() - 1
    return (keys >> np.uint64(64 - bits)).astype(np.int64) if bits else np.zeros(len(keys), dtype=np.int64)
