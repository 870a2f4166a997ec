"""Which of a shard's documents a stage is given, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from curate.dataset.state import State
from curate.errors import CurateError
from curate.pipeline.task import StageSpec

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["chosen", "no_text", "refuse_taken"]


def chosen(state: State, spec: StageSpec) -> np.ndarray:
    """The rows alive that a stage looks at (int64).

    Raises:
        CurateError: There is no column of `where`, or it holds values of another type.
    """
    import pyarrow as pa
    import pyarrow.compute as compute

    rows = state.rows()
    for name, values in spec.where.items():
        if name not in state.schema.names:
            known = ", ".join(state.schema.names)
            raise CurateError(
                f"stage `{spec.id}`: no column `{name}`, which its `where` names", hint=f"there are {known}"
            )
        column = state.column(name, rows)
        if pa.types.is_null(column.type):
            rows = rows if None in values else rows[:0]
            continue
        try:
            wanted = pa.array(values, column.type)
        except (pa.ArrowException, OverflowError):
            raise CurateError(
                f"stage `{spec.id}`: column `{name}` holds {column.type}, and its `where` asks for {values}"
            ) from None
        rows = rows[compute.is_in(column, wanted).to_numpy()]
    return rows


def no_text(stage_id: str, columns: Sequence[str]) -> CurateError:
    """The error of a stage that wants `text` where there is none."""
    return CurateError(
        f"stage `{stage_id}` reads the column `text`, which the documents do not have",
        hint=f"name what it is to read with `on:`; they have {', '.join(columns)}",
    )


def refuse_taken(spec: StageSpec, attached: Sequence[str], consumed: Sequence[str], there: pa.Schema) -> None:
    """Refuse what a stage that looks at some documents gives or takes, where the others would lose theirs by it.

    Raises:
        CurateError: It gives a column that is there, or takes one away.
    """
    if spec.where and consumed:
        raise CurateError(
            f"stage `{spec.id}` takes the column `{consumed[0]}` away, also from the documents that its `where` leaves out",
            hint="leave its `where` away",
        )
    if spec.where and (taken := [name for name in attached if name in there.names]):
        raise CurateError(
            f"stage `{spec.id}` gives some documents the column `{taken[0]}`, and the others, which it does not look at, have "
            "one already",
            hint="leave its `where` away, or let the stage before call its column otherwise",
        )
