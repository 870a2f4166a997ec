"""The store: immutable Parquet objects named by their hash, small JSON beside them, and one file of refs a dataset.

    .curate/
      store.json                     {"schema": 2}
      objects/ab/<sha256>.parquet    zstd 3; statistics on numbers only (on texts and ids they would leak them)
      versions/<sha256>.json         manifests; the id is the hash of the bytes, which hold no times
      refs/<dataset>.json            head, tags and the log of a dataset
      receipts/ab/<key>.json         finished tasks: what came out
      measured/ab/<key>.json         of a shard: which objects hold what was measured of its documents
      runs/<id>.json                 what made something, of what: runs, trainings, exports (curate.dataset.runs)
      models/<name>.json             which run is the candidate, champion, previous of a model's name, and its log
      plans/<dataset>.json           what the last run of a pipeline depended on
      leases/                        who is using the store
      tokens/<key>/                  tokenizers and token shards made of a version (curate.tokenize.pack)
      temporary/                     what is being written; swept when its process is gone

docs/format.md describes every file. Nothing is ever changed in place: an object is written before its receipt, a receipt
before the ref. Writing costs about 1 CPU second per 140 MB of text, hash and fsync included.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.dataset.blobs import Blobs, LocalBlobs
from curate.errors import CurateError, DamagedError, ResumableError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet

__all__ = ["DATASET_NAME", "STORE_SCHEMA", "Store", "blobs_at", "canonical_json", "friendly_os_errors", "object_name"]

STORE_SCHEMA = 2
DATASET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
ROWS_PER_GROUP = 2000
MISSING = "is missing"
ARROW_SCHEMA = b"ARROW:schema"
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT)


SEAL = "seal"
"""Key of a hash of the others, in files that may be made anew."""


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no needless spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _seal(record: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(record)).hexdigest()[:16]


def object_name(name: str) -> str:
    """The blob that holds the object of this hash."""
    return f"objects/{name[:2]}/{name}.parquet"


class Store:
    """Objects, manifests and receipts over some place for blobs. Safe for several processes at once."""

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        self.location = blobs.location
        self._sound: set[str] = set()

    @classmethod
    def open(cls, place: Path | str, *, create: bool = False) -> Store:
        """Open the store at a path or URL, making it where `create` says so.

        Raises:
            CurateError: No store there, not writable, of an older format, or made by a newer version.
        """
        store = cls(blobs_at(place))
        if create and not store.blobs.exists("store.json"):
            with friendly_os_errors(store.location):
                store.blobs.write("store.json", canonical_json({"schema": STORE_SCHEMA}))
        schema = store.format()
        if schema > STORE_SCHEMA:
            raise CurateError(
                f"the store was made by a newer curate (store format {schema}, this one knows {STORE_SCHEMA})",
                store.location,
                "upgrade curate-lm, or use another store",
            )
        if schema < STORE_SCHEMA:
            raise CurateError(
                f"the store has the older format {schema}",
                store.location,
                "`curate data upgrade` brings it to this one and loses no version",
            )
        if create:
            with friendly_os_errors(store.location):
                store.blobs.check("store.json")
        return store

    def format(self) -> int:
        """The format that the store's marker names.

        Raises:
            CurateError: There is no store, or its marker is damaged.
        """
        try:
            schema = json.loads(self.blobs.read("store.json"))["schema"]
            if not isinstance(schema, int):
                raise ValueError("it names no format")
            return schema
        except (FileNotFoundError, NotADirectoryError):
            raise CurateError(f"there is no store at `{self.location}`", hint="`curate run` makes one") from None
        except (ValueError, KeyError, TypeError, OSError):
            raise CurateError(
                "the store's marker file cannot be read", f"{self.location}/store.json", "restore it from a backup"
            ) from None

    @property
    def root(self) -> Path:
        """The folder of a store on this machine.

        Raises:
            CurateError: It is in an object store.
        """
        path = self.blobs.local_path("store.json")
        if path is None:
            raise CurateError("this needs a store in a folder", self.location)
        return path.parent

    # ---- small files

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a blob, durably; full disks and missing rights are told in the user's words."""
        with friendly_os_errors(self.location):
            self.blobs.write(name, content)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON object, or None where there is none or it is damaged."""
        try:
            found = json.loads(self.blobs.read(name))
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def read_sealed(self, name: str) -> dict[str, Any] | None:
        """What `write_sealed` wrote; None where there is nothing, or it is not whole: it is then made anew."""
        found = self.read_json(name)
        if found is None or found.pop(SEAL, None) != _seal(found):
            return None
        return found

    def write_sealed(self, name: str, record: dict[str, Any]) -> None:
        """Write a JSON object with a hash of it."""
        plain = json.loads(canonical_json(record))
        self.write(name, canonical_json({**plain, SEAL: _seal(plain)}))

    # ---- objects

    def write_table(self, table: pa.Table) -> str:
        """Store a table; equal tables give equal bytes, and are stored once. A damaged object is written again.

        Returns:
            The object's name: the sha256 of its Parquet bytes.
        """
        import pyarrow as pa
        import pyarrow.parquet as parquet

        sink = pa.BufferOutputStream()
        numbers = [
            column.name
            for column in table.schema
            if pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        ]
        parquet.write_table(
            table.combine_chunks(),  # where the chunks end shows in the bytes
            sink,
            compression="zstd",
            compression_level=3,
            row_group_size=ROWS_PER_GROUP,
            write_statistics=numbers or False,  # pyright: ignore[reportArgumentType]  names of columns are allowed
            use_dictionary=False,
        )
        return self.write_object(sink.getvalue())

    def write_object(self, content: pa.Buffer) -> str:
        """Store the bytes of a Parquet file under their hash."""
        name = hashlib.sha256(content).hexdigest()
        with friendly_os_errors(self.location):
            self.blobs.publish(object_name(name), content)
        self._sound.add(name)
        return name

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read an object, in the types that it was written in: written again, it has the same bytes.

        Raises:
            CurateError: It is missing or damaged.
        """
        with self.parquet(name) as file:
            table = file.read(columns=None if columns is None else list(columns), use_threads=False)
            return table.cast(_written(file, table.schema))

    def read_schema(self, name: str) -> pa.Schema:
        """The columns of an object, in the types that they were written in."""
        with self.parquet(name) as file:
            return _written(file, file.schema_arrow)

    @contextmanager
    def parquet(self, name: str) -> Iterator[pyarrow.parquet.ParquetFile]:
        """An object, open for reading. Its bytes are hashed the first time; what is raised later is its fault if they changed.

        Raises:
            DamagedError: It is missing, or its bytes are not what its name says.
        """
        import pyarrow as pa
        import pyarrow.parquet as parquet

        local = self.blobs.local_path(object_name(name)) is not None
        if local and name not in self._sound and (problem := self.problem(name)):
            raise self._fault(name, problem)
        try:
            with self.blobs.open(object_name(name)) as stream:
                self._check_whole(name, stream)
                with parquet.ParquetFile(stream) as file:
                    yield file
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            if (problem := self.problem(name)) is None:
                raise
            raise self._fault(name, problem) from error

    def _check_whole(self, name: str, stream: pa.NativeFile) -> None:
        """Hash an object of an object store where all of it came; of a large one only ranges do, which nothing is told by."""
        import pyarrow as pa

        if name in self._sound or not isinstance(stream, pa.BufferReader):
            return
        if hashlib.sha256(stream.read_buffer()).hexdigest() != name:
            raise self._fault(name, self.problem(name) or "was damaged on its way")
        stream.seek(0)
        self._sound.add(name)

    def _fault(self, name: str, problem: str) -> DamagedError:
        path = self.blobs.local_path(object_name(name))
        again = "run again" if problem == MISSING else "remove it and run again"
        return DamagedError(
            f"object {name[:12]} {problem}",
            str(path or f"{self.location}/{object_name(name)}"),
            f"`curate data verify` lists what is affected; {again}, or restore it from a backup",
        )

    def problem(self, name: str) -> str | None:
        """What is wrong with an object; None where its bytes are what its name says."""
        try:
            sound = self.blobs.hash(object_name(name)) == name
        except FileNotFoundError:
            return MISSING
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        if not sound:
            return "is damaged"
        self._sound.add(name)
        return None

    def has_object(self, name: str) -> bool:
        """Whether the object is there."""
        return self.blobs.exists(object_name(name))

    def size(self, name: str) -> int:
        """Bytes of an object."""
        return self.blobs.stat(object_name(name)).size

    # ---- receipts

    def read_receipt(self, key: str) -> dict[str, Any] | None:
        """The receipt of a finished task, or None where there is none, or one of its objects is gone."""
        receipt = self.read_sealed(_receipt(key))
        objects = receipt.get("objects") if receipt else None
        if not isinstance(objects, list) or not all(self.has_object(str(name)) for name in objects):
            return None
        return receipt

    def write_receipt(self, key: str, receipt: dict[str, Any], objects: Sequence[str]) -> None:
        """Record a finished task; its objects must have been written before."""
        self.write_sealed(_receipt(key), {**receipt, "objects": sorted(set(objects))})

    # ---- versions

    def write_manifest(self, manifest: dict[str, Any]) -> str:
        """Store a manifest; returns the version id."""
        content = canonical_json(manifest)
        version = hashlib.sha256(content).hexdigest()
        with friendly_os_errors(self.location):
            self.blobs.publish(f"versions/{version}.json", content)
        return version

    def manifest(self, version: str) -> dict[str, Any]:
        """The manifest of a version, given by its whole id."""
        try:
            manifest = json.loads(self.blobs.read(f"versions/{version}.json"))
            if not isinstance(manifest, dict):
                raise ValueError("it is no object")
            return manifest
        except FileNotFoundError:
            raise CurateError(
                f"there is no version {version[:12]} in the store",
                self.location,
                "`curate data gc` removes versions that nothing names",
            ) from None
        except ValueError:
            raise CurateError(
                f"the manifest of version {version[:12]} is damaged",
                f"{self.location}/versions/{version}.json",
                "remove it and run again",
            ) from None


def _written(file: pyarrow.parquet.ParquetFile, read: pa.Schema) -> pa.Schema:
    """Columns of a file in the types that they were written in; `read` itself where they are these.

    Parquet calls the members of all lists `element` and knows no seconds, which shows in the bytes of what is written again;
    the file tells Arrow's own types beside.
    """
    import pyarrow as pa

    told = (file.metadata.metadata or {}).get(ARROW_SCHEMA)
    if told is None:
        return read
    written = pa.ipc.read_schema(pa.py_buffer(b64decode(told)))
    fields = [one.with_type(written.field(one.name).type) if one.name in written.names else one for one in read]
    same = all(
        str(one.type) == str(own.type) for one, own in zip(fields, read, strict=True)
    )  # `==` is blind to the names
    return read if same else pa.schema(fields, read.metadata)


def _receipt(key: str) -> str:
    return f"receipts/{key[:2]}/{key}.json"


def blobs_at(place: Path | str) -> Blobs:
    """The blobs at a path or URL."""
    if "://" not in str(place):
        return LocalBlobs(Path(place))
    from curate.dataset.remote import S3Blobs

    return S3Blobs(str(place))


@contextmanager
def friendly_os_errors(location: str) -> Iterator[None]:
    """Full disks and missing rights, said in the user's words."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResumableError(
                "the disk is full",
                location,
                "earlier versions are intact; free some space (`curate data gc`) and run the same command again",
            ) from error
        if error.errno in _UNWRITABLE:
            raise CurateError(
                f"the store cannot be written: {error.strerror}",
                location,
                "check its permissions, or name another with --store",
            ) from error
        raise
