"""Sources that reach beyond files: `fetch` writes a snapshot into the store, once; `read` is a function of it.

`fetch` runs in the driver, and nowhere else. What it keeps are tables, piece by piece; with each goes the state from which
a fetch that was killed goes on. Parts are the pieces of the snapshot, so what was read of a piece stays read for as long
as the piece is the same, whatever became of the place that it came from (docs/decisions/0034-fetching.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from curate.errors import CurateError
from curate.stages.contract import Part, Passed, Rejected, Source, SourceContext

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.store import Store

__all__ = ["PIECE", "VERSION", "Desk", "Fetched", "Piece", "Snapshot", "erased_rows"]

ERASED = "erased_rows"
VERSION = "version:"
"""How the content of a part begins that is of a version of a dataset."""
PIECE = "snapshot:"
"""How the content of a part begins that is a piece of a snapshot."""


class Piece(NamedTuple):
    """A table of a snapshot.

    Attributes:
        object: Its name in the store.
        rows: How many it has.
        bytes: Of the object.
        erased: How many rows an erasure took out.
    """

    object: str
    rows: int
    bytes: int
    erased: int = 0


class Snapshot(NamedTuple):
    """What was fetched.

    Attributes:
        id: Hash of all that is said of it.
        ended: When it was complete (UTC, ISO 8601).
        pieces: The tables, in their order.
        facts: What the source said of it: `address`, cursors, counts.
    """

    id: str
    ended: str
    pieces: tuple[Piece, ...]
    facts: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """Rows of all pieces; of a version of a dataset, its documents."""
        return sum(piece.rows for piece in self.pieces) if self.pieces else int(self.facts.get("documents", 0))

    @property
    def bytes(self) -> int:
        """Bytes of all pieces, as they are stored."""
        return sum(piece.bytes for piece in self.pieces)


class Desk(Protocol):
    """What a fetch works with.

    Attributes:
        root: Folder of the pipeline file.
        store: The store.
        previous: The snapshot that is made anew; None for the first.
        pieces: What was kept so far, in its order.
        state: What the last `keep` of a fetch that was killed said; empty where one begins.
    """

    root: Path
    store: Store
    previous: Snapshot | None
    pieces: list[Piece]
    state: Mapping[str, Any]

    def keep(self, table: pa.Table, state: Mapping[str, Any]) -> None:
        """Keep rows, durably, and the state behind them (JSON)."""
        ...

    def start_over(self) -> None:
        """Forget what a fetch that was killed has kept."""
        ...

    def reuse(self, piece: Piece) -> None:
        """Take a piece of the previous snapshot as it is."""
        ...

    def replace(self, tables: Iterable[pa.Table]) -> None:
        """Have the snapshot made of these tables, which are read off all that was kept, in place of it."""
        ...

    def say(self, text: str) -> None:
        """Tell people how far it is; never with data or credentials."""
        ...


class Fetched(Source):
    """A source with two halves. All its settings in `planning`, but for those in `pace`, say what is fetched."""

    pace: ClassVar[frozenset[str]] = frozenset()
    """Settings that say how it is fetched, and not what: they change no snapshot."""

    def fetch(self, desk: Desk) -> Mapping[str, Any]:
        """Keep all rows at the desk; what the snapshot is to say of itself (JSON, `address` at least, no credentials).

        Raises:
            CurateError: It cannot be fetched; what was kept is there for the next attempt.
        """
        raise NotImplementedError

    def secrets(self) -> Sequence[str]:
        """Values that no message may show."""
        return ()

    def estimate(self, store: Store) -> str | None:
        """What a fetch would cost at most, in words, where it costs anything; nobody is asked."""
        return None

    def plan(self, context: SourceContext) -> Sequence[Part]:
        """The pieces of the snapshot.

        Raises:
            CurateError: Nothing is fetched.
        """
        if context.snapshot is None:
            raise CurateError(
                "nothing is fetched yet", hint="`curate collect PIPELINE` fetches, and so does `curate run`"
            )
        address = str(context.snapshot.facts["address"])
        return [
            Part(
                f"{address}@{piece.object[:12]}", f"object:{piece.object}", f"{PIECE}{piece.object}", 0, piece.rows,
                {"address": address, "erased": piece.erased},
            )
            for piece in context.snapshot.pieces
        ]  # fmt: skip

    def read_from(self, store: Store, part: Part) -> Iterator[pa.Table | Rejected | Passed]:
        """As `read`, of a piece in the store; asks nobody else."""
        raise NotImplementedError


def erased_rows(part: Part) -> Iterator[Passed]:
    """That an erasure took rows out of a piece, where one did."""
    if part.extra.get("erased"):
        yield Passed(ERASED, part.extra["erased"])
