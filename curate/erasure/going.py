"""Which documents go as a whole: those that are named, their families, and copies that say nothing that many say.

An id means a document of a dataset, not of the store: `17` of one says nothing of `17` of another. Two datasets hold the same
document where they share the object that it was read into, or read the same content at the same place.

Of a document that is named the whole family goes: what an expander made of it, what it was made of, and, by the column
`parent`, what belongs to it. Of an exact copy only what an expander made of it does: whose it is nobody has said. A text that
more than `MOST_COPIES` other documents have (a licence, a signature) is no sign of the person: these stay, and are counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from curate.dataset.cells import FEWEST, content_of
from curate.dataset.erased import Erased, dataset_of, file_of
from curate.dataset.ledger import Shard
from curate.dataset.store import Store
from curate.erasure.subject import Named
from curate.errors import ConfigurationErrors, CurateError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Documents", "Key", "Row", "columns"]

MOST_COPIES = 5
Key = tuple[str, str]
"""A dataset and an id; for what a run read that made no version, the object in place of the dataset."""
Row = tuple[str, int]
"""An object of documents as read, and a row of it."""


@dataclass(slots=True)
class Going:
    """What goes.

    Attributes:
        rows: By object of documents as read, the rows.
        keys: What these documents are called.
        copies: Ids of the documents that go for being an exact copy.
        shared: How many stay though they say the same as one that goes, as many do.
        common: Texts that many have.
    """

    rows: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    keys: set[Key] = field(default_factory=set)
    copies: set[str] = field(default_factory=set)
    shared: int = 0
    common: set[str] = field(default_factory=set)


class Documents:
    """The documents of a store as they were read, by dataset.

    Args:
        store: The store.
        shards: Its shards, by object.
        datasets: The datasets of each; an object without one is of a run that made no version.
    """

    def __init__(self, store: Store, shards: Mapping[str, Shard], datasets: Mapping[str, set[str]]) -> None:
        self.store, self.shards = store, shards
        self.known = {one for some in datasets.values() for one in some}
        self.scopes = {name: frozenset(datasets.get(name) or {name}) for name in shards}
        self.tables = {name: columns(store, name, ["id", "parent", "source_uri"]) for name in shards}

    def column(self, name: str, column: str) -> list[Any]:
        """The values of a column of an object; nulls where it has none."""
        table = self.tables[name]
        return table.column(column).to_pylist() if column in table.column_names else [None] * table.num_rows

    def ids(self) -> Iterator[tuple[Row, str]]:
        """Every document that is still there, with its id."""
        for name in self.shards:
            for row, identity in enumerate(self.column(name, "id")):
                if identity is not None:
                    yield (name, row), identity

    # ---- named ones

    def named(
        self, wanted: Collection[Named], erased: Erased | None, where: str
    ) -> tuple[dict[Named, set[Row]], set[Key]]:
        """The documents that are named, and in which datasets their ids mean them.

        Raises:
            CurateError: An id is in several datasets, as different documents, or a dataset is not there.
        """
        errors: list[CurateError] = []
        holding: dict[str, list[Row]] = defaultdict(list)
        ids = {one.id for one in wanted}
        for row, identity in self.ids() if ids else ():
            if identity in ids:
                holding[identity].append(row)
        found: dict[Named, set[Row]] = {}
        keys = set[Key]()
        for number, one in enumerate(wanted, 1):
            place = f"{where}: documents, number {number}"
            groups = self._same(holding.get(one.id, []))
            of = [self._datasets(group) for group in groups]
            if one.dataset:
                if dataset_of(one.dataset) not in self.known:
                    hint = f"datasets: {', '.join(sorted(self.known)) or 'none'}"
                    errors.append(CurateError(f"there is no dataset `{one.dataset}`", place, hint))
                chosen = [group for group, names in zip(groups, of, strict=True) if dataset_of(one.dataset) in names]
                keys.add((dataset_of(one.dataset), one.id))
            else:
                before = {name for name in self.known if erased and erased.gone(one.id, name)}
                there = [names for names in of if names]
                there += [before] if before and not any(names & before for names in there) else []
                if len(there) > 1:
                    names = sorted(set().union(*there))
                    hint = f"say which: `documents: [{{id: ..., dataset: {names[0]}}}]`, once for each that is meant"
                    problem = f"this id is in several datasets, and not of the same document: {', '.join(names)}"
                    errors.append(CurateError(problem, place, hint))
                chosen = [group for group, names in zip(groups, of, strict=True) if names] or groups
                keys |= {(name, one.id) for names in there or [{*self.known, ""}] for name in names}
            found[one] = {row for group in chosen for row in group}
            keys |= {(name, one.id) for object_, _ in found[one] for name in self.scopes[object_]}
        if errors:
            raise ConfigurationErrors(errors) if len(errors) > 1 else errors[0]
        return found, keys

    def _datasets(self, group: Collection[Row]) -> set[str]:
        return {name for object_, _ in group for name in self.scopes[object_]} & self.known

    def _same(self, rows: list[Row]) -> list[set[Row]]:
        """Rows of one id in groups, each a document: those of a dataset, and those with the same content at the same place."""
        groups: list[tuple[set[Row], set[Any]]] = []
        for name, row in rows:
            said = content_of(self.store.read_table(name).slice(row, 1))[0].as_py()
            marks: set[Any] = {*self.scopes[name], (self.column(name, "source_uri")[row], said)}
            same = [one for one in groups if one[1] & marks]
            groups = [one for one in groups if not one[1] & marks]
            members = {(name, row)}.union(*(one[0] for one in same))
            groups.append((members, marks.union(*(one[1] for one in same))))
        return [members for members, _ in groups]

    # ---- their families

    def going(self, chosen: Collection[Row]) -> Going:
        """Everything that goes with some documents."""
        found = Going()
        found.rows, found.keys = self._closed(chosen, self._family)
        if not chosen:
            return found
        texts = self._texts(self._roots(chosen))
        copies = self.copies_of(texts, found)
        if copies:
            more, keys = self._closed(copies, self._made)
            found.copies = {self.name(row) for row in copies}
            for name, rows in more.items():
                found.rows[name] |= rows
            found.keys |= keys
        return found

    def name(self, row: Row) -> str:
        """The id of a document."""
        return self.tables[row[0]].column("id")[row[1]].as_py()

    def _closed(
        self, chosen: Collection[Row], beside: Callable[[], Mapping[Key, set[Key]]]
    ) -> tuple[dict[str, set[int]], set[Key]]:
        """Rows and what they are called, with all that belongs to them."""
        keys = {(scope, self.name(row)) for row in chosen for scope in self.scopes[row[0]]}
        rows: dict[str, set[int]] = defaultdict(set)
        near = beside() if chosen else {}
        fresh = set(keys)
        while fresh:
            while fresh:
                keys |= fresh
                fresh = {other for one in fresh for other in near.get(one, ())} - keys
            for (name, row), identity in self.ids():
                called = {(scope, identity) for scope in self.scopes[name]}
                if called & keys:
                    rows[name].add(row)
                    fresh |= called - keys
        return rows, keys

    def _links(self) -> Iterator[tuple[Key, Key, bool]]:
        """What a document is called, what its parent is, and whether an expander made it."""
        for name, shard in self.shards.items():
            parents = self.column(name, "parent")
            above = self.scopes.get(shard.parent, self.scopes[name]) if shard.parent else self.scopes[name]
            for identity, parent in zip(self.column(name, "id"), parents, strict=True):
                if identity is not None and parent is not None:
                    for scope in self.scopes[name]:
                        for other in above:
                            yield (scope, identity), (other, parent), bool(shard.parent)

    def _family(self) -> dict[Key, set[Key]]:
        near: dict[Key, set[Key]] = defaultdict(set)
        for child, parent, _ in self._links():
            near[child].add(parent)
            near[parent].add(child)
        return near

    def _made(self) -> dict[Key, set[Key]]:
        near: dict[Key, set[Key]] = defaultdict(set)
        for child, parent, expanded in self._links():
            if expanded:
                near[parent].add(child)
        return near

    def above(self, rows: Collection[Row]) -> set[Row]:
        """The documents that an expander made some of."""
        wanted: dict[str, set[str]] = defaultdict(set)
        for name, row in rows:
            over = self.shards[name].parent
            if over in self.shards:
                wanted[str(over)].add(self.column(name, "parent")[row])
        return {
            (name, row) for name, ids in wanted.items() for row, one in enumerate(self.column(name, "id")) if one in ids
        }

    def _roots(self, chosen: Collection[Row]) -> set[Row]:
        """Some documents and those that they were made of."""
        found, fresh = set(chosen), set(chosen)
        while fresh:
            fresh = self.above(fresh) - found
            found |= fresh
        return found

    def files(self, gone: Mapping[str, Collection[int]]) -> set[str]:
        """The files of which nothing stays: their names tell of nobody else."""
        files: dict[bool, set[str]] = {True: set(), False: set()}
        for name, shard in self.shards.items():
            for row, place in enumerate(self.column(name, "source_uri") if not shard.parent else ()):
                if place:
                    files[row in gone.get(name, ())].add(file_of(place))
        return files[True] - files[False]

    # ---- copies

    def _texts(self, rows: Collection[Row]) -> set[str]:
        """What they say, where that is enough to tell them from others."""
        import pyarrow as pa

        by_object: dict[str, list[int]] = defaultdict(list)
        for name, row in rows:
            by_object[name].append(row)
        found = set[str]()
        for name, some in by_object.items():
            said = content_of(self.store.read_table(name).take(pa.array(some, pa.int64()))).to_pylist()
            found |= {text for text in said if len(text.encode()) >= FEWEST}
        return found

    def copies_of(self, texts: set[str], found: Going) -> set[Row]:
        """Other documents with one of the texts, unless many have it."""
        import pyarrow as pa
        import pyarrow.compute as compute

        same: dict[str, set[Row]] = defaultdict(set)
        for name in self.shards if texts else ():
            said = content_of(self.store.read_table(name))
            for row in compute.indices_nonzero(compute.is_in(said, pa.array(sorted(texts), pa.string()))).to_pylist():
                if row not in found.rows.get(name, ()) and self.tables[name].column("id")[row].is_valid:
                    same[said[row].as_py()].add((name, row))
        copies = set[Row]()
        for text, rows in same.items():
            others = {self.name(row) for row in rows}
            if len(others) > MOST_COPIES:
                found.common.add(text)
                found.shared += len(others)
            else:
                copies |= rows
        return copies


def columns(store: Store, name: str, wanted: list[str]) -> pa.Table:
    """Some columns of an object, those that it has."""
    there = store.read_schema(name).names
    return store.read_table(name, [one for one in wanted if one in there])
