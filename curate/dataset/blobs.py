"""Where a store's bytes lie: named blobs in a folder, or in an object store; the same few operations on both.

A blob's name is a path with forward slashes (`objects/ab/abcd.parquet`). Writing is atomic and durable. What decides a race
is `swap`: it writes only if the blob is what the caller last saw.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol

from curate.files import SWEEP_SECONDS, file_hash, sweep, sync_all, write_durably

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Blob", "Blobs", "LocalBlobs"]


REMADE = ("objects/", "receipts/", "measured/")
"""What a run makes again where it is not there."""


class Blob(NamedTuple):
    """A blob as a listing shows it.

    Attributes:
        name: Its name.
        size: Bytes.
        modified: Seconds since the epoch.
    """

    name: str
    size: int
    modified: float


class Blobs(Protocol):
    """A place for blobs. A name that is not there is a `FileNotFoundError`; other troubles are `OSError`s."""

    location: str
    """What the place is called in messages: a path or a URL."""

    def read(self, name: str) -> bytes:
        """The whole content."""
        ...

    def open(self, name: str) -> pa.NativeFile:
        """The content, to be read here and there."""
        ...

    def hash(self, name: str) -> str:
        """sha256 of its bytes, in hexadecimal, as they are now."""
        ...

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Make this the content, whatever was there."""
        ...

    def publish(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a blob whose name says what its bytes are, unless it is there with these very bytes."""
        ...

    def swap(self, name: str, seen: bytes | None, content: bytes) -> bool:
        """Make this the content if it is what the caller has seen (None: not there); whether it was."""
        ...

    def exists(self, name: str) -> bool:
        """Whether it is there."""
        ...

    def stat(self, name: str) -> Blob:
        """Its size and age."""
        ...

    def list(self, prefix: str) -> Iterator[Blob]:
        """All blobs below a folder (`objects`), in no order."""
        ...

    def delete(self, *names: str) -> None:
        """Remove them, where they are there."""
        ...

    def delete_folder(self, prefix: str) -> None:
        """Remove all blobs below a folder, and it."""
        ...

    def local_path(self, name: str) -> Path | None:
        """The file that holds it, where that is one on this machine."""
        ...

    def hold(self, name: str, content: bytes) -> AbstractContextManager[None]:
        """A blob that others see as held while the block runs and its process lives (a lease)."""
        ...

    def held(self, prefix: str) -> dict[str, bytes | None]:
        """The blobs below a folder that are held by somebody now, None where we may not read one; those of the dead go."""
        ...

    def now(self) -> float:
        """The time by the clock that ages are told by."""
        ...

    def sweep(self) -> int:
        """Remove what dead writers left; how many pieces."""
        ...

    def check(self, name: str) -> None:
        """Try whether the place can hold a store that is written; `name` is there, and stays as it is."""
        ...


class LocalBlobs:
    """Blobs as files of a folder. Safe for several processes, hosts and containers on one file system."""

    def __init__(self, root: Path) -> None:
        self.root, self.location = root, str(root)
        self._aside = root / "temporary"

    def _path(self, name: str) -> Path:
        return self.root / name

    def read(self, name: str) -> bytes:
        """The whole content."""
        return self._path(name).read_bytes()

    def open(self, name: str) -> pa.NativeFile:
        """The content, to be read here and there."""
        import pyarrow as pa

        return pa.OSFile(str(self._path(name)))

    def hash(self, name: str) -> str:
        """sha256 of its bytes, in hexadecimal, as they are now."""
        return file_hash(self._path(name))

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Make this the content, whatever was there.

        Names of objects and receipts are made durable all at once before a swap: until then nothing that lasts names them,
        and a receipt whose objects are gone is none.
        """
        self._aside.mkdir(parents=True, exist_ok=True)
        write_durably(self._path(name), content, aside=self._aside, name=not name.startswith(REMADE))

    def publish(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a blob whose name says what its bytes are, unless it is there with these very bytes."""
        try:
            same = memoryview(self.read(name)) == memoryview(content).cast("B")
        except OSError:  # missing or unreadable: if it cannot be written either, that is told
            same = False
        if not same:
            self.write(name, content)

    def swap(self, name: str, seen: bytes | None, content: bytes) -> bool:
        """Make this the content if it is what the caller has seen (None: not there); whether it was."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                now: bytes | None = path.read_bytes()
            except FileNotFoundError:
                now = None
            if now != seen:
                return False
            sync_all(self.root)
            self.write(name, content)
            return True

    def exists(self, name: str) -> bool:
        """Whether it is there."""
        return self._path(name).exists()

    def stat(self, name: str) -> Blob:
        """Its size and age."""
        facts = self._path(name).stat()
        return Blob(name, facts.st_size, facts.st_mtime)

    def list(self, prefix: str) -> Iterator[Blob]:
        """All blobs below a folder, in no order."""
        for folder, _, names in os.walk(self.root / prefix):
            for name in names:
                if not name.startswith("."):
                    path = Path(folder, name)
                    try:
                        facts = path.stat()
                    except FileNotFoundError:  # removed while we look
                        continue
                    yield Blob(path.relative_to(self.root).as_posix(), facts.st_size, facts.st_mtime)

    def delete(self, *names: str) -> None:
        """Remove them, where they are there."""
        for name in names:
            self._path(name).unlink(missing_ok=True)

    def delete_folder(self, prefix: str) -> None:
        """Remove a folder."""
        shutil.rmtree(self._path(prefix), ignore_errors=True)

    def local_path(self, name: str) -> Path | None:
        """The file that holds it."""
        return self._path(name)

    @contextmanager
    def hold(self, name: str, content: bytes) -> Iterator[None]:
        """A file that is locked while the block runs; the kernel unlocks it when the process is gone."""
        path, owner = self._path(name), os.getpid()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as stream:
            try:
                os.fchmod(stream.fileno(), 0o644)  # whatever the umask: others ask whether it is held
                fcntl.flock(stream, fcntl.LOCK_EX)
                stream.write(content)
                stream.flush()
                yield
            finally:
                if os.getpid() == owner:  # a forked child has a copy of whatever holds it
                    path.unlink(missing_ok=True)

    def held(self, prefix: str) -> dict[str, bytes | None]:
        """The files of a folder that are locked; what is not, and not brand new, is removed."""
        found: dict[str, bytes | None] = {}
        for blob in self.list(prefix):
            path = self._path(blob.name)
            try:
                with path.open("rb") as stream:
                    if _is_locked(stream):
                        found[blob.name] = stream.read()
                    elif blob.size or time.time() - blob.modified > SWEEP_SECONDS:  # else it is about to be locked
                        path.unlink(missing_ok=True)
            except FileNotFoundError:
                continue
            except PermissionError:
                found[blob.name] = None
        return found

    def now(self) -> float:
        """This machine's time."""
        return time.time()

    def sweep(self) -> int:
        """Remove what dead writers left; how many files."""
        return sweep(self._aside)

    def check(self, name: str) -> None:
        """Whether files can be written."""
        if not os.access(self.root, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.location)


def _is_locked(stream: IO[bytes]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
