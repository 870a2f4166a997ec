"""A version as columns in memory: a row for every document that was read or made, kept and removed, and for what was rejected.

    0 .. n-1      in the order of the ledger: the documents of a shard, then what could not be read of it
    facets        columns of names: codes (int32, -1 for none) and the names
    features      columns of numbers (float64, NaN for none), put together when they are asked for

Memory at a million documents: about 60 MB, and 8 MB for each feature that is looked at (the last `KEPT_BYTES` stay).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from threading import RLock
from typing import TYPE_CHECKING, NamedTuple

from curate.browse.cache import IDENTITY, LEFT_OUT, LENGTH, OTHER, Cache, hash_of
from curate.dataset.ledger import Shard, Step
from curate.dataset.reader import Dataset
from curate.errors import CurateError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["KEPT", "VERDICTS", "Columns", "Facet", "Place"]

VERDICTS = ("kept", "dropped", "quarantined", "expanded", "erased")
KEPT = 0
KEPT_BYTES = 256 << 20
ERASED = "erased"
OWN = ("verdict", "stage", "reason", "source", "file")
"""Facets that every version has, in the order that they are shown."""
RESERVED = (*OWN, "length", "value", "threshold")
COLUMN, LABEL = "column.", "label."
"""What stands before the name of a column of documents, or of labels, that is called as something else of a version is."""


class Facet(NamedTuple):
    """A column of names: for each row the number of its name (int32; -1 for none)."""

    codes: np.ndarray
    names: Sequence[str]


class Place(NamedTuple):
    """A document of the ledger: the number of its shard, and its row there; below zero for what was rejected (-1 the first)."""

    shard: int
    row: int

    def __str__(self) -> str:
        return f"{self.shard}-{self.row}" if self.row >= 0 else f"{self.shard}-r{-self.row - 1}"

    @classmethod
    def read(cls, text: str) -> Place:
        """The place that was written so.

        Raises:
            CurateError: It was not.
        """
        shard, _, row = text.partition("-")
        rejected = row.startswith("r")
        number = row[1:] if rejected else row
        if not (shard.isascii() and shard.isdigit() and number.isascii() and number.isdigit() and len(text) < 25):
            raise CurateError("this is no place of a document", hint="a place is `SHARD-ROW`, as in the pages' links")
        return cls(int(shard), -1 - int(number) if rejected else int(number))


class Columns:
    """The columns of a version.

    Attributes:
        dataset: Its dataset's name.
        shards: Its ledger.
        stages: Ids of its sources and stages, in their order.
        gone: By row the number of the stage behind which it was no more (int16); that of all stages for what is kept.
        verdict: By row its place in `VERDICTS` (int8).
        value, threshold: By row what it was removed by (float64; NaN for none).
        length: By row the bytes of its text as read (int64).
        identity, other: By row the hashes of its id, and of the id that it duplicates (uint64; 0 for none).
        edited: By row whether a stage edited it (bool).
        left_out: Columns of strings that are not shown by their values: too many or long ones, personal ones, or edited ones.
    """

    def __init__(self, dataset: Dataset, cache: Cache) -> None:
        import numpy as np

        self.dataset, self.version, self.manifest = dataset.name, dataset.version, dataset.manifest
        self.shards: list[Shard] = dataset.ledger()
        self.stages: list[str] = [row["id"] for row in dataset.manifest["stages"]]
        counts = [shard.documents + sum(shard.rejects.values()) for shard in self.shards]
        self.starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
        self.rows = rows = int(self.starts[-1])
        self.gone = np.full(rows, len(self.stages), np.int16)
        self.verdict, self.edited = np.zeros(rows, np.int8), np.zeros(rows, bool)
        self.value, self.threshold = np.full((2, rows), np.nan)
        self.length = np.zeros(rows, np.int64)
        self.identity, self.other = np.zeros((2, rows), np.uint64)
        self._reasons: dict[str, int] = {}
        self._reason = np.full(rows, -1, np.int32)
        self.left_out, self._edited_columns = set[str](), set[str]()
        self._numbers: dict[str, list[tuple[int, pa.Table, str]]] = {}
        self._names: dict[str, list[tuple[int, pa.Table, str]]] = {}
        self._held: OrderedDict[str, np.ndarray] = OrderedDict()
        self._facets: dict[str, Facet] = {}
        self._measured: dict[str, list[tuple[int, pa.Table]]] = {}
        self._edits: dict[str, list[np.ndarray]] = {}
        self._lock = RLock()
        for number, shard in enumerate(self.shards):
            self._documents(number, shard, cache)
            self._rejected(number, shard, cache)
            for step in shard.steps:
                self._step(number, step, cache)
        self._beside(dataset, cache)
        edited = self._edited_columns & {*self._names}
        self.left_out |= edited
        for name in self.left_out:  # of some shards alone they would tell of those alone
            self._names.pop(name, None)

    # ---- reading

    def _documents(self, number: int, shard: Shard, cache: Cache) -> None:
        table = cache.documents(shard.object)
        start, stop = int(self.starts[number]), int(self.starts[number]) + shard.documents
        self.identity[start:stop] = table.column(IDENTITY).to_numpy()
        self.length[start:stop] = table.column(LENGTH).to_numpy()
        self._note(number, table, "", (IDENTITY, LENGTH))

    def _rejected(self, number: int, shard: Shard, cache: Cache) -> None:
        if not shard.rejected:
            return
        table = cache.store.read_table(shard.rejected, ["id", "reason"])
        start = int(self.starts[number]) + shard.documents
        stop = start + table.num_rows
        self.gone[start:stop] = self._order(shard.source)
        self.verdict[start:stop] = VERDICTS.index("quarantined")
        self.identity[start:stop] = [hash_of(one) for one in table.column("id").to_pylist()]
        self._reason[start:stop] = [self._code(one) for one in table.column("reason").to_pylist()]

    def _step(self, number: int, step: Step, cache: Cache) -> None:
        import numpy as np

        if step.features:
            table = cache.features(step.features)
            self._measured.setdefault(step.stage, []).append((number, table))
            self._note(number, table, f"{step.stage}.", ("row",))
        if not step.verdicts:
            return
        table = cache.verdicts(step.verdicts)
        for column in _left_out(table):  # of the documents, or attached by a stage
            self._edited_columns |= {self._called(column), *(f"{stage}.{column}" for stage in self.stages)}
        said = table.column("verdict").combine_chunks()
        verdicts = [VERDICTS.index(one) if one in VERDICTS else -1 for one in said.dictionary.to_pylist()]
        kinds = np.array([*verdicts, -1], np.int8)[said.indices.to_numpy()] if len(said) else np.zeros(0, np.int8)
        rows = table.column("row").to_numpy() + int(self.starts[number])
        self.edited[rows[kinds < 0]] = True
        self._edits.setdefault(step.stage, []).append(rows[kinds < 0])
        removed = kinds > 0
        rows = rows[removed]
        reasons = table.column("reason").combine_chunks()
        codes = np.array([*(self._code(one) for one in reasons.dictionary.to_pylist()), -1], np.int32)
        known = np.where(reasons.is_null().to_numpy(zero_copy_only=False), -1, reasons.indices.fill_null(0).to_numpy())
        self._reason[rows] = codes[known[removed]]
        self.gone[rows] = self._order(step.stage)
        self.verdict[rows] = kinds[removed]
        for name, into in (("value", self.value), ("threshold", self.threshold), (OTHER, self.other)):
            into[rows] = table.column(name).to_numpy()[removed]

    def _order(self, stage: str) -> int:
        """The number of a stage; one that is none of the pipeline's (an erasure) comes behind all."""
        if stage not in self.stages:
            self.stages.append(stage)
            self.gone[self.verdict == KEPT] = len(self.stages)
        return self.stages.index(stage)

    def _code(self, reason: str | None) -> int:
        return -1 if reason is None else self._reasons.setdefault(reason, len(self._reasons))

    def _beside(self, dataset: Dataset, cache: Cache) -> None:
        """Columns that lie beside a version's documents and that no stage made: labels."""
        made = {step.features for shard in self.shards for step in shard.steps}
        left = [number for number, shard in enumerate(self.shards) if shard.kept]
        taken = {*self._names, *self._numbers, *self.left_out}
        for number, fragment in zip(left, dataset.fragments, strict=True):
            for one in fragment.sidecars:
                if one.object not in made:
                    table = cache.features(one.object)
                    for name in (name for name in table.column_names if name in one.columns):
                        called = self._called(name)
                        self._take(number, table, name, f"{LABEL}{name}" if called in taken else called)
                    self.left_out.update(self._called(name) for name in _left_out(table) if name in one.columns)

    def _called(self, name: str) -> str:
        """What a column of the documents is called here: no name of the engine's, nor of what a stage measured."""
        clashes = name in RESERVED or name.startswith((COLUMN, LABEL, *(f"{stage}." for stage in self.stages)))
        return f"{COLUMN}{name}" if clashes else name

    def _note(self, number: int, table: pa.Table, before: str, own: Sequence[str]) -> None:
        self.left_out.update(f"{before}{name}" if before else self._called(name) for name in _left_out(table))
        for name in table.column_names:
            if name not in own:
                self._take(number, table, name, f"{before}{name}" if before else self._called(name))

    def _take(self, number: int, table: pa.Table, column: str, called: str) -> None:
        import pyarrow.types as types

        known = self._names if types.is_dictionary(table.schema.field(column).type) else self._numbers
        known.setdefault(called, []).append((number, table, column))

    # ---- what is asked for

    @property
    def facets(self) -> list[str]:
        """Names of the columns of names."""
        return [*OWN, *self._names]

    @property
    def features(self) -> list[str]:
        """Names of the columns of numbers."""
        return ["length", *self._numbers]

    def facet(self, name: str) -> Facet:
        """A column of names.

        Raises:
            CurateError: There is none of this name.
        """
        with self._lock:
            if name not in self._facets:
                self._facets[name] = self._made_facet(name)
            return self._facets[name]

    def feature(self, name: str) -> np.ndarray:
        """A column of numbers (float64).

        Raises:
            CurateError: There is none of this name.
        """
        with self._lock:
            if name not in self._held:
                self._held[name] = self._made_feature(name)
                while len(self._held) > 1 and sum(one.nbytes for one in self._held.values()) > KEPT_BYTES:
                    self._held.popitem(last=False)
            self._held.move_to_end(name)
            return self._held[name]

    def measured(self, stage: str) -> np.ndarray:
        """Which rows a stage measured, whatever it found (bool)."""
        import numpy as np

        found = np.zeros(self.rows, bool)
        for number, table in self._measured.get(stage, ()):
            found[self._places(number, table)] = True
        return found

    def _made_feature(self, name: str) -> np.ndarray:
        import numpy as np
        import pyarrow.compute as compute

        if name == "length":
            return self.length.astype(np.float64)
        if name not in self._numbers:
            raise _unknown(name, self.features)
        found = np.full(self.rows, np.nan)
        for number, table, column in self._numbers[name]:
            values = compute.fill_null(table.column(column).cast("float64", safe=False), float("nan")).to_numpy()
            found[self._places(number, table)] = values
        return found

    def _made_facet(self, name: str) -> Facet:
        import numpy as np

        per_shard = np.diff(self.starts)
        if name == "verdict":
            return Facet(self.verdict.astype(np.int32), VERDICTS)
        if name == "stage":
            return Facet(np.where(self.verdict == KEPT, -1, self.gone).astype(np.int32), self.stages)
        if name == "reason":
            return Facet(self._reason, list(self._reasons))
        if name in ("source", "file"):
            said = [shard.source if name == "source" else shard.part for shard in self.shards]
            names = {one: code for code, one in enumerate(dict.fromkeys(said))}
            return Facet(np.repeat(np.array([names[one] for one in said], np.int32), per_shard), list(names))
        if name not in self._names:
            raise _unknown(name, self.facets)
        names, codes = {}, np.full(self.rows, -1, np.int32)
        for number, table, column in self._names[name]:
            said = table.column(column).combine_chunks()
            mine = [names.setdefault(one, len(names)) for one in said.dictionary.to_pylist()]
            numbers = said.indices.fill_null(len(mine)).to_numpy()
            codes[self._places(number, table)] = np.array([*mine, -1], np.int32)[numbers]
        return Facet(codes, list(names))

    def _places(self, number: int, table: pa.Table) -> np.ndarray:
        import numpy as np

        start = int(self.starts[number])
        if "row" in table.column_names and IDENTITY not in table.column_names:
            return table.column("row").to_numpy() + start
        return np.arange(start, start + table.num_rows)

    # ---- places

    def past(self, stage: str) -> np.ndarray:
        """Which rows a stage let go on (bool); of a source, or of a stage that makes documents, those of its own."""
        import numpy as np

        number = self.stages.index(stage)
        began = [self.stages.index(shard.source) for shard in self.shards]
        source = self.manifest["stages"][number : number + 1]
        there = [one == number if source and source[0]["kind"] == "source" else one <= number for one in began]
        here = np.repeat(np.array(there, bool), np.diff(self.starts))
        return here & ((self.verdict == KEPT) | (self.gone > number))

    def edited_by(self, stage: str) -> np.ndarray:
        """Which rows a stage edited (bool)."""
        import numpy as np

        found = np.zeros(self.rows, bool)
        for rows in self._edits.get(stage, ()):
            found[rows] = True
        return found

    def place(self, row: int) -> Place:
        """Where the document of a row is."""
        import numpy as np

        shard = int(np.searchsorted(self.starts, row, side="right")) - 1
        inside, documents = row - int(self.starts[shard]), self.shards[shard].documents
        return Place(shard, inside if inside < documents else documents - inside - 1)

    def cells(self, place: Place) -> dict[str, str | float | bool]:
        """What a document has in the columns that are shown by their values; of what stages measured the names alone."""
        import numpy as np

        found: dict[str, str | float | bool] = {}
        measured = tuple(f"{stage}." for stage in self.stages)
        numbers = {name: parts for name, parts in self._numbers.items() if not name.startswith(measured)}
        for name, parts in (*numbers.items(), *self._names.items()):
            for number, table, column in parts:
                if number != place.shard or place.row < 0:
                    continue
                beside = "row" in table.column_names and IDENTITY not in table.column_names
                at = int(np.searchsorted(table.column("row").to_numpy(), place.row)) if beside else place.row
                there = at < table.num_rows and (not beside or table.column("row")[at].as_py() == place.row)
                value = table.column(column)[at].as_py() if there else None
                if value is not None and value == value:
                    found[name] = value
        return found

    def row(self, place: Place) -> int:
        """The row of the document at a place.

        Raises:
            CurateError: There is none.
        """
        if place.shard < len(self.shards):
            documents = self.shards[place.shard].documents
            inside = place.row if place.row >= 0 else documents - place.row - 1
            whole = int(self.starts[place.shard + 1] - self.starts[place.shard])
            if (place.row < documents) and 0 <= inside < whole:
                return int(self.starts[place.shard]) + inside
        raise CurateError(f"there is no document at `{place}` in this version")

    def like(self, row: int) -> Iterator[tuple[str, np.ndarray]]:
        """Neighbours of a document, as the stages that compare said: how they are alike, and their rows."""
        import numpy as np

        mine, other = self.identity[row], self.other[row]
        if other:
            yield (
                "duplicates",
                np.flatnonzero((self.identity == other) & (self.verdict != VERDICTS.index("quarantined"))),
            )
            fellows = np.flatnonzero(self.other == other)
            yield "duplicates the same", fellows[fellows != row]
        if mine:
            yield "is duplicated by", np.flatnonzero(self.other == mine)


def _left_out(table: pa.Table) -> list[str]:
    return json.loads((table.schema.metadata or {}).get(LEFT_OUT, b"[]"))


def _unknown(name: str, known: Sequence[str]) -> CurateError:
    shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return CurateError(f"there is no column `{name}`", hint=did_you_mean(name, known) or f"there is: {shown}")
