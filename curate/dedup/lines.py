"""Lines and paragraphs that stand in other documents, too: taken out of all but the first.

    pieces        hashes (128 bits) of the lines of each document that are long enough, and where they stand
    buckets       of each hash: in how many documents it is, and which is the first
    first ones    their ids, by group
    marks         by group again: which pieces of each document go

Source: Raffel et al. 2020, section 2.2 (C4: spans of three sentences that occur before). Cost: 24 bytes are kept of each
piece; a bucket holds one record for each hash and shard, so a line of ten million documents is as cheap as any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from curate.stages.contract import Decision, Effect, Global
from curate.stages.missing import needing
from curate.stages.selectors import as_compared
from curate.stages.verdicts import Span, Verdicts, united_spans
from curate.stages.work import SHARD_BITS, bucket_of, buckets_for, of_group

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from curate.stages.work import Desk, OfGroup, Work

__all__ = ["ExactLines"]

_ROWS = (1 << SHARD_BITS) - 1


class ExactLines(Global):
    """Takes lines or paragraphs out of documents that stand in an earlier one, too; all others stay as they are.

    A piece is compared without the ASCII white space around it (other white space is part of it). Repetitions within a document
    are left alone, as are pieces of fewer characters than `min_characters`. The verdict `edited` says how many characters went
    (`value`), and names the document that has the first of the pieces (`duplicate_of`); a document of which fewer characters
    than `min_left` are left is dropped.
    """

    version: ClassVar[int] = 2
    libraries: ClassVar[tuple[str, ...]] = ("numba", "numpy")
    reasons: ClassVar[Mapping[str, str]] = {
        "repeated_lines": "edited: lines or paragraphs went that stand in other documents",
        "repeated_left": "lines or paragraphs of other documents went, and fewer characters than `min_left` are left",
    }

    unit: Literal["line", "paragraph"] = Field("line", description="What is compared; blank lines part paragraphs.")
    span: int = Field(
        1, ge=1, le=100, description="How many lines or paragraphs in a row are compared together; C4 has 3 sentences."
    )
    min_characters: int = Field(
        20, ge=1, description="Shorter pieces are left alone (headings, braces); of a `span` all its characters count."
    )
    min_documents: int = Field(2, ge=2, description="Fewest documents that have it, for a piece to be taken out.")
    keep: Literal["first", "none"] = Field(
        "first", description="Whether the `first` document in the order of the sources keeps it, or `none` does."
    )
    normalize: bool = Field(False, description="Compare case-folded, with every run of white space as one space.")
    min_left: int = Field(
        1,
        ge=0,
        description="Documents that lose pieces, and keep fewer characters, are dropped; blank lines do not count.",
    )

    @model_validator(mode="after")
    def _edits_the_text(self) -> Self:
        if tuple(self.on) != ("text",):
            raise ValueError("lines are taken out of the column `text` alone; leave `on` out")
        return self

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    @needing("exact_lines")
    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that gives of each piece its hash and place in characters; and `length` from the first of them on."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as compute

        from curate.dedup.pieces import find_pieces
        from curate.stages.buffers import text_buffer

        def sign(batch: pa.Table) -> pa.Table:
            column = as_compared(batch)
            data, offsets = text_buffer(column)
            pieces = find_pieces(data, offsets, paragraphs=self.unit == "paragraph")
            bounds, hashes, places = self._runs(data, *pieces)
            lists = {
                name: pa.LargeListArray.from_arrays(bounds, values).cast(pa.list_(pa.field("element", values.type)))
                for name, values in (
                    ("high", pa.array(hashes[:, 0])), ("low", pa.array(hashes[:, 1])),
                    ("start", pa.array(places[:, 0], pa.int32())), ("end", pa.array(places[:, 1], pa.int32())),
                )
            }  # fmt: skip
            first = np.append(pieces.places[:, 0], 0)[pieces.bounds[:-1]]  # blank lines before it count as nothing
            left = pa.array(np.where(np.diff(pieces.bounds), first, 0))
            return pa.table({**lists, "length": compute.subtract(compute.utf8_length(column), left).cast("int32")})

        return sign

    def _runs(
        self, data: np.ndarray, bounds: np.ndarray, content: np.ndarray, places: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each document the runs of `span` pieces that are long enough: bounds, hashes (n, 2), places (n, 2)."""
        import numpy as np

        count = len(content)
        digests = _digests(data, content, normalize=self.normalize)
        owners = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        starts = np.arange(max(count - self.span + 1, 0))
        ends = starts + self.span - 1
        lengths = np.concatenate([[0], np.cumsum(content[:, 2])])
        long = lengths[ends + 1] - lengths[starts] >= self.min_characters
        starts, ends = (some[(owners[starts] == owners[ends]) & long] for some in (starts, ends))
        hashes = digests[starts]
        if self.span > 1:
            hashes = _hashed(digests[start : start + self.span].tobytes() for start in starts.tolist())
        kept = np.concatenate([[0], np.cumsum(np.bincount(owners[starts], minlength=len(bounds) - 1))])
        return kept, hashes, np.stack([places[starts, 0], places[ends, 1]], axis=1)

    # ---- over all documents

    def decide(self, work: Work) -> Decision:
        """Hashes into buckets, the first document of each that is repeated, and by group what goes."""
        bounds, groups = list(work.bounds), range(len(work.bounds))
        counted = work.each_group("count", [{} for _ in groups])
        buckets = buckets_for(sum(one["pieces"] for one in counted))
        scattered = work.each_group("scatter", [{"buckets": buckets} for _ in groups])
        runs = [run for one in scattered for run in one["runs"]]
        calls = [{"runs": runs, "bucket": bucket, "bounds": bounds} for bucket in range(buckets)]
        repeated = [one["repeated"] for one in work.each("find", calls)]
        calls = [{"repeated": of_group(repeated, n), "bounds": bounds} for n in groups]
        named = [one["named"] for one in work.each_group("name", calls) if one["named"]]
        calls = [{"named": of_group(named, n), "bounds": bounds} for n in groups]
        return Decision([one["found"] for one in work.each_group("mark", calls) if one["found"]])

    def count(self, desk: Desk) -> dict[str, Any]:
        """How many pieces the documents of a group have."""
        tables = desk.signatures_by_shard(["high"])
        return {"pieces": sum(len(table.column("high").combine_chunks().flatten()) for table in tables)}

    def scatter(self, desk: Desk, *, buckets: int) -> dict[str, Any]:
        """Of each shard its different hashes, with the first document that has it, and how many have it."""
        import numpy as np
        import pyarrow as pa

        runs = []
        for table in desk.signatures_by_shard(["high", "low"]):
            high, low, rows = _flat(table)
            order = np.lexsort((rows, low, high))
            high, low, rows = high[order], low[order], rows[order]
            new = _starts(high, low)
            fresh = _starts(high, low, rows)
            first = np.flatnonzero(new)
            records = pa.table({
                "high": high[first], "low": low[first],
                "document": table.column("document").to_numpy()[rows[first]],
                "documents": np.add.reduceat(fresh, first, dtype=np.int64) if len(first) else np.zeros(0, np.int64),
            })  # fmt: skip
            runs.append(desk.write_run(records, bucket_of(high[first], buckets), buckets))
        return {"runs": runs, "objects": runs}

    def find(self, desk: Desk, *, runs: list[str], bucket: int, bounds: list[int]) -> dict[str, Any]:
        """The hashes of a bucket that enough documents have: a record for each shard that has it, by the first document."""
        import numpy as np
        import pyarrow as pa

        table = desk.read_run(runs, bucket)
        high, low, document, documents = (
            table.column(name).to_numpy() for name in ("high", "low", "document", "documents")
        )
        order = np.lexsort((document, low, high))
        first = np.flatnonzero(_starts(high[order], low[order]))
        sizes = np.diff([*first, len(order)])
        totals = np.add.reduceat(documents[order], first) if len(first) else np.zeros(0, np.int64)
        chosen = np.repeat(totals >= self.min_documents, sizes)
        firsts = np.repeat(document[order][first], sizes)[chosen]
        records = pa.table({
            "high": high[order][chosen], "low": low[order][chosen], "document": document[order][chosen],
            "documents": np.repeat(totals, sizes)[chosen], "first": firsts,
        })  # fmt: skip
        cut = desk.write_cut(records, firsts, bounds)
        return {"repeated": cut, "objects": [cut["run"]]}

    def name(self, desk: Desk, *, repeated: OfGroup, bounds: list[int]) -> dict[str, Any]:
        """The ids of first documents of a group, sent to where their pieces stand again."""
        import numpy as np
        import pyarrow as pa

        table = desk.read_group(repeated) if repeated["runs"] else None
        if table is None or not table.num_rows:
            return {"named": None}
        known = desk.signatures([])
        place = np.searchsorted(known.column("document").to_numpy(), table.column("first").to_numpy())
        table = table.append_column("duplicate_of", known.column("id").take(pa.array(place)))
        cut = desk.write_cut(table, table.column("document").to_numpy(), bounds)
        return {"named": cut, "objects": [cut["run"]]}

    def mark(self, desk: Desk, *, named: OfGroup, bounds: list[int]) -> dict[str, Any]:
        """The documents of a group that lose pieces: which, and where the first of them stood before."""
        import numpy as np
        import pyarrow as pa

        repeated = desk.read_group(named) if named["runs"] else None
        if repeated is None or not repeated.num_rows:
            return {"found": None}
        repeated = repeated.sort_by("document")
        shards, tables = repeated.column("document").to_numpy() >> np.uint64(SHARD_BITS), []
        for table in desk.signatures_by_shard(["high", "low", "start", "end"]):
            shard = table.column("document")[0].as_py() >> SHARD_BITS if table.num_rows else 0
            begin, end = np.searchsorted(shards, np.array([shard, shard + 1], np.uint64)).tolist()
            if table.num_rows and begin < end:  # each shard has its own records, and is given these alone
                tables.append(_marked(table, repeated.slice(begin, end - begin), keep_first=self.keep == "first"))
        found = pa.concat_tables(tables)
        if not found.num_rows:
            return {"found": None}
        cut = desk.write_cut(found.drop_columns(["document"]), found.column("document").to_numpy(), bounds)
        return {"found": cut, "objects": [cut["run"]]}

    def apply(self, signatures: pa.Table, found: pa.Table) -> Effect:
        """Edits by spans; what has too little left is dropped."""
        import numpy as np
        import pyarrow as pa

        verdicts = Verdicts()
        if not found.num_rows:
            return Effect(verdicts.table())
        rows = np.searchsorted(signatures.column("row").to_numpy(), found.column("row").to_numpy())
        lengths = signatures.column("length").take(pa.array(rows)).to_pylist()
        for row, length, one in zip(rows.tolist(), lengths, found.to_pylist(), strict=True):
            gone = sum(one["ends"]) - sum(one["starts"])
            detail, of = (
                f"{one['pieces']:,} {self.unit}s; one stands in {one['documents']:,} documents",
                one["duplicate_of"],
            )
            if length - gone < self.min_left:
                left = length - gone
                verdicts.drop(row, "repeated_left", value=left, threshold=self.min_left, duplicate_of=of, detail=detail)
            else:
                spans = [Span(start, end, self.unit) for start, end in zip(one["starts"], one["ends"], strict=True)]
                verdicts.cut(row, "repeated_lines", value=gone, duplicate_of=of, detail=detail, spans=spans)
        return Effect(verdicts.table())


def _digests(data: np.ndarray, content: np.ndarray, *, normalize: bool) -> np.ndarray:
    """128-bit hashes (n, 2) of pieces, read in place."""
    view = memoryview(data.data)
    pieces = (view[start:stop] for start, stop, _ in content.tolist())
    if normalize:
        texts = (str(piece, "utf-8", "surrogatepass") for piece in pieces)
        pieces = (" ".join(text.casefold().split()).encode("utf-8", "surrogatepass") for text in texts)
    return _hashed(pieces)


def _hashed(pieces: Iterable[bytes | memoryview]) -> np.ndarray:
    """BLAKE2b of 128 bits (n, 2): nobody can write two lines that are taken for one, as with a faster hash."""
    from hashlib import blake2b

    import numpy as np

    joined = b"".join(blake2b(piece, digest_size=16).digest() for piece in pieces)
    return np.frombuffer(joined, ">u8").reshape(-1, 2).astype(np.uint64)


def _flat(table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all pieces of some documents the two halves of the hash, and the document's place in the table."""
    import numpy as np
    import pyarrow.compute as compute

    high, low = (table.column(name).combine_chunks().flatten().to_numpy() for name in ("high", "low"))
    sizes = compute.list_value_length(table.column("high")).to_numpy()
    return high, low, np.repeat(np.arange(table.num_rows), sizes)


def _starts(*ordered: np.ndarray) -> np.ndarray:
    """Where any of some sorted arrays differs from the place before."""
    import numpy as np

    starts = np.ones(len(ordered[0]), bool)
    starts[1:] = np.logical_or.reduce([one[1:] != one[:-1] for one in ordered])
    return starts


def _marked(table: pa.Table, repeated: pa.Table, *, keep_first: bool) -> pa.Table:
    """The documents of a shard that lose pieces.

    Args:
        table: Signatures of the shard.
        repeated: Hashes that are repeated, with `first`, its id (`duplicate_of`) and `documents`.
        keep_first: Whether the first document keeps its own.
    """
    import numpy as np
    import pyarrow as pa

    high, low, rows = _flat(table)
    keys = [np.concatenate([repeated.column(name).to_numpy(), own]) for name, own in (("high", high), ("low", low))]
    count = repeated.num_rows
    order = np.lexsort(
        (np.arange(len(keys[0])), keys[1], keys[0])
    )  # of equal hashes the repeated ones before the pieces
    lead = order[np.maximum.accumulate(np.where(_starts(keys[0][order], keys[1][order]), np.arange(len(order)), 0))]
    there = (lead < count) & (order >= count)
    key = np.full(len(high), -1, np.int64)
    key[order[there] - count] = lead[there]
    documents = table.column("document").to_numpy()
    if keep_first:
        key[(key >= 0) & (repeated.column("first").to_numpy()[key] == documents[rows])] = -1
    gone = np.flatnonzero(key >= 0)
    starts, ends = (table.column(name).combine_chunks().flatten().to_numpy()[gone] for name in ("start", "end"))
    changed, first, sizes = np.unique(rows[gone], return_index=True, return_counts=True)
    spans = [
        united_spans(zip(starts[at : at + size].tolist(), ends[at : at + size].tolist(), strict=True))
        for at, size in zip(first.tolist(), sizes.tolist(), strict=True)
    ]
    told = repeated.select(["duplicate_of", "documents"]).take(pa.array(key[gone[first]]))
    numbers = pa.list_(pa.field("element", pa.int32()))
    return pa.table({
        "shard": pa.array((documents[changed] >> np.uint64(SHARD_BITS)).astype(np.int64)),
        "row": pa.array((documents[changed] & np.uint64(_ROWS)).astype(np.int64)),
        "document": documents[changed],
        "starts": pa.array([[start for start, _ in some] for some in spans], numbers),
        "ends": pa.array([[end for _, end in some] for some in spans], numbers),
        "pieces": pa.array(sizes),
        **{name: told.column(name) for name in told.column_names},
    })  # fmt: skip
