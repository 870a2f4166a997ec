"""Files that are there whole or not at all, and what their bytes are called: the one durable write, the one file hash.

Written aside (a random name, opened exclusively), fsynced, renamed, and the folder fsynced: about 2 ms on a local disk.
While it is written, a file is locked, so that whoever finds it can tell whether its writer still lives, on whatever host
or in whatever container.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "SWEEP_SECONDS",
    "WRITING",
    "alone",
    "file_hash",
    "put_folder",
    "replacing",
    "replacing_folder",
    "sweep",
    "sync_all",
    "sync_folder",
    "write_durably",
]

WRITING = ".writing-"
"""How the name of a file or folder begins that is not finished."""
SWEEP_SECONDS = 60.0
"""Younger files are left alone: between its opening and its lock a file looks abandoned."""


def write_durably(
    path: Path, content: bytes | memoryview | pa.Buffer, *, aside: Path | None = None, name: bool = True
) -> None:
    """Write a file: after a crash at any moment there is the old content, or the new one.

    Args:
        path: The file; its folder is made where it is missing.
        content: All of it.
        aside: Folder on the same file system to write in first; by default the file's own.
        name: Whether the name is durable at once, too; else after the next `sync_all`.
    """
    with replacing(path, aside=aside, name=name) as stream:
        stream.write(content)


@contextmanager
def replacing(path: Path, *, aside: Path | None = None, name: bool = True) -> Iterator[IO[bytes]]:
    """A stream whose content becomes the file `path` when the block ends; if it raises, nothing has changed.

    The file gets the ordinary permissions that the umask leaves.
    """
    _make_folder(path.parent)
    temporary = (aside or path.parent) / f"{WRITING}{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as stream:
            with suppress(OSError):  # a file system without locks: the age alone tells
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if name:
        sync_folder(path.parent)


@contextmanager
def replacing_folder(path: Path, *, aside: Path | None = None) -> Iterator[Path]:
    """A new folder that takes the place of the folder `path` when the block ends; if it raises, nothing has changed.

    It is made in `aside`, a folder on the same file system, by default that of `path`. Its files are fsynced, and get the
    ordinary permissions that the umask leaves. It and a folder that is there change names in one step, where system and file
    system can do that (Linux, macOS); else a crash between two renames leaves nothing at `path`, and the old one as
    `.PATH-...-old`.
    """
    _make_folder(path.parent)
    temporary = (aside or path.parent) / f"{WRITING}{secrets.token_hex(8)}"
    temporary.mkdir()
    folder = os.open(temporary, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield temporary
        _sync_below(temporary)
        put_folder(temporary, path)
    finally:
        os.close(folder)
        shutil.rmtree(temporary, ignore_errors=True)


def _sync_below(folder: Path) -> None:
    ordinary = folder.stat().st_mode & 0o666
    for place, _, names in os.walk(folder):
        for name in names:
            Path(place, name).chmod(ordinary)  # some libraries write for the owner alone
            with Path(place, name).open("rb") as stream:
                os.fsync(stream.fileno())
        sync_folder(Path(place))


def put_folder(new: Path, path: Path) -> None:
    """Rename a folder, durably; one that stood there is at `new` afterwards."""
    if not path.exists():
        new.rename(path)
    elif not _exchange(new, path):
        old = path.with_name(f".{path.name}-{secrets.token_hex(4)}-old")
        path.rename(old)
        try:
            new.rename(path)
        except OSError:
            old.rename(path)
            raise
        old.rename(new)
    sync_folder(path.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Let two files or folders change names in one step; False where that cannot be done here."""
    system = ctypes.CDLL(None, use_errno=True)
    names, flag = (os.fsencode(one), os.fsencode(other)), ctypes.c_uint(2)  # RENAME_EXCHANGE; RENAME_SWAP
    if sys.platform == "darwin":
        return hasattr(system, "renamex_np") and system.renamex_np(*names, flag) == 0
    here = ctypes.c_int(-100)  # AT_FDCWD
    return hasattr(system, "renameat2") and system.renameat2(here, names[0], here, names[1], flag) == 0


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock that this file is: whoever comes second waits, and then finds the work done."""
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sync_all(folder: Path) -> None:
    """Make everything on the file system of a folder durable, names too."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(opened):
            raise OSError(ctypes.get_errno(), "the file system cannot be synced")
    except AttributeError:  # not Linux
        os.sync()
    finally:
        os.close(opened)


def sweep(folder: Path, age: float | None = None) -> int:
    """Remove the files and folders that dead processes left half written in a folder; returns how many.

    Args:
        folder: Where to look.
        age: Seconds from which on they are removed, by default `SWEEP_SECONDS`; 0 where nobody can be about to lock one.
    """
    oldest = SWEEP_SECONDS if age is None else age
    swept = 0
    for path in folder.glob(f"{WRITING}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime >= oldest:
                swept += _remove_unlocked(path)
    return swept


def _remove_unlocked(path: Path) -> bool:
    held = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    finally:
        os.close(held)
    return True


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal, at about 1 GB/s."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
