"""Writing objects anew without a person: rows keep their numbers, so all that lies beside them stays aligned.

A document that is gone is a blank row of its object, has no row in what was measured of it, and a verdict without words. In
documents that only mention the person, placeholders stand. What nothing is changed in keeps its name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from curate.dataset.cells import blanked, exchanged
from curate.dataset.erased import ERASED, hashed
from curate.dataset.index import hash_names
from curate.dataset.state import SIZE
from curate.dataset.store import Store
from curate.erasure.found import NAMING
from curate.erasure.matching import Matcher
from curate.erasure.scan import Hits, redact
from curate.pipeline.task import document_bytes

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["Rewriter"]


class Rewriter:
    """Writes objects anew, each once.

    Args:
        store: The store.
        matcher: What to look for.
        hits: Objects in which something is.
        gone: By object of documents as read, the rows that are gone.
        ids: Their ids, by dataset.
        naming: Objects that name one of these.
        places: Places that no index shall know, by dataset.
        scopes: The datasets of each object of documents as read.
        key: Of what stands for an id where others name it.
    """

    def __init__(
        self,
        store: Store,
        matcher: Matcher,
        *,
        hits: dict[str, Hits],
        gone: dict[str, set[int]],
        ids: Mapping[str, Collection[str]],
        naming: Collection[str],
        places: Mapping[str, Collection[str]],
        scopes: Mapping[str, Collection[str]],
        key: bytes,
    ) -> None:
        self.store, self.matcher, self.naming = store, matcher, frozenset(naming)
        self.hits, self.gone, self.ids, self.places = hits, gone, ids, places
        self.scopes, self.key = scopes, key
        self._gone_names: dict[str, tuple[np.ndarray, set[tuple[int, int]]]] = {}
        self.made: dict[tuple[str, str], str] = {}
        """What an object became: by its name, and the object of its documents where that matters."""

    def affects(self, shard: str) -> bool:
        """Whether anything changes in documents, by their object as read."""
        return bool(self.gone.get(shard)) or shard in self.hits

    @property
    def replaced(self) -> set[str]:
        """Objects that became others."""
        return {before for (before, _), after in self.made.items() if before != after}

    def plain(self, name: str | None, dataset: str = "") -> str | None:
        """An object whose rows are no documents, of a dataset."""
        return name and self._changed(
            name, dataset, lambda table: self._without_ids(redact(table, self.matcher), [dataset])
        )

    def learned(self, name: str, dataset: str, version: str, change: Callable[[pa.Table], pa.Table]) -> str:
        """An artifact of a version, and of a stage that learned from a table; `change` takes cells out."""

        def both(table: pa.Table) -> pa.Table:
            return self._without_ids(redact(change(table), self.matcher), [dataset])

        return self._written(name, f"learned of {version}", both)

    def documents(self, name: str, shard: str) -> str:
        """An object of documents."""

        def change(table: pa.Table) -> pa.Table:
            table = self._without_ids(redact(table, self.matcher), self.scopes.get(shard, ()))
            if rows := self.gone.get(shard):
                table = blanked(table, sorted(rows))
            if SIZE in table.column_names:
                where = table.schema.get_field_index(SIZE)
                table = table.set_column(where, table.schema.field(where), document_bytes(table.drop_columns([SIZE])))
            return table

        return self._changed(name, shard, change)

    def beside(self, name: str | None, shard: str) -> str | None:
        """An object with `row`, of what lies beside documents."""

        def change(table: pa.Table) -> pa.Table:
            table = self._without_ids(redact(table, self.matcher), self.scopes.get(shard, ()))
            return table.filter(self._gone_in(table, shard, there=False)) if self.gone.get(shard) else table

        return name and self._changed(name, shard, change)

    def verdicts(self, name: str | None, shard: str) -> str | None:
        """An object of verdicts: those on documents that are gone say no more than which."""

        def change(table: pa.Table) -> pa.Table:
            table = self._without_ids(redact(table, self.matcher), self.scopes.get(shard, ()))
            rows = self._gone_in(table, shard).to_numpy(zero_copy_only=False).nonzero()[0].tolist()
            blank = {"id": ERASED, "text": "", "value": None, "detail": None, "duplicate_of": None, "spans": None}
            for column, value in blank.items() if rows else ():
                if column in table.column_names:
                    where, before = table.schema.get_field_index(column), table.column(column)
                    new = {row: value if column != "text" or before[row].is_valid else None for row in rows}
                    table = table.set_column(where, table.schema.field(where), exchanged(before, new))
            return table

        return name and self._changed(name, shard, change)

    def kept(self, mask: np.ndarray) -> str | None:
        """The object that says which rows stay; None where all do."""
        import pyarrow as pa

        return None if mask.all() else self.store.write_table(pa.table({"kept": pa.array(mask)}))

    def index(self, name: str, dataset: str) -> str:
        """An object of a dataset's index without the ids and places that are gone."""

        def of_index(table: pa.Table) -> pa.Table:
            import numpy as np
            import pyarrow as pa

            high, low = (table.column(name).to_numpy() for name in ("high", "low"))
            names, pairs = self._hashes(dataset)
            order = np.minimum(np.searchsorted(names, high), len(names) - 1)
            gone = np.zeros(len(high), dtype=bool)
            for place in np.flatnonzero(names[order] == high):
                gone[place] = (int(high[place]), int(low[place])) in pairs
            return table.filter(pa.array(~gone))

        some = self.ids.get(dataset) or self.places.get(dataset)
        return self._written(name, f"index of {dataset}", of_index) if some else name

    def _hashes(self, dataset: str) -> tuple[np.ndarray, set[tuple[int, int]]]:
        """Hashes of the names that are gone: their upper halves in order, and whole."""
        if dataset not in self._gone_names:
            import numpy as np

            high, low = hash_names(sorted({*self.ids.get(dataset, ()), *self.places.get(dataset, ())}))
            self._gone_names[dataset] = np.sort(high), set(zip(high.tolist(), low.tolist(), strict=True))
        return self._gone_names[dataset]

    def _gone_in(self, table: pa.Table, shard: str, *, there: bool = True) -> Any:
        import pyarrow as pa
        import pyarrow.compute as compute

        rows = pa.array(sorted(self.gone.get(shard, ())), pa.int64())
        gone = compute.is_in(table.column("row").cast(pa.int64()), rows).combine_chunks()
        return gone if there else compute.invert(gone)

    def _without_ids(self, table: pa.Table, datasets: Collection[str]) -> pa.Table:
        """A table in which no other document names one that is gone; two that are gone stay two."""
        import pyarrow as pa
        import pyarrow.compute as compute

        ids = set().union(*(self.ids.get(one, ()) for one in datasets))
        wanted = pa.array(sorted(ids), pa.string())
        for name in NAMING:
            if not ids or name not in table.column_names or not pa.types.is_string(table.schema.field(name).type):
                continue
            rows = compute.indices_nonzero(compute.is_in(table.column(name), wanted)).to_pylist()
            if rows:
                where = table.schema.get_field_index(name)
                new = exchanged(
                    table.column(name), {row: self._mark(name, table.column(name)[row].as_py()) for row in rows}
                )
                table = table.set_column(where, table.schema.field(where), new)
        return table

    def _mark(self, column: str, identity: str) -> str:
        """What stands for an id that is gone."""
        return ERASED if column == "id" else f"{ERASED[:-1]} {hashed(self.key, 'mark', identity)[:12]}>"

    def _changed(self, name: str, shard: str, change: Callable[[pa.Table], pa.Table]) -> str:
        """An object in which something may have to change."""
        touched = name in self.hits or name in self.naming or self.gone.get(shard)
        return self._written(name, shard, change) if touched else name

    def _written(self, name: str, shard: str, change: Callable[[pa.Table], pa.Table]) -> str:
        if (name, shard) not in self.made:
            before = self.store.read_table(name)
            after = change(before)
            same = after.equals(before, check_metadata=True)
            self.made[name, shard] = name if same else self.store.write_table(after)
        return self.made[name, shard]
