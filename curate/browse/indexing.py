"""The index of a version's texts, built in a process of its own beside the server: this module, given STORE and NAME@ID.

One such process works on a store at a time, whichever server began it; others wait. It ends when its server does (its
standard input closes), and goes on where it was: what is done is an index in place (curate/browse/text.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from threading import Thread

from curate.browse.text import TextIndex
from curate.dataset.leases import lease
from curate.dataset.reader import open_dataset
from curate.dataset.store import Store
from curate.errors import CurateError, DamagedError

__all__ = ["build", "objects_in", "start"]

WAIT = 1.0
"""Seconds until it is tried again where another process is at work."""


def start(store: Store, version: str) -> subprocess.Popen[bytes]:
    """Begin to index a version, given as `NAME@ID`, in another process; it ends with this one."""
    command = [sys.executable, "-P", "-m", "curate.browse.indexing", store.location, version]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def build(store: Store, objects: Iterable[str]) -> None:
    """Index what is not indexed of some objects; damaged ones, and those that are gone, are left out.

    Raises:
        CurateError: Another process indexes this store, or an erasure or garbage collection is going on.
    """
    index = TextIndex(store)
    with lease(store, "fetch", task="index of browse"):
        for name in objects:
            with suppress(DamagedError):  # who reads a document of it is told
                index.make(name)


def objects_in(store: Store, version: str) -> list[str]:
    """The objects of a version's texts, those that were read first.

    Raises:
        CurateError: There is no such version.
    """
    dataset = open_dataset(version, store)  # held no longer than this takes: an erasure need not wait
    return list(
        dict.fromkeys([*(shard.object for shard in dataset.ledger()), *(one.object for one in dataset.fragments)])
    )


def main() -> None:
    """Build, whatever goes on beside it."""
    location, version = sys.argv[1:3]
    Thread(target=_end_with_stdin, daemon=True).start()
    with suppress(OSError):
        os.nice(10)
    store = Store.open(location)
    while True:
        try:
            objects = objects_in(store, version)
        except CurateError:
            return  # it is not there any more
        try:
            return build(store, objects)
        except CurateError:
            time.sleep(WAIT)


def _end_with_stdin() -> None:
    while os.read(0, 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
