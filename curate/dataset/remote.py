"""Blobs in an object store that speaks S3: `s3://BUCKET/PREFIX`.

Credentials, region and endpoint are those that every S3 program takes from the environment (AWS_ACCESS_KEY_ID,
AWS_REGION, AWS_ENDPOINT_URL, AWS_ALLOW_HTTP, ...); nothing here is set otherwise. A write is one request, and is there whole
or not at all. Races are decided by the server: a write says `If-None-Match: *` or `If-Match: ETAG`. A lease is a blob that
its holder writes anew four times in LEASE_SECONDS; one that is older, by the server's clock, is a dead writer's. A holder
that was stopped for longer finds its lease gone before it next names or removes anything, and does not.

Requests: 1 to read, to write, to ask; 1 to open, which brings up to TAIL bytes, and 1 for each READ_AHEAD that are read
further; 2 to swap, and 1 more where a lease is held. What was opened of an object is kept, up to CACHE bytes.
docs/decisions/0009-object-stores.md says why obstore.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from functools import partial
from itertools import islice
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from curate.dataset.blobs import Blob
from curate.dataset.ranges import READ_AHEAD, Ranges
from curate.dataset.troubles import NO_CONDITIONS, told
from curate.errors import CurateError, ResumableError

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from obstore import PutMode

__all__ = ["LEASE_SECONDS", "S3Blobs"]

LEASE_SECONDS = 60.0
TAIL = 1 << 20
"""Bytes that come when a blob is opened: all of a small one, of a large one the end, where Parquet says what is where."""
CACHE = 64 << 20
"""Bytes of objects that a process keeps: without it a run of four shards asked for one schema 80 times."""
RETRIES = 8
"""How often a request is sent again that met a lost connection or an error of the server: about half a minute."""
_TIMEOUTS: Any = {"timeout": "30m", "read_timeout": "1m"}  # as `client_options` they would hide the environment's
AT_ONCE = 1000
"""Names that one request lists or deletes."""
LISTS = 100
"""After so many single questions whether an object is there, at most so many requests list what is there."""


class S3Blobs:
    """Blobs below a prefix of a bucket. Safe for several processes and machines."""

    def __init__(self, url: str) -> None:
        """Name the place; the first request is made by the first call.

        Raises:
            CurateError: It is no such URL, or the extra `s3` is not installed.
        """
        self.location = url.rstrip("/")
        parts = urlsplit(self.location)
        if parts.scheme != "s3" or not parts.netloc:
            raise CurateError(f"a store stands in a folder or at s3://BUCKET/PREFIX, and `{url}` is neither")
        try:
            from obstore.store import S3Store
        except ImportError:
            raise CurateError(
                "a store in an object store needs the package obstore", url, "pip install 'curate-lm[s3]'"
            ) from None
        with self._told(""):
            self._bucket = S3Store(
                parts.netloc, prefix=parts.path.strip("/") or None,
                config=_TIMEOUTS, retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(minutes=3)},
            )  # fmt: skip
        self._held: dict[str, _Lease] = {}
        self._opened: dict[str, tuple[int, bytes]] = {}
        self._kept = self._asked = 0
        self._there: set[str] = set()

    # ---- requests

    def get(self, name: str, options: Any = None) -> Any:
        """A blob's bytes and what is known of it; `options` name a range."""
        import obstore

        with self._told(name, reading=True):
            return obstore.get(self._bucket, name, options=options)

    def put(self, name: str, content: bytes | pa.Buffer, condition: PutMode, **attributes: str) -> str | None:
        """Write a blob if the condition holds; its tag, or None where it does not."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._told(name):
            try:
                done = obstore.put(
                    self._bucket, name, memoryview(content).cast("B"), mode=condition, attributes=attributes or None,
                    use_multipart=False,
                )  # fmt: skip
            except (AlreadyExistsError, PreconditionError):
                return None
            return str(done["e_tag"])

    def _told(self, name: str, *, reading: bool = False) -> AbstractContextManager[None]:
        return told(self.location, name, reading=reading)

    # ---- what a store asks for

    def check(self, name: str) -> None:
        """Try whether the place can be written, and keeps to conditions; `name` is there, and stays as it is.

        Raises:
            CurateError: It writes whatever the condition: of two that write at once, one would be lost.
        """
        content = self.read(name)
        if self.put(name, content, "create") or self.put(name, content, {"e_tag": '"0"'}):
            raise CurateError(NO_CONDITIONS[0], self.location, NO_CONDITIONS[1])

    def read(self, name: str) -> bytes:
        """The whole content."""
        found = self.get(name)
        with self._told(name, reading=True):
            return bytes(found.bytes())

    def open(self, name: str) -> pa.NativeFile:
        """The content, to be read here and there."""
        import pyarrow as pa

        size, tail = self._known(name) or self._tail(name, TAIL)
        if len(tail) == size:
            return pa.BufferReader(tail)
        return pa.PythonFile(Ranges(partial(self._range, name), size, tail), mode="r")

    def _known(self, name: str) -> tuple[int, bytes] | None:
        """What is kept of an object, all of it from now on unless it is too large: who opens it twice will read it."""
        found = self._opened.pop(name, None)
        if found is None:
            return None
        size, tail = found
        if len(tail) < size <= CACHE // 4:
            self._kept -= len(tail)
            return self._tail(name, size)
        self._opened[name] = found  # those opened last are kept longest
        return found

    def _tail(self, name: str, count: int) -> tuple[int, bytes]:
        """Size and end of a blob; those of objects, which never change, are kept."""
        try:
            found = self.get(name, {"range": {"suffix": count}})
            with self._told(name, reading=True):
                size, tail = found.meta["size"], bytes(found.bytes())
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            tail = self.read(name)  # an empty blob has no end that can be asked for
            size = len(tail)
        if name.startswith("objects/"):
            self._opened[name] = (size, tail)
            self._kept += len(tail)
            while self._kept > CACHE and self._opened:
                self._kept -= len(self._opened.pop(next(iter(self._opened)))[1])
        return size, tail

    def _range(self, name: str, start: int, stop: int) -> bytes:
        found = self.get(name, {"range": (start, stop)})
        with self._told(name, reading=True):
            return bytes(found.bytes())

    def hash(self, name: str) -> str:
        """sha256 of its bytes, in hexadecimal, as they are now."""
        found, digest = self.get(name), hashlib.sha256()
        with self._told(name, reading=True):
            for block in found.stream(READ_AHEAD):
                digest.update(block)
        return digest.hexdigest()

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Make this the content, whatever was there."""
        self.put(name, content, "overwrite")
        self._forget(name)

    def _forget(self, *names: str) -> None:
        self._there.difference_update(names)
        for name in names:
            self._kept -= len(self._opened.pop(name, (0, b""))[1])

    def publish(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a blob whose name says what its bytes are, unless it is there with these very bytes."""
        if self.put(name, content, "create") is not None:
            return
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if self.tag(name) != f'"{digest}"' and memoryview(self.read(name)) != memoryview(content).cast("B"):
            self.write(name, content)

    def swap(self, name: str, seen: bytes | None, content: bytes) -> bool:
        """Make this the content if it is what the caller has seen (None: not there); whether it was."""
        self._keep_leases()
        condition: PutMode = "create"
        if seen is not None:
            try:
                found = self.get(name)
                with self._told(name, reading=True):
                    if bytes(found.bytes()) != seen:
                        return False
            except FileNotFoundError:
                return False
            condition = {"e_tag": found.meta["e_tag"]}
        mark = secrets.token_hex(8)
        if self.put(name, content, condition, writer=mark) is not None:
            return True
        # a request that was sent again, its first answer lost, finds its own work
        with suppress(FileNotFoundError):
            return self.get(name).attributes.get("writer") == mark
        return False

    def exists(self, name: str) -> bool:
        """Whether it is there; of objects, which nobody removes while a run goes on, what was seen once is believed."""
        if name in self._there:
            return True
        if name.startswith("objects/"):
            self._asked += 1
            if self._asked == LISTS:
                self._there |= {blob.name for blob in islice(self.list("objects"), LISTS * AT_ONCE)}
                if name in self._there:
                    return True
        try:
            self._head(name)
        except FileNotFoundError:
            return False
        if name.startswith("objects/"):
            self._there.add(name)
        return True

    def stat(self, name: str) -> Blob:
        """Its size and age."""
        return _blob(self._head(name), name)

    def tag(self, name: str) -> str:
        """What the server calls the present content."""
        return str(self._head(name)["e_tag"])

    def _head(self, name: str) -> Any:
        import obstore

        with self._told(name, reading=True):
            return obstore.head(self._bucket, name)

    def list(self, prefix: str) -> Iterator[Blob]:
        """All blobs below a folder, in no order."""
        import obstore

        with self._told(prefix, reading=True):
            for some in obstore.list(self._bucket, prefix, chunk_size=AT_ONCE):
                # names with a dot are a folder's own, and come with one that was copied here
                yield from (_blob(one, one["path"]) for one in some if "/." not in f"/{one['path']}")

    def delete(self, *names: str) -> None:
        """Remove them, where they are there."""
        import obstore

        for first in range(0, len(names), AT_ONCE):
            some = names[first : first + AT_ONCE]
            self._keep_leases()
            with self._told(some[0]), suppress(FileNotFoundError):
                obstore.delete(self._bucket, some[0] if len(some) == 1 else list(some))
            self._forget(*some)

    def delete_folder(self, prefix: str) -> None:
        """Remove all blobs below a folder."""
        self.delete(*(blob.name for blob in self.list(prefix)))

    def local_path(self, name: str) -> Path | None:
        """No file holds it."""
        return None

    def now(self) -> float:
        """The server's time, which blobs' ages are told by, rounded up to a second, as those are rounded down."""
        self.write("temporary/clock", b"")
        return self.stat("temporary/clock").modified + 1

    # ---- leases

    @contextmanager
    def hold(self, name: str, content: bytes) -> Iterator[None]:
        """A blob that a thread writes anew while the block runs; when the process is gone it grows old."""
        one, owner = _Lease(self, name, content), os.getpid()
        self._held[name] = one
        try:
            one.keep()
            Thread(target=one.beat, daemon=True).start()
            yield
        finally:
            one.over.set()
            del self._held[name]
            if os.getpid() == owner:  # a forked child has a copy of whatever holds it
                with suppress(OSError, CurateError):  # it grows old
                    self.delete(name)

    def held(self, prefix: str) -> dict[str, bytes | None]:
        """The blobs below a folder that are not too old; those that are, are removed."""
        found: dict[str, bytes | None] = {}
        now = self.now()
        for blob in self.list(prefix):
            if now - blob.modified > LEASE_SECONDS:
                self.delete(blob.name)
            else:
                with suppress(FileNotFoundError):
                    found[blob.name] = self.read(blob.name)
        return found

    def _keep_leases(self) -> None:
        """Nobody has taken us for dead: asked before anything that somebody else might count on."""
        for one in list(self._held.values()):
            one.keep()

    def sweep(self) -> int:
        """Nothing is ever half written."""
        return 0


def _blob(one: Any, name: str) -> Blob:
    return Blob(name, one["size"], one["last_modified"].timestamp())


class _Lease:
    """A lease that is held."""

    def __init__(self, blobs: S3Blobs, name: str, content: bytes) -> None:
        self.blobs, self.name, self.content = blobs, name, content
        self.over, self.tag, self._lock = Event(), "", Lock()

    def beat(self) -> None:
        """Keep it until it is over; what goes wrong meanwhile is told to whoever next counts on it."""
        while not self.over.wait(LEASE_SECONDS / 4):
            with suppress(OSError, CurateError):
                self.keep()

    def keep(self) -> None:
        """Write it anew.

        Raises:
            ResumableError: Somebody has removed it.
        """
        with self._lock:
            if self.over.is_set():
                return
            tag = self.blobs.put(self.name, self.content, {"e_tag": self.tag} if self.tag else "create")
            try:  # nobody else writes it: where it is, it was we, in a request that was sent twice
                self.tag = tag or self.blobs.tag(self.name)
            except FileNotFoundError:
                raise ResumableError(
                    f"this process was away for more than {LEASE_SECONDS:.0f} seconds, and another one may use the store",
                    self.blobs.location,
                    "what is finished is kept; run the same command again",
                ) from None
