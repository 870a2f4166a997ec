"""Passages that stand twice, wherever they are: every stretch of `min_bytes` bytes that occurs before is taken out.

That is ExactSubstr (Lee et al. 2021, section 4.1: 50 tokens, of which 200 bytes of English are about as many) without a suffix
array, which would have to hold all texts at once. What comes out is the same: a byte goes where a window around it, of
`min_bytes`, stands somewhere else, too.

    anchors    each window has one (curate/dedup/windows.py); told of every document, one for about 50 bytes at 200
    buckets    anchors that stand in several places
    windows    those whose anchor does, from the texts, with their hashes (128 bits); of a chunk each different one once
    buckets    windows that stand in several places, and where, shard by shard
    marks      what goes of each document

Cost: linear. Anchors take 8 bytes for about 50 of text; windows 28 bytes for each byte of text that may be repeated, on disk.
No call holds more than a bucket, or what is repeated in a shard, or a chunk of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from curate.stages.contract import Decision, Effect, Global
from curate.stages.missing import needing
from curate.stages.selectors import as_compared
from curate.stages.verdicts import Span, Verdicts, united_spans
from curate.stages.work import BUCKET_RECORDS, SHARD_BITS, bucket_of, buckets_for

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from curate.stages.work import Desk, Work

__all__ = ["ExactSubstrings"]

_ROWS = (1 << SHARD_BITS) - 1
_SLICE = 1 << 20
"""Windows of a long text that are hashed at once."""


class ExactSubstrings(Global):
    """Takes passages out of documents that occur before: in an earlier document, or further up in the same one.

    Bytes are compared as they are. A passage goes from its first whole character to its last. The verdict `edited` says how
    many characters went; a document of which fewer than `min_left` are left is dropped. Put `exact_duplicates` before it:
    whole copies are cheaper there.
    """

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("numba", "numpy")
    reasons: ClassVar[Mapping[str, str]] = {
        "repeated_text": "edited: passages went that occur elsewhere",
        "repeated_left": "passages that occur elsewhere went, and fewer characters than `min_left` are left",
    }

    min_bytes: int = Field(
        200,
        ge=16,
        le=1000,
        description="Shortest passage, in bytes of UTF-8; 200 are about 50 tokens of English, as in the paper.",
    )
    keep: Literal["first", "none"] = Field(
        "first", description="Whether the `first` of the places, in the order of the sources, keeps it, or `none` does."
    )
    min_left: int = Field(1, ge=0, description="Documents that lose passages, and keep fewer characters, are dropped.")

    @model_validator(mode="after")
    def _edits_the_text(self) -> Self:
        if tuple(self.on) != ("text",):
            raise ValueError("passages are taken out of the column `text` alone; leave `on` out")
        return self

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    @needing("exact_substrings")
    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that gives `anchors` (hashes, in their order) and `length` (characters)."""
        import pyarrow as pa
        import pyarrow.compute as compute

        from curate.dedup.windows import find_anchors
        from curate.stages.buffers import text_buffer

        kind = pa.list_(pa.field("element", pa.uint64()))

        def sign(batch: pa.Table) -> pa.Table:
            column = as_compared(batch)
            anchors, bounds = find_anchors(*text_buffer(column), self.min_bytes)
            lists = pa.LargeListArray.from_arrays(bounds, pa.array(anchors)).cast(kind)
            return pa.table({"anchors": lists, "length": compute.utf8_length(column).cast("int32")})

        return sign

    # ---- over all documents

    def decide(self, work: Work) -> Decision:
        """Anchors into buckets, windows into buckets, and by group what goes."""
        from curate.dedup.windows import anchor_sizes

        groups = range(len(work.bounds))
        counted = work.each_group("count", [{} for _ in groups])
        shards = max((one["shards"] for one in counted), default=0)
        buckets = buckets_for(sum(one["anchors"] for one in counted))
        scattered = work.each_group("scatter", [{"buckets": buckets} for _ in groups])
        runs = [run for one in scattered for run in one["runs"]]
        calls = [{"runs": runs, "bucket": bucket, "shards": shards} for bucket in range(buckets)]
        repeated = work.each("find_anchors", calls)
        anchors = [one["anchors"] for one in repeated if one["count"]]
        if not anchors:
            return Decision()
        buckets = buckets_for(sum(one["count"] for one in repeated) * anchor_sizes(self.min_bytes)[1] // 2)
        calls = [{"anchors": anchors, "buckets": buckets, "shards": shards} for _ in groups]
        windows = work.each_group("scatter_windows", calls)
        runs = [run for one in windows for run in one["runs"]]
        calls = [{"runs": runs, "bucket": bucket, "shards": shards} for bucket in range(buckets)]
        gone = [one["gone"] for one in work.each("find_windows", calls) if one["gone"]] if runs else []
        gone += [run for one in windows for run in one["gone"]]
        if not gone:
            return Decision()
        calls = [{"gone": gone, "bounds": list(work.bounds)} for _ in groups]
        return Decision([one["found"] for one in work.each_group("mark", calls) if one["found"]])

    def count(self, desk: Desk) -> dict[str, Any]:
        """How many anchors a group has, and the number behind that of its last shard."""
        anchors = shards = 0
        for table in desk.signatures_by_shard(["anchors"]):
            anchors += len(table.column("anchors").combine_chunks().flatten())
            if table.num_rows:
                shards = (table.column("document")[0].as_py() >> SHARD_BITS) + 1
        return {"anchors": anchors, "shards": shards}

    def scatter(self, desk: Desk, *, buckets: int) -> dict[str, Any]:
        """Of each shard its different anchors, and in how many places each stands."""
        import numpy as np
        import pyarrow as pa

        runs = []
        for table in desk.signatures_by_shard(["anchors"]):
            anchors, counts = np.unique(
                table.column("anchors").combine_chunks().flatten().to_numpy(), return_counts=True
            )
            if len(anchors):
                shard = np.full(len(anchors), table.column("document")[0].as_py() >> SHARD_BITS, np.int64)
                records = pa.table({"anchor": anchors, "shard": shard, "count": counts})
                runs.append(desk.write_run(records, bucket_of(anchors, buckets), buckets))
        return {"runs": runs, "objects": runs}

    def find_anchors(self, desk: Desk, *, runs: list[str], bucket: int, shards: int) -> dict[str, Any]:
        """The anchors of a bucket that stand in several places, by shard that has them; how many places these are."""
        import numpy as np
        import pyarrow as pa

        if not runs:
            return {"anchors": None, "count": 0}
        table = desk.read_run(runs, bucket)
        anchor, shard, count = (table.column(name).to_numpy() for name in ("anchor", "shard", "count"))
        _, place = np.unique(anchor, return_inverse=True)
        several = np.bincount(place, count, 1)[place] > 1 if len(place) else np.zeros(0, bool)
        if not several.any():
            return {"anchors": None, "count": 0}
        run = desk.write_run(pa.table({"anchor": anchor[several]}), shard[several], shards)
        return {"anchors": run, "count": int(count[several].sum()), "objects": [run]}

    def scatter_windows(self, desk: Desk, *, anchors: list[str], buckets: int, shards: int) -> dict[str, Any]:
        """Of the windows of a group that may be repeated each different one of a chunk; those that are within it go already."""
        import numpy as np
        import pyarrow as pa

        runs, gone = [], []
        for hashes, documents, places in self._chunks(desk, anchors):
            order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: of equal ones the first place is first
            ordered, documents, places = hashes[order], documents[order], places[order]
            new = np.ones(len(order), bool)
            new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
            first = np.flatnonzero(new)
            again = ~new
            if self.keep == "none":
                again |= np.repeat(np.diff([*first, len(order)]) > 1, np.diff([*first, len(order)]))
            if again.any():
                gone.append(_by_shard(desk, documents[again], places[again], shards))
            records = pa.table({
                "high": ordered[first, 0], "low": ordered[first, 1], "document": documents[first], "place": places[first],
            })  # fmt: skip
            runs.append(desk.write_run(records, bucket_of(ordered[first, 0], buckets), buckets))
        return {"runs": runs, "gone": gone, "objects": [*runs, *gone]}

    def _chunks(self, desk: Desk, anchors: list[str]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Windows that may be repeated: hashes (n, 2), documents, first bytes; some millions at once, in their order."""
        import numpy as np

        held: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        size = 0
        for table in desk.signatures_by_shard(["anchors"]):
            if not table.num_rows:
                continue
            known = np.unique(
                desk.read_run(anchors, table.column("document")[0].as_py() >> SHARD_BITS).column("anchor").to_numpy()
            )
            for document, data in _texts(desk, _having(table, known)):
                for hashes, places in self._windows(data, known):
                    held.append((hashes, np.full(len(places), document, np.uint64), places))
                    size += len(places)
                    if size >= BUCKET_RECORDS:
                        yield tuple(np.concatenate(some) for some in zip(*held, strict=True))  # type: ignore[misc]
                        held, size = [], 0
        if held:
            yield tuple(np.concatenate(some) for some in zip(*held, strict=True))  # type: ignore[misc]

    def _windows(self, data: np.ndarray, known: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The windows of a text that may be repeated: hashes and first bytes, slice by slice."""
        import numpy as np

        from curate.dedup.windows import candidates, window_hashes

        marks = candidates(data, 0, len(data), self.min_bytes, known)
        for first in range(0, len(marks), _SLICE):
            there = np.flatnonzero(marks[first : first + _SLICE])
            if len(there):
                start, stop = first + int(there[0]), first + int(there[-1]) + 1
                hashes = window_hashes(data, 0, start, stop, self.min_bytes)
                yield hashes[there - there[0]], there + first

    def find_windows(self, desk: Desk, *, runs: list[str], bucket: int, shards: int) -> dict[str, Any]:
        """Where windows of a bucket stand that stand elsewhere, too, by shard."""
        import numpy as np

        table = desk.read_run(runs, bucket)
        high, low, document, place = (table.column(name).to_numpy() for name in ("high", "low", "document", "place"))
        order = np.lexsort((place, document, low, high))
        new = np.ones(len(order), bool)
        new[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
        again = ~new
        if self.keep == "none" and len(order):
            sizes = np.diff([*np.flatnonzero(new), len(order)])
            again = np.repeat(sizes > 1, sizes)
        if not again.any():
            return {"gone": None}
        gone = _by_shard(desk, document[order][again], place[order][again], shards)
        return {"gone": gone, "objects": [gone]}

    def mark(self, desk: Desk, *, gone: list[str], bounds: list[int]) -> dict[str, Any]:
        """The documents of a group that lose passages, with their characters."""
        import pyarrow as pa

        found = []
        for table in desk.signatures_by_shard([]):
            if table.num_rows:
                there = desk.read_run(gone, table.column("document")[0].as_py() >> SHARD_BITS)
                found += self._passages(desk, there)
        if not found:
            return {"found": None}
        numbers = pa.list_(pa.field("element", pa.int32()))
        documents, starts, ends = zip(*found, strict=True)
        records = pa.table({
            "shard": pa.array([one >> SHARD_BITS for one in documents], pa.int64()),
            "row": pa.array([one & _ROWS for one in documents], pa.int64()),
            "starts": pa.array(starts, numbers),
            "ends": pa.array(ends, numbers),
        })  # fmt: skip
        cut = desk.write_cut(records, pa.array(documents, pa.uint64()).to_numpy(), bounds)
        return {"found": cut, "objects": [cut["run"]]}

    def _passages(self, desk: Desk, there: pa.Table) -> Iterator[tuple[int, list[int], list[int]]]:
        """Of each document of a shard that has repeated windows the passages that they make, in characters."""
        import numpy as np

        document, place = (there.column(name).to_numpy() for name in ("document", "place"))
        order = np.lexsort((place, document))
        document, place = document[order], place[order].astype(np.int64)
        changed, first = np.unique(document, return_index=True)
        edges = [*first.tolist(), len(document)]
        for number, (one, data) in enumerate(_texts(desk, changed)):
            here = place[edges[number] : edges[number + 1]]
            parts = np.flatnonzero(np.diff(here) > self.min_bytes) + 1  # windows that touch are one passage
            begins, stops = here[np.concatenate([[0], parts])], here[np.concatenate([parts - 1, [-1]])] + self.min_bytes
            characters = np.concatenate([[0], np.cumsum((data & 0xC0) != 0x80)])  # before each byte
            inside = np.concatenate([(data & 0xC0) == 0x80, [False]])
            starts, ends = characters[begins], characters[stops] - inside[stops]
            yield one, starts.tolist(), np.maximum(ends, starts).tolist()

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
            spans = united_spans(zip(one["starts"], one["ends"], strict=True))
            gone = sum(end - start for start, end in spans)
            detail = f"{len(spans):,} passages of at least {self.min_bytes} bytes"
            if length - gone < self.min_left:
                verdicts.drop(row, "repeated_left", value=length - gone, threshold=self.min_left, detail=detail)
            elif gone:
                told = [Span(start, end, "passage") for start, end in spans]
                verdicts.cut(row, "repeated_text", value=gone, detail=detail, spans=told)
        return Effect(verdicts.table())


def _having(table: pa.Table, known: np.ndarray) -> np.ndarray:
    """The documents of a shard that have one of these anchors."""
    import numpy as np
    import pyarrow.compute as compute

    anchors = table.column("anchors").combine_chunks().flatten().to_numpy()
    rows = np.repeat(np.arange(table.num_rows), compute.list_value_length(table.column("anchors")).to_numpy())
    place = np.minimum(np.searchsorted(known, anchors), max(len(known) - 1, 0))
    there = known[place] == anchors if len(known) else np.zeros(len(anchors), bool)
    return table.column("document").to_numpy()[np.unique(rows[there])]


def _texts(desk: Desk, documents: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The bytes of each of some documents of a shard."""
    from curate.stages.buffers import text_buffer

    if len(documents):
        data, offsets = text_buffer(desk.texts(documents))
        for number, one in enumerate(documents.tolist()):
            yield one, data[offsets[number] : offsets[number + 1]]


def _by_shard(desk: Desk, documents: np.ndarray, places: np.ndarray, shards: int) -> str:
    """A run of places in documents, cut by shard."""
    import numpy as np
    import pyarrow as pa

    shard = (documents >> np.uint64(SHARD_BITS)).astype(np.int64)
    return desk.write_run(pa.table({"document": documents, "place": pa.array(places, pa.int32())}), shard, shards)
