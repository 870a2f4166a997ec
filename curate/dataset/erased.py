"""What was erased: records of erasures, and lists of keyed hashes by which the next run knows what not to bring back.

    erasures/key          32 random bytes in hexadecimal, readable by the store's owner alone
    erasures/<id>.json    what an erasure did (curate/erasure); `suppressed` names an object:
                          kind   hash                                                            size   edits
                          id     of a document that is gone, in its dataset or its file          -      -
                          was    the same of one whose id only told where it stood, for `why`    -      -
                          place  the `source_uri` of one, in its dataset                         -      -
                          text   what one said, if that is enough to know it by                  bytes  -
                          here   what one said and its `source_uri`, if it is not                bytes  -
                          cell   a string in which a mention was replaced                        bytes  what to replace
                          note   the id of a document in which one was, in its dataset           -      -

Hashes are the first 16 bytes of HMAC-SHA256. Sources honour the list: a document that is gone is read as a blank row and
dropped as `erased`, mentions are replaced again, so that what was read equals what the erasure left. Only strings of the
same size as one on the list are hashed, so reading costs next to nothing more.
"""

from __future__ import annotations

import hmac
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.dataset.cells import Edit, as_text, blanked, cells_of, content_of, edited, exchanged, replaced
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.files import sync_folder

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "ERASED",
    "REASON",
    "Erased",
    "Suppressed",
    "dataset_of",
    "erasure_objects",
    "erasures",
    "file_of",
    "hashed",
    "open_key",
    "read_key",
    "succeeding",
    "within",
    "write_suppressed",
]

KEY = "erasures/key"
REASON = "erased"
"""Why a document is dropped that is on the list."""
ERASED = "<ERASED>"
"""Stands for the id of a document that is gone."""


class Suppressed(NamedTuple):
    """An entry of the list."""

    kind: str
    hash: str
    size: int | None = None
    edits: tuple[Edit, ...] = ()


# ---- the key


def read_key(store: Store) -> bytes | None:
    """The key of the store's hashes; None where nothing was ever erased.

    Raises:
        CurateError: It cannot be read.
    """
    try:
        return bytes.fromhex(store.blobs.read(KEY).decode())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise CurateError(
            "the key by which a run knows what was erased cannot be read",
            f"{store.location}/{KEY}",
            "run as the store's owner; or restore it from a backup",
        ) from None


def open_key(store: Store) -> bytes:
    """The key of the store's hashes; it is made where there is none."""
    found = read_key(store)
    if found is None:
        content, path = secrets.token_hex(32).encode(), store.blobs.local_path(KEY)
        if path is None:
            store.blobs.swap(KEY, None, content)
        else:
            _write_privately(path, content)
        found = read_key(store)
        assert found
    return found


def _write_privately(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream, name = tempfile.mkstemp(dir=path.parent, prefix=".")  # for the owner alone
    with os.fdopen(stream, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)
    sync_folder(path.parent)


def hashed(key: bytes, purpose: str, value: str) -> str:
    """What stands for a string: 32 hexadecimal digits."""
    return hmac.digest(key, f"{purpose}\0{value}".encode("utf-8", "surrogatepass"), "sha256")[:16].hex()


def dataset_of(name: str) -> str:
    """The dataset that ids are of: a sample's are those of the whole."""
    return name.removesuffix("-sample")


def file_of(place: str) -> str:
    """The file of a `source_uri`."""
    return place.rpartition("#")[0] or place


def within(scope: str, name: str) -> str:
    """A name of a dataset, of a file, or at a place, as it is hashed."""
    return f"{scope}\0{name}"


# ---- records and lists


def erasures(store: Store) -> list[dict[str, Any]]:
    """The records of erasures, oldest first.

    Raises:
        CurateError: One is damaged.
    """
    found = []
    for blob in store.blobs.list("erasures"):
        if blob.name.endswith(".json"):
            one = store.read_json(blob.name)
            if one is None:
                where = f"{store.location}/{blob.name}"
                raise CurateError("the record of an erasure is damaged", where, "restore it from a backup")
            found.append(one)
    return sorted(found, key=lambda one: (one["began"], one["id"]))


def erasure_objects(store: Store) -> list[str]:
    """The objects of all lists, and of what an erasure that was interrupted is to write: nothing makes them again."""
    records = erasures(store)
    waiting = [one for record in records for one in record.get("write", {}).values() if "object" in one]
    return [one["suppressed"] for one in records if one["suppressed"]] + [one["object"] for one in waiting]


def succeeding(store: Store) -> set[str]:
    """Versions that an erasure that was interrupted is to give names."""
    return {one["version"] for record in erasures(store) if record["state"] != "done" for one in record["versions"]}


def write_suppressed(store: Store, entries: Iterable[Suppressed]) -> str:
    """Store a list; returns the object."""
    import pyarrow as pa

    edit = pa.struct([("start", pa.int64()), ("stop", pa.int64()), ("by", pa.string())])
    schema = pa.schema([("kind", pa.string()), ("hash", pa.string()), ("size", pa.int64()), ("edits", pa.list_(edit))])
    rows = [one._asdict() | {"edits": [edit._asdict() for edit in one.edits]} for one in sorted(set(entries), key=str)]
    return store.write_table(pa.Table.from_pylist(rows, schema=schema))


class _Listed(NamedTuple):
    """What a source does for one erasure: hashes of texts, edits by the hash of a cell, and the sizes of each."""

    texts: set[str]
    here: set[str]
    edits: dict[str, list[Edit]]
    sizes: dict[str, set[int]]


class Erased:
    """What was erased of a store, as a run and `why` ask for it.

    Args:
        key: The key of the hashes.
        records: The erasures, oldest first, each with its list.
    """

    def __init__(self, key: bytes, records: Sequence[tuple[dict[str, Any], Sequence[dict[str, Any]]]]) -> None:
        self.key = key
        self._when: dict[tuple[str, str], dict[str, Any]] = {}
        for record, entries in records:
            for one in entries:
                self._when.setdefault((one["kind"], one["hash"]), record)
        self._lists = [_listed(entries) for _, entries in records]

    @classmethod
    def of(cls, store: Store) -> Erased | None:
        """What the store knows; None where nothing was erased."""
        records = [one for one in erasures(store) if one["suppressed"]]
        if not records:
            return None
        key = read_key(store)
        if key is None:
            where, hint = f"{store.location}/{KEY}", "restore it from a backup"
            raise CurateError("the key by which a run knows what was erased is missing", where, hint)
        return cls(key, [(one, store.read_table(one["suppressed"]).to_pylist()) for one in records])

    def gone(self, name: str, dataset: str) -> dict[str, Any] | None:
        """The record of the erasure that removed the document of this id, or from this place, of a dataset."""
        return self._record("was", within(dataset, name)) or self._record("place", within(dataset, name))

    def noted(self, identity: str, dataset: str) -> dict[str, Any] | None:
        """The record of the erasure that replaced a mention in the document of this id."""
        return self._record("note", within(dataset, identity))

    @property
    def by_dataset(self) -> bool:
        """Whether what a source gives depends on the dataset that it is read for."""
        return any(kind == "id" for kind, _ in self._when)

    def _record(self, kind: str, value: str) -> dict[str, Any] | None:
        return self._when.get((kind, hashed(self.key, kind, value)))

    # ---- reading

    def clean(self, table: pa.Table, dataset: str) -> tuple[pa.Table, list[int]]:
        """Documents as read for a dataset without what was erased, and the rows that are gone: they are blank."""
        rows = set(self._by_id(table, dataset))
        for listed in self._lists:  # each knows texts as the one before left them
            rows.update(self._by_text(table, listed))
            table = self._without(table, listed)
        gone = sorted(rows)
        return (blanked(table, gone) if gone else table), gone

    def without_mentions(self, table: pa.Table) -> pa.Table:
        """A table with the mentions replaced."""
        for listed in self._lists:
            table = self._without(table, listed)
        return table

    def name(self, name: str) -> str:
        """The name of a file with the mentions replaced."""
        for listed in self._lists:
            name = replaced(name, listed.edits.get(hashed(self.key, "cell", name), ()))
        return name

    def _without(self, table: pa.Table, listed: _Listed) -> pa.Table:
        for number, field in enumerate(table.schema):
            values = self._edited(table.column(number), listed)
            if values is not None:
                table = table.set_column(number, field, values)
        return table

    def _by_id(self, table: pa.Table, dataset: str) -> Iterator[int]:
        if not self.by_dataset:
            return
        files = [file_of(place or "") for place in table.column("source_uri").to_pylist()]
        for name in ("id", "parent"):
            ids = table.column(name).to_pylist() if name in table.column_names else []
            for row, one in enumerate(ids):
                scopes = (within(dataset, str(one)), within(files[row], str(one))) if one is not None else ()
                if any(self._record("id", scope) for scope in scopes):
                    yield row

    def _by_text(self, table: pa.Table, listed: _Listed) -> Iterator[int]:
        if not (listed.texts or listed.here):
            return
        texts, places = content_of(table), table.column("source_uri")
        for row in _of_sizes(texts, listed.sizes["text"] | listed.sizes["here"]):
            text = texts[row].as_py()
            here = within(places[row].as_py() or "", text)
            if hashed(self.key, "text", text) in listed.texts or hashed(self.key, "here", here) in listed.here:
                yield row

    def _edited(self, column: pa.ChunkedArray, listed: _Listed) -> pa.ChunkedArray | None:
        """A column with the mentions replaced; None where there is none."""
        cells = cells_of(column) if listed.edits else None
        if cells is None:
            return None
        new: dict[int, Any] = {}
        for row in _of_sizes(cells, listed.sizes["cell"]):
            value = as_text(cells[row].as_py())
            edits = listed.edits.get(hashed(self.key, "cell", value))
            if edits:
                new[row] = edited(column.type, value, edits)
        return exchanged(column, new) if new else None


def _listed(entries: Sequence[dict[str, Any]]) -> _Listed:
    edits = {one["hash"]: [Edit(**edit) for edit in one["edits"]] for one in entries if one["kind"] == "cell"}
    sizes = {kind: {one["size"] for one in entries if one["kind"] == kind} for kind in ("text", "here", "cell")}
    texts, here = ({one["hash"] for one in entries if one["kind"] == kind} for kind in ("text", "here"))
    return _Listed(texts, here, edits, sizes)


def _of_sizes(values: Any, sizes: set[int]) -> list[int]:
    import pyarrow as pa
    import pyarrow.compute as compute

    lengths = compute.binary_length(values).cast(pa.int64())
    return compute.indices_nonzero(compute.is_in(lengths, pa.array(sorted(sizes), pa.int64()))).to_pylist()
