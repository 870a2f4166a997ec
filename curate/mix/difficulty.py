"""How hard a document is to learn, as a number: its length, or how rare its words are among all documents.

    length        words
    rarity        mean of -log p over its words
    total_rarity  their sum (Platanios et al. 2019, equation 4)

p is a word's share of all words of the corpus, counted in 2^20 cells by hash, one added to each. Two passes over the texts for
rarity: about 5 MB a CPU second; memory is 8 MB and the texts of one group of shards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from curate.stages.contract import Decision, Effect, Global, Verdicts
from curate.stages.selectors import as_compared
from curate.stages.work import SHARD_BITS

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from curate.stages.work import Desk, Work

__all__ = ["Difficulty"]

BITS = 20


class Difficulty(Global):
    """Gives every document the column `difficulty`, for training on easy ones first.

    Train with `data: {difficulty: difficulty}` and `curriculum: {difficulty: true}`. Words are runs of letters and digits in
    lower case. What a model finds hard the stage `perplexity` tells: name its column in `data.difficulty`.
    """

    libraries: ClassVar[tuple[str, ...]] = ("xxhash",)

    by: Literal["length", "rarity", "total_rarity"] = Field(
        "total_rarity",
        description="What makes a document hard: many words (`length`), words that are rare among all documents (`rarity`, in "
        "nats a word), or both (`total_rarity`, their sum). 0 for a document without words.",
    )

    def columns(self) -> Sequence[str]:
        """Nothing but the text."""
        return ()

    def adds(self) -> Sequence[str]:
        """The difficulty."""
        return ("difficulty",)

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that counts words."""
        import numpy as np
        import pyarrow as pa

        from curate.mix.words import words_of

        def sign(batch: pa.Table) -> pa.Table:
            return pa.table({"length": np.bincount(words_of(as_compared(batch)).text, minlength=batch.num_rows)})

        return sign

    def decide(self, work: Work) -> Decision:
        """Count all words, then measure each document by the counts."""
        calls: list[dict[str, Any]] = [{} for _ in work.bounds]
        counts = None
        if self.by != "length":
            parts = [one["counts"] for one in work.each_group("count", calls)]
            (summed,) = work.each("sum_counts", [{"parts": parts}])
            counts = summed["counts"]
        measured = work.each_group("measure", [{"counts": counts, "bounds": list(work.bounds)} for _ in calls])
        return Decision([one["found"] for one in measured])

    def count(self, desk: Desk) -> dict[str, Any]:
        """How often each word's cell comes up in the texts of a group."""
        import numpy as np
        import pyarrow as pa

        counts = np.zeros(1 << BITS, dtype=np.int64)
        for cells, _, _ in _texts(desk):
            counts += np.bincount(cells, minlength=len(counts))
        name = desk.write(pa.table({"count": counts}))
        return {"counts": name, "objects": [name]}

    def sum_counts(self, desk: Desk, *, parts: list[str]) -> dict[str, Any]:
        """The counts of all groups."""
        import numpy as np
        import pyarrow as pa

        counts = np.zeros(1 << BITS, dtype=np.int64)
        for part in parts:
            counts += desk.read(part).column("count").to_numpy()
        name = desk.write(pa.table({"count": counts}))
        return {"counts": name, "objects": [name]}

    def measure(self, desk: Desk, *, counts: str | None, bounds: list[int]) -> dict[str, Any]:
        """The difficulty of each document of a group."""
        import numpy as np
        import pyarrow as pa

        table = desk.signatures(["length"])
        documents, length = table.column("document").to_numpy(), table.column("length").to_numpy()
        difficulty = length.astype(np.float64)
        if counts is not None:
            known = desk.read(counts).column("count").to_numpy()
            rarity = -np.log((known + 1) / (known.sum() + len(known)))
            difficulty = np.concatenate([
                np.zeros(0),
                *(np.bincount(text, weights=rarity[cells], minlength=number) for cells, text, number in _texts(desk)),
            ])  # fmt: skip
            if self.by == "rarity":
                difficulty = difficulty / np.maximum(length, 1)
        found = pa.table({
            "shard": pa.array((documents >> np.uint64(SHARD_BITS)).astype(np.int64)),
            "row": pa.array((documents & np.uint64((1 << SHARD_BITS) - 1)).astype(np.int64)),
            "difficulty": pa.array(difficulty),
        })  # fmt: skip
        cut = desk.write_cut(found, documents, bounds)
        return {"found": cut, "objects": [cut["run"]]}

    def apply(self, signatures: pa.Table, found: pa.Table) -> Effect:
        """The column."""
        import numpy as np
        import pyarrow as pa

        order = np.searchsorted(found.column("row").to_numpy(), signatures.column("row").to_numpy())
        return Effect(Verdicts().table(), {"difficulty": found.column("difficulty").take(pa.array(order))})


def _texts(desk: Desk) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """The words of the texts of a group, some texts at a time: the cell of each, the text that it stands in, how many texts."""
    from curate.mix.words import BATCH, hashes, texts_of, words_of

    for texts in texts_of(desk):
        for start in range(0, len(texts), BATCH):
            some = texts.slice(start, BATCH)
            words = words_of(some)
            yield hashes(words.different, BITS)[words.word], words.text, len(some)
