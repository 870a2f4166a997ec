"""What the stages of a table learned from rows that go: cells that no row has that stays are replaced by a placeholder.

Categories, their forms and what fills empty cells are cells of rows, word for word; they stand in the artifacts of a version
(`fitted`, `learned`, `conflicts`), and in the `table.json` of the runs that learned from it. The placeholder keeps their place,
so that models read the same numbers. Means, bounds and counts are of all rows: they stay, and the proof names their stages.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from curate.dataset.erased import ERASED
from curate.dataset.store import Store
from curate.erasure.found import Version
from curate.jsontext import number_text
from curate.table.numerals import folded

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ARTIFACTS", "Learned"]

ARTIFACTS = ("fitted", "learned", "conflicts")
"""Those that hold cells."""
Cells = dict[str, dict[str, set[str]]]
"""By column and folded cell, how it was written."""
_NAMES = frozenset({"column", "kind", "how", "why", "order", "decimal"})
"""What of a column is a word of ours."""


class Learned:
    """Cells of rows that go in what stages of tables have learned.

    Args:
        store: The store.
        there: Its versions.
        gone: By object of documents as read, the rows that go.
    """

    def __init__(self, store: Store, there: Collection[Version], gone: Mapping[str, set[int]]) -> None:
        self.store, self.there, self.gone = store, there, {name: rows for name, rows in gone.items() if rows}
        self._of: dict[str, Cells] = {}

    def of(self, one: Version) -> Cells:
        """The cells that only rows had that go, by column, of those that the stages of a version have learned."""
        if one.id not in self._of:
            known: dict[str, set[str]] = defaultdict(set)
            for _, fitted in self._fitted(one):
                for column, said in fitted["columns"].items():
                    known[column] |= set(map(folded, _words(said)))
            found: Cells = {}
            for other in self.there if known and self.gone else ():
                self._add(found, other, known, there=True)
            if found:
                stay: Cells = {}
                self._add(stay, one, {column: set(cells) for column, cells in found.items()}, there=False)
                found = {
                    name: {cell: how for cell, how in cells.items() if cell not in stay.get(name, ())}
                    for name, cells in found.items()
                }
            self._of[one.id] = {name: cells for name, cells in found.items() if cells}
        return self._of[one.id]

    def stages(self, one: Version) -> list[str]:
        """The stages of a version that learned from a table of which rows go."""
        held = any(shard.object in self.gone for shard in one.shards)
        return [stage for stage, _ in self._fitted(one)] if held else []

    def without(self, table: pa.Table, artifact: str, cells: Cells, stage: Mapping[str, Any]) -> pa.Table:
        """An artifact (of ARTIFACTS) of a stage without these cells."""
        import pyarrow as pa

        rows = table.to_pylist()
        if artifact == "fitted":
            new = [{**row, "fitted": _written(self.fitted(json.loads(row["fitted"]), cells))} for row in rows]
        elif artifact == "learned":
            new = [
                {key: _replaced(value, cells.get(row.get("column"), {}), row.get("column")) if key not in _NAMES else value
                 for key, value in row.items()}
                for row in rows
            ]  # fmt: skip
        else:
            label = stage["settings"].get("label")
            words = sorted(set().union(*cells.get(label, {}).values()), key=len, reverse=True)
            new = [{**row, "labels": _relabelled(row["labels"], words)} for row in rows]
        return table if new == rows else pa.Table.from_pylist(new, schema=table.schema)

    @staticmethod
    def fitted(fitted: Mapping[str, Any], cells: Cells) -> dict[str, Any]:
        """What a stage has learned, without these cells."""
        columns = {
            column: {key: one if key in _NAMES else _replaced(one, cells[column]) for key, one in said.items()}
            if column in cells and isinstance(said, dict)
            else said
            for column, said in fitted["columns"].items()
        }
        return {**fitted, "columns": columns}

    def _fitted(self, one: Version) -> Iterator[tuple[str, dict[str, Any]]]:
        for stage in one.manifest["stages"]:
            for name in stage["artifacts"].get("fitted", {}).get("objects", ()):
                for row in self.store.read_table(name).to_pylist():
                    fitted = json.loads(row["fitted"])
                    if isinstance(fitted.get("columns"), dict):
                        yield stage["id"], fitted

    def _add(self, found: Cells, one: Version, wanted: Mapping[str, Collection[str]], *, there: bool) -> None:
        """The wanted cells of the rows of a version that go (`there`), or stay."""
        for shard, fragment in one.pairs():
            rows = self.gone.get(shard.object, set())
            if there and not rows:
                continue
            objects = {step.features: True for step in shard.steps if step.features} | {shard.object: False}
            if fragment:
                objects |= {fragment.object: False, **{side.object: True for side in fragment.sidecars}}
            for name, by_row in objects.items():
                for column, cell in self._cells(name, rows, wanted, there=there, by_row=by_row):
                    if folded(cell) in wanted[column]:
                        found.setdefault(column, {}).setdefault(folded(cell), set()).add(cell)

    def _cells(
        self, name: str, rows: set[int], columns: Collection[str], *, there: bool, by_row: bool
    ) -> Iterator[tuple[str, str]]:
        """The different cells of an object in some columns, of these rows or of all others."""
        import numpy as np
        import pyarrow as pa

        names = [one.name for one in self.store.read_schema(name) if one.name in columns and _is_plain(one.type)]
        if not names:
            return
        table = self.store.read_table(name, [*names, *(["row"] if by_row and "row" not in names else [])])
        number = table.column("row").to_numpy() if by_row else np.arange(table.num_rows)
        mine = np.isin(number, np.array(sorted(rows), np.int64))
        table = table.filter(pa.array(mine if there else ~mine))
        for column in names:
            cells = table.column(column)
            floating = pa.types.is_floating(cells.type)
            values = (cells if floating else cells.cast("string")).unique().drop_null().to_pylist()
            yield from ((column, number_text(one) if floating else one) for one in values)


def _is_plain(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _words(value: Any, names: Collection[str] = _NAMES) -> Iterator[str]:
    """Every string that may be a cell; of the facts of a column the keys are ours, those within are not."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _words(one, ())
    elif isinstance(value, dict):
        for key, one in value.items():
            if key not in names:
                yield from () if names else (key,)
                yield from _words(one, ())


def _replaced(value: Any, cells: Collection[str], column: str | None = None) -> Any:
    """A value without these cells (folded), nor `COLUMN=CELL`."""
    if isinstance(value, str):
        start = f"{column}=" if column and value.startswith(f"{column}=") else ""
        return start + ERASED if {folded(value), folded(value.removeprefix(start))} & set(cells) else value
    if isinstance(value, list):
        return [_replaced(one, cells, column) for one in value]
    if isinstance(value, dict):
        return {_replaced(key, cells): _replaced(one, cells, column) for key, one in value.items()}
    return value


def _relabelled(labels: str, words: list[str]) -> str:
    for word in words:
        labels = labels.replace(f"{word} (", f"{ERASED} (")
    return labels


def _written(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
