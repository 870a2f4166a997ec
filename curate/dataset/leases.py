"""Who is using a store: runs that work on it, readers of a version, and garbage collection, which wants no runs beside it.

A lease is a blob that is held while its process lives. Whoever begins writes its lease first and looks at the others
then, so of two that begin at once at least one sees the other. A reader's lease names its version: garbage collection
keeps what that version needs. Where nothing can be written (a read-only file system, a full disk) readers go without one.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

from curate.dataset.store import Store, canonical_json, friendly_os_errors
from curate.errors import CurateError

__all__ = ["lease", "versions_in_use"]

_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)
Purpose = Literal["run", "read", "collect"]


@contextmanager
def lease(store: Store, purpose: Purpose, version: str | None = None) -> Iterator[None]:
    """Use the store: to `run` something that writes, to `read` a version, or to `collect` garbage.

    Raises:
        CurateError: A run and garbage collection cannot go on at the same time.
    """
    facts = {"purpose": purpose, "version": version, "host": socket.gethostname(), "process": os.getpid()}
    name = f"leases/{secrets.token_hex(8)}.json"
    unfit = {"run": ("collect",), "collect": ("run", "collect"), "read": ()}[purpose]
    with ExitStack() as held:
        with friendly_os_errors(store.location):
            try:
                held.enter_context(store.blobs.hold(name, canonical_json(facts)))
            except OSError as error:
                if purpose != "read" or error.errno not in _NOT_WRITABLE:
                    raise
        others = [other for other in _others(store, name) if other["purpose"] in unfit] if unfit else []
        if others:
            who = f"process {others[0]['process']} on {others[0]['host']}"
            raise CurateError(
                f"the store is in use by another process ({who})", store.location, "try again when it has finished"
            )
        yield


def _others(store: Store, own: str) -> Iterator[dict[str, Any]]:
    for name, content in store.blobs.held("leases").items():
        if name != own and content:
            yield json.loads(content)


def versions_in_use(store: Store) -> set[str]:
    """Versions that somebody reads now."""
    return {other["version"] for other in _others(store, "") if other["version"]}
