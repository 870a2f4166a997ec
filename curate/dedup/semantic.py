"""Semantic duplicates: documents whose embeddings point in nearly the same direction (SemDeDup, Abbas et al. 2023).

Embeddings are put into clusters (curate/dedup/vectors.py), and compared within these alone: two that are alike and in
different clusters are not found (benchmarks/semantic.py tells how many). In a cluster documents are gone through in order of
preference; each is kept, unless one already kept is at least as similar as `similarity`.

    sample     the documents with the smallest hashes of their ids: centroids
    assign     the cluster of each document; whole clusters go to buckets
    settle     who stays, cluster by cluster

Cost: n x clusters products for the assignment, n x documents of a cluster for the comparison. A call holds the embeddings of a
bucket; equal documents are best dropped before, by `exact_duplicates`: a cluster of millions is held and compared as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from curate.dedup.keep import Order, check_keep, keep_column, preference_order
from curate.errors import CurateError
from curate.stages.contract import Decision, Effect, Global
from curate.stages.missing import needing
from curate.stages.work import SHARD_BITS, buckets_for

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.stages.work import Desk, Work

__all__ = ["SemanticDuplicates"]

_CLUSTER = 1000
_SAMPLED = 50
_MOST_SAMPLED = 1 << 18
_BUCKET_BYTES = 1 << 28
_ROWS = (1 << SHARD_BITS) - 1


class SemanticDuplicates(Global):
    """Drops documents whose embedding is nearly that of another one, which stays.

    Embeddings stand in a column, lists of numbers of one length, from whatever model; documents that have none (null) are left
    alone. The verdict names the document that stays (`duplicate_of`), its value is the cosine of the two.
    """

    version: ClassVar[int] = 3
    libraries: ClassVar[tuple[str, ...]] = ("numba", "numpy", "orjson", "xxhash")
    reads_text: ClassVar[bool] = False
    reasons: ClassVar[Mapping[str, str]] = {
        "semantic_duplicate": "its embedding is as similar as `value` (at least `similarity`) to that of `duplicate_of`",
        "embedding_is_zero": "quarantined: its embedding is 0 in every place, and has no direction",
        "embedding_is_empty": "quarantined: its embedding has no numbers",
        "embedding_is_not_finite": "quarantined: its embedding has a number that is none, or too large a one",
        "embedding_is_no_list": "quarantined: its embedding is not a list of numbers",
    }

    embedding: str = Field(description="Column with the embeddings: lists of numbers.")
    similarity: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Cosine (to six places) from which two documents are duplicates; what is right depends on the model.",
    )
    clusters: int | None = Field(
        None, ge=1, le=1 << 20, description="Clusters to compare within; by default one for each 1,000 documents."
    )
    keep: Literal["first", "best"] = Field(
        "first",
        description="Which document stays: the `first` in the order of the sources, or the `best` by the column `by`.",
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
        """The embeddings, and what says which is best."""
        return (self.embedding, *([self.by] if self.by else []))

    requires = columns

    def embeddings(self) -> Sequence[str]:
        """The embeddings."""
        return (self.embedding,)

    @needing("semantic_duplicates")
    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that gives `direction` (the embedding, of length 1) and, for `best`, `preference`."""
        import pyarrow as pa

        from curate.dedup.vectors import read_directions

        def sign(batch: pa.Table) -> pa.Table:
            if self.embedding not in batch.column_names:
                raise CurateError(
                    f"there is no column `{self.embedding}` with embeddings",
                    hint=f"the documents have the columns {', '.join(batch.column_names)}",
                )
            directions = read_directions(batch.column(self.embedding), self.embedding)
            return pa.table({"direction": directions, **keep_column(batch, self.keep, self.by)})

        return sign

    def decide(self, work: Work) -> Decision:
        """A sample to centroids, documents to clusters, and cluster by cluster who stays."""
        groups = range(len(work.bounds))
        clusters = self.clusters or max(1, work.documents // _CLUSTER)
        most = min(clusters * _SAMPLED, _MOST_SAMPLED)
        sampled = [
            one["sample"] for one in work.each_group("sample", [{"most": most} for _ in groups]) if one["sample"]
        ]
        if not sampled:
            return Decision()
        (trained,) = work.each("train", [{"samples": sampled, "most": most, "clusters": clusters}])
        buckets = buckets_for(work.documents * 4 * trained["size"], _BUCKET_BYTES)
        calls = [{"centroids": trained["centroids"], "buckets": buckets} for _ in groups]
        runs = [run for one in work.each_group("assign", calls) for run in one["runs"]]
        calls = [{"runs": runs, "bucket": bucket, "bounds": list(work.bounds)} for bucket in range(buckets)]
        return Decision([one["found"] for one in work.each("settle", calls) if one["found"]])

    def sample(self, desk: Desk, *, most: int) -> dict[str, Any]:
        """The documents of a group with the smallest hashes of their ids."""
        import pyarrow as pa

        held: pa.Table | None = None
        for table in _with_embeddings(desk, ["direction"]):
            here = table.select(["direction"]).append_column("hash", _hashes(table.column("id")))
            held = _smallest(here if held is None else pa.concat_tables([held, here]), most)
        if held is None:
            return {"sample": None}
        name = desk.write(held)
        return {"sample": name, "objects": [name]}

    def train(self, desk: Desk, *, samples: list[str], most: int, clusters: int) -> dict[str, Any]:
        """Centroids, and how many numbers an embedding has."""
        import pyarrow as pa

        from curate.dedup.vectors import as_matrix, cluster_directions

        sample = _smallest(pa.concat_tables([desk.read(name) for name in samples]), most)
        centroids = cluster_directions(as_matrix(sample.column("direction")), clusters)
        name = desk.write(pa.table({"direction": pa.array(list(centroids), pa.list_(pa.float32()))}))
        return {"centroids": name, "size": centroids.shape[1], "objects": [name]}

    def assign(self, desk: Desk, *, centroids: str, buckets: int) -> dict[str, Any]:
        """The cluster of each document of a group, whole clusters in buckets."""
        import pyarrow as pa

        from curate.dedup.vectors import as_matrix, check_sizes, nearest

        middle = as_matrix(desk.read(centroids).column("direction"))
        runs = []
        for table in _with_embeddings(desk, None):
            rows = as_matrix(table.column("direction"))
            check_sizes({rows.shape[1], middle.shape[1]})
            clusters = nearest(rows, middle)
            names = ["id", "document", "direction", *(one for one in ("preference",) if one in table.column_names)]
            run = desk.write_run(
                table.select(names).append_column("cluster", pa.array(clusters)), clusters % buckets, buckets
            )
            runs.append(run)
        return {"runs": runs, "objects": runs}

    def settle(self, desk: Desk, *, runs: list[str], bucket: int, bounds: list[int]) -> dict[str, Any]:
        """The documents of the clusters in a bucket that go, each with the one that stays."""
        import numpy as np
        import pyarrow as pa

        from curate.dedup.vectors import as_matrix, first_alike

        table = desk.read_run(runs, bucket)
        if not table.num_rows:
            return {"found": None}
        table = table.take(pa.array(preference_order(table, self.order)))
        clusters, rows = table.column("cluster").to_numpy(), as_matrix(table.column("direction"))
        alike, values = np.full(len(rows), -1, np.int64), np.zeros(len(rows))
        order = np.argsort(clusters, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(clusters[order])) + 1):
            found, value = first_alike(rows[members], self.similarity)
            alike[members], values[members] = np.where(found < 0, -1, members[found]), value
        gone = np.flatnonzero(alike >= 0)
        if not len(gone):
            return {"found": None}
        documents = table.column("document").to_numpy()[gone]
        records = pa.table({
            "shard": pa.array((documents >> np.uint64(SHARD_BITS)).astype(np.int64)),
            "row": pa.array((documents & np.uint64(_ROWS)).astype(np.int64)),
            "duplicate_of": table.column("id").take(pa.array(alike[gone])),
            "similarity": values[gone],
        })  # fmt: skip
        cut = desk.write_cut(records, documents, bounds)
        return {"found": cut, "objects": [cut["run"]]}

    def apply(self, signatures: pa.Table, found: pa.Table) -> Effect:
        """Drop what was found."""
        import numpy as np

        from curate.stages.decide import verdict_table

        if not found.num_rows:
            return Effect(verdict_table(np.zeros(0, np.int64), "dropped", "semantic_duplicate"))
        rows = np.searchsorted(signatures.column("row").to_numpy(), found.column("row").to_numpy())
        return Effect(
            verdict_table(
                rows, "dropped", "semantic_duplicate", value=found.column("similarity").to_numpy(),
                threshold=np.full(len(rows), self.similarity), duplicate_of=found.column("duplicate_of"),
            )
        )  # fmt: skip


def _with_embeddings(desk: Desk, columns: Sequence[str] | None) -> Any:
    """The signatures of a group that have an embedding, a shard at a time."""
    import pyarrow.compute as compute

    for table in desk.signatures_by_shard(columns):
        there = table.filter(compute.is_valid(table.column("direction")))
        if there.num_rows:
            yield there


def _hashes(ids: pa.ChunkedArray) -> Any:
    import pyarrow as pa
    from xxhash import xxh3_64_intdigest

    return pa.array([xxh3_64_intdigest(one) for one in ids.to_pylist()], pa.uint64())


def _smallest(table: pa.Table, most: int) -> pa.Table:
    """The rows with the smallest hashes, ascending."""
    return table.sort_by("hash").slice(0, most)
