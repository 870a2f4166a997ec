"""Snapshots in a store: what was fetched, what is being fetched, and which snapshots pipelines have pinned.

    snapshots/<id>.json          a snapshot: pieces (objects), whence, when; its id is the hash of the bytes
    fetches/<key>/<number>.json  a fetch that goes on: a piece, and the state behind it; `begin.json` says of what
    pins/<dataset>.<hash>.json   by source, the snapshot that a lock file names; of the lock file's path
    manual/<name>.json           pieces that `curate add` has written

Written in this order: object, entry of the fetch, snapshot, pin, lock file; then the entries go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.dataset.runs import now
from curate.dataset.schema import conform, unify_tables
from curate.dataset.store import Store, canonical_json
from curate.errors import CurateError
from curate.stages.fetched import PIECE, Piece, Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Fetch",
    "find_snapshot",
    "pieces_of",
    "pin",
    "pinned_versions",
    "put_together",
    "read_snapshot",
    "snapshot_objects",
    "snapshots",
    "stale_snapshots",
    "write_snapshot",
]

SCHEMA = 1
SMALL = 16 << 20
"""Bytes up to which pieces are put together, as they are in memory: texts that repeat pack to a hundredth."""
BEGIN = "begin"


def write_snapshot(store: Store, record: Mapping[str, Any]) -> Snapshot:
    """Store a snapshot.

    Args:
        store: The store.
        record: `kind`, `key` (of what was fetched), `settings`, `began`, `ended`, `pieces`, `facts`, `succeeds`.
    """
    content = canonical_json({"schema": SCHEMA, **record})
    name = hashlib.sha256(content).hexdigest()
    store.write(f"snapshots/{name}.json", content)
    return _opened(name, record)


def _opened(name: str, record: Mapping[str, Any]) -> Snapshot:
    return Snapshot(name, record["ended"], tuple(Piece(**one) for one in record["pieces"]), record["facts"])


def read_snapshot(store: Store, name: str) -> dict[str, Any] | None:
    """The record of a snapshot; None where it is not there, or not whole."""
    record = store.read_json(f"snapshots/{name}.json")
    return record if record and hashlib.sha256(canonical_json(record)).hexdigest() == name else None


def find_snapshot(store: Store, name: str) -> Snapshot | None:
    """A snapshot by its id, or what became of it when somebody was erased; None where it or a piece of it is missing."""
    record = read_snapshot(store, name)
    if record is None:
        heirs = [(one, said) for one, said in snapshots(store) if name in said.get("succeeds", ())]
        if not heirs:
            return None
        name, record = heirs[-1]
    found = _opened(name, record)
    return found if all(store.has_object(piece.object) for piece in found.pieces) else None


def snapshots(store: Store) -> list[tuple[str, dict[str, Any]]]:
    """All snapshots, oldest first."""
    names = [blob.name.rpartition("/")[2].removesuffix(".json") for blob in store.blobs.list("snapshots")]
    found = [(name, record) for name in names if (record := read_snapshot(store, name))]
    return sorted(found, key=lambda one: (one[1]["ended"], len(one[1].get("succeeds", ())), one[0]))


# ---- pins


def _pinned(store: Store) -> set[str]:
    """Snapshots that pipelines have pinned."""
    records = [store.read_json(blob.name) or {} for blob in store.blobs.list("pins")]
    return {str(name) for record in records for name in record.get("sources", {}).values()}


def pinned_versions(store: Store) -> set[str]:
    """Versions of this store that pinned snapshots name."""
    facts = [(read_snapshot(store, name) or {}).get("facts", {}) for name in _pinned(store)]
    return {one["version"] for one in facts if "version" in one and one.get("store") is None}


def pin(store: Store, dataset: str, sources: Mapping[str, str], lock: str = "") -> None:
    """Say which snapshots a dataset's pipeline has pinned, by source; `lock` tells pipelines of one dataset apart."""
    name = f"pins/{dataset}.{hashlib.sha256(lock.encode()).hexdigest()[:12]}.json"
    record = {"sources": dict(sources)}
    if store.read_json(name) != record:
        store.write(name, canonical_json(record))


# ---- garbage


def pieces_of(store: Store, manifest: Mapping[str, Any]) -> set[str]:
    """The pieces of snapshots that a version was read from, whether they are there or not."""
    inputs = manifest["lineage"]["inputs"]
    read = store.read_table(inputs, ["content"]).column("content").to_pylist() if inputs else []
    return {one.removeprefix(PIECE) for one in read if one and one.startswith(PIECE)}


def stale_snapshots(store: Store, read: set[str], oldest: float) -> list[str]:
    """Snapshots that go: not pinned, old, and with pieces that no version that stays has read.

    Args:
        store: The store.
        read: Objects that versions that stay have read, as their inputs.
        oldest: What is younger stays.
    """
    keep = _pinned(store)
    gone = []
    for name, record in snapshots(store):
        mine = {piece["object"] for piece in record["pieces"]}
        heir = keep.intersection(record.get("succeeds", ()))
        young = store.blobs.stat(f"snapshots/{name}.json").modified >= oldest
        if name not in keep and not heir and not young and (not mine or not mine <= read):
            gone.append(name)
    return gone


def snapshot_objects(store: Store, without: Sequence[str] = ()) -> set[str]:
    """Pieces of all snapshots but some, of fetches that go on, and of what people have added."""
    found = {piece["object"] for name, record in snapshots(store) if name not in without for piece in record["pieces"]}
    for blob in store.blobs.list("fetches"):
        record = store.read_json(blob.name) or {}
        found |= {record["piece"]["object"]} if "piece" in record else set()
    for blob in store.blobs.list("manual"):
        found |= {piece["object"] for piece in (store.read_json(blob.name) or {}).get("pieces", ())}
    return found


# ---- fetching


@dataclass
class Fetch:
    """A fetch that goes on: the desk of its source (`curate.stages.fetched.Desk`).

    Attributes:
        store: The store.
        key: Of what is fetched.
        root: Folder of the pipeline file.
        previous: The snapshot that is made anew.
        say: Told how far it is.
    """

    store: Store
    key: str
    root: Path
    previous: Snapshot | None
    say: Any
    state: Mapping[str, Any] = field(default_factory=dict)
    began: str = field(default_factory=now)
    pieces: list[Piece] = field(default_factory=list)
    reused: list[Piece] = field(default_factory=list)

    def __post_init__(self) -> None:
        entries = dict(self._entries())
        begun = entries.pop(BEGIN, None)
        if begun is None or begun["previous"] != (self.previous.id if self.previous else None):
            self.start_over()
            return
        self.began = begun["began"]
        for number in range(len(entries)):
            entry = entries.get(str(number))
            if entry is None or not self.store.has_object(entry["piece"]["object"]):
                break  # what is behind it is fetched again
            self.pieces.append(Piece(**entry["piece"]))
            self.state = entry["state"]

    def _entries(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for blob in self.store.blobs.list(f"fetches/{self.key}"):
            if (record := self.store.read_sealed(blob.name)) is not None:
                yield blob.name.rpartition("/")[2].removesuffix(".json"), record

    def start_over(self) -> None:
        """Forget what was kept."""
        self.forget()
        self.pieces, self.state, self.began = [], {}, now()
        said = {"began": self.began, "previous": self.previous.id if self.previous else None}
        self.store.write_sealed(f"fetches/{self.key}/{BEGIN}.json", said)

    def forget(self) -> None:
        """The fetch is over."""
        self.store.blobs.delete_folder(f"fetches/{self.key}")

    def keep(self, table: pa.Table, state: Mapping[str, Any]) -> None:
        """Write a piece, and where the fetch is behind it."""
        name = self.store.write_table(table)
        piece = Piece(name, table.num_rows, self.store.size(name))
        said = {"piece": piece._asdict(), "state": dict(state)}
        self.store.write_sealed(f"fetches/{self.key}/{len(self.pieces)}.json", said)
        self.pieces.append(piece)
        self.state = state

    def reuse(self, piece: Piece) -> None:
        """Take a piece of the snapshot before."""
        self.reused.append(piece)

    def replace(self, tables: Iterable[pa.Table]) -> None:
        """Have the snapshot made of these tables; what was kept stays for a fetch that is killed before it is written."""
        names = [(self.store.write_table(table), table.num_rows) for table in tables]
        self.reused = [Piece(name, rows, self.store.size(name)) for name, rows in names]
        self.pieces = []

    def finish(self, kind: str, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> Snapshot:
        """Write the snapshot."""
        pieces = put_together(self.store, [*self.reused, *(one for one in self.pieces if one.rows)])
        return write_snapshot(self.store, {
            "kind": kind, "key": self.key, "settings": settings, "began": self.began, "ended": now(),
            "pieces": [piece._asdict() for piece in pieces], "facts": facts, "succeeds": [],
        })  # fmt: skip


def put_together(store: Store, pieces: Sequence[Piece]) -> list[Piece]:
    """Small pieces that follow one another as one; rows in the same order. None holds more than `SMALL` by this."""
    groups: list[list[Piece]] = []
    size = 0
    for piece in pieces:
        held = _unpacked(store, piece)
        size += held
        if groups and not piece.erased and size <= SMALL:
            groups[-1].append(piece)
        else:
            groups.append([piece])
            size = held
    return [group[0] if len(group) == 1 else _as_one(store, group) for group in groups]


def _unpacked(store: Store, piece: Piece) -> int:
    """Bytes of a piece in memory, about."""
    with store.parquet(piece.object) as file:
        return sum(file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups))


def _as_one(store: Store, pieces: Sequence[Piece]) -> Piece:
    import pyarrow as pa

    tables = [store.read_table(piece.object) for piece in pieces]
    try:
        schema = unify_tables(tables)
    except CurateError as error:
        raise CurateError(error.problem.replace("shard", "piece"), hint=error.hint) from error
    name = store.write_table(pa.concat_tables([conform(table, schema) for table in tables]))
    return Piece(name, sum(piece.rows for piece in pieces), store.size(name), pieces[0].erased)
