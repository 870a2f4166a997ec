"""What the table stages of a version learned, in their order: to put the same to rows that come later.

A recipe is JSON: `[{"stage": ..., "settings": ..., "fitted": ...}]`. New rows are never dropped: what a stage would drop them
for is the business of training data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError
from curate.stages.registry import BUILT_IN, find_stage
from curate.table.contract import Table

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.reader import Dataset

__all__ = ["RECIPE", "Recipe", "put_all", "recipe_of"]

RECIPE = "table.json"
"""Where a run that learns from a table keeps its recipe, for rows that come later."""

Recipe = list[dict[str, Any]]


def recipe_of(dataset: Dataset) -> Recipe:
    """The recipe of a version; empty where none of its stages learned from a table."""
    found: Recipe = []
    for stage in dataset.manifest["stages"]:
        if stage["stage"] in BUILT_IN and "fitted" in stage["artifacts"]:
            (row,) = dataset.artifact(stage["id"], "fitted").to_pylist()
            found.append({"stage": stage["stage"], **{name: json.loads(text) for name, text in row.items()}})
    return found


def put_all(recipe: Recipe, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows with the columns that the stages give them, cell by cell what a run gives; a column that is not there is empty.

    Args:
        recipe: What was learned.
        rows: Each with the columns of the table as they are read; other columns stay.
    """
    import pyarrow as pa

    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: _column([row.get(name) for row in rows]) for name in names})
    for one in recipe:
        stage = find_stage(one["stage"]).model_validate(one["settings"])
        assert isinstance(stage, Table)
        known = {
            name: stage.cell(table.column(name)) for name in one["fitted"]["columns"] if name in table.column_names
        }
        for name in one["fitted"]["columns"]:
            known.setdefault(name, pa.nulls(table.num_rows, pa.string()))
        try:
            put = stage.put(pa.table(known), one["fitted"])
        except pa.ArrowInvalid as error:
            raise CurateError(
                f"`{one['stage']}` has learned numbers of a column that holds something else here: {error}",
                hint="put `table_types` before it, so that cells are read as numbers",
            ) from error
        for name, values in put.columns.items():
            place = table.schema.get_field_index(name)
            table = table.append_column(name, values) if place < 0 else table.set_column(place, name, values)
    return table


def _column(values: list[Any]) -> pa.Array:
    """Values of one row after another as a column; those of several types as text."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
