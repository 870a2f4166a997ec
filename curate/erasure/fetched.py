"""Snapshots without a person: rows of documents that go are taken out, mentions in other rows are replaced.

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
from curate.dataset.snapshots import pieces_of
from curate.dataset.store import Store, canonical_json
from curate.erasure.found import NAMING, Found, Version
from curate.erasure.going import columns
from curate.erasure.matching import Matcher
from curate.erasure.scan import redact, redacted_json

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Rewritten", "rewritten_snapshots"]

KEY = "@key"


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
            new = [pieces.without(piece, record["facts"]["address"]) for piece in record["pieces"]]
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
    return done


class _Pieces:
    """Pieces of snapshots without what goes, each written once."""

    def __init__(self, store: Store, there: Iterable[Version], found: Found, matcher: Matcher) -> None:
        self.store, self.found, self.matcher = store, found, matcher
        self.places: set[str] = set()
        for name, rows in found.gone.items():
            uris = columns(store, name, ["source_uri"]).column("source_uri").to_pylist()
            self.places |= {uris[row] for row in rows if uris[row]}
        self.owners: dict[str, set[str]] = defaultdict(set)
        for version in there:
            for name in pieces_of(store, version.manifest):
                self.owners[name].add(dataset_of(version.manifest["dataset"]))
        self._made: dict[tuple[str, str], dict[str, Any]] = {}

    def holds(self, name: str) -> bool:
        """Whether something in a piece may have to go."""
        return name in self.found.hits or name in self.found.naming

    def without(self, piece: dict[str, Any], address: str) -> dict[str, Any]:
        """What becomes of a piece."""
        name = piece["object"]
        if (name, address) not in self._made:
            before = self.store.read_table(name)
            left = before.filter(self._stay(before, name, address))
            after = redact(left, self.matcher) if name in self.found.hits else left
            new = dict(piece)
            if not after.equals(before, check_metadata=True):
                written = self.store.write_table(after)
                gone = before.num_rows - left.num_rows
                new = {
                    "object": written, "rows": after.num_rows, "bytes": self.store.size(written),
                    "erased": piece["erased"] + gone,
                }  # fmt: skip
            self._made[name, address] = new
        return dict(self._made[name, address])

    def _stay(self, table: pa.Table, name: str, address: str) -> pa.Array:
        """Which rows are of no document that goes, by its place or its id."""
        import pyarrow as pa
        import pyarrow.compute as compute

        begin = f"{address}#"
        keys = pa.array(sorted(one.removeprefix(begin) for one in self.places if one.startswith(begin)), pa.string())
        gone = compute.is_in(table.column(KEY), keys)
        owners = self.owners.get(name)
        ids = set().union(*(self.found.ids.get(one, ()) for one in owners)) if owners else self.found.names
        ids = ids if owners else ids - self.found.others
        for column in NAMING:
            if ids and column in table.column_names and pa.types.is_string(table.schema.field(column).type):
                gone = compute.or_(gone, compute.is_in(table.column(column), pa.array(sorted(ids), pa.string())))
        return compute.invert(compute.fill_null(gone, False))
