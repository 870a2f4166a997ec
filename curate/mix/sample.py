"""A random share of the documents, decided for each by a hash of its id, and by a weight where one is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from curate.mix.numbers import numbers
from curate.stages.contract import Filter, Rule

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Sample"]


class Sample(Filter):
    """Keeps a random share of the documents.

    A document's number is drawn from its id and the seed, so the same documents are kept in every run, and a smaller
    fraction of the same seed keeps a part of what a larger one keeps.
    """

    version: ClassVar[int] = 2
    reads_text: ClassVar[bool] = False
    libraries: ClassVar[tuple[str, ...]] = ("xxhash",)
    thresholds: ClassVar[frozenset[str]] = frozenset({"fraction"})

    reasons: ClassVar[Mapping[str, str]] = {
        "not_sampled": "a draw above `fraction`, or `fraction` times its weight: it was not among the chosen",
        "no_weight": "its column of weights has no value",
        "weight_is_zero": "its weight is 0, and so is its chance",
        "weight_is_negative": "quarantined: its weight is below 0",
        "weight_is_no_number": "quarantined: its weight is not a number, or not a finite one",
    }

    fraction: float = Field(gt=0, le=1, description="Share of the documents to keep, on average (0.1 is one in ten).")
    seed: int = Field(1, ge=0, lt=2**64, description="Seed of the draw; another seed keeps other documents.")
    weight: str | None = Field(
        None,
        description="Column of weights (importance sampling): a document is kept with the chance `fraction` times its weight: "
        "a mean weight of 1 keeps the fraction; a document without one, or with 0, is not kept, each for a reason of its own.",
    )

    def columns(self) -> Sequence[str]:
        """The weight, where there is one; else nothing but the id."""
        return self.requires()

    def requires(self) -> Sequence[str]:
        """The column of weights."""
        return (self.weight,) if self.weight else ()

    def numeric(self) -> Sequence[str]:
        """The weight."""
        return self.requires()

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that draws: `draw`, from 0 (inclusive) to 1 (exclusive), and the `weight` where there is one."""
        import pyarrow as pa

        from curate.mix.draw import draw

        def measure(batch: pa.Table) -> pa.Table:
            drawn = pa.table({"draw": draw(batch.column("id").to_pylist(), purpose="sample", seed=self.seed)})
            if not self.weight:
                return drawn
            return drawn.append_column("weight", numbers(batch.column(self.weight), self.weight, "weight"))

        return measure

    def rules(self) -> Sequence[Rule]:
        """Documents whose draw is above the fraction leave."""
        return (Rule("not_sampled", "draw", maximum=self.fraction),)

    def decide(self, features: pa.Table) -> pa.Table:
        """With weights the fraction is that of each document: its chance."""
        import numpy as np

        from curate.stages.decide import verdict_table

        if not self.weight:
            return super().decide(features)
        drawn, weight = (features.column(name).to_numpy() for name in ("draw", "weight"))
        chance = np.minimum(self.fraction * weight, 1.0)
        rows = np.flatnonzero(~((weight > 0) & (drawn <= chance)))
        reasons = [
            "no_weight" if np.isnan(one) else "not_sampled" if one > 0 else "weight_is_zero" for one in weight[rows]
        ]
        told = [
            None if np.isnan(one) else f"weight {one:g}: its chance is {most:g}"
            for one, most in zip(weight[rows], chance[rows], strict=True)
        ]
        return verdict_table(
            rows, "dropped", np.array(reasons, object), detail=np.array(told, object), threshold=chance[rows],
            value=np.where(weight[rows] >= 0, drawn[rows], np.nan),
        )  # fmt: skip

    def edits(self) -> bool:
        """It drops alone."""
        return False
