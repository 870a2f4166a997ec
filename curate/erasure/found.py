"""What of a person a store holds: which objects, which documents go as a whole, in which only mentions are replaced.

Documents that are named by their ids go, and so do those whose id holds an identifier, those that hold a name in two columns
(curate/erasure/apart.py), those in which it cannot be replaced for good (sealed.py), what belongs to each (going.py), and
what a model made of it (answers.py).
Near copies are named, and stay: whether they are of the person, somebody has to look.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from curate.dataset.annotations import annotation_objects
from curate.dataset.cells import FEWEST, content_of
from curate.dataset.erased import Erased, Suppressed, dataset_of, file_of, hashed, within
from curate.dataset.fragments import Fragment, read_fragments, read_ledger
from curate.dataset.ledger import Shard
from curate.dataset.manifest import objects_of
from curate.dataset.snapshots import pieces_of, snapshot_objects
from curate.dataset.store import Store
from curate.erasure.answers import answers_about, asked_datasets, has_answers, made_of
from curate.erasure.apart import named_apart
from curate.erasure.going import Documents, Key, columns
from curate.erasure.matching import Matcher
from curate.erasure.scan import Hits, scan
from curate.erasure.sealed import sealed
from curate.erasure.subject import KINDS, Subject
from curate.pipeline.task import make_ids

if TYPE_CHECKING:
    import pyarrow as pa

NAMING = ("id", "parent", "duplicate_of", "duplicate_cluster", "id_a", "id_b", "@key")
"""Columns that hold ids of documents: of documents themselves, of verdicts, of what stages that compare them keep, of rows
that were fetched."""
__all__ = ["NAMING", "Found", "Version", "find", "versions"]


@dataclass(slots=True)
class Version:
    """A version, opened without a lease."""

    id: str
    manifest: dict[str, Any]
    shards: list[Shard]
    fragments: list[Fragment]

    def pairs(self) -> Iterator[tuple[Shard, Fragment | None]]:
        """Every shard of the ledger with its fragment, where it has documents left."""
        fragments = iter(self.fragments)
        for shard in self.shards:
            yield shard, next(fragments) if shard.kept else None


def versions(store: Store) -> list[Version]:
    """All versions of a store, also those that no name leads to."""
    found = []
    for blob in sorted(store.blobs.list("versions")):
        name = blob.name.rpartition("/")[2].partition(".")[0]
        manifest = store.manifest(name)
        fragments = read_fragments(store, manifest["fragments"])
        found.append(Version(name, manifest, read_ledger(store, manifest["ledger"]), fragments))
    return found


@dataclass(slots=True)
class Found:
    """What is to be erased.

    Attributes:
        hits: Objects in which something is.
        gone: By object of documents as read, the rows that go.
        mentions: By object of documents as read, the rows in which something is replaced.
        ids: Of the documents that go, by dataset (or the object that a run read which made no version).
        places: Where they came from, and places that have an identifier in their name; the same way.
        scopes: The datasets of each object of documents as read.
        others: Ids that documents of other datasets have, too.
        noted: Ids of the documents in which something is replaced.
        naming: Objects that name one of `ids`.
        similar: Ids of documents that were near copies of one that goes.
        copies: Ids of documents that go as exact copies.
        shared: How many stay that say the same as one that goes: many do.
        common: What they say.
        apart: How many rows hold a name in two columns that are not called names, by its number and the columns.
        files: Files of which nothing stays.
        counts: How many of each kind of identifier were found.
        identifiers: The same of each identifier, by kind and number: in `documents` as read, and `elsewhere`.
        inputs: Places of all these documents.
        suppressed: What the next run is to leave out.
    """

    hits: dict[str, Hits] = field(default_factory=dict)
    gone: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    mentions: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    places: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    scopes: dict[str, frozenset[str]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    noted: set[str] = field(default_factory=set)
    naming: set[str] = field(default_factory=set)
    similar: set[str] = field(default_factory=set)
    copies: set[str] = field(default_factory=set)
    shared: int = 0
    common: set[str] = field(default_factory=set)
    apart: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    files: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    identifiers: dict[tuple[str, int], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    inputs: set[str] = field(default_factory=set)
    suppressed: set[Suppressed] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.hits or self.ids)

    @property
    def names(self) -> set[str]:
        """Ids of the documents that go, of whatever dataset."""
        return set().union(*self.ids.values())

    def known(self, keys: Iterable[Key]) -> None:
        """Add ids to those that go."""
        for scope, identity in keys:
            self.ids[scope].add(identity)


def find(store: Store, there: list[Version], subject: Subject, matcher: Matcher, key: bytes, *, remove: bool) -> Found:
    """Look through the whole store.

    Args:
        store: The store; no run may be using it.
        there: Its versions.
        subject: The identifiers.
        matcher: Finds them.
        key: Of the list for the next run.
        remove: Whether documents that mention the person go as a whole.
    """
    found = Found()
    for name, hits in scan(store, matcher):
        found.hits[name] = hits
    shards = {one.object: one for one in _shards(store, there)}
    found.mentions |= _mentions(store, there, shards, found.hits)
    named = _go(store, there, shards, found, subject, matcher, remove=remove)
    for name, one in shards.items():
        _describe(store, one, name, found, matcher, key)
    others = {one.manifest["lineage"]["inputs"] for one in there} | {one.rejected for one in shards.values()}
    for name in others & found.hits.keys():  # names of files, and what could not be read
        found.suppressed |= set(_cells(found.hits[str(name)], key))
    for name, hits in found.hits.items():
        if name in shards:
            found.counts.update(kind for kind, _ in hits.kinds.elements() if kind in KINDS.values())
        for which, count in hits.kinds.items():
            found.identifiers[which]["documents" if name in shards else "elsewhere"] += count
    gone = found.names
    met: Counter[str] = Counter()
    for name, similar, names in _naming(store, there, found, named) if gone or named else ():
        found.naming.add(name)
        found.similar |= similar - gone
        met.update(names if name not in shards else ())
    for number, one in enumerate(subject.documents, 1):
        found.identifiers["document", number]["elsewhere"] += met[one.id]
    if found.naming:  # also those that only labels, or what could not be read, know of
        found.known(named)
        found.suppressed |= {Suppressed("was", hashed(key, "was", within(*one))) for one in named}
    return found


def _shards(store: Store, there: list[Version]) -> Iterator[Shard]:
    """All that was ever read or made, and is still there: of versions, and of runs that made none."""
    for version in there:
        yield from version.shards
    for blob in store.blobs.list("receipts"):
        yield from (one for one in _in_receipt(store.read_json(blob.name)) if store.has_object(one.object))


def _in_receipt(said: Any) -> Iterator[Shard]:
    if isinstance(said, list):
        for one in said:
            yield from _in_receipt(one)
    elif isinstance(said, dict):
        if said.keys() >= {"part", "source", "object"}:
            yield Shard.from_json(said)
        else:
            yield from _in_receipt(list(said.values()))


def _mentions(store: Store, there: list[Version], shards: Iterable[str], hits: dict[str, Hits]) -> dict[str, set[int]]:
    """The rows of documents as read in which, or in what became of which, something is."""
    found: dict[str, set[int]] = defaultdict(set)
    for name in shards:
        if name in hits:
            found[name] |= hits[name].rows
    for version in there:
        for shard, fragment in version.pairs():
            for name in [name for step in shard.steps for name in step.objects if name in hits]:
                rows = store.read_table(name, ["row"]).column("row").to_pylist()
                found[shard.object] |= {rows[place] for place in hits[name].rows}
            if fragment and fragment.object in hits:
                found[shard.object] |= hits[fragment.object].rows
            for one in fragment.sidecars if fragment else ():
                if one.object in hits:
                    rows = store.read_table(one.object, ["row"]).column("row").to_pylist()
                    found[shard.object] |= {rows[place] for place in hits[one.object].rows}
    return found


def _go(
    store: Store, there: list[Version], shards: dict[str, Shard], found: Found, subject: Subject, matcher: Matcher, *,
    remove: bool,
) -> set[Key]:  # fmt: skip
    """Which documents go, and what those that are named are called."""
    apart, found.apart = named_apart(store, list(shards), subject.names)
    if not (subject.documents or found.mentions or apart):
        return set()
    datasets: dict[str, set[str]] = defaultdict(set)
    for version in there:
        for shard in version.shards:
            datasets[shard.object].add(dataset_of(version.manifest["dataset"]))
    documents = Documents(store, shards, datasets)
    found.scopes = documents.scopes
    chosen, named = documents.named(subject.documents, Erased.of(store), "the subject file")
    for number, one in enumerate(subject.documents, 1):
        found.identifiers["document", number]["documents"] += len({documents.name(row) for row in chosen[one]})
    for number in apart.values():
        found.identifiers["name", number]["documents"] += 1
    found.counts["name"] += len(apart)
    found.counts["document"] = len({one.id for one, rows in chosen.items() if rows})
    rows = {row for some in chosen.values() for row in some}
    for name in shards:
        mentioned = found.mentions.get(name, set())
        ids = documents.column(name, "id")
        also = {row for row in mentioned if remove or (ids[row] and matcher.find(ids[row]))}
        rows |= {(name, row) for row in also if ids[row]}
    rows |= sealed(store, there, documents, found.mentions, found.hits) | apart.keys()
    going = documents.going(rows)
    while more := made_of(store, shards, going.keys) - rows:
        rows |= more
        going = documents.going(rows)
    found.gone |= going.rows
    found.known(going.keys)
    found.copies, found.shared, found.common = going.copies, going.shared, going.common
    found.files = documents.files(going.rows)
    gone = found.names | {one.id for one in subject.documents}
    stay = (one for (name, row), one in documents.ids() if row not in going.rows.get(name, ()))
    found.others = gone.intersection(stay)
    return named


def _describe(store: Store, shard: Shard, name: str, found: Found, matcher: Matcher, key: bytes) -> None:
    """What the next run and `why` are to know of a shard's documents, and where they came from."""
    gone, rows = found.gone.get(name, set()), found.mentions.get(name, set())
    if not (gone or rows):
        return
    table = columns(store, name, ["id", "source_uri"])
    ids, uris = table.column("id").to_pylist(), table.column("source_uri").to_pylist()
    kept, scopes = rows - gone, found.scopes.get(name, frozenset())
    found.noted |= {ids[row] for row in kept if ids[row]}
    found.inputs |= {uris[row] for row in gone | rows if uris[row]} if not shard.parent else set()
    for scope in scopes:
        places = {uris[row] for row in gone if uris[row]}
        found.places[scope] |= places | {uris[row] for row in rows if uris[row] and matcher.find(uris[row])}
        for kind, words in (
            ("note", {ids[row] for row in kept}),
            ("was", {ids[row] for row in gone}),
            ("place", places),
        ):
            found.suppressed |= {Suppressed(kind, hashed(key, kind, within(scope, one))) for one in words if one}
    if shard.parent:
        return
    if gone:
        found.suppressed |= set(_to_leave_out(store, name, sorted(gone), scopes, found.common, key))
    if name in found.hits:
        found.suppressed |= set(_cells(found.hits[name], key, gone))


def _cells(hits: Hits, key: bytes, gone: Collection[int] = ()) -> Iterator[Suppressed]:
    """What is replaced in strings, where their documents stay."""
    for row, _, value, edits in hits.cells:
        if edits and row not in gone:
            yield Suppressed("cell", hashed(key, "cell", value), len(value.encode()), tuple(edits))


def _to_leave_out(
    store: Store, name: str, rows: list[int], scopes: Collection[str], common: Collection[str], key: bytes
) -> Iterator[Suppressed]:
    """How a source knows documents again: by the id, in its dataset and its file; by what they say, if that is enough.

    What is short, or what many say, is only known at the same place.
    """
    import pyarrow as pa

    table = store.read_table(name).take(pa.array(rows, pa.int64()))
    ids, texts = table.column("id").to_pylist(), content_of(table).to_pylist()
    uris = [uri or "" for uri in table.column("source_uri").to_pylist()]
    for identity, own, uri, text in zip(ids, make_ids(uris).to_pylist(), uris, texts, strict=True):
        if identity is not None and identity != own:
            for scope in (*scopes, file_of(uri)):
                yield Suppressed("id", hashed(key, "id", within(scope, identity)))
        size = len(text.encode())
        if size >= FEWEST and text not in common:
            yield Suppressed("text", hashed(key, "text", text), size)
        elif text and identity == own:
            yield Suppressed("here", hashed(key, "here", within(uri, text)), size)


def _naming(
    store: Store, there: list[Version], found: Found, named: Collection[Key]
) -> Iterator[tuple[str, set[str], set[str]]]:
    """Objects in which another document names one that goes, the ids of those that were dropped as like it, and the ids.

    What no version holds is a cache, or labels: there an id means any document that has it, but where others do, too.
    """
    import pyarrow as pa
    import pyarrow.compute as compute

    owners: dict[str, set[str]] = defaultdict(set)
    for version in there:
        for name, _ in objects_of(store, version.manifest):
            owners[name].add(dataset_of(version.manifest["dataset"]))
        for name in pieces_of(store, version.manifest):
            owners[name].add(dataset_of(version.manifest["dataset"]))
    wanted: dict[str, set[str]] = defaultdict(set, {scope: set(ids) for scope, ids in found.ids.items()})
    for scope, identity in named:
        wanted[scope].add(identity)
    labels = {*annotation_objects(store), *snapshot_objects(store)} - owners.keys()
    anything, asked = set().union(*wanted.values()), asked_datasets(store)
    for blob in store.blobs.list("objects"):
        name = blob.name.rpartition("/")[2].partition(".")[0]
        schema = store.read_schema(name)
        looked = [one for one in NAMING if one in schema.names and pa.types.is_string(schema.field(one).type)]
        ids = set().union(*(wanted.get(one, ()) for one in owners[name])) if name in owners else anything
        ids = ids - found.others if name in labels else ids
        if has_answers(schema):
            of = set().union(*(wanted.get(one, ()) for one in asked[name])) if name in asked else anything
            yield from _asked_about(store, name, of, ids)
        if not looked or not ids:
            continue
        table, those = store.read_table(name, looked), pa.array(sorted(ids), pa.string())
        if any(compute.any(compute.is_in(one, those)).as_py() for one in table.columns):
            similar = _copies(store, name, those) if {"id", "duplicate_of", "verdict"} <= {*schema.names} else []
            names = {one for column in table.columns for one in column.filter(compute.is_in(column, those)).to_pylist()}
            yield name, {one for one in similar if one is not None}, names


def _asked_about(
    store: Store, name: str, documents: Collection[str], made: Collection[str]
) -> Iterator[tuple[str, set[str], set[str]]]:
    """A piece of answers about some documents, or of those that became some, as `_naming` gives it."""
    table = store.read_table(name, ["@key", "document", "sample"])
    about = table.column("document").filter(answers_about(table, documents, made)).to_pylist()
    if about:
        yield name, set(), {*about}


def _copies(store: Store, name: str, ids: pa.StringArray) -> list[str | None]:
    """The documents that verdicts drop as copies of some; those that lost a passage that stands in these are none."""
    import pyarrow.compute as compute

    said = store.read_table(name, ["id", "duplicate_of", "verdict"])
    like = compute.and_(
        compute.is_in(said.column("duplicate_of"), ids), compute.equal(said.column("verdict"), "dropped")
    )
    return said.filter(like).column("id").to_pylist()
