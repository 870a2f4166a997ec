"""What the table stages of a version learned, in their order: to put the same to rows that come later.

A recipe is JSON: `[{"stage": ..., "settings": ..., "fitted": ...}]`. New rows are never dropped: what a stage would drop them
for is the business of training data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from curate.dataset.fragments import read_ledger
from curate.errors import CurateError
from curate.stages.registry import BUILT_IN, find_stage
from curate.table.contract import Table
from curate.table.missing import FLAG

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.reader import Dataset

__all__ = ["RECIPE", "Recipe", "made_elsewhere", "needed", "put_all", "recipe_of"]

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


def needed(recipe: Recipe) -> list[str]:
    """The columns of new rows that their `features` are made of."""
    flags = {
        f"{name}{FLAG}": name
        for one in recipe
        if one["stage"] == "table_missing"
        for name, said in one["fitted"]["columns"].items()
        if said["flag"]
    }
    names = [
        flags.get(name, name)
        for one in recipe
        if one["stage"] == "table_features"
        for name, said in one["fitted"]["columns"].items()
        if said["kept"]
    ]
    return list(dict.fromkeys(names))


def made_elsewhere(dataset: Dataset, recipe: Recipe) -> dict[str, str]:
    """Columns that `features` are made of and stages made or edited that are none of the recipe, with their last stage."""
    wanted, found = needed(recipe), dict[str, str]()
    own = {
        stage["id"]
        for stage in dataset.manifest["stages"]
        if stage["stage"] in BUILT_IN and "fitted" in stage["artifacts"]
    }
    for shard in read_ledger(dataset.store, dataset.manifest["ledger"]):
        for step in shard.steps:
            found |= {name: step.stage for name in step.attached if step.stage not in own}
    for stage in dataset.manifest["stages"]:
        for selector in stage["settings"].get("on") or () if stage["edited"] and stage["id"] not in own else ():
            column = re.split(r"[.\[]", selector)[0]
            found |= {name: stage["id"] for name in (wanted if column == "*" else [column])}
    return {name: found[name] for name in wanted if name in found}


def put_all(recipe: Recipe, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows with the columns that the table stages give them, cell by cell what a run gives.

    A column that is not there is empty (a run leaves it out of the rows of a file that lacks it). What other stages of the
    pipeline did to the columns is not done: `made_elsewhere` tells.

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
