"""What the server holds: the store, and the columns of the versions that were looked at last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from curate.browse.cache import Cache
from curate.browse.columns import Columns
from curate.dataset.reader import Dataset, open_dataset
from curate.dataset.store import Store

__all__ = ["Desk"]

MOST = 3
"""Versions whose columns stay in memory."""


class Desk:
    """The store and its columns. A version is only held open while it is asked about: an erasure need not wait.

    Attributes:
        store: The store.
        cache: Its narrow columns.
        read_only: Whether nothing may be written by a page.
    """

    def __init__(self, store: Store, *, read_only: bool = False) -> None:
        self.store, self.read_only = store, read_only
        self.cache = Cache(store)
        self._held: OrderedDict[str, Columns] = OrderedDict()
        self._lock = Lock()

    @contextmanager
    def version(self, name: str) -> Iterator[Dataset]:
        """A version, held open for the block; its columns are `columns(dataset)`.

        Raises:
            CurateError: There is none, or it is not there any more.
        """
        dataset = open_dataset(name, self.store)
        for version in [one for one in list(self._held) if not self.store.blobs.exists(f"versions/{one}.json")]:
            self._held.pop(version, None)  # erased, or collected
        yield dataset

    def columns(self, dataset: Dataset) -> Columns:
        """The columns of a version; made by one, where two ask at once."""
        with self._lock:
            if dataset.version not in self._held:
                self._held[dataset.version] = Columns(dataset, self.cache)
                while len(self._held) > MOST:
                    self._held.popitem(last=False)
            self._held.move_to_end(dataset.version)
            return self._held[dataset.version]
