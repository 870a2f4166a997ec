"""What the server holds: the store, and the columns of the versions that were looked at last.

Columns of a version that is gone (erased, collected) are let go of at the next request of any page, and every few seconds
without one: until then what was erased would stay in memory, and in files that are gone and still mapped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from subprocess import Popen
from threading import Event, Lock, Thread
from typing import Any

from curate.browse.cache import Cache
from curate.browse.columns import Columns
from curate.browse.indexing import start
from curate.browse.search import objects_of
from curate.browse.text import TextIndex
from curate.dataset import refs
from curate.dataset.reader import Dataset, open_dataset
from curate.dataset.store import Store
from curate.errors import CurateError

__all__ = ["Desk"]

MOST = 3
"""Versions whose columns stay in memory."""
SECONDS = 5.0
"""How often it is looked whether they are still there."""


class Desk:
    """The store and its columns. A version is only held open while it is asked about: an erasure need not wait.

    Attributes:
        store: The store.
        cache: Its narrow columns.
        index: Its indexes of texts.
        read_only: Whether nothing may be written by a page.

    Args:
        store: The store.
        read_only: Whether nothing may be written by a page.
        indexing: Whether the texts of versions that are looked at are indexed, in another process.
    """

    def __init__(self, store: Store, *, read_only: bool = False, indexing: bool = False) -> None:
        self.store, self.read_only = store, read_only
        self.cache, self.index = Cache(store), TextIndex(store)
        self._indexing, self._building = indexing, dict[str, Popen[bytes]]()
        self._held: OrderedDict[str, Columns] = OrderedDict()
        self._lock = Lock()

    @contextmanager
    def version(self, name: str) -> Iterator[Dataset]:
        """A version, held open for the block; its columns are `columns(dataset)`.

        Raises:
            CurateError: There is none, or it is not there any more.
        """
        self.let_go()
        yield open_dataset(name, self.store)

    def let_go(self) -> None:
        """Forget what is in memory of versions that are not there any more: erased, or collected."""
        for version in [one for one in list(self._held) if not self.store.blobs.exists(f"versions/{one}.json")]:
            self._held.pop(version, None)
        self.index.let_go()

    def columns(self, dataset: Dataset) -> Columns:
        """The columns of a version; made by one, where two ask at once."""
        with self._lock:
            if dataset.version not in self._held:
                self._held[dataset.version] = Columns(dataset, self.cache)
                while len(self._held) > MOST:
                    self._held.popitem(last=False)
            self._held.move_to_end(dataset.version)
            columns = self._held[dataset.version]
        self._begin_to_index(dataset)
        return columns

    def indexed(self, columns: Columns, dataset: Dataset) -> int:
        """How many documents of a version the index knows."""
        there: dict[str, bool] = {}
        done = 0
        for shard, names in zip(columns.shards, objects_of(columns, dataset), strict=True):
            there |= {name: name in self.index for name in names if name and name not in there}
            done += shard.documents if all(there[name] for name in names if name) else 0
        return done

    @property
    def building(self) -> bool:
        """Whether texts are being indexed."""
        return any(one.poll() is None for one in list(self._building.values()))

    def close(self) -> None:
        """End what is indexing."""
        for one in self._building.values():
            assert one.stdin
            one.stdin.close()
            one.wait()

    def _begin_to_index(self, dataset: Dataset) -> None:
        """Have a version indexed by another process, once, where indexes can be kept."""
        if self._indexing and self.cache.kept and dataset.version not in self._building:
            self._building[dataset.version] = start(self.store, f"{dataset.name}@{dataset.version}")

    def replacing(self, asked: str) -> str | None:
        """The version, as `NAME@ID`, that took the place of one that is asked for by an id that it has no more."""
        dataset, at, wanted = asked.partition("@")
        found = refs.resolve(self.store, asked)
        named = not at or found.version.startswith(wanted) or wanted in refs.tags_of(self.store, dataset)
        return None if named else f"{dataset}@{found.version[:12]}"

    def about(self, asked: str | None, was: str | None) -> dict[str, Any]:
        """What every page of a version tells: the gate that it `refused` at, and by which erasure it replaced another one."""
        if asked is None:
            return {}
        found = refs.resolve(self.store, asked)
        entries = refs.log(self.store, found.dataset)
        mine = [one for one in entries if one["version"] == found.version]
        passed = any(one["action"] == "commit" for one in mine)
        gates = [one.get("gate") for one in mine if one["action"] == "refuse"]
        told: dict[str, Any] = {"refused": gates[0] if gates and not passed else None}
        lineage = (self.store.read_json(f"versions/{found.version}.json") or {}).get("lineage", {})
        before = (was or "").partition("@")[2]
        of = [one for one in lineage.get("erasures", ()) if before and one["of"].startswith(before)]
        if of:
            times = [one["time"] for one in entries if one.get("erasure") == of[0]["id"]]
            told["replaced"] = {"version": was, "erasure": of[0]["id"], "time": times[0] if times else None}
        return told

    @contextmanager
    def looking(self, seconds: float = SECONDS) -> Iterator[None]:
        """Let go of what is gone every few seconds for the block, whether or not somebody asks."""
        done = Event()

        def look() -> None:
            while not done.wait(seconds):
                with suppress(CurateError, OSError):  # a store that cannot be reached now is looked at again
                    self.let_go()

        thread = Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
