"""Train, validation and test, decided for each cluster of near-duplicates by a hash of its id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from curate.errors import CurateError
from curate.stages.contract import Effect, Mapper, Verdicts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Split"]

_CLUSTER = "duplicate_cluster"


class Split(Mapper):
    """Puts every document into the split `train`, `validation` or `test` (column `split`).

    Documents of one cluster of near-duplicates (column `duplicate_cluster`, which `near_duplicates` adds) go into one
    split, so that nothing of the validation and test splits stands in the train split in other words. What `chunk` made
    of one document stays together with `by: parent`. The shares are met on average: of 1,000 documents a share of 0.01
    gets about 10, give or take 3.
    """

    reads_text: ClassVar[bool] = False
    libraries: ClassVar[tuple[str, ...]] = ("xxhash",)

    train: float = Field(0.98, ge=0, le=1, description="Share of the `train` split.")
    validation: float = Field(0.01, ge=0, le=1, description="Share of the `validation` split.")
    test: float = Field(0.01, ge=0, le=1, description="Share of the `test` split. The three add up to 1.")
    seed: int = Field(1, ge=0, lt=2**64, description="Seed of the draw; another seed gives other splits.")
    by: str | None = Field(
        None,
        description="Column whose equal values go into one split (a host, an author), in place of the clusters of "
        "near-duplicates; a document without a value stands alone.",
    )
    column: str | None = Field(
        None,
        description="Column that says the split already, in place of a draw: train, validation (also valid, val, dev) "
        "or test; a document without a value is for training.",
    )

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(
                f"train {self.train:g} + validation {self.validation:g} + test {self.test:g} = {total:g}; "
                "the shares must add up to 1"
            )
        return self

    def columns(self) -> Sequence[str]:
        """What decides: the clusters, or the column that was named."""
        return (_CLUSTER, *self.requires())

    def requires(self) -> Sequence[str]:
        """The column that was named."""
        return tuple(name for name in (self.by, self.column) if name)

    def adds(self) -> Sequence[str]:
        """The split."""
        return ("split",)

    def open(self) -> Callable[[pa.Table], Effect]:
        """The function that draws the split of each document."""
        import numpy as np
        import pyarrow as pa

        from curate.mix.draw import draw

        names = pa.array(["train", "validation", "test"])
        bounds = np.array([self.train, self.train + self.validation])
        # A share of 0 takes nothing, and the last split that has a share takes all that rounding left over.
        last = max(index for index, share in enumerate((self.train, self.validation, self.test)) if share > 0)

        def split(batch: pa.Table) -> Effect:
            if self.column:
                return Effect(Verdicts().table(), {"split": pa.array(_given(batch, self.column))})
            drawn = draw(self._groups(batch), purpose="split", seed=self.seed)
            chosen = np.minimum(np.searchsorted(bounds, drawn, side="right"), last)
            return Effect(Verdicts().table(), {"split": names.take(pa.array(chosen))})

        return split

    def _groups(self, batch: pa.Table) -> list[str]:
        """What decides each document's split: the value of `by`, or its cluster, or its id."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self.by or _CLUSTER
        if column not in batch.column_names:
            if self.by:
                raise CurateError(
                    f"there is no column `{self.by}` to split by",
                    hint=f"the documents have the columns {', '.join(batch.column_names)}",
                )
            column = "id"
        groups = batch.column(column)
        if pa.types.is_nested(groups.type):
            raise CurateError(
                f"column `{column}` holds {groups.type}: it cannot be split by",
                hint="split by a column of strings, numbers or times",
            )
        return pc.coalesce(groups.cast(pa.string()), batch.column("id")).to_pylist()


_NAMES = {"train": "train", "test": "test", **dict.fromkeys(("validation", "valid", "val", "dev"), "validation")}


def _given(batch: pa.Table, column: str) -> list[str]:
    """The split of each document, as the column says."""
    if column not in batch.column_names:
        raise CurateError(
            f"there is no column `{column}` that says the split",
            hint=f"the documents have the columns {', '.join(batch.column_names)}",
        )
    values = ["train" if value is None else value for value in batch.column(column).to_pylist()]
    unknown = next((value for value in values if value not in _NAMES), None)
    if unknown is not None:
        raise CurateError(
            f"column `{column}` says `{unknown}`, which is no split", hint=f"the splits are {', '.join(_NAMES)}"
        )
    return [_NAMES[value] for value in values]
