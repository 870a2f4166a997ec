"""Full text by tantivy: an index of each object of documents, a cache beside the narrow columns.

    browse/text-1/ab/<object>/     tantivy's files: of each text its words (curate/browse/words.py) and its row; no text

An object is immutable, so its index never is stale; a new version makes those of its new objects. It is built aside and
renamed: there is all of it or nothing. It holds every word of every document, so `erase` and `gc` know it
(curate/dataset/care.py): while one of them works none is put in place, and none of an object that is gone.

Cost: benchmarks/browse.py (a third of the bytes of the texts on disk).
"""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from curate.browse.words import Needles, analyzer, taken, unspaced
from curate.dataset.care import BROWSE, BROWSE_FORMATS
from curate.dataset.leases import lease
from curate.dataset.store import Store, object_name
from curate.files import replacing_folder
from curate.stages.selectors import EVERYTHING, joined

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import tantivy

__all__ = ["FORMAT", "TextIndex", "texts"]

FORMAT = BROWSE_FORMATS[1]
"""Raised when words are taken otherwise: indexes of other formats are made anew."""
HEAP = 100_000_000
MOST_OPEN, MOST_FOUND, KEPT_BYTES = 256, 2000, 64 << 20
FIELDS = {True: "spaced", False: "unspaced"}
AT_ONCE = 2000
"""Documents that are read at once: those of a row group."""


class TextIndex:
    """The indexes of a store's objects.

    Attributes:
        folder: Where they are; None where the store is in an object store: nothing is indexed.
    """

    def __init__(self, store: Store) -> None:
        root = store.blobs.local_path("store.json")
        self.store = store
        self.folder = None if root is None else root.parent / BROWSE / FORMAT
        self._open: OrderedDict[str, tuple[tantivy.Index, tantivy.Searcher]] = OrderedDict()
        self._found: OrderedDict[tuple[str, Needles], np.ndarray] = OrderedDict()
        self._lock = RLock()

    def path(self, name: str) -> Path | None:
        """Where the index of an object is, or would be."""
        return None if self.folder is None else self.folder / name[:2] / name

    def __contains__(self, name: str) -> bool:
        path = self.path(name)
        return path is not None and (path / "meta.json").is_file()

    def rows(self, name: str, needles: Needles) -> np.ndarray | None:
        """Rows of an object whose texts have all phrases, ascending (int64); None where it has no index."""
        with self._lock:
            if name not in self:  # an erasure took it: what was found in it goes, too
                self._forget(name)
                return None
            found, opened = self._found.pop((name, needles), None), None
            if found is None:
                opened = self._opened(name)
                if opened is None:
                    return None
                found = _looked_up(opened, needles)
            self._found[name, needles] = found
            while len(self._found) > MOST_FOUND or sum(one.nbytes for one in self._found.values()) > KEPT_BYTES:
                self._found.popitem(last=False)
            return found

    def let_go(self) -> None:
        """Let go of what is in memory of indexes that are not there any more."""
        for name in {*list(self._open), *(one for one, _ in list(self._found))}:
            if name not in self:
                self._forget(name)

    def _forget(self, name: str) -> None:
        with self._lock:
            self._open.pop(name, None)
            for key in [one for one in self._found if one[0] == name]:
                del self._found[key]

    def _opened(self, name: str) -> tuple[tantivy.Index, tantivy.Searcher] | None:
        """An index; None where it cannot be read: it is then made anew."""
        import tantivy

        if name not in self._open:
            try:
                index = tantivy.Index.open(str(self.path(name)))
                index.config_reader("Manual", 1)
                index.reload()
                self._open[name] = index, index.searcher()
            except (ValueError, OSError):
                return None
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(name)
        return self._open[name]

    def make(self, name: str, go_on: Callable[[], bool] = lambda: True) -> bool:
        """Index an object, where that is not done; whether it has an index then.

        Args:
            name: The object.
            go_on: Asked now and then; no index is made where it says no.

        Raises:
            CurateError: The object is damaged, or garbage collection or an erasure is going on.
        """
        path = self.path(name)
        if path is None or self._opened_or_gone(name, path):
            return path is not None
        browse = path.parent.parent.parent
        browse.mkdir(exist_ok=True)
        browse.chmod(0o700)
        aside = browse.parent / "temporary"
        aside.mkdir(exist_ok=True)
        try:
            with ExitStack() as held, replacing_folder(path, aside=aside) as folder:
                folder.chmod(0o700)
                _write(self.store, name, folder, lambda: go_on() and self._is_there(name))
                held.enter_context(lease(self.store, "plan"))  # no erasure, and no garbage collection, is going on
                if not self._is_there(name):
                    raise _Stopped
        except _Stopped:
            return False
        return True

    def _is_there(self, name: str) -> bool:
        return self.store.blobs.exists(object_name(name))

    def _opened_or_gone(self, name: str, path: Path) -> bool:
        """Whether an index is there and can be read; one that cannot is removed."""
        with self._lock:
            if not path.is_dir():
                return False
            if self._opened(name) is not None:
                return True
        shutil.rmtree(path, ignore_errors=True)
        return False


class _Stopped(Exception):
    """An index that is not made."""


def texts(store: Store, name: str) -> Iterator[tuple[int, pa.Array]]:
    """The texts of an object, some at a time, with the row of the first; of one without a column `text` all its strings."""
    import pyarrow as pa

    own = "text" in store.read_schema(name).names
    with store.parquet(name) as file:
        start = 0
        for batch in file.iter_batches(AT_ONCE, columns=["text"] if own else None, use_threads=False):
            table = pa.Table.from_batches([batch])
            found = table.column("text").combine_chunks() if own else joined(table, (EVERYTHING,))
            yield start, found
            start += batch.num_rows


def _write(store: Store, name: str, folder: Path, go_on: Callable[[], bool]) -> None:
    import tantivy

    index = tantivy.Index(_schema(), path=str(folder))
    for spaced, field in FIELDS.items():
        index.register_tokenizer(field, analyzer(spaced=spaced))
    writer = index.writer(heap_size=HEAP, num_threads=1)
    for start, some in texts(store, name):
        if not go_on():
            raise _Stopped
        without = unspaced(some).tolist()
        for row, (text, alone) in enumerate(zip(some.to_pylist(), without, strict=True), start):
            if text:
                document = tantivy.Document()
                document.add_text(FIELDS[not alone], text)
                document.add_unsigned("row", row)
                writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()


def _schema() -> Any:
    import tantivy

    builder = tantivy.SchemaBuilder()
    for field in FIELDS.values():
        builder.add_text_field(field, stored=False, tokenizer_name=field, index_option="position")
    return builder.add_unsigned_field("row", stored=False, indexed=False, fast=True).build()


def _looked_up(opened: tuple[tantivy.Index, tantivy.Searcher], needles: Needles) -> np.ndarray:
    """Rows that have all phrases, whichever field their words are in."""
    import numpy as np
    import tantivy

    index, searcher = opened
    found: list[np.ndarray] = [np.zeros(0, np.int64)]
    for spaced, field in FIELDS.items():
        phrases = taken(needles, spaced=spaced)
        if phrases:
            wanted = [(tantivy.Occur.Must, _query(index.schema, field, list(one))) for one in phrases]
            limit = max(1, searcher.num_docs)
            hits = searcher.search(
                tantivy.Query.boolean_query(wanted), limit, count=False, order_by_field="row", order=tantivy.Order.Asc
            ).hits
            found.append(np.fromiter((row for row, _ in hits), np.int64, len(hits)))
    return np.sort(np.concatenate(found))


def _query(schema: tantivy.Schema, field: str, words: list[Any]) -> tantivy.Query:
    import tantivy

    if len(words) == 1:
        return tantivy.Query.term_query(schema, field, words[0])
    return tantivy.Query.phrase_query(schema, field, words)
