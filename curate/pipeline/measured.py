"""What was measured of a shard's documents, found again: by row, by what the row's texts had become, by the settings.

For each shard one small file names, by the fingerprint of what measured, up to `MOST` entries: an object of features
(or signatures, or no more than the rows that a mapper was given), and one of the verdicts that came with them. An entry
is an object of a step anyway, so remembering costs nothing; a changed threshold, another version, a restored input find
what they need here. Losing the file, or an entry of it, costs time only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from curate.dataset.ledger import Shard
from curate.dataset.state import IDENT
from curate.dataset.store import Store, canonical_json
from curate.pipeline.task import engine_key
from curate.stages.verdicts import verdict_schema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["Found", "Measured"]

MOST = 8


class Found(NamedTuple):
    """What is known of some rows.

    Attributes:
        known: For each of the rows asked for, whether it is known (bool).
        features: Tables with `row`, `#ident` and the features, of known rows; each row in one of them.
        verdicts: Tables of verdicts (`verdict_schema()`) on known rows.
    """

    known: np.ndarray
    features: list[pa.Table]
    verdicts: list[pa.Table]


class Measured:
    """The measurements of one shard that the store knows."""

    def __init__(self, store: Store, shard: Shard) -> None:
        key = engine_key("measured", shard.object)
        self.store, self.name = store, f"measured/{key[:2]}/{key}.json"
        self.entries: dict[str, list[list[str | None]]] = store.read_json(self.name) or {}

    def find(self, fingerprint: str, rows: np.ndarray, idents: np.ndarray) -> Found:
        """What is known of these rows, each with what its texts have become."""
        import numpy as np
        import pyarrow as pa

        known, features, verdicts = np.zeros(len(rows), dtype=bool), [], []
        for held, said in self.entries.get(fingerprint, []):
            if known.all() or held is None or not all(self.store.has_object(name) for name in (held, said) if name):
                continue
            table = self.store.read_table(held)
            there = table.column("row").to_numpy()
            place = np.minimum(np.searchsorted(there, rows), max(len(there) - 1, 0))
            fits = np.zeros(len(rows), dtype=bool)
            if len(there):
                fits = (there[place] == rows) & (table.column(IDENT).to_numpy()[place] == idents) & ~known
            if not fits.any():
                continue
            known |= fits
            whole = fits.sum() == len(there)
            features.append(table if whole else table.take(pa.array(place[fits])))
            if said:
                verdicts.append(_of_rows(self.store.read_table(said), rows[fits]))
        return Found(known, features, verdicts)

    def add(self, fingerprint: str, features: str | None, verdicts: str | None) -> None:
        """Remember objects of a step, first in the list; without features that there was no document to measure."""
        entry: list[str | None] = [features, verdicts]
        before = self.entries.get(fingerprint, [])
        if before[:1] == [entry] or (before and features is None):
            return
        self.entries[fingerprint] = [entry, *(one for one in before if one != entry)][:MOST]
        self.store.write(self.name, canonical_json(self.entries))


def _of_rows(verdicts: pa.Table, rows: np.ndarray) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as compute

    mine = verdicts.filter(compute.is_in(verdicts.column("row"), pa.array(rows)))
    return mine.select(verdict_schema().names)
