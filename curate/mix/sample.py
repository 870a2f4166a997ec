"""A random share of the documents, decided for each by a hash of its id, and by a weight where one is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from curate.stages.contract import Filter, Rule

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Sample"]


class Sample(Filter):
    """Keeps a random share of the documents.

    A document's number is drawn from its id and the seed, so the same documents are kept in every run, and a smaller
    fraction of the same seed keeps a part of what a larger one keeps.
    """

    reads_text: ClassVar[bool] = False
    libraries: ClassVar[tuple[str, ...]] = ("xxhash",)
    thresholds: ClassVar[frozenset[str]] = frozenset({"fraction"})

    reasons: ClassVar[Mapping[str, str]] = {"not_sampled": "a draw above `fraction`: it was not among the chosen"}

    fraction: float = Field(gt=0, le=1, description="Share of the documents to keep, on average (0.1 is one in ten).")
    seed: int = Field(1, ge=0, lt=2**64, description="Seed of the draw; another seed keeps other documents.")
    weight: str | None = Field(
        None,
        description="Column of weights (importance sampling): a document is kept with the chance `fraction` times its weight: "
        "a mean weight of 1 keeps the fraction; a document without one, or with 0, is not kept.",
    )

    def columns(self) -> Sequence[str]:
        """The weight, where there is one; else nothing but the id."""
        return self.requires()

    def requires(self) -> Sequence[str]:
        """The column of weights."""
        return (self.weight,) if self.weight else ()

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that draws: a table of `draw`, a number from 0 (inclusive) to 1 (exclusive), over the weight."""
        import numpy as np
        import pyarrow as pa

        from curate.mix.draw import draw

        def measure(batch: pa.Table) -> pa.Table:
            drawn = draw(batch.column("id").to_pylist(), purpose="sample", seed=self.seed)
            if self.weight:
                weights = batch.column(self.weight).cast(pa.float64()).to_numpy()
                drawn = np.where(weights > 0, drawn / np.where(weights > 0, weights, 1.0), np.inf)
            return pa.table({"draw": drawn})

        return measure

    def rules(self) -> Sequence[Rule]:
        """Documents whose draw is above the fraction leave."""
        return (Rule("not_sampled", "draw", maximum=self.fraction),)
