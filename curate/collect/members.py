"""The files in zip and tar archives, one after the other, whatever the archive says of itself.

Names are only what documents are called: nothing is ever written where they point. What a member unpacks to is counted while
it is read, not believed; all members together are held to the limit of one compressed file. A member of up to 16 MB stands in
memory, a larger one in a temporary file.
"""

from __future__ import annotations

import errno
import io
import lzma
import re
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import IO, BinaryIO, NamedTuple

from curate.collect.compression import FREE_BYTES, ByteStream
from curate.stages.contract import Passed, Rejected

__all__ = ["DAMAGE", "Member", "archive_members"]

MEMORY_BYTES = 16 << 20
READ_BYTES = 1 << 20
UNSAFE = re.compile(r"^$|(^|[/\\])\.\.([/\\]|$)|^[/\\]|^[A-Za-z]:|[\x00-\x1f]|[\ud800-\udfff]")
HIDDEN = re.compile(r"(^|/)(\.[^/]|__MACOSX/)")
LINK = 0o120000
DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, NotImplementedError, RuntimeError,
    ValueError, IndexError, OverflowError,
)  # fmt: skip
"""What the standard library raises at damaged archives."""


class Member(NamedTuple):
    """A file of an archive: its name, its bytes, and what opens it as often as wanted until the next one is asked for."""

    name: str
    size: int
    open: Callable[[], BinaryIO]


@dataclass
class _Budget:
    """How many more bytes may be unpacked."""

    left: int


class _TooMuch(Exception):
    pass


def archive_members(
    open_file: Callable[[], BinaryIO], form: str, compression: str | None, max_expansion: float
) -> Iterator[Member | Rejected | Passed]:
    """The members in the order of the archive; rejects for what cannot be read, counts of what is no file.

    Rejects are `corrupt`, `truncated`, `expansion_limit` of the archive, and of members `unsafe_name`, `duplicate_name`,
    `password` and `corrupt`. What is hidden (`.name`, `__MACOSX/`), a folder or a link is counted.

    Args:
        open_file: Opens the archive.
        form: `zip` or `tar`.
        compression: Around a tar file, a name of `formats.COMPRESSIONS`; None is none.
        max_expansion: Most bytes unpacked for each byte of the archive.
    """
    if form == "zip":
        return _zip(open_file, max_expansion)
    return _tar(ByteStream(open_file, compression, max_expansion=max_expansion))


def _refused(name: str, place: int, names: set[str]) -> Rejected | Passed | None:
    """Why a member is not read, whatever is in it."""
    if UNSAFE.search(name):
        shown = name.encode("ascii", "backslashreplace").decode()
        return Rejected(place, "unsafe_name", f"the member `{shown}` points out of the archive, or has no plain name")
    if HIDDEN.search(name):
        return Passed("hidden member", 1)
    if name in names:
        return Rejected(place, "duplicate_name", f"the archive has two members `{name}`")
    names.add(name)
    return None


def _zip(open_file: Callable[[], BinaryIO], max_expansion: float) -> Iterator[Member | Rejected | Passed]:
    names: set[str] = set()
    with open_file() as file:
        budget = _Budget(max(FREE_BYTES, int(file.seek(0, io.SEEK_END) * max_expansion)))
        file.seek(0)
        head = file.read(4)
        try:
            archive = zipfile.ZipFile(file)
        except DAMAGE as error:
            _raise_of_machine(error)
            cut = head == b"PK\x03\x04"
            yield Rejected(0, "truncated" if cut else "corrupt", "zip: its directory is not there, or is damaged")
            return
        for told in archive.infolist():
            is_folder = told.filename.endswith("/")  # is_dir() fails at a name that is empty, or begins with NUL
            if is_folder or (told.external_attr >> 16) & 0o170000 == LINK:
                yield Passed("folder" if is_folder else "link", 1)
            elif refused := _refused(told.filename, told.header_offset, names):
                yield refused
            else:
                try:
                    yield from _unzip(archive, told, budget)
                except _TooMuch:
                    limit = f"the archive holds more than {max_expansion:g} times its size"
                    yield Rejected(told.header_offset, "expansion_limit", limit)
                    return


def _unzip(archive: zipfile.ZipFile, told: zipfile.ZipInfo, budget: _Budget) -> Iterator[Member | Rejected]:
    inside = f"!{told.filename}"
    if told.flag_bits & 1:
        yield Rejected(0, "password", "zip: the member is encrypted", inside)
        return
    with ExitStack() as stack:
        try:
            with archive.open(told) as stream:
                member = _held(told.filename, stream, budget, stack)
        except DAMAGE as error:
            _raise_of_machine(error)
            yield Rejected(0, "corrupt", f"zip: {type(error).__name__}: {_plain(error)}", inside)
            return
        yield member


def _tar(stream: ByteStream) -> Iterator[Member | Rejected | Passed]:
    names: set[str] = set()
    place = 0
    try:
        with tarfile.open(fileobj=_Pipe(stream), mode="r|") as archive:
            for told in archive:
                place = told.offset
                if not told.isreg():
                    yield Passed("folder" if told.isdir() else "link" if told.issym() or told.islnk() else "device", 1)
                elif refused := _refused(told.name, place, names):
                    yield refused
                else:
                    content = archive.extractfile(told)
                    assert content is not None
                    with ExitStack() as stack:
                        yield _held(told.name, content, _Budget(told.size), stack)
    except (tarfile.TarError, *DAMAGE) as error:
        _raise_of_machine(error)
        if stream.damage is None:
            reason = "truncated" if "unexpected end" in str(error) else "corrupt"
            yield Rejected(place, reason, f"tar: {_plain(error)}, at or after the member at {place}")
    if stream.damage:
        yield Rejected(stream.position, *stream.damage)


def _raise_of_machine(error: Exception) -> None:
    """Raise again what says nothing of the archive: a full disk, one that cannot be read, no folder for temporary files.

    Before its beginning (EINVAL) only an archive points whose places are wrong.
    """
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        raise error


def _held(name: str, stream: IO[bytes], budget: _Budget, stack: ExitStack) -> Member:
    """All of a member, in memory or in a temporary file that is gone with the stack.

    Raises:
        _TooMuch: It holds more than there is room for.
    """
    size, pieces = 0, list[bytes]()
    file: IO[bytes] | None = None
    while data := stream.read(READ_BYTES):
        size += len(data)
        budget.left -= len(data)
        if budget.left < 0:
            raise _TooMuch
        if file is None and size > MEMORY_BYTES:
            file = stack.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115 the stack closes it
            file.writelines(pieces)
            pieces.clear()
        if file is None:
            pieces.append(data)
        else:
            file.write(data)
    if file is None:
        return Member(name, size, partial(io.BytesIO, b"".join(pieces)))
    file.flush()
    return Member(name, size, partial(open, file.name, "rb"))


class _Pipe(io.RawIOBase):
    """The bytes of a stream, read once from front to back."""

    def __init__(self, stream: ByteStream) -> None:
        self._blocks, self._rest = iter(stream), b""

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """`size` bytes, fewer at the end."""
        gathered = [self._rest]
        have = len(self._rest)
        while size < 0 or have < size:
            block = next(self._blocks, b"")
            if not block:
                break
            gathered.append(block)
            have += len(block)
        data = b"".join(gathered)
        size = len(data) if size < 0 else size
        self._rest = data[size:]
        return data[:size]


def _plain(error: BaseException) -> str:
    return " ".join(str(error).split())[:100]
