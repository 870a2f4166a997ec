"""Ids: every document whose id another one, read before it, has is quarantined; and the index by which they are found.

The index is what the check makes anyway: records of 24 bytes in buckets by the hash of the id (and of the place, the
`source_uri`), sorted. `curate why` and erasure read one bucket of it instead of the ids of every shard. It holds no ids,
only hashes: 128 bits, so among ten billion documents two are taken for one with a chance of 1e-19. Each span of groups
has its own, which stays when documents are added; of the spans before, a check reads the ids that the span has too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from curate.dataset.index import hash_names
from curate.dataset.ledger import DUPLICATE_ID
from curate.stages.contract import Decision, Effect, Global
from curate.stages.work import SHARD_BITS, bucket_of, buckets_for, spans

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.stages.work import Desk, Work

__all__ = ["DocumentIds"]


class DocumentIds(Global):
    """Quarantines documents whose id an earlier one has, and makes the index of ids and places."""

    reads_text: ClassVar[bool] = False
    batch: ClassVar[int] = 1 << 16

    def columns(self) -> Sequence[str]:
        """None but the id and the place, which never change."""
        return ()

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that hashes ids and places, 16 bytes each."""
        import pyarrow as pa

        def sign(batch: pa.Table) -> pa.Table:
            high, low = hash_names(batch.column("id").to_pylist())
            place_high, place_low = hash_names(batch.column("source_uri").to_pylist())
            return pa.table({"high": high, "low": low, "place_high": place_high, "place_low": place_low})

        return sign

    def decide(self, work: Work) -> Decision:
        """Hashes into buckets; in each, span by span, the later ones of equal ids, and the index."""
        buckets = buckets_for(2 * work.documents)
        runs = [one["run"] for one in work.each_group("scatter", [{"buckets": buckets}] * len(work.bounds))]
        calls = [
            {"before": runs[:first], "runs": runs[first:last], "bucket": bucket, "bounds": list(work.bounds[:last])}
            for first, last in spans(len(runs))
            for bucket in range(buckets)
        ]
        matched = work.each("match", calls)
        index = {
            str(start): [(one["index"], one["records"]) for one in matched[start : start + buckets]]
            for start in range(0, len(matched), buckets)
        }
        return Decision([one["found"] for one in matched if one["found"]], index)

    def scatter(self, desk: Desk, *, buckets: int) -> dict[str, Any]:
        """Records of a group: `high`, `low`, `document`; ids first, then places, told apart by `place`."""
        import numpy as np
        import pyarrow as pa

        table = desk.signatures()
        documents = table.column("document").to_numpy()
        high = np.concatenate([table.column(name).to_numpy() for name in ("high", "place_high")])
        low = np.concatenate([table.column(name).to_numpy() for name in ("low", "place_low")])
        place = np.repeat([False, True], len(documents))
        records = pa.table({"high": high, "low": low, "document": np.tile(documents, 2), "place": place})
        run = desk.write_run(records, bucket_of(high, buckets), buckets)
        return {"run": run, "objects": [run]}

    def match(
        self, desk: Desk, *, before: list[str], runs: list[str], bucket: int, bounds: list[int]
    ) -> dict[str, Any]:
        """The index of a bucket of `runs`, and the documents in it whose id is there before."""
        import numpy as np
        import pyarrow as pa

        table, earlier = desk.read_joined(before, runs, bucket, "high")
        high, low, document = (table.column(name).to_numpy() for name in ("high", "low", "document"))
        place = table.column("place").to_numpy()
        order = np.lexsort((document, place, low, high))
        same = np.zeros(len(order), dtype=bool)
        if len(order):
            same[1:] = np.logical_and.reduce([key[order][1:] == key[order][:-1] for key in (high, low, place)])
        new = order >= earlier
        later = document[order][same & new & ~place[order]]
        index = desk.write(table.take(pa.array(order[new])))
        found = pa.table({
            "shard": pa.array((later >> np.uint64(SHARD_BITS)).astype(np.int64)),
            "row": pa.array((later & np.uint64((1 << SHARD_BITS) - 1)).astype(np.int64)),
        })  # fmt: skip
        cut = desk.write_cut(found, later, bounds) if len(later) else None
        return {
            "found": cut,
            "index": index,
            "records": table.num_rows - earlier,
            "objects": [index, *([cut["run"]] if cut else [])],
        }

    def apply(self, signatures: pa.Table, found: pa.Table) -> Effect:
        """Quarantine what was found."""
        import numpy as np

        from curate.stages.decide import verdict_table

        rows = np.zeros(0, np.int64)
        if found.num_rows:
            rows = np.searchsorted(signatures.column("row").to_numpy(), found.column("row").to_numpy())
        return Effect(verdict_table(rows, "quarantined", DUPLICATE_ID))
