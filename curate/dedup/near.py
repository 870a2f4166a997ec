"""Near-duplicates: documents whose word n-grams are the same but for a few.

MinHash signatures (curate/dedup/minhash.py) in locality-sensitive buckets propose pairs (curate/dedup/clusters.py); the
true Jaccard similarity of the sets of n-grams, computed from the texts, accepts them. The documents are then gone
through in order of preference: each is kept, unless one already kept is a duplicate of it. So a dropped document is
always at least `similarity` to the one that is named in its verdict, and the value is that similarity; of a chain
(A like B, B like C, C unlike A) A and C stay. The connected components of the pairs are the clusters.

    sequence buckets   documents of equal words: all but the most wanted are its copies, and not looked at again
    band buckets       pairs that share a band's hash
    union              which documents hang together by copies and pairs; each such set goes to one bucket
    n-grams            of the documents that hang together, from their texts, group by group
    set buckets        true similarities, who is kept, clusters (curate/dedup/settle.py)

Sources: Broder 1997 (MinHash), Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3 (banding).
Cost: no call holds more than a bucket; the union holds 8 bytes for every document, in a mapped file, and what hangs
together is held by one call: its n-grams, 8 bytes each, in a mapped file. Documents of the same words are never compared.

New documents: from the bands on, groups are gone through in spans (curate/stages/work.py), each against all before. A span
brings the pairs of its own documents, and settles the sets that have one of them; a set with none stays as it was settled,
since it has the members and pairs that it had. So a document's fate is that of the last span that its set was settled in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from curate.dedup.bands import MOST_BANDS, MOST_ROWS, choose_bands
from curate.dedup.keep import Keep, Order, check_keep, keep_column, preference_order
from curate.stages.contract import Decision, Effect, Global
from curate.stages.missing import needing
from curate.stages.selectors import as_compared
from curate.stages.work import bucket_of, buckets_for, of_group, spans

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from curate.stages.work import Desk, OfGroup, Work

__all__ = ["NearDuplicates"]


class NearDuplicates(Global):
    """Finds near-duplicate documents by MinHash, verifies their similarity, and keeps one of each.

    Words are runs of letters and digits in lower case, whatever stands between them; characters of scripts without
    spaces (Chinese, Japanese, Thai, ...) count as words. Texts of fewer than `ngram` words are compared as a whole,
    texts without a word byte by byte. Exact duplicates are found too. Every document gets the columns
    `duplicate_cluster` (id of the first document of its cluster, its own where it is alone), which `split` reads so
    that near-duplicates never straddle splits, and `duplicates` (how many documents the cluster has). A document is
    dropped for one that stays and is at least as similar as `similarity`; so of a chain, each like the next, several may
    stay in one cluster. Documents that have none of the strings that `on` selects are left alone, without a cluster. The
    artifact `pairs` lists the pairs that were verified on the way; documents of equal words are compared once.
    """

    version: ClassVar[int] = 4
    libraries: ClassVar[tuple[str, ...]] = ("numba", "numpy", "scipy")
    reasons: ClassVar[Mapping[str, str]] = {
        "near_duplicate": "n-grams as similar as `value` (at least `similarity`) to those of `duplicate_of`, which was kept"
    }

    similarity: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Jaccard similarity of the sets of word n-grams from which two documents are duplicates (0 to 1).",
    )
    ngram: int = Field(5, ge=1, le=64, description="Words in an n-gram.")
    bands: int | None = Field(
        None,
        ge=1,
        le=MOST_BANDS,
        description="Bands of the MinHash signature. Left out, bands and rows are chosen so that a pair exactly at "
        "`similarity` is found with a chance of at least 0.99: 35 bands of 3 rows at 0.5, 17 of 4 at 0.7, 16 of 6 at "
        "0.8, 11 of 10 at 0.9.",
    )
    rows: int | None = Field(
        None, ge=1, le=MOST_ROWS, description="Rows of a band: more rows propose fewer pairs, and miss more."
    )
    seed: int = Field(1, ge=0, lt=2**64, description="Seed of the MinHash permutations.")
    keep: Keep = Field(
        "first",
        description="Which document is kept: the `first` in the order of the sources, the `longest` in characters, or "
        "the `best` by the column `by`. Ties go to the first.",
    )
    by: str | None = Field(
        None, description="Column that decides for `keep: best`; documents without a value come last."
    )
    order: Order = Field("highest", description="Whether the `highest` or the `lowest` value of `by` is the best.")
    action: Literal["drop", "tag"] = Field(
        "drop", description="`drop` the duplicates, or keep all documents and only `tag` them with their cluster."
    )
    verify: bool = Field(
        True,
        description="Compute the true similarity of every proposed pair from the texts. Without it, every proposed "
        "pair counts as duplicates and its similarity is unknown: one pass over the texts less, and false matches.",
    )

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        check_keep(self.keep, self.by, self.order)
        choose_bands(self.similarity, self.bands, self.rows)
        return self

    def columns(self) -> Sequence[str]:
        """The column that says which is best."""
        return (self.by,) if self.by else ()

    requires = columns

    def adds(self) -> Sequence[str]:
        """What `split` reads."""
        return ("duplicate_cluster", "duplicates")

    @needing("near_duplicates")
    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that signs: `band_0`, ..., `sequence` (a hash of all words), `length` (characters)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from curate.dedup import minhash
        from curate.dedup.words import character_table
        from curate.stages.buffers import text_buffer

        bands, rows = choose_bands(self.similarity, self.bands, self.rows)
        multipliers, increments = minhash.permutations(self.seed, bands * rows)
        table = character_table()

        def sign(batch: pa.Table) -> pa.Table:
            data, offsets = text_buffer(as_compared(batch))
            hashes, sequences = minhash.sign(
                data,
                offsets,
                table=table,
                ngram=self.ngram,
                bands=bands,
                multipliers=multipliers,
                increments=increments,
            )
            return pa.table({
                **{f"band_{band}": hashes[band] for band in range(bands)},
                "sequence": sequences,
                "length": pc.utf8_length(batch.column("text")).cast("int64"),
                **keep_column(batch, self.keep, self.by),
            })  # fmt: skip

        return sign

    def decide(self, work: Work) -> Decision:
        """Copies; then span by span pairs, what hangs together, and set by set who stays."""
        bands, _ = choose_bands(self.similarity, self.bands, self.rows)
        bounds, parts = list(work.bounds), spans(len(work.bounds))
        groups, buckets = range(len(bounds)), buckets_for(work.documents)
        signed = work.each_group("scatter_sequences", [{"buckets": buckets} for _ in groups])
        runs = [one["run"] for one in signed]
        calls = [
            {"before": runs[:first], "runs": runs[first:last], "bucket": bucket, "bounds": bounds[:last]}
            for first, last in parts
            for bucket in range(buckets)
        ]
        copies = work.each("find_copies", calls)
        gone, equal = ([one[name] for one in copies if one[name]] for name in ("gone", "equal"))

        buckets = buckets_for(work.documents * bands)
        scattered = work.each_group("scatter_bands", [{"gone": of_group(gone, n), "buckets": buckets} for n in groups])
        runs = [one["run"] for one in scattered]
        calls = [
            {"before": runs[:first], "runs": runs[first:last], "bucket": bucket}
            for first, last in parts
            for bucket in range(buckets)
        ]
        pairs = [one["pairs"] for one in work.each("find_pairs", calls)]
        calls = [
            {
                "pairs": [one for one in pairs[: number * buckets] if one],
                "copies": [one for one in (of_group(equal, n) for n in range(last)) if one["runs"]],
                "bounds": bounds[:last],
                "first": first,
            }
            for number, (first, last) in enumerate(parts, 1)
        ]
        united = work.each("unite", calls)
        return self._settled(work, united, [last for _, last in parts])

    def _settled(self, work: Work, united: Sequence[Mapping[str, Any]], seen: Sequence[int]) -> Decision:
        """Who stays of what hangs together, as it was after each span; the last word about a document counts."""
        bounds, groups = list(work.bounds), range(len(work.bounds))
        labels = [[of_group(one["labels"], n) for n in groups] for one in united]
        chosen = [(span, n) for span in range(len(united)) for n in groups if labels[span][n]["runs"]]
        calls = [{"labels": labels[span][n], "buckets": united[span]["sets"]} for span, n in chosen]
        scattered = work.each_group("scatter_members", calls, [n for _, n in chosen])
        members = list(zip(chosen, scattered, strict=True))
        calls = [
            {
                "members": [one["run"] for (at, _), one in members if at == span],
                "edges": whole["edges"],
                "bucket": bucket,
                "bounds": bounds[: seen[span]],
            }
            for span, whole in enumerate(united)
            for bucket in range(whole["sets"])
        ]
        settled = work.each("settle", calls)
        found, pairs = ([one[name] for one in settled] for name in ("found", "pairs"))
        calls = [{"found": of_group(found, n), "pairs": of_group(pairs, n)} for n in groups]
        listed = work.each("list_pairs", [one for one in calls if one["pairs"]["runs"]])
        return Decision(found, {"pairs": [(one["pairs"], one["count"]) for one in listed if one["count"]]})

    def scatter_sequences(self, desk: Desk, *, buckets: int) -> dict[str, Any]:
        """The hash of all words of each document of a group, cut by it."""
        table = desk.signatures()
        names = ["sequence", "band_0", "document", *(name for name in ("preference",) if name in table.column_names)]
        run = desk.write_run(table.select(names), bucket_of(table.column("sequence").to_numpy(), buckets), buckets)
        return {"run": run, "objects": [run]}

    def find_copies(
        self, desk: Desk, *, before: list[str], runs: list[str], bucket: int, bounds: list[int]
    ) -> dict[str, Any]:
        """Copies that `runs` bring: `gone`, whose words are all those of a document wanted more, and `equal`, with it."""
        import numpy as np
        import pyarrow as pa

        from curate.dedup.clusters import first_equal

        table, earlier = desk.read_joined(before, runs, bucket, "sequence")
        if not table.num_rows:
            return {"gone": None, "equal": None}
        start = table.column("document").slice(earlier).to_numpy().min()
        order = preference_order(table, self.order)
        sequence, band, document = (table.column(name).to_numpy()[order] for name in ("sequence", "band_0", "document"))
        first = first_equal(sequence, band)
        copies = np.flatnonzero(first != np.arange(len(first)))
        copies = copies[np.maximum(document[first[copies]], document[copies]) >= start]
        if not len(copies):
            return {"gone": None, "equal": None}
        left, right = document[first[copies]], document[copies]
        gone = desk.write_cut(pa.table({"document": right}), right, bounds)
        equal = desk.write_cut(pa.table({"left": left, "right": right}), np.maximum(left, right), bounds)
        return {"gone": gone, "equal": equal, "objects": [gone["run"], equal["run"]]}

    def scatter_bands(self, desk: Desk, *, gone: OfGroup, buckets: int) -> dict[str, Any]:
        """The band hashes of the documents of a group that are no copies, cut by them."""
        import numpy as np
        import pyarrow as pa

        table = desk.signatures()
        if gone["runs"]:
            copies = desk.read_group(gone).column("document").to_numpy()
            table = table.filter(pa.array(~np.isin(table.column("document").to_numpy(), copies)))
        bands = [name for name in table.column_names if name.startswith("band_")]
        hashes = np.concatenate([_of_band(table.column(name).to_numpy(), number) for number, name in enumerate(bands)])
        columns = {
            "hash": pa.array(hashes),
            "document": pa.array(np.tile(table.column("document").to_numpy(), len(bands))),
        }
        if "preference" in table.column_names:
            preference = table.column("preference")
            columns["preference"] = pa.chunked_array(preference.chunks * len(bands), preference.type)
        run = desk.write_run(pa.table(columns), bucket_of(hashes, buckets), buckets)
        return {"run": run, "objects": [run]}

    def find_pairs(self, desk: Desk, *, before: list[str], runs: list[str], bucket: int) -> dict[str, Any]:
        """Pairs that `runs` bring: documents that share a hash in a bucket, each pair once, the more wanted first."""
        import numpy as np
        import pyarrow as pa

        from curate.dedup.clusters import linked_pairs

        table, earlier = desk.read_joined(before, runs, bucket, "hash")
        if not table.num_rows:
            return {"pairs": None}
        start = table.column("document").slice(earlier).to_numpy().min()
        if "preference" in table.column_names:
            order = preference_order(table, self.order)
        else:  # a band's documents follow one another, so they are in no order over all bands
            order = np.argsort(table.column("document").to_numpy(), kind="stable")
        document = table.column("document").to_numpy()[order]
        left, right = linked_pairs(table.column("hash").to_numpy()[order], document)
        new = np.maximum(left, right) >= start
        left, right = left[new], right[new]
        if not len(left):
            return {"pairs": None}
        pairs = desk.write(pa.table({"left": left, "right": right}))
        return {"pairs": pairs, "objects": [pairs]}

    def unite(
        self, desk: Desk, *, pairs: list[str], copies: list[OfGroup], bounds: list[int], first: int
    ) -> dict[str, Any]:
        """What hangs together with documents from group `first` on: labels by group, pairs by set in `sets` buckets."""
        from curate.dedup.unite import unite

        return unite(desk, pairs, copies, bounds, first=first)

    def scatter_members(self, desk: Desk, *, labels: OfGroup, buckets: int) -> dict[str, Any]:
        """The documents of a group that hang together with others, with what settles it, cut by set."""
        import numpy as np
        import pyarrow as pa

        from curate.dedup.settle import shingle_column

        marked = desk.read_group(labels).sort_by("document")
        documents, sets = (marked.column(name).to_numpy() for name in ("document", "set"))
        signatures = desk.signatures(["length", "preference"])
        there = np.searchsorted(signatures.column("document").to_numpy(), documents)
        known = signatures.select(
            ["id", "document", *(name for name in ("preference",) if name in signatures.column_names)]
        ).take(pa.array(there))
        copy = marked.column("copy")
        if self.verify:
            lengths = signatures.column("length").to_numpy()[there]
            shingles = shingle_column(desk, documents, lengths, ~copy.to_numpy(), ngram=self.ngram)
            known = known.append_column("shingles", shingles)
        known = known.append_column("set", marked.column("set")).append_column("copy", copy)
        run = desk.write_run(known, bucket_of(sets, buckets), buckets)
        return {"run": run, "objects": [run]}

    def settle(
        self, desk: Desk, *, members: list[str], edges: list[str], bucket: int, bounds: list[int]
    ) -> dict[str, Any]:
        """Of the sets in a bucket: true similarities, which documents stay, clusters, and the pairs; after so many groups."""
        import numpy as np
        import pyarrow as pa

        from curate.dedup.settle import settle

        found, pairs = settle(
            desk.read_run(members, bucket), desk.read_run(edges, bucket),
            similarity=self.similarity, order=self.order, verify=self.verify,
        )  # fmt: skip
        cuts = []
        for table, name in ((found, "document"), (pairs, "left")):
            seen = pa.array(np.full(table.num_rows, len(bounds)))
            cuts.append(desk.write_cut(table.append_column("seen", seen), table.column(name).to_numpy(), bounds))
        return {"found": cuts[0], "pairs": cuts[1], "objects": [one["run"] for one in cuts]}

    def list_pairs(self, desk: Desk, *, found: OfGroup, pairs: OfGroup) -> dict[str, Any]:
        """The pairs whose first document is of a group, of the sets that no later span went through again."""
        from curate.dedup.settle import last_pairs

        listed = last_pairs(desk.read_group(found), desk.read_group(pairs))
        if not listed.num_rows:
            return {"pairs": None, "count": 0}
        held = desk.write(listed)
        return {"pairs": held, "count": listed.num_rows, "objects": [held]}

    def apply(self, signatures: pa.Table, found: pa.Table) -> Effect:
        """Drop what is not kept; every document gets its cluster, of one where it stands alone."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        from curate.dedup.settle import last_of
        from curate.stages.decide import verdict_table

        ids = signatures.column("id")
        if not found.num_rows:
            none = verdict_table(np.zeros(0, np.int64), "dropped", "near_duplicate")
            ones = pa.array(np.ones(signatures.num_rows, dtype=np.int64))
            return Effect(none, {"duplicate_cluster": ids, "duplicates": ones})
        where = np.full(signatures.num_rows, -1, dtype=np.int64)
        found = found.take(pa.array(last_of(found.column("row").to_numpy(), found.column("seen").to_numpy())))
        rows = np.searchsorted(signatures.column("row").to_numpy(), found.column("row").to_numpy())
        where[rows] = np.arange(len(rows))
        place = pa.array(where, mask=where < 0)
        columns = {
            "duplicate_cluster": pc.coalesce(found.column("cluster").take(place), ids),
            "duplicates": pc.fill_null(found.column("size").take(place), 1),
        }
        gone = np.flatnonzero(found.column("kept").is_valid().to_numpy())
        if self.action == "tag":
            gone = gone[:0]
        dropped = found.take(pa.array(gone))
        order = np.argsort(rows[gone])
        verdicts = verdict_table(
            rows[gone][order],
            "dropped",
            "near_duplicate",
            value=dropped.column("similarity").to_numpy()[order],
            threshold=np.full(len(gone), self.similarity),
            duplicate_of=dropped.column("kept").take(pa.array(order)),
        )
        return Effect(verdicts, columns)


def _of_band(hashes: np.ndarray, band: int) -> np.ndarray:
    """Hashes of one band that meet no other band's: mixed with its number."""
    import numpy as np

    return (hashes ^ np.uint64((band * 0x9E3779B97F4A7C15) % 2**64)) * np.uint64(0xD6E8FEB86659FD93)
