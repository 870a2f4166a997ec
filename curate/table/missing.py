"""Empty cells of a table: flagged, filled by what the train split has, or their rows left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from curate.errors import CurateError
from curate.table.columns import as_floats, as_strings, check_names, days, from_days, kind_of, mean_of, too_large
from curate.table.contract import Cells, Gone, Put, Table

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["TableMissing"]

Numbers = Literal["median", "mean", "mode", "keep", "drop"]
Others = Literal["mode", "keep", "drop"]
FLAG = "_missing"


class TableMissing(Table):
    """Fills the empty cells of a table with the median or the most frequent value of the train split.

    A column that has empty cells in the train split gets one beside it, `NAME_missing`, 1 where its cell was empty: that
    a value is missing may say something. Rows without a label are dropped; a label is never filled. A column without any value
    in the train split stays as it is.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "filled": "edited: the cell was empty, and has what the train split's cells say",
        "not_finite": "edited: the number was beyond all numbers, and is what the train split's cells say",
        "empty_cell": "its cell of a column with `drop` is empty; rows of the train split alone leave",
        "no_label": "it has no label",
    }

    numbers: Numbers = Field(
        "median", description="What an empty cell of a number is filled with; keep: it stays empty."
    )
    others: Others = Field(
        "mode", description="What an empty cell of a category is filled with; of a date the median day."
    )
    fill: dict[str, Numbers] = Field(
        {},
        description="The same, by column; drop: its row leaves, of the train split alone: in others the cell stays empty.",
    )
    values: dict[str, float | str] = Field({}, description="What empty cells of a column are filled with, by column.")
    flag: bool = Field(True, description="Add the columns `NAME_missing`.")
    most_categories: int = Field(
        100, ge=2, description="Different values beyond which a column of strings is text: left alone."
    )

    def fit(self, rows: pa.Table) -> dict[str, Any]:
        """Of each column what fills its empty cells, and whether they are flagged."""
        check_names("fill", self.fill, rows.column_names)
        check_names("values", self.values, rows.column_names)
        found: dict[str, Any] = {}
        for name in rows.column_names:
            column = rows.column(name)
            kind = kind_of(column, self.most_categories)
            how, value = ("keep", None) if name == self.label else self._fill(name, kind, column)
            flagged = self.flag and name != self.label and column.null_count > 0 and kind not in ("empty", "text")
            if flagged and f"{name}{FLAG}" in rows.column_names:
                raise CurateError(
                    f"there is a column `{name}{FLAG}` already",
                    hint="leave it out, or set `flag: false`: it would be replaced",
                )
            found[name] = {"kind": kind, "how": how, "value": value, "flag": flagged, "empty": column.null_count}
        return {"columns": found, "rows": rows.num_rows}

    def _fill(self, name: str, kind: str, column: pa.ChunkedArray) -> tuple[str, Any]:
        import numpy as np

        if name in self.values:
            given = self.values[name]
            if kind == "number" and isinstance(given, str):
                raise CurateError(f"`values` has `{given}` for `{name}`, a column of numbers", hint="give a number")
            return "value", given if kind in ("number", "empty") else str(given)
        how = self.fill.get(name) or (
            "keep" if kind in ("text", "empty") else self.numbers if kind == "number" else self.others
        )
        if how in ("keep", "drop") or kind == "empty":
            return how if how == "drop" else "keep", None
        if kind == "number" and how != "mode":
            numbers = as_floats(column)
            numbers = numbers[~np.isnan(numbers)]
            return how, float(np.median(numbers)) if how == "median" else mean_of(numbers)
        if kind == "date" and name not in self.fill:
            there = np.sort(days([value for value in column.to_pylist() if value is not None]))
            return "median", from_days(there[(len(there) - 1) // 2])
        if how != "mode":
            raise CurateError(
                f"`{name}` is a column of the kind {kind}: it has no {how}", hint=f"`fill: {{{name}: mode}}`"
            )
        counts = {
            one["values"]: one["counts"] for one in column.value_counts().to_pylist() if one["values"] is not None
        }
        return how, min(counts, key=lambda value: (-counts[value], value))

    def learned(self, fitted: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What fills each column."""
        return [
            {
                "column": name, "kind": one["kind"], "how": one["how"], "empty_share": one["empty"] / max(fitted["rows"], 1),
                "value": None if one["value"] is None else str(one["value"]), "flag": one["flag"],
            }
            for name, one in fitted["columns"].items()
        ]  # fmt: skip

    def put(self, rows: pa.Table, fitted: Mapping[str, Any]) -> Put:
        """Filled columns, and beside them those that flag."""
        import numpy as np
        import pyarrow as pa

        put, train = Put(), np.ones(rows.num_rows, dtype=bool)
        if "split" in rows.column_names:
            train = np.array([one == "train" for one in rows.column("split").to_pylist()], dtype=bool)
        for name, one in fitted["columns"].items():
            if name not in rows.column_names:
                continue
            number = one["kind"] == "number"
            values = as_floats(rows.column(name)) if number else as_strings(rows.column(name))
            empty = np.isnan(values) if number else np.array([value is None for value in values], dtype=bool)
            if name == self.label:
                put.gone.append(Gone("no_label", empty, name))
                continue
            if one["flag"]:
                put.columns[f"{name}{FLAG}"] = pa.array(empty.astype(np.float64))
            if one["how"] == "drop":
                put.gone.append(Gone("empty_cell", empty & train, name))
            elif one["value"] is not None:
                put.columns[name] = _filled(values, empty, one["value"])
                infinite = too_large(rows.column(name)) if number else np.zeros(len(empty), dtype=bool)
                put.cells.append(Cells(name, "filled", empty & ~infinite))
                put.cells += [Cells(name, "not_finite", infinite)] if infinite.any() else []
        return put


def _filled(values: np.ndarray, empty: np.ndarray, value: Any) -> pa.Array:
    import pyarrow as pa

    values = values.copy()
    values[empty] = value
    return pa.array(values) if values.dtype.kind == "f" else pa.array(values.tolist(), pa.string())
