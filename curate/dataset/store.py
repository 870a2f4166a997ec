"""The store: immutable Parquet objects named by their hash, JSON manifests, and one small file of refs a dataset.

    .curate/
      store.json                     {"schema": 1}
      objects/ab/<sha256>.parquet    zstd 3; statistics on ids and numbers only (on text they would leak it)
      versions/<sha256>.json         manifests; the id is the hash of the bytes, which hold no times
      refs/<dataset>.json            head, tags and the log of a dataset
      receipts/ab/<key>.json         finished tasks: what they were given, what came out
      tokens/<key>/                  tokenizers and token shards made of a version (curate.tokenize.pack)
      training/<run>.json            which training runs used which version
      temporary/                     what is being written; swept when its process is gone

Nothing is ever changed in place: a file is written aside, fsynced and renamed; an object before its receipt, a receipt
before the ref. Writing costs about 1 CPU second per 140 MB of text, hash and fsync included.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from curate.errors import CurateError, ResumableError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DATASET_NAME", "STORE_SCHEMA", "Store", "canonical_json", "find_store"]

STORE_SCHEMA = 1
DATASET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
ROWS_PER_GROUP = 2000
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT)
_serial = count()


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no needless spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def find_store(store: Path | None = None) -> Store:
    """The existing store that a command means: the option, then `CURATE_STORE`, then `.curate` here.

    Raises:
        CurateError: There is no store there.
    """
    root = store or Path(os.environ.get("CURATE_STORE") or ".curate")
    if not (root / "store.json").is_file():
        raise CurateError(
            f"there is no store at `{root}`",
            hint="name it with --store DIR or CURATE_STORE; `curate run` makes one",
        )
    return Store.open(root)


class Store:
    """A folder of objects, manifests, refs and receipts. Safe for several processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, root: Path, *, create: bool = False) -> Store:
        """Open the store at `root`, making it where `create` says so.

        Raises:
            CurateError: No store there, not writable, or made by a newer version.
        """
        marker = root / "store.json"
        if create and not marker.exists():
            with _friendly_os_errors(root):
                for folder in ("objects", "versions", "refs", "receipts", "training", "temporary"):
                    (root / folder).mkdir(parents=True, exist_ok=True)
                cls(root).write_file(marker, canonical_json({"schema": STORE_SCHEMA}))
        try:
            schema = json.loads(marker.read_bytes())["schema"]
        except (FileNotFoundError, NotADirectoryError):
            raise CurateError(f"there is no store at `{root}`", hint="`curate run` makes one") from None
        except (ValueError, KeyError, TypeError, OSError):
            raise CurateError(
                "the store's marker file cannot be read", str(marker), "restore it from a backup"
            ) from None
        if not isinstance(schema, int) or schema > STORE_SCHEMA:
            raise CurateError(
                f"the store was made by a newer curate (store format {schema}, this one knows {STORE_SCHEMA})",
                str(root),
                "upgrade curate-lm, or use another store",
            )
        if create and not os.access(root / "objects", os.W_OK):
            raise CurateError(
                "the store cannot be written",
                str(root),
                "check its permissions, or name another with --store",
            )
        return cls(root)

    # ---- files and objects

    def write_file(self, path: Path, content: bytes | pa.Buffer) -> None:
        """Write aside, fsync, rename: the file is there whole or not at all."""
        aside = self.root / "temporary" / f"{socket.gethostname()}-{os.getpid()}-{next(_serial)}"
        with _friendly_os_errors(self.root):
            try:
                with aside.open("wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
                if not path.parent.is_dir():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    _sync_folder(path.parent.parent)
                aside.replace(path)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
            _sync_folder(path.parent)

    def object_path(self, name: str) -> Path:
        """Where the object of this hash stands."""
        return self.root / "objects" / name[:2] / f"{name}.parquet"

    def write_table(self, table: pa.Table) -> str:
        """Store a table; equal tables give equal bytes, and are stored once. A damaged object is written again.

        Returns:
            The object's name: the sha256 of its Parquet bytes.
        """
        import pyarrow as pa
        import pyarrow.parquet as parquet

        measured = [
            column.name
            for column in table.schema
            if column.name == "id" or pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        ]
        sink = pa.BufferOutputStream()
        parquet.write_table(
            table.combine_chunks(),  # where the chunks end shows in the bytes
            sink,
            compression="zstd",
            compression_level=3,
            row_group_size=ROWS_PER_GROUP,
            write_statistics=measured or False,  # pyright: ignore[reportArgumentType]  names of columns are allowed
            use_dictionary=False,
        )
        content = sink.getvalue()
        name = hashlib.sha256(content).hexdigest()
        self._write_once(self.object_path(name), content)
        return name

    def _write_once(self, path: Path, content: bytes | pa.Buffer) -> None:
        """Write a file named by its hash, unless it is there with these very bytes."""
        try:
            same = path.read_bytes() == memoryview(content).cast("B")
        except OSError:  # missing or unreadable: if it cannot be written either, that is told
            same = False
        if not same:
            self.write_file(path, content)

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read an object.

        Raises:
            CurateError: It is missing or damaged.
        """
        import pyarrow.parquet as parquet

        with self.readable(name) as path:
            return parquet.read_table(path, columns=columns, use_threads=False, partitioning=None)  # pyright: ignore[reportArgumentType]

    def read_schema(self, name: str) -> pa.Schema:
        """The columns of an object."""
        import pyarrow.parquet as parquet

        with self.readable(name) as path:
            return parquet.read_schema(path)

    def find_rows(self, name: str, value: str, column: str = "id") -> list[dict[str, Any]]:
        """The rows of an object with this value in a column; only the column is read where it has none."""
        import pyarrow.compute as compute
        import pyarrow.parquet as parquet

        rows: list[dict[str, Any]] = []
        with self.readable(name) as path, parquet.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                values = file.read_row_group(group, [column]).column(column)
                found = compute.indices_nonzero(compute.equal(values, value))
                if len(found):
                    rows += file.read_row_group(group).take(found).to_pylist()
        return rows

    @contextmanager
    def readable(self, name: str, *errors: type[Exception]) -> Iterator[Path]:
        """While an object's file is read, by Arrow or by a library that raises `errors`: tell where the object is at fault.

        Raises:
            CurateError: It is missing or damaged: something was raised, and its bytes are not what its name says.
        """
        import pyarrow as pa

        path = self.object_path(name)
        try:
            yield path
        except (pa.ArrowException, UnicodeDecodeError, OSError, *errors) as error:
            if (problem := _problem(path)) is None:
                raise
            raise CurateError(
                f"object {name[:12]} {problem}",
                str(path),
                "`curate data verify` lists what is affected; remove it and run again",
            ) from error

    def has_object(self, name: str) -> bool:
        """Whether the object is there."""
        return self.object_path(name).exists()

    # ---- receipts

    def _receipt_path(self, key: str) -> Path:
        return self.root / "receipts" / key[:2] / f"{key}.json"

    def read_receipt(self, key: str) -> dict[str, Any] | None:
        """The receipt of a finished task, or None where there is none, or one of its objects is gone."""
        try:
            receipt = json.loads(self._receipt_path(key).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return receipt if all(self.has_object(name) for name in receipt["objects"]) else None

    def write_receipt(self, key: str, receipt: dict[str, Any], objects: Sequence[str]) -> None:
        """Record a finished task; its objects must have been written before."""
        self.write_file(self._receipt_path(key), canonical_json({**receipt, "objects": sorted(set(objects))}))

    def receipts(self) -> Iterator[Path]:
        """The files of all receipts."""
        return (self.root / "receipts").glob("*/*.json")

    # ---- versions

    def manifest_path(self, version: str) -> Path:
        """Where a version's manifest stands."""
        return self.root / "versions" / f"{version}.json"

    def write_manifest(self, manifest: dict[str, Any]) -> str:
        """Store a manifest; returns the version id."""
        content = canonical_json(manifest)
        version = hashlib.sha256(content).hexdigest()
        self._write_once(self.manifest_path(version), content)
        return version

    def manifest(self, version: str) -> dict[str, Any]:
        """The manifest of a version, given by its whole id."""
        try:
            manifest = json.loads(self.manifest_path(version).read_bytes())
            if not isinstance(manifest, dict):
                raise ValueError("it is no object")
            return manifest
        except FileNotFoundError:
            raise CurateError(
                f"there is no version {version[:12]} in the store",
                str(self.root),
                "`curate data gc` removes versions that have no tag",
            ) from None
        except ValueError:
            raise CurateError(
                f"the manifest of version {version[:12]} is damaged",
                str(self.manifest_path(version)),
                "remove it and run again",
            ) from None

    def record_training(self, run: str, record: dict[str, Any]) -> None:
        """Remember which version a training run used, and where its folder is."""
        self.write_file(self.root / "training" / f"{run}.json", canonical_json(record))

    def training_records(self) -> list[dict[str, Any]]:
        """The training runs that used this store, by name."""
        return [json.loads(path.read_bytes()) for path in sorted((self.root / "training").glob("*.json"))]

    # ---- locks

    @contextmanager
    def lock(self, mode: Literal["shared", "exclusive"]) -> Iterator[None]:
        """Runs share the store; garbage collection wants it alone, and does not wait.

        Raises:
            CurateError: `exclusive` is wanted while a run is going on, or the other way round.
        """
        flag = fcntl.LOCK_SH if mode == "shared" else fcntl.LOCK_EX
        with self._lock_file(self.root / "lock") as stream:
            try:
                fcntl.flock(stream, flag | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CurateError(
                    "the store is in use by another process", str(self.root), "try again when it has finished"
                ) from None
            yield

    @contextmanager
    def refs_lock(self) -> Iterator[IO[str]]:
        """Held while refs are read and written back."""
        with self._lock_file(self.root / "refs" / ".lock") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield stream

    def _lock_file(self, path: Path) -> IO[str]:
        with _friendly_os_errors(self.root):
            return path.open("a")

    def sweep(self) -> int:
        """Remove what dead processes of this host left half written; returns how many files."""
        swept = 0
        for path in (self.root / "temporary").iterdir():
            host, _, rest = path.name.rpartition("-")[0].rpartition("-")
            if host == socket.gethostname() and rest.isdigit() and not _is_alive(int(rest)):
                path.unlink(missing_ok=True)
                swept += 1
        return swept


def _problem(path: Path) -> str | None:
    """What is wrong with an object; None where its bytes are what its name says."""
    try:
        with path.open("rb") as stream:
            sound = hashlib.file_digest(stream, "sha256").hexdigest() == path.stem
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if sound else "is damaged"


def _is_alive(process: int) -> bool:
    import psutil

    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # it is another user's
        return True


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _friendly_os_errors(root: Path) -> Iterator[None]:
    """Full disks and missing rights, said in the user's words."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResumableError(
                "the disk is full",
                str(root),
                "earlier versions are intact; free some space (`curate data gc`) and run the same command again",
            ) from error
        if error.errno in _UNWRITABLE:
            raise CurateError(
                f"the store cannot be written: {error.strerror}",
                str(error.filename or root),
                "check its permissions, or name another with --store",
            ) from error
        raise
