"""Rows of a table that are equal: once each, in one split, and with one label.

A row is known by a hash over its cells that are not empty and the names of their columns (128 bits): a column that a file has
not is one without values. So it costs some 100 bytes of memory while all are compared in one
process, up to 5 million rows (curate/stages/whole.py).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from curate.stages.contract import Global, Reduced, Verdicts
from curate.table.contract import column_names

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TableDuplicates"]

ORDER = {"test": 0, "validation": 1, "train": 2}
"""Which copy stays: what is measured on stays as it is, and what is learned from must not have it."""


class TableDuplicates(Global):
    """Drops rows that are equal to another in all columns, within a split and from one to another.

    Of equal rows the first of the test split stays, else of the validation split, else of the train split: a model that has
    seen a row of the test split is measured too well. Rows that are equal but for their label contradict each other:
    they are told in the artifact `conflicts`, and dropped or decided by the majority where `conflicts` says so, in each split
    by itself. Where rows are rightly equal (few columns of few values), leave this stage out.
    """

    version: ClassVar[int] = 2
    reads_text: ClassVar[bool] = False
    knows_splits: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ("xxhash",)
    reasons: ClassVar[Mapping[str, str]] = {
        "duplicate_row": "its cells and its label are those of another row of its split",
        "row_in_other_split": "its cells and its label are those of a row of the test or validation split",
        "conflicting_label": "other rows of its split have the same cells and another label",
    }

    only: tuple[str, ...] = Field(
        (), description="Columns that are compared; by default all, as of `table_types`, but the label."
    )
    leave: tuple[str, ...] = Field((), description="Columns that are not compared: keys, times of entry.")
    label: str | None = Field(None, description="Column of the label.")
    conflicts: Literal["keep", "drop", "majority"] = Field(
        "keep",
        description="Rows with equal cells and several labels: keep one of each label, drop all, or keep the label that most "
        "of them have (of as many, none).",
    )

    def columns(self) -> Sequence[str] | None:
        """All of them, unless some are named."""
        return (*self.only, *((self.label,) if self.label else ()), "split") if self.only else None

    def requires(self) -> Sequence[str]:
        """The columns that are named."""
        return (*self.only, *((self.label,) if self.label else ()))

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that hashes the cells of each row."""
        import pyarrow as pa
        from xxhash import xxh3_128_hexdigest

        def sign(batch: pa.Table) -> pa.Table:
            names = sorted(set(column_names(batch.schema, self.only, None, self.leave)) - {self.label})
            cells = [(name, _written(batch.column(name))) for name in names]
            keys = [
                xxh3_128_hexdigest(repr([(name, one[row]) for name, one in cells if one[row] is not None]))
                for row in range(batch.num_rows)
            ]
            labels = _written(batch.column(self.label)) if self.label else [None] * batch.num_rows
            split = batch.column("split") if "split" in batch.column_names else pa.array(["train"] * batch.num_rows)
            return pa.table({"key": keys, "label": pa.array(labels, pa.string()), "split": split})

        return sign

    def reduce(self, signatures: pa.Table) -> Reduced:
        """Which rows stay."""
        import pyarrow as pa

        ids, keys, labels, splits = (signatures.column(name).to_pylist() for name in ("id", "key", "label", "split"))
        groups: dict[str, list[int]] = defaultdict(list)
        for row, key in enumerate(keys):
            groups[key].append(row)
        said, conflicts = Verdicts(), list[dict[str, Any]]()
        for rows in groups.values():
            if len(rows) > 1:
                wrong = self._contradicted(rows, labels, splits)
                for row, count in wrong.items():
                    said.drop(row, "conflicting_label", value=count, detail=f"label {labels[row]}")
                if len({labels[row] for row in rows}) > 1:
                    found = Counter(str(labels[row]) for row in rows)
                    told = ", ".join(f"{label} ({count})" for label, count in sorted(found.items()))
                    conflicts.append({"rows": len(rows), "labels": told, "id": ids[rows[0]]})
                _copies([row for row in rows if row not in wrong], ids, labels, splits, said)
        tables = {"conflicts": pa.Table.from_pylist(conflicts)} if conflicts else {}
        return Reduced(said.table(), {}, tables)

    def _contradicted(self, rows: list[int], labels: list[Any], splits: list[str]) -> dict[int, int]:
        """The rows whose label counts for nothing, each with how many of its split have another one."""
        found: dict[int, int] = {}
        for split in sorted({splits[row] for row in rows} if self.conflicts != "keep" else ()):
            mine = [row for row in rows if splits[row] == split]
            counts = Counter(labels[row] for row in mine).most_common()
            if len(counts) < 2:
                continue
            most = counts[0][0] if self.conflicts == "majority" and counts[0][1] > counts[1][1] else object()
            found |= {row: len(mine) - dict(counts)[labels[row]] for row in mine if labels[row] != most}
        return found


def _copies(rows: list[int], ids: list[str], labels: list[Any], splits: list[str], said: Verdicts) -> None:
    """Drop all but the first of rows with equal cells and labels."""
    first: dict[Any, int] = {}
    for row in sorted(rows, key=lambda row: (ORDER.get(splits[row], len(ORDER)), row)):
        kept = first.setdefault(labels[row], row)
        if kept != row:
            reason = "duplicate_row" if splits[kept] == splits[row] else "row_in_other_split"
            said.drop(row, reason, duplicate_of=ids[kept], detail=f"in the split {splits[kept]}")


def _written(column: pa.ChunkedArray) -> list[str | None]:
    """Cells as text; whole numbers alike, whether their column has fractions or not."""
    import pyarrow as pa

    values = column.to_pylist()
    if pa.types.is_floating(column.type):
        return [
            str(int(value)) if value is not None and value.is_integer() else None if value is None else repr(value)
            for value in values
        ]
    return [None if value is None else str(value) for value in values]
