"""One commit of a repository at an address, fetched into a folder.

The address that was checked (curate/collect/fetch/guard.py) is the one that git connects to, and redirections are not followed.
That needs git 2.37 (`http.curloptResolve`, which older ones ignore without a word). Time, bytes of a file and
memory have limits.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import urlsplit, urlunsplit

import httpcore

from curate.collect.fetch.client import origin, public_url
from curate.collect.fetch.guard import is_public, look_up
from curate.collect.git.process import run_limited, said, started
from curate.collect.git.repository import REVISION, MissingCommitError, Repository
from curate.errors import CurateError, ResumableError

__all__ = ["fetch_commit"]

AGAIN = "are the address and the name right? Where it asks for a password, clone it and name the folder with `path`"
GONE = re.compile(r"not our ref|couldn't find remote ref")
HOST = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
VERSION = re.compile(rb"(\d+)\.(\d+)")
OLDEST = (2, 37)


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
    shown = public_url(url)
    address, checked = _checked_address(url, allow)
    if not REVISION.fullmatch(revision):
        raise CurateError(f"`{revision}` is no name of a commit", hint="a branch, a tag, or a full hash")
    settings = (
        f"http.curloptResolve={checked}", "http.followRedirects=false", "http.proxy=", "protocol.version=2",
        f"http.lowSpeedTime={max(1, int(seconds / 10))}", "http.lowSpeedLimit=1000", "fetch.recurseSubmodules=false",
    )  # fmt: skip
    given = [word for setting in settings for word in ("-c", setting)]
    repository = folder / "repository"
    fetch = [*given, f"--git-dir={repository}", "fetch", "--quiet", "--no-tags", "--depth=1", address, revision]
    _check_version()
    for command in (["init", "--quiet", "--bare", "--template=", str(repository)], fetch):
        with TemporaryFile() as wrong:
            code = run_limited(command, str(folder), wrong, seconds=seconds, most=most)
            if code is None:
                hint = "raise `seconds`, or clone it and name the folder with `path`"
                raise ResumableError(f"`{shown}` took longer than {seconds:g} seconds", hint=hint)
            if code:
                words = said(wrong) or "git says nothing of it"
                kind = MissingCommitError if GONE.search(words) else ResumableError
                raise kind(f"`{revision}` of `{shown}` cannot be fetched: {words}", hint=AGAIN)
    return Repository(repository, shown)


def _check_version() -> None:
    with TemporaryFile() as wrong, started(["--version"], wrong) as git:
        told = VERSION.search(git.communicate(timeout=60)[0])
    if not told or (int(told[1]), int(told[2])) < OLDEST:
        raise CurateError(
            "git is older than 2.37, and would not keep to the address that was checked",
            hint="install a newer one, or clone it and name the folder with `path`",
        )


def _checked_address(url: str, allow: Sequence[str]) -> tuple[str, str]:
    """The address as git is told it, and host, port and number that it is to connect to, as curl takes them.

    Both have the host in one spelling: a name that git would read otherwise would be looked up again, and unchecked.
    """
    scheme, name, port = origin(url)
    host = _plain(name)
    if host is None:
        raise CurateError(f"`{public_url(url)}` has no plain host name", hint="letters, digits, `-` and dots")
    try:
        addresses = look_up(host, port)
    except httpcore.ConnectError as error:
        raise ResumableError(f"`{public_url(url)}` cannot be reached: {error}") from None
    if not {f"{host}:{port}", f"{name}:{port}"} & set(allow) and not all(map(is_public, addresses)):
        raise CurateError(
            f"`{name}` is no public address, and nothing was sent to it",
            hint=f"if it is meant, allow it: `allow: [{name}:{port}]`",
        )
    parts, shown = urlsplit(url), f"[{host}]" if ":" in host else host
    address = urlunsplit((scheme, f"{shown}:{port}", parts.path, parts.query, ""))
    return address, f"{shown}:{port}:{addresses[0] if ':' not in addresses[0] else f'[{addresses[0]}]'}"


def _plain(name: str) -> str | None:
    """A host as curl writes it; None for one that has other signs in it."""
    try:
        return ipaddress.IPv6Address(name).compressed
    except ValueError:
        pass
    try:
        host = name.rstrip(".").encode("idna").decode("ascii").lower()
    except UnicodeError:
        return None
    return host if HOST.fullmatch(host) else None
