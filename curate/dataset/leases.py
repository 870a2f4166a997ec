"""Who is using a store: runs that work on it, readers of a version, and garbage collection, which wants no runs beside it.

A lease is a blob that is held while its process lives. Whoever begins writes its lease first and looks at the others
then, so of two that begin at once at least one sees the other. A reader's lease names its version: garbage collection
keeps what that version needs. Where nothing can be written (a read-only file system, a full disk) readers and plans go
without one. Garbage collection does not begin beside a lease that it cannot read.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

from curate.dataset.store import Store, canonical_json, friendly_os_errors
from curate.errors import CurateError

__all__ = ["lease", "versions_in_use"]

_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)
Purpose = Literal["run", "plan", "read", "collect", "push", "fetch"]
_UNFIT: dict[str, tuple[str, ...]] = {
    "run": ("collect",),
    "plan": ("collect",),
    "collect": ("run", "plan", "collect"),
    "read": (),
    "push": ("push",),
    "fetch": ("fetch",),
}


@contextmanager
def lease(store: Store, purpose: Purpose, version: str | None = None, *, task: str | None = None) -> Iterator[None]:
    """Use the store: to `run` something that writes, to `plan` a run, to `read` a version, or to `collect` garbage.

    To `push` a labeling task, or to `fetch` something, is to be the only one who does; of two that begin at once both may be
    refused.

    Raises:
        CurateError: Garbage collection and a run, or a plan, or two pushes of a task, cannot go on at the same time.
    """
    facts = {"purpose": purpose, "version": version, "host": socket.gethostname(), "process": os.getpid()}
    facts |= {"task": task} if task else {}
    name = f"leases/{secrets.token_hex(8)}.json"
    unfit: tuple[str, ...] = _UNFIT[purpose]
    with ExitStack() as held:
        with friendly_os_errors(store.location):
            try:
                held.enter_context(store.blobs.hold(name, canonical_json(facts)))
            except OSError as error:
                if purpose not in ("read", "plan") or error.errno not in _NOT_WRITABLE:
                    raise
                unfit = ()
        others = [
            other for other in (_others(store, name) if unfit else ())
            if other["purpose"] in unfit and other.get("task") == task
        ]  # fmt: skip
        if others:
            _must_be_readable(store, others)
            who = f"process {others[0]['process']} on {others[0]['host']}"
            what = f"`{task}` is being pushed" if task else "the store is in use"
            what = "this is being fetched" if purpose == "fetch" else what
            raise CurateError(f"{what} by another process ({who})", store.location, "try again when it has finished")
        yield


def _others(store: Store, own: str) -> Iterator[dict[str, Any]]:
    """The leases of others; one that cannot be read is perhaps a run's."""
    for name, content in store.blobs.held("leases").items():
        if content is None:
            yield {"purpose": "run", "version": None, "unreadable": name}
        elif name != own and content:
            yield json.loads(content)


def versions_in_use(store: Store) -> set[str]:
    """Versions that somebody reads now.

    Raises:
        CurateError: A lease cannot be read.
    """
    others = list(_others(store, ""))
    _must_be_readable(store, others)
    return {other["version"] for other in others if other["version"]}


def _must_be_readable(store: Store, others: Sequence[dict[str, Any]]) -> None:
    for name in (other["unreadable"] for other in others if "unreadable" in other):
        raise CurateError(
            "a lease cannot be read, so another user may be using the store",
            f"{store.location}/{name}",
            "let its owner collect the garbage; or remove the file, where nobody uses the store",
        )
