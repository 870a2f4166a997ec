"""Snapshots without a person: rows of documents that go are taken out, mentions in other rows are replaced.

A row goes by its place only in snapshots of what the document's source asked for: another query of the same database may have
another row of that key. Of answers, all rows of a question go, and the files that keep them (curate/erasure/answers.py).

A snapshot that held something becomes another one that says whom it succeeds, so a pin leads to it. A fetch that was
killed half way starts over. What is fetched later of a place that still has the person is left out by the next run, as
with files (curate/dataset/erased.py).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.dataset.erased import dataset_of
from curate.dataset.snapshots import pieces_of, snapshots
from curate.dataset.store import Store, canonical_json
from curate.erasure.answers import answer_file, answers_about, has_answers
from curate.erasure.found import NAMING, Found, Version
from curate.erasure.going import columns
from curate.erasure.matching import Matcher
from curate.erasure.scan import redact, redacted_json

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Rewritten", "rewritten_snapshots"]

KEY = "@key"
_SHOWN = 12
"""Digits of a piece's name in the name of its part."""


class Rewritten(NamedTuple):
    """What becomes of what was fetched.

    Attributes:
        write: Small files to write, by name.
        files: Small files to remove.
        objects: Pieces that became others.
    """

    write: dict[str, dict[str, Any]]
    files: list[str]
    objects: set[str]


def rewritten_snapshots(
    store: Store, there: Iterable[Version], found: Found, matcher: Matcher, named: Collection[str]
) -> Rewritten:
    """Write pieces anew; small files are only said.

    Args:
        store: The store.
        there: Its versions.
        found: What goes, and where something is mentioned.
        matcher: Finds it.
        named: Small files in which something is.
    """
    pieces = _Pieces(store, there, found, matcher)
    done = Rewritten({}, [name for name in named if name.startswith("answers/")], set())
    for folder in ("snapshots", "manual"):
        for blob in store.blobs.list(folder):
            record = store.read_json(blob.name)
            if record is None or "pieces" not in record:
                continue
            new = [pieces.without(piece, record) for piece in record["pieces"]]
            if new == record["pieces"] and blob.name not in named:
                continue
            changed = {**redacted_json(record, matcher), "pieces": [piece for piece in new if piece["rows"]]}
            name = blob.name
            if folder == "snapshots":
                changed["succeeds"] = [*record["succeeds"], name.rpartition("/")[2].removesuffix(".json")]
                name = f"snapshots/{hashlib.sha256(canonical_json(changed)).hexdigest()}.json"
                done.files.append(blob.name)
            done.write[name] = changed
            done.objects.update(piece["object"] for piece in record["pieces"] if piece not in new)
    for blob in store.blobs.list("fetches"):
        piece = (store.read_json(blob.name) or {}).get("piece")
        if blob.name in named or (piece and pieces.holds(piece["object"])):
            folder = blob.name.rpartition("/")[0]
            done.files.extend(one.name for one in store.blobs.list(folder))
            done.objects.update({piece["object"]} if piece else ())
            if piece and store.has_object(piece["object"]):
                pieces.without(piece, {"facts": {"address": ""}})  # for the answers in it
    done.files.extend(sorted(name for name in pieces.answers - {*done.files} if store.blobs.exists(name)))
    return done


def _asked(record: dict[str, Any]) -> bytes:
    """What says which row a key means, in snapshots of one address."""
    facts, settings = record["facts"], record.get("settings", {})
    told = {name: settings.get(name) for name in ("query", "parameters", "records")}
    return canonical_json([facts.get("key", settings.get("key")), told])


class _Pieces:
    """Pieces of snapshots without what goes, each written once."""

    def __init__(self, store: Store, there: Iterable[Version], found: Found, matcher: Matcher) -> None:
        self.store, self.found, self.matcher = store, found, matcher
        self.answers: set[str] = set()
        """Files of answers that go with their rows."""
        asked: dict[str, set[bytes]] = defaultdict(set)
        for _, record in snapshots(store):
            for piece in record["pieces"]:
                asked[piece["object"][:_SHOWN]].add(_asked(record))
        parts: dict[str, set[str]] = defaultdict(set)
        for version in there:
            for shard in version.shards:
                parts[shard.object].add(shard.part.rpartition("@")[2])
        self.places: dict[str, set[bytes | None]] = defaultdict(set)
        """Of places, what their sources asked for; None where that is not known."""
        for name, rows in found.gone.items():
            uris = columns(store, name, ["source_uri"]).column("source_uri").to_pylist()
            known: set[bytes | None] = {one for part in parts[name] for one in asked.get(part, ())} or {None}
            for row in rows:
                if uris[row]:
                    self.places[uris[row]] |= known
        self.owners: dict[str, set[str]] = defaultdict(set)
        for version in there:
            for name in pieces_of(store, version.manifest):
                self.owners[name].add(dataset_of(version.manifest["dataset"]))
        self._made: dict[tuple[str, str, bytes], dict[str, Any]] = {}

    def holds(self, name: str) -> bool:
        """Whether something in a piece may have to go."""
        return name in self.found.hits or name in self.found.naming

    def without(self, piece: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
        """What becomes of a piece of a snapshot."""
        name, address = piece["object"], record["facts"]["address"]
        which = name, address, _asked(record)
        if which not in self._made:
            before = self.store.read_table(name)
            left = before.filter(self._stay(before, name, record))
            after = redact(left, self.matcher) if name in self.found.hits else left
            new = dict(piece)
            if not after.equals(before, check_metadata=True):
                written = self.store.write_table(after)
                gone = before.num_rows - left.num_rows
                new = {
                    "object": written, "rows": after.num_rows, "bytes": self.store.size(written),
                    "erased": piece["erased"] + gone,
                }  # fmt: skip
            self._made[which] = new
        return dict(self._made[which])

    def _stay(self, table: pa.Table, name: str, record: dict[str, Any]) -> pa.Array:
        """Which rows are of no document that goes, by its place or its id."""
        import pyarrow as pa
        import pyarrow.compute as compute

        keys = self._keys(record)
        gone = compute.is_in(table.column(KEY), pa.array(sorted(keys), pa.string()))
        owners = self.owners.get(name)
        ids = set().union(*(self.found.ids.get(one, ()) for one in owners)) if owners else self.found.names
        ids = ids if owners else ids - self.found.others
        for column in NAMING:
            if ids and column in table.column_names and pa.types.is_string(table.schema.field(column).type):
                gone = compute.or_(gone, compute.is_in(table.column(column), pa.array(sorted(ids), pa.string())))
        gone = compute.fill_null(gone, False)
        if has_answers(table.schema):
            about = record["facts"].get("dataset")
            documents = self.found.ids.get(dataset_of(about), ()) if about else self.found.names
            gone = compute.or_(gone, answers_about(table, documents, ids, keys))
            self.answers.update(map(answer_file, table.column("asked").filter(gone).to_pylist()))
        return compute.invert(gone)

    def _keys(self, record: dict[str, Any]) -> set[str]:
        """The keys of rows that go from a snapshot by their place."""
        begin, asked = f"{record['facts']['address']}#", _asked(record)
        return {
            place.removeprefix(begin)
            for place, known in self.places.items()
            if place.startswith(begin) and (asked in known or None in known)
        }
