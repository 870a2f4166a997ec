"""What the documents of a shard have become: which rows are alive, their texts, the columns attached to them.

    rows       0 .. n-1 as read, for ever
    alive      which of them are left
    texts      the columns as read, overlaid by the edits, by row
    idents     a number for what each row's texts have become (0: as read), and so what was measured of it is found again

A state is computed from a shard and its steps; texts are only read when they are asked for. So deciding again by another
threshold reads features alone. Cost of the texts: a pass over the shard's Parquet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from curate.dataset.ledger import REMOVED, Shard, Step
from curate.dataset.schema import INFERRED
from curate.dataset.store import Store, canonical_json
from curate.stages.extractor import CONTENT
from curate.stages.selectors import PLACES, edit_columns

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["IDENT", "SIZE", "State"]

SIZE = "#bytes"
"""Column of a shard's object: UTF-8 bytes of a document's text (of all its strings, where it has none)."""
IDENT = "#ident"
"""Column of features: what the texts of the row had become when it was measured."""
HIDDEN = (SIZE,)
_ODD = 0x9E3779B97F4A7C15


class State:
    """The documents of a shard after some of its steps.

    Attributes:
        alive: Which rows are left (bool, one for each row as read).
        sizes: UTF-8 bytes of each row's text (int64).
        texts: A number for what each row's texts have become (uint64; 0 is as read).
        attached: For each attached column the object that holds it.
        edited: Whether any text was edited, by row (bool).
    """

    def __init__(self, store: Store, shard: Shard) -> None:
        import numpy as np

        self.store, self.shard = store, shard
        rows = shard.documents
        self.alive = np.ones(rows, dtype=bool)
        self.texts = np.zeros(rows, dtype=np.uint64)
        self._plain, self._places = self.texts.copy(), self.texts.copy()
        self.edited = np.zeros(rows, dtype=bool)
        self.attached: dict[str, str] = {}
        self.consumed: set[str] = set()
        self._sizes: np.ndarray | None = None
        self._changed_sizes: list[tuple[np.ndarray, np.ndarray]] = []
        self._overlays: dict[str, list[tuple[np.ndarray, pa.Array]]] = {}
        self._base: pa.Table | None = None
        self._held: dict[str, pa.Table] = {}
        self._schema: pa.Schema | None = None
        for step in shard.steps:
            self.apply(step)

    # ---- what is left

    def rows(self) -> np.ndarray:
        """The rows that are alive, ascending (int64)."""
        import numpy as np

        return np.flatnonzero(self.alive)

    def beside(self) -> dict[str, str]:
        """The attached columns that are as they were attached, each with the object that holds it."""
        return {name: holder for name, holder in self.attached.items() if name not in self._overlays}

    @property
    def kept(self) -> int:
        """How many rows are alive."""
        return int(self.alive.sum())

    @property
    def sizes(self) -> np.ndarray:
        """UTF-8 bytes of each row's text (int64)."""
        known = self._sizes
        if known is None:
            known = self._sizes_as_read()
            for rows, sizes in self._changed_sizes:
                known[rows] = sizes
            self._sizes, self._changed_sizes = known, []
        return known

    def _sizes_as_read(self) -> np.ndarray:
        import pyarrow.compute as compute

        if SIZE in self.store.read_schema(self.shard.object).names:
            return self._read([SIZE]).column(0).to_numpy().astype("int64")
        return compute.binary_length(self._as_read("text")).to_numpy().astype("int64")  # a shard of format 1

    def bytes(self) -> int:
        """UTF-8 bytes of the texts that are left."""
        return int(self.sizes[self.alive].sum())

    def identity(self) -> str:
        """Identity of all this: equal states are treated alike, whatever led to them."""
        import numpy as np

        columns = canonical_json(
            [list(self.attached.items()), sorted(self.consumed)]
        )  # their order is that of the version
        digest = hashlib.sha256(self.shard.object.encode() + columns)
        digest.update(np.packbits(self.alive).tobytes())
        texts = np.where(self.alive, self.texts, np.uint64(0))
        digest.update(texts.tobytes() if texts.any() else b"")
        return digest.hexdigest()

    def idents(self, columns: Sequence[str] | None) -> np.ndarray:
        """For each row a number for what a stage is given that reads the texts and these columns (None: all)."""
        names = sorted(name for name in self.attached if columns is None or name in columns)
        if not names:
            return self.texts
        import numpy as np
        from xxhash import xxh3_64_intdigest

        mixed = self.texts * np.uint64(_ODD)
        rows = self.rows()
        self._hold(names)
        for name in names:
            values = self.column(name, rows).to_pylist()
            seed = xxh3_64_intdigest(name.encode())
            mixed[rows] = mixed[rows] * np.uint64(_ODD) + np.array(
                [xxh3_64_intdigest(repr(value).encode("utf-8", "surrogatepass"), seed) for value in values], np.uint64
            )
        self._held = {}
        return mixed

    # ---- the documents

    @property
    def schema(self) -> pa.Schema:
        """The columns that the documents have now, without those that only the engine sees."""
        if self._schema is None:
            import pyarrow as pa

            base = self.store.read_schema(self.shard.schema).remove_metadata()
            fields = {
                field.name: field for field in base if field.name not in HIDDEN and field.name not in self.consumed
            }
            if "text" not in fields and ("text" in self._overlays or CONTENT in self.consumed):
                fields["text"] = pa.field("text", pa.string())  # an extractor made it of the payload
            held = {holder: self.store.read_schema(holder) for holder in set(self.attached.values())}
            for name, holder in self.attached.items():
                field = held[holder].field(name)
                fields[name] = field.remove_metadata() if INFERRED in (field.metadata or {}) else field
            self._schema = pa.schema(list(fields.values()))
        return self._schema

    def table(self, rows: np.ndarray | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The documents of some rows (None: of those alive), as they are now; `columns` None is all."""
        import pyarrow as pa

        rows = self.rows() if rows is None else rows
        names = self.schema.names if columns is None else list(columns)
        schema = pa.schema([self.schema.field(name) for name in names])
        self._load([name for name in names if name not in self.attached])
        self._hold([name for name in names if name in self.attached])
        table = pa.table([self.column(name, rows) for name in names], schema=schema)
        self._held = {}
        return table

    def column(self, name: str, rows: np.ndarray) -> pa.ChunkedArray:
        """A column of some rows, as it is now."""
        import numpy as np
        import pyarrow as pa

        overlays = self._overlays.get(name, [])
        if name in self.attached and not overlays:
            return self._attached(name, rows)
        base = self._attached(name, np.arange(self.shard.documents)) if name in self.attached else self._as_read(name)
        if not overlays:
            return base if np.array_equal(rows, np.arange(len(base))) else base.take(pa.array(rows))
        place = np.arange(self.shard.documents)
        start = self.shard.documents
        chunks = [*base.chunks]
        for edited, values in overlays:
            place[edited] = np.arange(start, start + len(edited))
            start += len(edited)
            chunks.append(values.cast(base.type))
        return pa.chunked_array(chunks, base.type).take(pa.array(place[rows]))

    def _attached(self, name: str, rows: np.ndarray) -> pa.ChunkedArray:
        import numpy as np
        import pyarrow as pa

        held = self._held.get(name) or self.store.read_table(self.attached[name], ["row", name])
        known = held.column("row").to_numpy()
        place = np.searchsorted(known, rows)
        place = np.minimum(place, max(len(known) - 1, 0))
        missing = (known[place] != rows) if len(known) else np.ones(len(rows), dtype=bool)
        return held.column(name).take(pa.array(place, mask=missing))

    def _hold(self, names: Sequence[str]) -> None:
        """Read attached columns that are asked for next, each object once: a table has hundreds in one."""
        by_holder: dict[str, list[str]] = {}
        for name in names:
            by_holder.setdefault(self.attached[name], []).append(name)
        for holder, some in by_holder.items():
            if len(some) > 1:
                self._held |= dict.fromkeys(some, self.store.read_table(holder, ["row", *some]))

    def _as_read(self, name: str) -> pa.ChunkedArray:
        import pyarrow as pa

        self._load([name])
        if self._base is None or name not in self._base.column_names:
            return pa.chunked_array([pa.nulls(self.shard.documents, self.schema.field(name).type)])
        column = self._base.column(name)
        return column.cast(self.schema.field(name).type) if pa.types.is_null(column.type) else column

    def _load(self, names: Sequence[str]) -> None:
        have = [] if self._base is None else self._base.column_names
        there = self.store.read_schema(self.shard.object).names
        wanted = [name for name in dict.fromkeys(names) if name not in have and name in there]
        if wanted:
            read = self._read(wanted)
            base = self._base
            self._base = read if base is None else _side_by_side(base, read)

    def _read(self, names: Sequence[str]) -> pa.Table:
        return self.store.read_table(self.shard.object, names)

    # ---- steps

    def apply(self, step: Step, verdicts: pa.Table | None = None) -> None:
        """Go one step further; `verdicts` where they are at hand already."""
        for name in step.attached:
            assert step.features
            self.attached[name] = step.features
            self._overlays.pop(name, None)
        self.consumed |= set(step.consumed)
        if step.attached or step.consumed:
            self._schema = None
        if step.verdicts is None:
            return
        if verdicts is None:
            columns = ["row", "verdict", *(["text", "path"] if step.number("edited") else [])]
            verdicts = self.store.read_table(step.verdicts, columns)
        self._take(verdicts)

    def _take(self, verdicts: pa.Table) -> None:
        import pyarrow as pa
        import pyarrow.compute as compute

        removed = compute.is_in(verdicts.column("verdict"), pa.array(REMOVED))
        self.alive[verdicts.filter(removed).column("row").to_numpy()] = False
        edits = verdicts.filter(compute.invert(removed))
        if edits.num_rows:  # one without a text is of a cell, whose value the step attaches
            edits = edits.filter(compute.is_valid(edits.column("text")))
        if edits.num_rows:
            self._edit(edits)

    def _edit(self, edits: pa.Table) -> None:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as compute
        from xxhash import xxh3_64_intdigest

        rows = edits.column("row").to_numpy()
        self.edited[rows] = True
        paths, texts = edits.column("path"), edits.column("text").to_pylist()
        plain = compute.fill_null(compute.equal(paths, "text"), True).to_numpy(zero_copy_only=False)
        hashes = np.array([xxh3_64_intdigest(text.encode()) for text in texts], np.uint64)
        self._plain[rows[plain]] = hashes[plain]
        elsewhere = paths.filter(pa.array(~plain)).to_pylist()
        others = zip(rows[~plain].tolist(), elsewhere, hashes[~plain].tolist(), strict=True)
        for row, path, text in others:  # one after the other: each edit of a row counts
            seed = int(self._places[row]) ^ int(self._plain[row])
            self._places[row] = xxh3_64_intdigest(f"{path}:{text}".encode(), seed)
        self.texts[rows] = self._plain[rows] ^ (self._places[rows] * np.uint64(_ODD))
        if plain.all():
            values = edits.column("text").combine_chunks()
            self._overlay("text", rows, values)
            self._resize(rows, compute.binary_length(values).to_numpy())
        else:
            self._edit_places(edits, np.unique(rows))

    def _edit_places(self, edits: pa.Table, rows: np.ndarray) -> None:
        """Edits of other columns than `text`, or of strings inside them."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as compute

        here = pa.array(np.searchsorted(rows, edits.column("row").to_numpy()))
        before = self.table(rows)
        for name, (changed, values) in edit_columns(before, edits.set_column(0, "row", here)).items():
            new = pa.array(values, pa.string())
            places = rows[np.array(changed, dtype=np.int64)]
            counted = name == "text" or ("text" not in before.column_names and name not in (*PLACES, *self.attached))
            if counted:  # as `#bytes` was
                old = compute.binary_length(before.column(name).take(pa.array(changed))).to_numpy()
                grown = compute.binary_length(new).to_numpy() - old
                self._resize(places, self.sizes[places] + grown)
            self._overlay(name, places, new)

    def _overlay(self, name: str, rows: np.ndarray, values: pa.Array) -> None:
        if name == "text":
            self._schema = None  # where there was no text before
        self._overlays.setdefault(name, []).append((rows, values))

    def _resize(self, rows: np.ndarray, sizes: np.ndarray) -> None:
        if self._sizes is None:
            self._changed_sizes.append((rows, sizes))
        else:
            self._sizes[rows] = sizes


def _side_by_side(left: pa.Table, right: pa.Table) -> pa.Table:
    for field, column in zip(right.schema, right.columns, strict=True):
        left = left.append_column(field, column)
    return left
