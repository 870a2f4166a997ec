"""A repository as a store of objects: nothing of it is run, and nothing it says is believed without its hash.

Only plumbing reads it (`rev-parse`, `ls-tree`, `cat-file --batch`): no work tree, no index, no hook, filter or text
conversion. Git is given an environment of its own (no configuration of the user or the machine), so what a hostile
repository configures (`core.fsmonitor`, `core.sshCommand`, a promisor remote that is a command) finds nothing to act on: no
protocol is allowed while objects are read. Each content is hashed and held against its name.

From an address the commit alone is fetched, without history, into a folder that goes again; the address that was
checked (curate/collect/fetch/guard.py) is the one that git connects to, and redirections are not followed.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple, Self

import httpcore

from curate.collect.fetch.client import origin, public_url
from curate.collect.fetch.guard import is_public, look_up
from curate.errors import CurateError, ResumableError

__all__ = ["Commit", "Entry", "Repository", "fetch_commit"]

REVISION = re.compile(r"[0-9A-Za-z_][\w./@^~+-]*")
AUTHOR = re.compile(rb"^author .*> (\d{1,11}) ([+-])(\d\d)(\d\d)$", re.MULTILINE)
AHEAD = 256
"""Objects that are asked for before the first is read: their names fit into a pipe."""
AGAIN = "are the address and the name right? Where it asks for a password, clone it and name the folder with `path`"
SAFE = (
    "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0",
    "-c", "maintenance.auto=false", "-c", "credential.helper=",
)  # fmt: skip


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


def _environment(home: str, protocols: str) -> dict[str, str]:
    """All that git is told: variables of the user's may lead it elsewhere."""
    return {
        "PATH": os.environ.get("PATH", os.defpath), "HOME": home, "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_ALLOW_PROTOCOL": protocols,
    }  # fmt: skip


def _started(arguments: Sequence[str], wrong: IO[bytes], *, asked: bool = False) -> subprocess.Popen[bytes]:
    """Git, with what it says of errors in a file: a pipe that nobody empties would stop it."""
    environment = _environment(os.devnull, "none")
    stdin = subprocess.PIPE if asked else subprocess.DEVNULL
    try:
        return subprocess.Popen(
            ["git", *SAFE, *arguments], env=environment, stdin=stdin, stdout=subprocess.PIPE, stderr=wrong
        )
    except FileNotFoundError:
        raise CurateError("git is not installed, or not on PATH", hint="install it: `apt-get install git`") from None


class Repository:
    """A repository on this machine, with a work tree or bare.

    Raises:
        CurateError: There is none.
    """

    def __init__(self, folder: Path, told: str) -> None:
        inner = folder / ".git"
        self.folder, self.told = (inner if inner.exists() else folder), told
        self._git("rev-parse", "--git-dir", problem=f"`{told}` is no git repository, or not one that git can read")

    def _git(self, *arguments: str, problem: str) -> bytes:
        with TemporaryFile() as wrong, _started([f"--git-dir={self.folder}", *arguments], wrong) as git:
            found, _ = git.communicate()
            if git.returncode:
                said = _said(wrong)
                raise CurateError(f"{problem}: {said}" if said else problem)
        return found

    def commit(self, revision: str) -> Commit:
        """The commit that a branch, tag or hash means now.

        Raises:
            CurateError: There is no such commit.
        """
        if not REVISION.fullmatch(revision):
            raise CurateError(f"`{revision}` is no name of a commit", hint="a branch, a tag, or a hash")
        problem = f"`{self.told}` has no commit `{revision}`"
        name = self._git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", problem=problem).decode().strip()
        found = AUTHOR.search(self._git("cat-file", "commit", name, problem=problem).partition(b"\n\n")[0])
        return Commit(name, _date(*found.groups()) if found else None)

    def entries(self, commit: str, most: int) -> Iterator[Entry]:
        """All paths of a commit, as git orders them.

        Raises:
            CurateError: There are more than `most`, or a folder of it is damaged.
        """
        arguments = [f"--git-dir={self.folder}", "ls-tree", "-r", "-z", "-l", "--full-tree", commit]
        count, rest = 0, b""
        with TemporaryFile() as wrong, _started(arguments, wrong) as git:
            assert git.stdout
            while data := git.stdout.read(1 << 16):
                *lines, rest = (rest + data).split(b"\0")
                for line in lines:
                    count += 1
                    if count > most:
                        git.kill()
                        raise CurateError(
                            f"`{self.told}` has more than {most:,} files", hint="raise `max_files` if that is meant"
                        )
                    told, _, path = line.partition(b"\t")
                    mode, _, name, size = told.decode().split()
                    yield Entry(path, mode, name, int(size) if size.isdecimal() else None)
            if git.wait():
                raise CurateError(
                    f"the files of `{self.told}` cannot be listed: {_said(wrong)}",
                    hint="`git fsck` there says what is damaged",
                )

    def contents(self, names: Sequence[str]) -> Iterator[bytes | str]:
        """The content of each object, in order; in words what is wrong with one that is missing or damaged."""
        at = 0
        while at < len(names):
            with _Batch(self.folder) as batch:
                for found in batch.ask(names[at:]):
                    at += 1
                    yield found
                    if isinstance(found, str) and batch.ended:
                        break


class _Batch:
    """`git cat-file --batch`: it dies of the first object that is damaged."""

    def __init__(self, folder: Path) -> None:
        self._said = TemporaryFile()  # noqa: SIM115 it is closed with the process
        self._git = _started([f"--git-dir={folder}", "cat-file", "--batch"], self._said, asked=True)
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
        assert self._git.stdin and self._git.stdout
        for start in range(0, len(names), AHEAD):
            some = names[start : start + AHEAD]
            try:
                self._git.stdin.write("".join(f"{name}\n" for name in some).encode())
                self._git.stdin.flush()
            except BrokenPipeError:  # what it has answered is read below
                pass
            for name in some:
                yield self._answer(self._git.stdout, name)

    def _answer(self, stream: IO[bytes], name: str) -> bytes | str:
        head = stream.readline().split()
        if len(head) == 2 and head[1] == b"missing":
            return "the repository has not got it (a partial clone?)"
        if len(head) != 3 or head[0].decode() != name or head[1] != b"blob":
            self.ended = True
            return "git cannot read it"
        size = int(head[2])
        content = stream.read(size + 1)[:-1]
        if len(content) != size:
            self.ended = True
            return "git cannot read all of it"
        digest = hashlib.sha1 if len(name) == 40 else hashlib.sha256
        if digest(b"blob %d\0%s" % (size, content)).hexdigest() != name:
            return "its content is not what its hash says"
        return content


def _said(wrong: IO[bytes]) -> str:
    """The last line that git says of an error."""
    wrong.seek(0)
    lines = wrong.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("fatal: ").removeprefix("error: ") if lines else ""


def _date(seconds: bytes, sign: bytes, hours: bytes, minutes: bytes) -> str | None:
    offset = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == b"-" else 1)
    try:
        return datetime.fromtimestamp(int(seconds), timezone(offset) if offset else UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None


def fetch_commit(
    url: str, revision: str, folder: Path, *, allow: Sequence[str], seconds: float, most: int
) -> Repository:
    """Fetch one commit into a new repository in a folder.

    Args:
        url: Where from, http or https, without credentials.
        revision: Branch, tag or full hash.
        folder: Empty.
        allow: `host:port` that may be reached though they are not public.
        seconds: Most that it may take.
        most: Bytes of the largest file that it may write.

    Raises:
        CurateError: The address is not public, or has not got that.
        ResumableError: It takes too long, or breaks off.
    """
    shown, checked = public_url(url), _checked_address(url, allow)
    if not REVISION.fullmatch(revision):
        raise CurateError(f"`{revision}` is no name of a commit", hint="a branch, a tag, or a full hash")
    settings = (
        f"http.curloptResolve={checked}", "http.followRedirects=false", "http.proxy=", "protocol.version=2",
        f"http.lowSpeedTime={max(1, int(seconds / 10))}", "http.lowSpeedLimit=1000", "fetch.recurseSubmodules=false",
    )  # fmt: skip
    given = [word for setting in settings for word in ("-c", setting)]
    limited = ["/bin/sh", "-c", f'ulimit -f {max(1, most // 512)}; exec git "$@"', "git", *SAFE, *given]
    repository = folder / "repository"
    fetch = [f"--git-dir={repository}", "fetch", "--quiet", "--no-tags", "--depth=1", url, revision]
    for command in (["init", "--quiet", "--bare", "--template=", str(repository)], fetch):
        with TemporaryFile() as wrong:
            try:
                environment = _environment(str(folder), "http:https")
                code = subprocess.run([*limited, *command], env=environment, stderr=wrong, timeout=seconds).returncode
            except subprocess.TimeoutExpired:
                hint = "raise `seconds`, or clone it and name the folder with `path`"
                raise ResumableError(f"`{shown}` took longer than {seconds:g} seconds", hint=hint) from None
            if code:
                said = _said(wrong) or "git says nothing of it"
                raise ResumableError(f"`{revision}` of `{shown}` cannot be fetched: {said}", hint=AGAIN)
    return Repository(repository, shown)


def _checked_address(url: str, allow: Sequence[str]) -> str:
    """Host, port and the address that git is to connect to, as curl takes them."""
    _, host, port = origin(url)
    try:
        addresses = look_up(host, port)
    except httpcore.ConnectError as error:
        raise ResumableError(f"`{public_url(url)}` cannot be reached: {error}") from None
    if f"{host}:{port}" not in allow and not all(map(is_public, addresses)):
        raise CurateError(
            f"`{host}` is no public address, and nothing was sent to it",
            hint=f"if it is meant, allow it: `allow: [{host}:{port}]`",
        )
    return f"{host}:{port}:{addresses[0] if ':' not in addresses[0] else f'[{addresses[0]}]'}"
