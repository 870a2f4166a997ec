"""What of a person a store holds: which objects, which documents go as a whole, in which only mentions are replaced.

Documents that are named by their ids go, and so do those whose id holds an identifier, those whose payload holds one that
cannot be replaced in it, exact copies of each, and the whole family of each: what an expander made of it, what it was made
of, and what was made of that. Near copies are named, and stay: whether they are of the person, somebody has to look.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from curate.dataset.erased import FEWEST, Suppressed, content_of, hashed
from curate.dataset.fragments import Fragment, read_fragments, read_ledger
from curate.dataset.ledger import Shard
from curate.dataset.store import Store
from curate.erasure.matching import Matcher
from curate.erasure.scan import Hits, scan
from curate.erasure.subject import Subject
from curate.pipeline.task import make_ids

if TYPE_CHECKING:
    import pyarrow as pa

NAMING = ("id", "parent", "duplicate_of", "duplicate_cluster", "id_a", "id_b")
"""Columns that hold ids of documents: of documents themselves, of verdicts, of what `near_duplicates` adds and keeps."""
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
        ids: Ids of the documents that go.
        places: Where they came from, and places that have an identifier in their name.
        noted: Ids of the documents in which something is replaced.
        naming: Objects that name one of `ids`.
        similar: Ids of documents that were near copies of one that goes.
        counts: How many of each kind of identifier were found.
        inputs: Places of all these documents.
        suppressed: What the next run is to leave out.
    """

    hits: dict[str, Hits] = field(default_factory=dict)
    gone: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    mentions: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    ids: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)
    noted: set[str] = field(default_factory=set)
    naming: set[str] = field(default_factory=set)
    similar: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    inputs: set[str] = field(default_factory=set)
    suppressed: set[Suppressed] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.hits or self.ids)


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
    _go(store, shards, found, subject, matcher, remove=remove)
    for name, one in shards.items():
        _describe(store, one, name, found, matcher, key)
    others = {one.manifest["lineage"]["inputs"] for one in there} | {one.rejected for one in shards.values()}
    for name in others & found.hits.keys():  # names of files, and what could not be read
        found.suppressed |= set(_cells(found.hits[str(name)], key))
    for name, hits in found.hits.items():
        found.counts.update(hits.kinds if name in shards else {})
    found.counts["document"] = len(found.ids & set(subject.documents))
    named = set(subject.documents)
    for name, similar in _naming(store, found.ids | named) if found.ids or named else ():
        found.naming.add(name)
        found.similar |= similar - found.ids
    if found.naming:  # also those that only labels, or what could not be read, know of
        found.ids |= named
        found.suppressed |= {Suppressed("was", hashed(key, "was", one)) for one in named}
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
    store: Store, shards: dict[str, Shard], found: Found, subject: Subject, matcher: Matcher, *, remove: bool
) -> None:
    """Which documents go: by their ids, and then their families."""
    named = set(subject.documents)
    if not (named or found.mentions):
        return
    families: dict[str, tuple[list[Any], list[Any]]] = {}
    for name in shards:
        table = _columns(store, name, ["id", "parent"])
        ids = table.column("id").to_pylist()
        parents = table.column("parent").to_pylist() if "parent" in table.column_names else [None] * len(ids)
        families[name] = ids, parents
        sealed = _sealed(store, name, found.mentions.get(name, set()), found.hits.get(name))
        for row, identity in enumerate(ids):
            if identity is None:
                continue
            mentioned = row in found.mentions.get(name, ())
            if identity in named or row in sealed or (mentioned and (remove or matcher.find(identity))):
                found.ids.add(identity)
    beside: dict[str, set[str]] = defaultdict(set)
    for ids, parents in families.values():
        for identity, parent in zip(ids, parents, strict=True):
            if identity is not None and parent is not None:
                beside[identity].add(parent)
                beside[parent].add(identity)
    fresh = set(found.ids)
    while fresh:
        while fresh:
            found.ids |= fresh
            fresh = {other for one in fresh for other in beside.get(one, ())} - found.ids
        fresh = _copies(store, families, found.ids) - found.ids
    for name, (ids, _) in families.items():
        rows = {row for row, identity in enumerate(ids) if identity in found.ids}
        if rows:
            found.gone[name] = rows


def _copies(store: Store, families: dict[str, Any], ids: set[str]) -> set[str]:
    """Ids of documents that say the same as some that go, where that is enough to tell them from others."""
    import pyarrow as pa
    import pyarrow.compute as compute

    texts = set[str]()
    for name, (there, _) in families.items():
        rows = [row for row, identity in enumerate(there) if identity in ids]
        if rows:
            said = content_of(store.read_table(name).take(pa.array(rows, pa.int64()))).to_pylist()
            texts |= {text for text in said if len(text.encode()) >= FEWEST}
    found = set[str]()
    for name, (there, _) in families.items() if texts else ():
        same = compute.is_in(content_of(store.read_table(name)), pa.array(sorted(texts), pa.string()))
        found |= {there[row] for row in compute.indices_nonzero(same).to_pylist() if there[row] is not None}
    return found


def _sealed(store: Store, name: str, rows: set[int], hits: Hits | None) -> set[int]:
    """The rows with a payload in which nothing can be replaced, though its text mentions the person."""
    import pyarrow as pa

    if not rows:
        return set()
    payloads = [one.name for one in store.read_schema(name) if pa.types.is_binary(one.type)]
    table = store.read_table(name, payloads) if payloads else None
    open_cells = {(row, column) for row, column, _, edits in (hits.cells if hits else ()) if edits}
    found: set[int] = set()
    for column in payloads:
        assert table is not None
        values = table.column(column)
        found |= {row for row in rows if values[row].is_valid and (row, column) not in open_cells}
    return found


def _describe(store: Store, shard: Shard, name: str, found: Found, matcher: Matcher, key: bytes) -> None:
    """What the next run and `why` are to know of a shard's documents, and where they came from."""
    gone, rows = found.gone.get(name, set()), found.mentions.get(name, set())
    if not (gone or rows):
        return
    table = _columns(store, name, ["id", "source_uri"])
    ids, uris = table.column("id").to_pylist(), table.column("source_uri").to_pylist()
    kept = rows - gone
    found.noted |= {ids[row] for row in kept if ids[row]}
    found.suppressed |= {Suppressed("note", hashed(key, "note", ids[row])) for row in kept if ids[row]}
    found.inputs |= {uris[row] for row in gone | rows if uris[row]} if not shard.parent else set()
    found.places |= {uris[row] for row in gone if uris[row]} | {
        uris[row] for row in rows if uris[row] and matcher.find(uris[row])
    }
    for row in gone:
        found.suppressed |= {Suppressed("was", hashed(key, "was", ids[row]))} if ids[row] else set()
        found.suppressed |= {Suppressed("place", hashed(key, "place", uris[row]))} if uris[row] else set()
    if shard.parent:
        return
    if gone:
        found.suppressed |= set(_to_leave_out(store, name, sorted(gone), key))
    if name in found.hits:
        found.suppressed |= set(_cells(found.hits[name], key, gone))


def _cells(hits: Hits, key: bytes, gone: Collection[int] = ()) -> Iterator[Suppressed]:
    """What is replaced in strings, where their documents stay."""
    for row, _, value, edits in hits.cells:
        if edits and row not in gone:
            yield Suppressed("cell", hashed(key, "cell", value), len(value.encode()), tuple(edits))


def _to_leave_out(store: Store, name: str, rows: list[int], key: bytes) -> Iterator[Suppressed]:
    import pyarrow as pa

    table = store.read_table(name).take(pa.array(rows, pa.int64()))
    ids, texts = table.column("id").to_pylist(), content_of(table).to_pylist()
    made = make_ids([uri or "" for uri in table.column("source_uri").to_pylist()]).to_pylist()
    for identity, own, text in zip(ids, made, texts, strict=True):
        if identity is not None and identity != own:
            yield Suppressed("id", hashed(key, "id", identity))
        if text and (identity == own or len(text.encode()) >= FEWEST):
            yield Suppressed("text", hashed(key, "text", text), len(text.encode()))


def _columns(store: Store, name: str, wanted: list[str]) -> pa.Table:
    there = store.read_schema(name).names
    return store.read_table(name, [one for one in wanted if one in there])


def _naming(store: Store, ids: set[str]) -> Iterator[tuple[str, set[str]]]:
    """Objects in which another document names one that goes, and the ids of those that were dropped as like it."""
    import pyarrow as pa
    import pyarrow.compute as compute

    wanted = pa.array(sorted(ids), pa.string())
    for blob in store.blobs.list("objects"):
        name = blob.name.rpartition("/")[2].partition(".")[0]
        schema = store.read_schema(name)
        columns = [one for one in NAMING if one in schema.names and pa.types.is_string(schema.field(one).type)]
        if not columns:
            continue
        table = store.read_table(name, columns)
        if any(compute.any(compute.is_in(one, wanted)).as_py() for one in table.columns):
            like = compute.is_in(table.column("duplicate_of"), wanted) if "duplicate_of" in columns else None
            similar = table.filter(like).column("id").to_pylist() if like is not None and "id" in columns else []
            yield name, {one for one in similar if one is not None}
