"""From paths, globs and URLs to the files they match, in one stable order.

Local paths are relative to the pipeline file; everything with a scheme (`s3://`, `memory://`, `https://`) goes through
fsspec. `file://` is a local path. Hidden files and folders are only matched by patterns that name them.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urlsplit

from curate.errors import ConfigurationErrors, CurateError, did_you_mean

__all__ = ["Location", "find_locations", "open_location"]

CHECKSUMS = ("ETag", "etag", "md5Hash", "md5", "crc32c", "content_md5")
"""What file systems call the hash of a file's content in their listings."""
READ_BYTES = 1 << 20


class Location(NamedTuple):
    """A file.

    Attributes:
        name: Relative to the pipeline file, with forward slashes; or the URL.
        location: Absolute path, or the URL.
        size: Bytes.
    """

    name: str
    location: str
    size: int

    @property
    def is_local(self) -> bool:
        """Whether it is a path and not a URL."""
        return "://" not in self.location

    def content(self, local_hash: Callable[[Path], str], local_size: Callable[[Path], int]) -> tuple[str, int]:
        """Identity of the content, for URLs the hash that the server tells, else the file is read; and its bytes."""
        if self.is_local:
            path = Path(self.location)
            return local_hash(path), local_size(path)
        told = _information(self.location)
        size = int(told.get("size") or 0)
        for key in CHECKSUMS:
            if told.get(key):
                return f"{key.lower()}:{str(told[key]).strip(chr(34))}:{size}", size
        return _hash(self.location), size


def find_locations(patterns: Sequence[str], root: Path) -> list[Location]:
    """The files that the patterns match, each once whatever links lead to it, in the order of their names.

    Raises:
        CurateError: A pattern matches nothing, is a folder, or its file system cannot be reached; where that holds for
            several, `ConfigurationErrors` with all of them.
    """
    found: dict[str, Location] = {}
    errors: list[CurateError] = []
    for pattern in patterns:
        try:
            found.update((match.location, match) for match in _matches(pattern, root))
        except CurateError as error:
            errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else ConfigurationErrors(errors)
    return _once(sorted(found.values()))


def _once(locations: Sequence[Location]) -> list[Location]:
    """Of several names of one file, by links or a loop of them, its own where it is among them, else the first."""
    chosen: dict[str, Location] = {}
    for one in locations:
        itself = os.path.realpath(one.location) if one.is_local else one.location
        if itself not in chosen or one.location == itself:
            chosen[itself] = one
    return sorted(chosen.values())


def _matches(pattern: str, root: Path) -> list[Location]:
    matches = list(_remote(pattern) if _is_url(pattern) else _local(_path(pattern), root))
    if not matches:
        raise CurateError(f"nothing matches `{pattern}`", hint=_what_there_is(pattern, root))
    return matches


def open_location(location: str) -> BinaryIO:
    """Open a path or a URL for reading bytes."""
    if "://" not in location:
        return Path(location).open("rb")
    import fsspec

    return fsspec.open(location, "rb").open()


def _is_url(pattern: str) -> bool:
    return "://" in pattern and not pattern.startswith("file://")


def _path(pattern: str) -> str:
    return pattern.removeprefix("file://")


def _local(pattern: str, root: Path) -> Iterator[Location]:
    wanted = Path(pattern).expanduser()
    full = root.absolute() / wanted
    if full.is_dir():
        raise CurateError(f"`{pattern}` is a folder", hint=f"`{pattern.rstrip('/')}/**/*` matches the files in it")
    found = glob.glob(str(wanted), root_dir=root, recursive=True)  # noqa: PTH207 passes over hidden files
    for match in [full] if full.is_file() else found:
        path = Path(os.path.normpath(root.absolute() / match))
        if path.is_file():
            name = Path(os.path.relpath(path, root.absolute())).as_posix()
            if not _is_unicode(name):
                raise CurateError(f"the name of the file {name!a} is not Unicode", hint="rename it")
            yield Location(name, str(path), path.stat().st_size)


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _remote(pattern: str) -> Iterator[Location]:
    from fsspec.core import url_to_fs

    if urlsplit(pattern).password:
        raise CurateError(
            f"a URL of {urlsplit(pattern).hostname} has a password in it",
            hint="it would be written into the version; let fsspec's configuration or the environment hold it",
        )
    try:
        system, path = url_to_fs(pattern)
        magic = "*" in path or (not pattern.startswith("http") and glob.has_magic(path))
        matches = system.glob(path, detail=True) if magic else {path: system.info(path)}
    except FileNotFoundError:
        return
    except Exception as error:  # a file system is a plugin: each raises what it likes
        raise CurateError(
            f"`{pattern}` cannot be read: {error}", hint="is its fsspec package installed, and the host reachable?"
        ) from error
    for match, told in matches.items():
        if told.get("type", "file") == "file":
            url = system.unstrip_protocol(match)
            yield Location(url, url, int(told.get("size") or 0))


def _information(url: str) -> dict[str, Any]:
    from fsspec.core import url_to_fs

    system, path = url_to_fs(url)
    system.invalidate_cache()  # what a listing said before
    return system.info(path)


def _hash(url: str) -> str:
    import hashlib

    digest = hashlib.sha256()
    with open_location(url) as file:
        while data := file.read(READ_BYTES):
            digest.update(data)
    return digest.hexdigest()


def _what_there_is(pattern: str, root: Path) -> str:
    """The nearest folder that exists, and what is in it."""
    if _is_url(pattern):
        return "check the address, and that you may list it"
    path = root.absolute() / _path(pattern)
    missing = path.name
    while not path.is_dir():
        path, missing = path.parent, path.name
    try:
        names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    except PermissionError:
        return f"`{path}` cannot be listed"
    near = did_you_mean(missing, names)
    listed = ", ".join(f"`{name}`" for name in names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{path} holds {listed or 'nothing'}" + (f"; {near}" if near else "")
