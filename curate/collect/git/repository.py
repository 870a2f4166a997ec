"""A repository as a store of objects: nothing of it is run, and no object of it is believed without its hash.

Only plumbing reads it (`rev-parse`, `ls-tree`, `cat-file --batch`): no work tree, no index, no hook, filter or text
conversion. Git is given an environment of its own (no configuration of the user or the machine), so what a hostile
repository configures (`core.fsmonitor`, `core.sshCommand`, a promisor remote that is a command) finds nothing to act on: no
protocol is allowed while objects are read. The commit, its folders and each content are hashed and held against their names.
Where the objects are, the folder says: a `.git` file, links and alternates lead git to other repositories of this machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple, Self

from curate.collect.git.process import said, some_of, started
from curate.errors import CurateError

__all__ = ["Commit", "Entry", "MissingCommitError", "Repository"]

REVISION = re.compile(r"[0-9A-Za-z_][\w./@^~+-]*")
AUTHOR = re.compile(rb"^author .*> (\d{1,11}) ([+-])(\d\d)(\d\d)$", re.MULTILINE)
FSCK = "`git fsck` there says what is damaged"
LIST_BYTES = 128 << 20
"""Most that the list of a commit's paths may have."""
AHEAD = 256
"""Objects that are asked for before the first is read: their names fit into a pipe."""


class Entry(NamedTuple):
    """A path of a commit.

    Attributes:
        path: As it is written.
        mode: `100644`, `100755`, `120000` (a symbolic link), `160000` (a commit of another repository).
        object: Name of its content.
        size: Bytes; None where the object is not there, cannot be read, or is of another repository.
    """

    path: bytes
    mode: str
    object: str
    size: int | None


class Commit(NamedTuple):
    """A commit.

    Attributes:
        id: Its full name.
        date: When its author wrote it (ISO 8601, with their offset); None where it does not say.
    """

    id: str
    date: str | None


class MissingCommitError(CurateError):
    """A repository has not got a commit, or not any more."""


class Repository:
    """A repository on this machine, with a work tree or bare.

    Raises:
        CurateError: There is none.
    """

    def __init__(self, folder: Path, told: str) -> None:
        inner = folder / ".git"
        self.folder, self.told = (inner if inner.exists() else folder), told
        self._git("rev-parse", "--git-dir", problem=f"`{told}` is no git repository, or not one that git can read")

    def _git(self, *arguments: str, problem: str, error: type[CurateError] = CurateError) -> bytes:
        found: list[bytes] = []
        with TemporaryFile() as wrong, started([f"--git-dir={self.folder}", *arguments], wrong) as git:
            while data := some_of(git):
                found.append(data)
            if git.wait():
                words = said(wrong)
                raise error(f"{problem}: {words}" if words else problem)
        return b"".join(found)

    def commit(self, revision: str) -> Commit:
        """The commit that a branch, tag or hash means now.

        Raises:
            CurateError: There is no such commit.
        """
        if not REVISION.fullmatch(revision):
            raise CurateError(f"`{revision}` is no name of a commit", hint="a branch, a tag, or a hash")
        problem = f"`{self.told}` has no commit `{revision}`"
        asked = ("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        name = self._git(*asked, problem=problem, error=MissingCommitError).decode().strip()
        content = next(self.contents([name], kind=b"commit"))
        if isinstance(content, str):
            raise CurateError(f"commit {name[:12]} of `{self.told}`: {content}", hint=FSCK)
        found = AUTHOR.search(content.partition(b"\n\n")[0])
        return Commit(name, _date(*found.groups()) if found else None)

    def entries(self, commit: str, most: int) -> list[Entry]:
        """All paths of a commit, as git orders them.

        Raises:
            CurateError: There are more than `most`, their names are too long, or a folder of it is damaged.
        """
        arguments = [f"--git-dir={self.folder}", "ls-tree", "-r", "-t", "-z", "-l", "--full-tree", commit]
        entries: list[Entry] = []
        trees = [self._git("rev-parse", f"{commit}^{{tree}}", problem=f"`{self.told}` is damaged").decode().strip()]
        size, rest = 0, b""
        with TemporaryFile() as wrong, started(arguments, wrong) as git:
            while data := some_of(git):
                size += len(data)
                *lines, rest = (rest + data).split(b"\0")
                for line in lines:
                    told, _, path = line.partition(b"\t")
                    mode, kind, name, length = told.decode().split()
                    if kind == "tree":
                        trees.append(name)
                    else:
                        entries.append(Entry(path, mode, name, int(length) if length.isdecimal() else None))
                if len(entries) > most or size > LIST_BYTES:
                    git.kill()
                    raise self._too_many(most, more=len(entries) > most)
            if git.wait():
                raise CurateError(f"the files of `{self.told}` cannot be listed: {said(wrong)}", hint=FSCK)
        for tree in self.contents(list(dict.fromkeys(trees)), kind=b"tree"):
            if isinstance(tree, str):
                raise CurateError(f"the files of `{self.told}` cannot be listed: a folder: {tree}", hint=FSCK)
        return entries

    def _too_many(self, most: int, *, more: bool) -> CurateError:
        if more:
            return CurateError(f"`{self.told}` has more than {most:,} files", hint="raise `max_files` if that is meant")
        return CurateError(
            f"the paths of `{self.told}` are longer than {LIST_BYTES >> 20} MiB together",
            hint="make a repository of the folders that are meant",
        )

    def contents(self, names: Sequence[str], *, kind: bytes = b"blob") -> Iterator[bytes | str]:
        """The content of each object of a kind, in order; in words what is wrong with one that is missing or damaged."""
        at = 0
        while at < len(names):
            with _Batch(self.folder, kind) as batch:
                for found in batch.ask(names[at:]):
                    at += 1
                    yield found
                    if isinstance(found, str) and batch.ended:
                        break


class _Batch:
    """`git cat-file --batch`: it dies of the first object that is damaged."""

    def __init__(self, folder: Path, kind: bytes) -> None:
        self._kind, self._rest = kind, b""
        self._said = TemporaryFile()  # noqa: SIM115 it is closed with the process
        self._git = started([f"--git-dir={folder}", "cat-file", "--batch"], self._said, asked=True)
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *told: object) -> None:
        self._git.kill()
        for pipe in (self._git.stdin, self._git.stdout):
            try:
                assert pipe
                pipe.close()
            except OSError:  # it died with questions unread
                pass
        self._git.wait()
        self._said.close()

    def ask(self, names: Sequence[str]) -> Iterator[bytes | str]:
        assert self._git.stdin
        for start in range(0, len(names), AHEAD):
            some = names[start : start + AHEAD]
            try:
                self._git.stdin.write("".join(f"{name}\n" for name in some).encode())
                self._git.stdin.flush()
            except BrokenPipeError:  # what it has answered is read below
                pass
            for name in some:
                yield self._answer(name)

    def _answer(self, name: str) -> bytes | str:
        while b"\n" not in self._rest and (data := some_of(self._git)):
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        head = line.split()
        if len(head) == 2 and head[1] == b"missing":
            return "the repository has not got it (a partial clone?)"
        if len(head) != 3 or head[0].decode() != name or head[1] != self._kind:
            self.ended = True
            return "git cannot read it"
        size = int(head[2])
        found, length = [self._rest], len(self._rest)
        while length <= size and (data := some_of(self._git)):
            found.append(data)
            length += len(data)
        content = b"".join(found)
        content, self._rest = content[:size], content[size + 1 :]
        if length <= size:
            self.ended = True
            return "git cannot read all of it"
        digest = hashlib.sha1 if len(name) == 40 else hashlib.sha256
        if digest(b"%s %d\0%s" % (self._kind, size, content)).hexdigest() != name:
            return "its content is not what its hash says"
        return content


def _date(seconds: bytes, sign: bytes, hours: bytes, minutes: bytes) -> str | None:
    offset = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == b"-" else 1)
    try:
        return datetime.fromtimestamp(int(seconds), timezone(offset) if offset else UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None
