"""Exact duplicates: documents whose texts are equal, byte for byte or but for case and white space.

Texts are compared by their BLAKE2b hash of 128 bits: among ten billion different texts the chance of one false match is about
1e-19, and nobody can write two texts of one hash. The hashes are cut into buckets; one call finds the equal ones of a bucket,
and holds 32 bytes for each of its records and the ids of those that have an equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from curate.dedup.keep import Keep, Order, check_keep, keep_column, preference_order
from curate.stages.contract import Decision, Effect, Global
from curate.stages.missing import needing
from curate.stages.selectors import as_compared
from curate.stages.work import SHARD_BITS, bucket_of, buckets_for

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.stages.work import Desk, Work

__all__ = ["ExactDuplicates"]


class ExactDuplicates(Global):
    """Drops documents whose text is equal to that of another one.

    The verdict names the document that was kept (`duplicate_of`). Documents that have none of the strings that `on` selects
    are left alone.
    """

    version: ClassVar[int] = 4
    reasons: ClassVar[Mapping[str, str]] = {"exact_duplicate": "a text equal to that of `duplicate_of`, which was kept"}

    normalize: bool = Field(False, description="Compare texts case-folded, with every run of white space as one space.")
    keep: Keep = Field(
        "first",
        description="Which of the equal documents stays: the `first` in the order of the sources, the `longest` "
        "(they differ in length with `normalize` only), or the `best` by the column `by`. Ties go to the first.",
    )
    by: str | None = Field(
        None, description="Column that decides for `keep: best`; documents without a value come last."
    )
    order: Order = Field("highest", description="Whether the `highest` or the `lowest` value of `by` is the best.")

    @model_validator(mode="after")
    def _keep_and_by_agree(self) -> Self:
        check_keep(self.keep, self.by, self.order)
        return self

    def columns(self) -> Sequence[str]:
        """The column that says which is best."""
        return (self.by,) if self.by else ()

    requires = columns

    @needing("exact_duplicates")
    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that hashes: `high` and `low` (8 bytes each) and, for `longest` and `best`, `preference`."""
        import numpy as np
        import pyarrow as pa

        hashes = _normalized_hashes if self.normalize else _hashes

        def sign(batch: pa.Table) -> pa.Table:
            digests = np.frombuffer(b"".join(hashes(as_compared(batch))), dtype=">u8").reshape(-1, 2)
            high, low = digests.astype(np.uint64).T.copy()
            return pa.table({"high": high, "low": low, **keep_column(batch, self.keep, self.by)})

        return sign

    def decide(self, work: Work) -> Decision:
        """Hashes into buckets; in each the documents that are equal to one that is wanted more."""
        buckets = buckets_for(work.documents)
        runs = [one["run"] for one in work.each_group("scatter", [{"buckets": buckets}] * len(work.bounds))]
        calls = [{"runs": runs, "bucket": bucket, "bounds": list(work.bounds)} for bucket in range(buckets)]
        return Decision([one["found"] for one in work.each("match", calls)])

    def scatter(self, desk: Desk, *, buckets: int) -> dict[str, Any]:
        """The hashes of a group of shards, cut by bucket."""
        table = desk.signatures()
        run = desk.write_run(table, bucket_of(table.column("high").to_numpy(), buckets), buckets)
        return {"run": run, "objects": [run]}

    def match(self, desk: Desk, *, runs: list[str], bucket: int, bounds: list[int]) -> dict[str, Any]:
        """The documents of a bucket that go, each with the id of the one that stays, cut by group of shards."""
        import numpy as np
        import pyarrow as pa

        from curate.dedup.clusters import first_equal

        table = desk.read_run(runs, bucket)
        order = preference_order(table, self.order)
        high, low = (table.column(name).to_numpy()[order] for name in ("high", "low"))
        first = first_equal(low, high)
        gone = np.flatnonzero(first != np.arange(len(first)))
        documents = table.column("document").to_numpy()[order]
        found = pa.table({
            "shard": pa.array((documents[gone] >> np.uint64(SHARD_BITS)).astype(np.int64)),
            "row": pa.array((documents[gone] & np.uint64((1 << SHARD_BITS) - 1)).astype(np.int64)),
            "duplicate_of": table.column("id").take(pa.array(order[first[gone]])),
        })  # fmt: skip
        cut = desk.write_cut(found, documents[gone], bounds)
        return {"found": cut, "objects": [cut["run"]]}

    def apply(self, signatures: pa.Table, found: pa.Table) -> Effect:
        """Drop what was found."""
        import numpy as np

        from curate.stages.decide import verdict_table

        if not found.num_rows:
            return Effect(verdict_table(np.zeros(0, np.int64), "dropped", "exact_duplicate"))
        rows = np.searchsorted(signatures.column("row").to_numpy(), found.column("row").to_numpy())
        return Effect(verdict_table(rows, "dropped", "exact_duplicate", duplicate_of=found.column("duplicate_of")))


def _hashes(column: pa.ChunkedArray) -> list[bytes]:
    """128-bit hashes of the texts' UTF-8 bytes, read in place."""
    from hashlib import blake2b

    from curate.stages.buffers import text_buffer

    data, offsets = text_buffer(column)
    view, bounds = memoryview(data.data), offsets.tolist()
    return [blake2b(view[start:stop], digest_size=16).digest() for start, stop in pairwise(bounds)]


def _normalized_hashes(column: pa.ChunkedArray) -> list[bytes]:
    from hashlib import blake2b

    texts = (" ".join(text.casefold().split()) for text in column.to_pylist())
    return [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
