"""Numbers far from all others: told by the median and the median absolute deviation of the train split.

The score of a number is 0.6745 (x - median) / MAD (Iglewicz and Hoaglin 1993, who call 3.5 far). Where more than half of the
numbers are equal the MAD is 0, and nothing is far: the others (a rare 1 among zeros, counts) are what the column has to tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from curate.table.columns import as_floats, is_number, too_large
from curate.table.contract import OUTLIERS, Cells, Gone, Put, Table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TableOutliers"]

NORMAL = 0.6745
"""Median absolute deviation of a normal distribution, in standard deviations."""


class TableOutliers(Table):
    """Flags numbers that are far from the others of their column, and clips, empties or drops them where that is asked for.

    Every row gets the column `outliers`: the names of its columns whose number is far. Bounds follow from the median and the
    median absolute deviation of the train split; a column more than half of whose numbers are equal there has none.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "outlier_clipped": "edited: the number was beyond its bound, and is the bound",
        "outlier_emptied": "edited: the number was beyond its bound, and the cell is empty",
        "not_finite": "edited: empty, since it is beyond all numbers",
        "outlier": "a number of its row is beyond its bound; rows of the train split alone leave",
    }

    score: float = Field(3.5, gt=0, description="Score beyond which a number is far.")
    action: Literal["flag", "clip", "empty", "drop"] = Field(
        "flag",
        description="clip: the bound stands for the number (integers become floats); empty: nothing does (put `table_missing` "
        "behind it); drop: the row leaves, of the train split alone, since what a model meets cannot be chosen.",
    )

    def fit(self, rows: pa.Table) -> dict[str, Any]:
        """The bounds of each column of numbers."""
        return {
            "columns": {
                name: self._bounds(rows.column(name))
                for name in rows.column_names
                if name != self.label and is_number(rows.schema.field(name).type)
            }
        }

    def _bounds(self, column: pa.ChunkedArray) -> dict[str, float | int | None]:
        import numpy as np

        values = as_floats(column)
        values = values[~np.isnan(values)]
        if not len(values):
            return {"median": 0.0, "scale": 0.0, "low": None, "high": None, "far": 0}
        with np.errstate(over="ignore", invalid="ignore"):
            median = float(np.median(values))
            distance = np.abs(values - median)
            scale = float(np.median(distance)) / NORMAL
            reach = self.score * scale
        if not scale or not np.isfinite([median - reach, median + reach]).all():
            median, scale = (one if np.isfinite(one) else None for one in (median, scale))
            return {"median": median, "scale": scale, "low": None, "high": None, "far": 0}
        far = int((distance > reach).sum())
        return {"median": median, "scale": scale, "low": median - reach, "high": median + reach, "far": far}

    def learned(self, fitted: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The bounds of each column."""
        return [{"column": name, **one} for name, one in fitted["columns"].items()]

    def put(self, rows: pa.Table, fitted: Mapping[str, Any]) -> Put:
        """The names of the far columns of each row, and what is done with them."""
        import numpy as np
        import pyarrow as pa

        put, named = Put(), np.full(rows.num_rows, "", dtype=object)
        train = np.array(
            [one == "train" for one in rows.column("split").to_pylist()] if "split" in rows.column_names else []
        )
        for name, one in fitted["columns"].items():
            if name not in rows.column_names or one["low"] is None:
                continue
            values = as_floats(rows.column(name))
            bound = np.where(values < one["low"], one["low"], one["high"])
            far = (values < one["low"]) | (values > one["high"])
            named[far] += np.where(named[far] == "", name, ", " + name)
            if self.action == "drop" and len(train):
                put.gone.append(Gone("outlier", far & train, name, values, bound))
            elif self.action in ("clip", "empty"):
                clip = self.action == "clip"
                new = np.where(far, bound if clip else np.nan, values)
                put.columns[name] = pa.array(new, from_pandas=True)
                put.cells.append(Cells(name, "outlier_clipped" if clip else "outlier_emptied", far, values, bound))
                if (infinite := too_large(rows.column(name))).any():
                    put.cells.append(Cells(name, "not_finite", infinite))
        put.columns[OUTLIERS] = pa.array([name or None for name in named], pa.string())
        return put
