"""Writing objects anew without a person: rows keep their numbers, so all that lies beside them stays aligned.

A document that is gone is a blank row of its object, has no row in what was measured of it, and a verdict without words. In
documents that only mention the person, placeholders stand. What nothing is changed in keeps its name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cached_property
from typing import TYPE_CHECKING, Any

from curate.dataset.erased import ERASED, blanked, exchanged
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
        ids: Their ids.
        naming: Objects that name one of these.
        places: Ids and places that no index shall know.
    """

    def __init__(
        self,
        store: Store,
        matcher: Matcher,
        *,
        hits: dict[str, Hits],
        gone: dict[str, set[int]],
        ids: Collection[str],
        naming: Collection[str],
        places: Collection[str],
    ) -> None:
        self.store, self.matcher, self.naming = store, matcher, frozenset(naming)
        self.hits, self.gone, self.ids, self.places = hits, gone, frozenset(ids), frozenset(places)
        self.made: dict[tuple[str, str], str] = {}
        """What an object became: by its name, and the object of its documents where that matters."""

    def affects(self, shard: str) -> bool:
        """Whether anything changes in documents, by their object as read."""
        return bool(self.gone.get(shard)) or shard in self.hits

    @property
    def replaced(self) -> set[str]:
        """Objects that became others."""
        return {before for (before, _), after in self.made.items() if before != after}

    def plain(self, name: str | None) -> str | None:
        """An object whose rows are no documents."""
        return name and self._changed(name, "", lambda table: self._without_ids(redact(table, self.matcher)))

    def documents(self, name: str, shard: str) -> str:
        """An object of documents."""

        def change(table: pa.Table) -> pa.Table:
            table = self._without_ids(redact(table, self.matcher))
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
            table = self._without_ids(redact(table, self.matcher))
            return table.filter(self._gone_in(table, shard, there=False)) if self.gone.get(shard) else table

        return name and self._changed(name, shard, change)

    def verdicts(self, name: str | None, shard: str) -> str | None:
        """An object of verdicts: those on documents that are gone say no more than which."""

        def change(table: pa.Table) -> pa.Table:
            table = self._without_ids(redact(table, self.matcher))
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

    def index(self, name: str) -> str:
        """An object of an index without the ids and places that are gone."""

        def of_index(table: pa.Table) -> pa.Table:
            import numpy as np
            import pyarrow as pa

            high, low = (table.column(name).to_numpy() for name in ("high", "low"))
            order = np.searchsorted(self._hashes[0], high)
            order = np.minimum(order, max(len(self._hashes[0]) - 1, 0))
            gone = np.zeros(len(high), dtype=bool)
            for place in np.flatnonzero(self._hashes[0][order] == high) if len(self._hashes[0]) else ():
                gone[place] = (int(high[place]), int(low[place])) in self._pairs
            return table.filter(pa.array(~gone))

        return self._written(name, "", of_index) if self.ids or self.places else name

    @cached_property
    def _hashes(self) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        high, low = hash_names(sorted(self.ids | self.places))
        order = np.argsort(high)
        return high[order], low[order]

    @cached_property
    def _pairs(self) -> set[tuple[int, int]]:
        return set(zip(*(half.tolist() for half in self._hashes), strict=True))

    def _gone_in(self, table: pa.Table, shard: str, *, there: bool = True) -> Any:
        import pyarrow as pa
        import pyarrow.compute as compute

        rows = pa.array(sorted(self.gone.get(shard, ())), pa.int64())
        gone = compute.is_in(table.column("row").cast(pa.int64()), rows).combine_chunks()
        return gone if there else compute.invert(gone)

    def _without_ids(self, table: pa.Table) -> pa.Table:
        """A table in which no other document names one that is gone."""
        import pyarrow as pa
        import pyarrow.compute as compute

        wanted = pa.array(sorted(self.ids), pa.string())
        for name in NAMING:
            if not self.ids or name not in table.column_names or not pa.types.is_string(table.schema.field(name).type):
                continue
            rows = compute.indices_nonzero(compute.is_in(table.column(name), wanted)).to_pylist()
            if rows:
                where = table.schema.get_field_index(name)
                new = exchanged(table.column(name), dict.fromkeys(rows, ERASED))
                table = table.set_column(where, table.schema.field(where), new)
        return table

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
