"""Where a document is: from its id or its place (`source_uri`) to shard and row, by one bucket of the version's index."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from curate.dataset.store import Store
from curate.stages.work import SHARD_BITS, bucket_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow.parquet as parquet

__all__ = ["Address", "find", "find_ids", "hash_names"]


class Address(NamedTuple):
    """A document: the number of its shard in the ledger, and its row there."""

    shard: int
    row: int


def hash_names(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """128-bit hashes of names, as their upper and lower halves (uint64)."""
    import numpy as np
    from xxhash import xxh3_128_digest

    try:
        digests = b"".join(map(xxh3_128_digest, names))
    except UnicodeEncodeError:  # half a pair: an argument of the command line may have one
        digests = b"".join(xxh3_128_digest(name.encode("utf-8", "surrogatepass")) for name in names)
    high, low = np.frombuffer(digests, dtype=">u8").astype(np.uint64).reshape(-1, 2).T.copy()
    return high, low


def find(store: Store, indexes: Sequence[Sequence[str]], name: str, *, place: bool = False) -> list[Address]:
    """The documents with this id (or that come from this place), in the order of the ledger.

    Args:
        store: Where the index is.
        indexes: Of a version's manifest: for each part of the ledger the objects of its buckets.
        name: The id or place.
        place: Whether it is a place.
    """
    import numpy as np
    import pyarrow.compute as compute

    high, low = hash_names([name])
    found: list[Address] = []
    for buckets in indexes:
        bucket = buckets[int(bucket_of(high, len(buckets))[0])]
        with store.parquet(bucket) as file:
            table = file.read_row_groups(_groups(file.metadata, high[0]), use_threads=False)
        same = compute.and_(
            compute.and_(compute.equal(table["high"], high[0]), compute.equal(table["low"], low[0])),
            compute.equal(table["place"], place),
        )
        addresses = np.sort(table.filter(same).column("document").to_numpy())
        found += [Address(int(one) >> SHARD_BITS, int(one) & ((1 << SHARD_BITS) - 1)) for one in addresses.tolist()]
    return found


def _groups(metadata: parquet.FileMetaData, high: np.uint64) -> range:
    """The row groups that can have a hash: rows are sorted by it, which is the first column."""

    def end(group: int, which: str) -> int:
        return getattr(metadata.row_group(group).column(0).statistics, which)

    groups = range(metadata.num_row_groups)
    first = bisect_left(groups, int(high), key=lambda group: end(group, "max"))
    return range(first, bisect_right(groups, int(high), lo=first, key=lambda group: end(group, "min")))


def find_ids(store: Store, indexes: Sequence[Sequence[str]], ids: Collection[str]) -> dict[int, np.ndarray]:
    """Where documents with these ids are: rows by shard, in order (int64), and perhaps a row of another id.

    A bucket is read once, however many of the ids are in it; buckets without any are not read.
    """
    import numpy as np

    if not ids:
        return {}
    high, _ = hash_names(list(ids))
    found: list[np.ndarray] = []
    for buckets in indexes:
        chosen = bucket_of(high, len(buckets))
        for number in set(map(int, chosen)):
            with store.parquet(buckets[number]) as file:
                table = file.read(["high", "place", "document"], use_threads=False)
            same = np.isin(table["high"].to_numpy(), high[chosen == number]) & ~table["place"].to_numpy()
            found.append(table["document"].to_numpy()[same].astype(np.int64))
    documents = np.unique(np.concatenate(found))
    shards, rows = documents >> SHARD_BITS, documents & ((1 << SHARD_BITS) - 1)
    return {int(shard): rows[shards == shard] for shard in np.unique(shards)}
