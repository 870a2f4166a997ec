"""Numbers that a model learns from: one list for each row, of scaled numbers and of categories, one place each.

All of it (means, categories, which columns tell of the label) is from the train split; the artifact `learned` says which
number of the list is what. A category that the train split has not, or one that is rare there, has the place `(other)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from curate.errors import CurateError
from curate.table.columns import as_floats, as_strings, days, kind_of, mean_of
from curate.table.contract import FEATURES, Cells, Put, Table
from curate.table.information import binned, mutual_information

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["TableFeatures"]

OTHER = "(other)"
MOST_CLASSES = 50
"""Different labels beyond which numbers are binned for mutual information."""


class TableFeatures(Table):
    """Makes one list of numbers of each row, the column `features`: numbers scaled, dates as days, categories one place each.

    Columns that have one value, no value or are text are left out, and said so in the artifact `learned`. With a `label`
    the artifact has for each column how much it tells of the label in the train split (mutual information in nats), and
    `select` keeps those that tell most. Train with `data: {features: features}`; take them elsewhere with
    `Dataset.arrays`.
    """

    replaces: ClassVar[bool] = False
    reasons: ClassVar[Mapping[str, str]] = {
        "empty_as_mean": "edited: a cell that is empty, or holds no finite number or no date, counts as the mean in `features` "
        "(put `table_missing` before it)",
        "unseen_category": "edited: the train split has no such category, or it is rare there: it counts as `(other)`",
    }

    scale: Literal["standard", "robust", "range", "none"] = Field(
        "standard",
        description="standard: mean 0, deviation 1; robust: median 0, distance of quartiles 1; range: from 0 to 1 (beyond it "
        "outside of the train split); none.",
    )
    most_categories: int = Field(
        100, ge=2, description="Different values beyond which a column of strings is text: left out."
    )
    least_rows: int = Field(1, ge=1, description="Rows of the train split below which a category is rare.")
    select: int | None = Field(None, ge=1, description="Keep as many columns, those that tell most of the label.")
    least_information: float = Field(0.0, ge=0, description="Leave out columns that tell less, in nats.")

    def adds(self) -> tuple[str, ...]:
        """The list."""
        return (FEATURES,)

    # ---- learning

    def fit(self, rows: pa.Table) -> dict[str, Any]:
        """What each column is made into, which columns are kept, and what they tell."""
        if self.label is None and (self.select or self.least_information):
            raise CurateError("columns are selected by what they tell of the label", hint="name it: `label: COLUMN`")
        label = _codes(rows.column(self.label)) if self.label else None
        found: dict[str, dict[str, Any]] = {}
        for name in rows.column_names:
            if name != self.label:
                found[name] = self._column(rows.column(name))
                told = found[name]["kind"] in ("number", "date", "category")
                found[name]["information"] = (
                    mutual_information(_codes(rows.column(name)), label) if told and label is not None else None
                )
        self._select(found)
        if not any(one["kept"] for one in found.values()):
            raise CurateError(
                "no column of the table is left to learn from", hint="the artifact of `table_types` says their kinds"
            )
        return {"columns": found}

    def _column(self, column: pa.ChunkedArray) -> dict[str, Any]:
        import numpy as np

        kind = kind_of(column, self.most_categories)
        if kind in ("text", "empty"):
            return {"kind": kind, "why": "text" if kind == "text" else "no value"}
        if kind == "category":
            counts = {
                one["values"]: one["counts"] for one in column.value_counts().to_pylist() if one["values"] is not None
            }
            if len(counts) < 2 and not column.null_count:
                return {"kind": kind, "why": "one value"}
            return {"kind": kind, "categories": sorted(value for value in counts if counts[value] >= self.least_rows)}
        values = as_floats(column) if kind == "number" else days(column.to_pylist())
        values = values[~np.isnan(values)]
        if not len(values) or values.min() == values.max():
            return {"kind": kind, "why": "one value" if len(values) else "no value"}
        with np.errstate(over="ignore", invalid="ignore"):
            mean, (centre, width) = mean_of(values), self._scaled(values)
        if not np.isfinite([mean, centre, width]).all():
            return {"kind": kind, "why": "numbers too large to be scaled"}
        return {"kind": kind, "mean": mean, "centre": centre, "width": width}

    def _scaled(self, values: np.ndarray) -> tuple[float, float]:
        """What is taken off, and what is divided by then."""
        import numpy as np

        if self.scale == "none":
            return 0.0, 1.0
        if self.scale == "range":
            return float(values.min()), float(values.max() - values.min())
        if self.scale == "robust":
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
            return float(middle), float(high - low) or float(values.std())
        return mean_of(values), float(values.std())

    def _select(self, found: dict[str, dict[str, Any]]) -> None:
        for one in found.values():
            one["kept"] = "why" not in one
        for one in found.values():
            if one["kept"] and one["information"] is not None and one["information"] < self.least_information:
                one |= {"kept": False, "why": "tells too little of the label"}
        there = [name for name, one in found.items() if one["kept"]]
        best = sorted(there, key=lambda name: -(found[name]["information"] or 0.0))
        for name in best[self.select :] if self.select else ():
            found[name] |= {"kept": False, "why": "others tell more of the label"}

    def learned(self, fitted: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Each column: what it tells, whether it is kept, and its places in the list; those that tell most first."""
        rows, start = [], 0
        for name, one in fitted["columns"].items():
            width = (len(one["categories"]) + 1 if one["kind"] == "category" else 1) if one["kept"] else 0
            rows.append({
                "column": name, "kind": one["kind"], "information": one["information"], "kept": one["kept"],
                "why": one.get("why", ""), "first": start if width else None, "places": width,
                "names": names_of(name, one) if width else [], "centre": one.get("centre"), "width": one.get("width"),
            })  # fmt: skip
            start += width
        return sorted(rows, key=lambda row: (not row["kept"], -(row["information"] or 0.0)))

    # ---- putting

    def put(self, rows: pa.Table, fitted: Mapping[str, Any]) -> Put:
        """The list of each row."""
        import numpy as np
        import pyarrow as pa

        put, parts = Put(), []
        for name, one in fitted["columns"].items():
            if not one["kept"]:
                continue
            column = rows.column(name) if name in rows.column_names else pa.chunked_array([pa.nulls(rows.num_rows)])
            if one["kind"] == "category":
                parts.append(_places(as_strings(column), one["categories"]))
                unseen = parts[-1][:, -1] > 0
                if unseen.any():
                    put.cells.append(Cells(name, "unseen_category", unseen))
                continue
            values = days(as_strings(column).tolist()) if one["kind"] == "date" else as_floats(column)
            empty = np.isnan(values)
            if empty.any():
                put.cells.append(Cells(name, "empty_as_mean", empty))
            parts.append(((np.where(empty, one["mean"], values) - one["centre"]) / one["width"])[:, None])
        matrix = np.concatenate(parts, axis=1) if rows.num_rows else np.zeros((0, 1))
        flat = pa.array(np.ascontiguousarray(matrix).ravel())
        offsets = pa.array(np.arange(rows.num_rows + 1, dtype=np.int32) * matrix.shape[1])
        put.columns[FEATURES] = pa.ListArray.from_arrays(offsets.cast("int32"), flat)
        return put


def names_of(column: str, one: Mapping[str, Any]) -> list[str]:
    """What the places of a column in the list are called."""
    if one["kind"] != "category":
        return [column]
    return [f"{column}={value}" for value in (*one["categories"], OTHER)]


def _places(values: np.ndarray, categories: list[str]) -> np.ndarray:
    """(rows, categories + 1): 1 in the place of each row's category, the last that of all others; none of an empty cell."""
    import numpy as np

    number = {value: place for place, value in enumerate(categories)}
    found = np.zeros((len(values), len(categories) + 1))
    for row, value in enumerate(values):
        if value is not None:
            found[row, number.get(value, len(categories))] = 1.0
    return found


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """(rows,) integers: a column's values, or the bins of its numbers."""
    import numpy as np

    from curate.table.columns import is_number

    kind = kind_of(column, 1 << 62)
    if is_number(column.type) and len(column.unique()) > MOST_CLASSES:
        return binned(as_floats(column))
    if kind == "date":
        return binned(days(column.to_pylist()))
    values = [str(value) for value in column.to_pylist()]
    return np.unique(np.array(values, dtype=object).astype(str), return_inverse=True)[1]
