"""Near-duplicates: documents whose word n-grams are the same but for a few.

MinHash signatures (curate/dedup/minhash.py) in locality-sensitive buckets propose pairs (curate/dedup/clusters.py); the
true Jaccard similarity of the sets of n-grams, computed from the texts, accepts them. The documents are then gone
through in order of preference: each is kept, unless one already kept is a duplicate of it. So a dropped document is
always at least `similarity` to the one that is named in its verdict, and the value is that similarity; of a chain
(A like B, B like C, C unlike A) A and C stay. The connected components of the pairs are the clusters.

Sources: Broder 1997 (MinHash), Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3 (banding).
Cost: 8 bytes a band, and the id, for each document in memory; the n-grams of documents that were proposed in a
temporary file, 8 bytes each, written in one pass over the texts. Documents of the same words are never compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from curate.dedup.keep import Keep, Order, check_keep, keep_column, preference_order
from curate.stages.contract import Global, Reduced, verdict_schema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["NearDuplicates", "choose_bands", "recall"]

_RECALL = 0.99
_ROUNDS = 8
"""Most times that the documents kept from one cluster are proposed again; 2 or 3 do, but for the oddest clusters."""
_MOST_BANDS, _MOST_ROWS = 1024, 128
_PERMUTATIONS = 128
"""Most values of a signature that `choose_bands` spends: more cost time in proportion."""


def recall(similarity: float, bands: int, rows: int) -> float:
    """Chance that two documents of this Jaccard similarity meet in at least one of the bands."""
    return 1.0 - (1.0 - similarity**rows) ** bands


def choose_bands(similarity: float, bands: int | None = None, rows: int | None = None) -> tuple[int, int]:
    """Bands and rows that find a pair at the threshold with a chance of at least 0.99, where they are not given.

    The rows are as many as 128 values a document allow: the more rows, the fewer pairs below the threshold to compare.

    Raises:
        ValueError: No reasonable number of bands does for the rows given.
    """
    if rows is None:
        enough = [
            row_count
            for row_count in range(1, _MOST_ROWS + 1)
            if _fewest_bands(similarity, row_count) <= (bands or _PERMUTATIONS // row_count)
        ]
        rows = max(enough, default=1)
    bands = bands or _fewest_bands(similarity, rows)
    if bands > _MOST_BANDS:
        raise ValueError(
            f"at `similarity: {similarity}` no {_MOST_BANDS} bands of {rows} rows find 99 pairs in 100; "
            "lower `rows`, or give `bands` as well"
        )
    return bands, rows


def _fewest_bands(similarity: float, rows: int) -> int:
    meets = similarity**rows
    if meets == 1.0:
        return 1
    return math.ceil(math.log(1.0 - _RECALL) / math.log1p(-meets)) if meets > 1e-9 else _MOST_BANDS + 1


class _Outcome(NamedTuple):
    """What was found, by number of document: the one kept in its place, the similarity to it, a label for its cluster.

    `pairs` holds the numbers of the two documents of each pair, and their similarity.
    """

    kept: np.ndarray
    similarity: np.ndarray
    cluster: np.ndarray
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray]


class NearDuplicates(Global):
    """Finds near-duplicate documents by MinHash, verifies their similarity, and keeps one of each.

    Words are runs of letters and digits in lower case, whatever stands between them; characters of scripts without
    spaces (Chinese, Japanese, Thai, ...) count as words. Texts of fewer than `ngram` words are compared as a whole,
    texts without a word byte by byte. Exact duplicates are found too. Every document gets the columns
    `duplicate_cluster` (id of the first document of its cluster, its own where it is alone), which `split` reads so
    that near-duplicates never straddle splits, and `duplicates` (how many documents the cluster has). The artifact
    `pairs` lists the verified pairs.
    """

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
        le=_MOST_BANDS,
        description="Bands of the MinHash signature. Left out, bands and rows are chosen so that a pair exactly at "
        "`similarity` is found with a chance of at least 0.99: 35 bands of 3 rows at 0.5, 17 of 4 at 0.7, 16 of 6 at "
        "0.8, 11 of 10 at 0.9.",
    )
    rows: int | None = Field(
        None, ge=1, le=_MOST_ROWS, description="Rows of a band: more rows propose fewer pairs, and miss more."
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

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that signs: `band_0`, ..., `sequence` (a hash of all words), `length` (characters)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from curate.dedup import minhash
        from curate.dedup.buffers import text_buffer
        from curate.dedup.words import character_table

        bands, rows = choose_bands(self.similarity, self.bands, self.rows)
        multipliers, increments = minhash.permutations(self.seed, bands * rows)
        table = character_table()

        def sign(batch: pa.Table) -> pa.Table:
            data, offsets = text_buffer(batch.column("text"))
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

    def reduce(self, signatures: pa.Table, texts: Callable[[np.ndarray], pa.Array]) -> Reduced:
        """Propose pairs from the bands, verify them, keep one document of each set of duplicates."""
        import numpy as np
        import pyarrow as pa

        from curate.dedup.clusters import first_number
        from curate.stages.decide import verdict_table

        found = self._find(signatures, texts)
        ids = signatures.column("id").cast(pa.large_string()).combine_chunks()
        first, size = first_number(found.cluster)
        left, right, similarity = found.pairs
        verdicts = verdict_schema().empty_table()
        if self.action == "drop":
            rows = np.flatnonzero(found.kept != np.arange(len(found.kept)))
            verdicts = verdict_table(
                rows,
                "dropped",
                "near_duplicate",
                value=found.similarity[rows],
                threshold=np.full(len(rows), self.similarity),
                duplicate_of=ids.take(pa.array(found.kept[rows])),
            )
        columns = {
            "duplicate_cluster": ids.take(pa.array(first)).cast(pa.string()),
            "duplicates": pa.array(size, pa.int64()),
        }
        pairs = {
            "id_a": ids.take(pa.array(left)).cast(pa.string()),
            "id_b": ids.take(pa.array(right)).cast(pa.string()),
            "similarity": pa.array(similarity, pa.float64(), from_pandas=True),
        }
        return Reduced(verdicts, columns, {"pairs": pa.table(pairs)})

    def _find(self, signatures: pa.Table, texts: Callable[[np.ndarray], pa.Array]) -> _Outcome:
        """Decide by position in the order of preference, documents of equal words as one; then go back to numbers."""
        import numpy as np

        from curate.dedup import clusters

        order = preference_order(signatures, self.order)

        def signature(name: str) -> np.ndarray:
            return signatures.column(name).to_numpy()[order]

        equal = clusters.first_equal(signature("sequence"), signature("band_0"))
        distinct = np.flatnonzero(equal == np.arange(len(equal)))
        bands = [name for name in signatures.column_names if name.startswith("band_")]
        proposed = clusters.candidate_pairs(signature(name)[distinct] for name in bands)
        lengths = signatures.column("length").to_numpy()
        left, right, similarity = self._accept(order[distinct], proposed, lengths, texts)
        kept, kept_similarity = clusters.cover(len(distinct), left, right, similarity)
        label = clusters.components(len(distinct), left, right)

        member = np.searchsorted(distinct, equal)
        to_kept = np.where(kept[member] == member, 1.0, kept_similarity[member])
        number = np.argsort(order)
        copies = np.flatnonzero(equal != np.arange(len(equal)))
        pairs = _sorted_pairs(
            np.concatenate([order[distinct[left]], order[equal[copies]]]),
            np.concatenate([order[distinct[right]], order[copies]]),
            np.concatenate([similarity, np.ones(len(copies))]),
        )
        return _Outcome(order[distinct[kept[member]]][number], to_kept[number], label[member][number], pairs)

    def _accept(
        self,
        numbers: np.ndarray,
        proposed: tuple[np.ndarray, np.ndarray],
        lengths: np.ndarray,
        texts: Callable[[np.ndarray], pa.Array],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pairs of duplicates, sorted, and their similarities; `numbers`: the document that a position stands for.

        Two documents of a cluster may never have met (in a crowded bucket, or by bad luck with the bands), so those
        that would be kept from one cluster are proposed in turn, until nothing new is found.
        """
        import numpy as np

        from curate.dedup import clusters
        from curate.dedup.similarity import ShingleSets

        left, right = proposed
        if not self.verify or not len(left):
            return left, right, np.full(len(left), np.nan)
        with ShingleSets(numbers[np.union1d(left, right)], lengths, texts, ngram=self.ngram) as sets:
            pairs = sets.alike(numbers, left, right, self.similarity)
            for _ in range(_ROUNDS):
                left, right, similarity = pairs
                kept, _ = clusters.cover(len(numbers), left, right, similarity)
                stay = np.flatnonzero(kept == np.arange(len(kept)))
                label = clusters.components(len(numbers), left, right)
                again = [stay[side] for side in clusters.candidate_pairs([label[stay]])]
                more = sets.alike(numbers, again[0], again[1], self.similarity)
                pairs = _merge(pairs, more, len(numbers))
                if len(pairs[0]) == len(left):
                    break
        return pairs


def _merge(
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray], more: tuple[np.ndarray, np.ndarray, np.ndarray], count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both sets of pairs of positions below `count`, sorted, each pair once."""
    import numpy as np

    left, right, similarity = (np.concatenate(columns) for columns in zip(pairs, more, strict=True))
    _, first = np.unique(left * count + right, return_index=True)
    return left[first], right[first], similarity[first]


def _sorted_pairs(
    one: np.ndarray, other: np.ndarray, similarity: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs with the earlier document first, in the order of the documents."""
    import numpy as np

    left, right = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((right, left))
    return left[order], right[order], similarity[order]
