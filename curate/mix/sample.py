"""A random share of the documents, decided for each by a hash of its id."""

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

    def columns(self) -> Sequence[str]:
        """Nothing but the id."""
        return ()

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that draws: a table of `draw`, a number from 0 (inclusive) to 1 (exclusive)."""
        import pyarrow as pa

        from curate.mix.draw import draw

        def measure(batch: pa.Table) -> pa.Table:
            return pa.table({"draw": draw(batch.column("id").to_pylist(), purpose="sample", seed=self.seed)})

        return measure

    def rules(self) -> Sequence[Rule]:
        """Documents whose draw is above the fraction leave."""
        return (Rule("not_sampled", "draw", maximum=self.fraction),)
