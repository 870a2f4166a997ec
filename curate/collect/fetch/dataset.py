"""Documents from a version of a dataset: what another pipeline made, with its ids, columns and labels.

Nothing is copied: a version is immutable, so its pin is its id, and garbage collection keeps what is pinned. The place of a
document is `NAME#ID`; where it came from before is `original_uri`. `curate why` goes on in the version that it was read from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from curate.dataset.reader import Dataset as Version
from curate.dataset.reader import open_dataset
from curate.dataset.refs import Reference, resolve
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.stages.contract import Part, SourceContext
from curate.stages.fetched import VERSION, Desk, Fetched

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Dataset"]

ORIGINAL = "original_uri"


class Dataset(Fetched):
    """Reads the documents of a version of a dataset, of this store or another one, with their ids; pinned by the lock file."""

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("pyarrow",)
    planning: ClassVar[frozenset[str]] = frozenset({"name", "store"})

    name: str = Field(
        description="`NAME` (the newest version when it is pinned), `NAME@TAG` or `NAME@ID-PREFIX`; `--refresh` pins again."
    )
    store: str | None = Field(
        None, description="Another store, a folder relative to the pipeline file or a URL; by default, that of the run."
    )
    split: str | None = Field(None, description="Only the documents of this split; all of them by default.")
    columns: list[str] | None = Field(
        None, description="Columns to keep beside the id and the text; all of them by default, none with `[]`."
    )

    def fetch(self, desk: Desk) -> Mapping[str, Any]:
        """Find out which version is meant."""
        place = self._place(desk.root)
        version = open_dataset(self.name, Store.open(place) if place else desk.store)
        version.check_split(self.split)
        return {
            "address": version.name, "version": version.version, "store": self.store, "documents": len(version),
        }  # fmt: skip

    def _place(self, root: Path) -> str | None:
        """Path or URL of the other store."""
        if self.store is None:
            return None
        return self.store if "://" in self.store else os.path.normpath(root.absolute() / self.store)

    def plan(self, context: SourceContext) -> Sequence[Part]:
        """The fragments of the version.

        Raises:
            CurateError: It is not there any more, or somebody was erased from it.
        """
        if context.snapshot is None:
            return super().plan(context)
        facts = context.snapshot.facts
        place = self._place(context.root)
        store = Store.open(place) if place else context.store
        assert store is not None
        count = len(_opened(store, facts["address"], facts["version"]).fragments)
        said = {"name": facts["address"], "version": facts["version"]}
        content = f"{VERSION}{facts['version']}"
        name = f"{facts['address']}@{facts['version'][:12]}"
        return [Part(name, place or "", content, number, number + 1, said) for number in range(count)]

    def read_from(self, store: Store, part: Part) -> Iterator[pa.Table]:
        """The documents of a fragment."""
        import pyarrow as pa
        import pyarrow.compute as compute

        version = _opened(
            Store.open(part.location) if part.location else store, part.extra["name"], part.extra["version"]
        )
        names = [name for name in version.columns if self.columns is None or name in (*self.columns, "id", "text")]
        for name in self.columns or ():
            if name not in version.columns:
                listed = ", ".join(version.columns)
                raise CurateError(f"`{version.name}` has no column `{name}`", hint=f"its columns are {listed}")
        split = ["split"] if self.split and "split" in version.columns else []
        read: list[str] = list(dict.fromkeys([*names, "source_uri", *split]))
        for table in version.tables(version.fragments[part.start], read):
            if self.split is not None and "split" in read:
                table = table.filter(compute.equal(table["split"], self.split))
            if ORIGINAL not in names and self.columns is None:
                table = table.append_column(ORIGINAL, table["source_uri"])
            places = compute.binary_join_element_wise(pa.scalar(part.extra["name"]), table["id"], "#")
            table = table.set_column(table.schema.get_field_index("source_uri"), "source_uri", places)
            left = [name for name in table.column_names if name != "split" or "split" in names]
            yield table.select(left)


def _opened(store: Store, name: str, version: str) -> Version:
    """The version of this very id.

    Raises:
        CurateError: It is gone; or somebody was erased from it, and another one took its place.
    """
    if store.blobs.exists(f"versions/{version}.json"):
        return Version(store, Reference(name, version, None))
    heir = None
    with suppress(CurateError):
        found = resolve(store, f"{name}@{version}").version
        heir = found if store.blobs.exists(f"versions/{found}.json") else None
    raise CurateError(
        f"the version {name}@{version[:12]} that is pinned "
        + ("was replaced when somebody was erased from it" if heir else "is not in its store any more"),
        store.location,
        "`curate collect PIPELINE --refresh ID` pins "
        + (f"{name}@{heir[:12]}" if heir else "the one that its name means now"),
    )
