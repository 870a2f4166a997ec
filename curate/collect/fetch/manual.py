"""Documents that people have written: what `curate add NAME` put into the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from curate.collect.columns import Selection
from curate.collect.fetch.rows import documents_of_piece
from curate.dataset.entries import entries_of
from curate.errors import CurateError
from curate.stages.contract import Part, Passed, Rejected
from curate.stages.fetched import Desk, Fetched

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.store import Store

__all__ = ["Manual"]

LONGEST = 64 << 20


class Manual(Fetched):
    """Reads what people have written with `curate add NAME`, with `author`, `added` and `license`; pinned by the lock file."""

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("pyarrow",)
    planning: ClassVar[frozenset[str]] = frozenset({"name"})

    name: str = Field(
        description="The NAME of `curate add NAME`. Entries that were added later come in with `--refresh`."
    )

    def fetch(self, desk: Desk) -> Mapping[str, Any]:
        """Take what there is."""
        pieces, _ = entries_of(desk.store, self.name)
        if not pieces:
            raise CurateError(f"nothing was added to `{self.name}`", hint=f"`curate add {self.name}` adds something")
        for piece in pieces:
            desk.reuse(piece)
        return {"address": f"manual:{self.name}"}

    def read_from(self, store: Store, part: Part) -> Iterator[pa.Table | Rejected | Passed]:
        """The entries of a piece."""
        yield from documents_of_piece(store, part, Selection("text", None, None, LONGEST, part.name), ids=True)
