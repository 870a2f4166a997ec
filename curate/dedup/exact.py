"""Exact duplicates: documents whose texts are equal, byte for byte or but for case and white space.

Texts are compared by their 128-bit xxh3 hash: among ten billion different texts the chance of one false match is about
1e-19. 16 bytes a document are held in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from curate.dedup.keep import Keep, Order, check_keep, keep_column, preference_order
from curate.stages.contract import Global, Reduced

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["ExactDuplicates"]


class ExactDuplicates(Global):
    """Drops documents whose text is equal to that of another one.

    The verdict names the document that was kept (`duplicate_of`).
    """

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

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that hashes: a table of `hash` (16 bytes) and, for `longest` and `best`, `preference`."""
        import pyarrow as pa

        hashes = _normalized_hashes if self.normalize else _hashes

        def sign(batch: pa.Table) -> pa.Table:
            digests = pa.array(hashes(batch.column("text")), pa.binary(16))
            return pa.table({"hash": digests, **keep_column(batch, self.keep, self.by)})

        return sign

    def reduce(self, signatures: pa.Table, texts: Callable[[np.ndarray], pa.Array]) -> Reduced:
        """Group the hashes; all but the most wanted document of each group are dropped."""
        import numpy as np
        import pyarrow as pa

        from curate.stages.decide import verdict_table

        order = preference_order(signatures, self.order)
        hashes = signatures.column("hash").combine_chunks().dictionary_encode()
        group = hashes.indices.to_numpy()[order]
        # The first position of a group in the order of preference is its most wanted document.
        _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
        kept = np.empty(len(order), dtype=np.int64)
        kept[order] = order[first[inverse]]
        rows = np.flatnonzero(kept != np.arange(len(kept)))
        duplicate_of = signatures.column("id").take(pa.array(kept[rows]))
        return Reduced(verdict_table(rows, "dropped", "exact_duplicate", duplicate_of=duplicate_of))


def _hashes(column: pa.ChunkedArray) -> list[bytes]:
    """128-bit hashes of the texts' UTF-8 bytes, read in place: 0.2 microseconds a document, and over 10 GB/s."""
    from xxhash import xxh3_128_digest

    from curate.dedup.buffers import text_buffer

    data, offsets = text_buffer(column)
    view, bounds = memoryview(data.data), offsets.tolist()
    return [xxh3_128_digest(view[start:stop]) for start, stop in pairwise(bounds)]


def _normalized_hashes(column: pa.ChunkedArray) -> list[bytes]:
    from xxhash import xxh3_128_digest

    return [
        xxh3_128_digest(" ".join(text.casefold().split()).encode("utf-8", "surrogatepass"))
        for text in column.to_pylist()
    ]
