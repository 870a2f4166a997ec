"""What a table stage is: it learns numbers from the train split's rows, and puts them to every row.

    sign        the cells of each document, one column for each of the table's (prefix `=`, so that no name is the engine's)
    fit         rows of the train split -> what is learned, JSON; never sees another split
    put         rows and what was learned -> new columns, changed cells, rows that go; pure, so new data gets the same

What was learned is the artifact `fitted` (JSON, beside the settings), in words the artifact `learned`, and the cells that
changed are counted by column, reason and split in the artifact `cells` (`examples` names some). A changed cell is an edit with
a `path`, no text and no spans: the value stands in the column that the stage attaches, and `curate why` reads it there before
and after. Cost: cells are put twice, once to count them; what is learned is from at most `sample` rows, which are held at once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from curate.errors import CurateError
from curate.stages.contract import Decision, Effect, Global
from curate.stages.work import SHARD_BITS

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from curate.stages.work import Desk, Work

__all__ = ["FEATURES", "OUTLIERS", "SPLITS", "Cells", "Gone", "Put", "Table", "column_names"]

FEATURES = "features"
OUTLIERS = "outliers"
RESERVED = frozenset(
    {"id", "text", "source_uri", "split", "duplicate_cluster", "parent", "ordinal", FEATURES, OUTLIERS}
)
"""Columns that are no part of a table, unless `only` names them."""
SPLITS = ("train", "validation", "test")
SHOWN = 20
"""Examples of a reason that are told for a column."""
SLICE = 4096
"""Rows whose new cells are held at once where they are only counted."""
_PREFIX = "="
_ROW = "row"


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells of one column that changed, for one reason.

    Attributes:
        column: Their column.
        reason: A name among the stage's `reasons`.
        rows: Which (bool, one for each row).
        value: What decided of each row (float64), as of an outlier.
        threshold: What it was compared with (float64).
    """

    column: str
    reason: str
    rows: np.ndarray
    value: np.ndarray | None = None
    threshold: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """Rows that leave, for one reason.

    Attributes:
        reason: A name among the stage's `reasons`.
        rows: Which (bool, one for each row).
        detail: The column that decided.
        value: What decided of each row (float64).
        threshold: What it was compared with (float64).
    """

    reason: str
    rows: np.ndarray
    detail: str | None = None
    value: np.ndarray | None = None
    threshold: np.ndarray | None = None


@dataclass(slots=True)
class Put:
    """What becomes of rows: columns by name, cells that changed, rows that leave; of several reasons the first counts."""

    columns: dict[str, pa.Array] = field(default_factory=dict)
    cells: list[Cells] = field(default_factory=list)
    gone: list[Gone] = field(default_factory=list)


class Table(Global):
    """Learns from the rows of the train split, then changes the cells of all rows alike."""

    version: ClassVar[int] = 2
    reads_text: ClassVar[bool] = False
    knows_splits: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "xxhash")

    replaces: ClassVar[bool] = True
    """Whether it gives columns of the table other values."""

    only: tuple[str, ...] = Field(
        (),
        description="Columns that are worked on; by default all but `id`, `text`, `source_uri`, `split`, lists, and what other "
        "stages say of documents (`duplicate_cluster`, `outliers`, `features`).",
    )
    leave: tuple[str, ...] = Field((), description="Columns that are left alone: names, comments, keys.")
    label: str | None = Field(None, description="Column of what is to be predicted.")
    sample: int = Field(
        200_000,
        ge=100,
        description="Rows of the train split that are learned from, all up to this number, beyond it about as many, drawn by "
        "their ids.",
    )

    # ---- what a stage says

    def fit(self, rows: pa.Table) -> dict[str, Any]:
        """What the rows of the train split teach, as JSON; columns are those of the table, null where a cell is empty."""
        raise NotImplementedError

    def put(self, rows: pa.Table, fitted: Mapping[str, Any]) -> Put:
        """What becomes of rows that have the columns of the table; `split` is among them, null for new data."""
        raise NotImplementedError

    def learned(self, fitted: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What was learned, a row for each column, for people."""
        raise NotImplementedError

    def cell(self, column: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """How cells are signed: numbers as float64, all else as text, also integers that float64 does not hold: keys."""
        import pyarrow as pa

        kind = column.type
        if pa.types.is_boolean(kind):
            return column.cast(pa.int8()).cast(pa.float64())
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            try:
                return column.cast(pa.float64())
            except pa.ArrowInvalid:
                pass  # beyond 2^53
        return column.cast(pa.string())

    # ---- what the engine asks

    def columns(self) -> Sequence[str] | None:
        """All of them, unless some are named."""
        return (*self.only, *((self.label,) if self.label else ()), "split") if self.only else None

    def requires(self) -> Sequence[str]:
        """The split, and the columns that are named."""
        return tuple(dict.fromkeys(["split", *self.only, *((self.label,) if self.label else ())]))

    def adds(self) -> Sequence[str] | None:
        """Which columns are new shows when it runs."""
        return None

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that reads the cells off a batch."""
        import numpy as np
        import pyarrow as pa
        from xxhash import xxh3_64_intdigest

        def sign(batch: pa.Table) -> pa.Table:
            if "split" not in batch.column_names:
                raise _no_split()
            names = column_names(batch.schema, self.only, self.label, self.leave)
            if self.replaces and _ROW in names:
                raise CurateError(
                    f"a column is called `{_ROW}`, which is what the engine calls the place of a document",
                    hint=f"give it another name in its files, or leave it alone: `leave: [{_ROW}]`",
                )
            given = {f"{_PREFIX}{name}": self.cell(batch.column(name)) for name in names}
            hashes = np.array([xxh3_64_intdigest(one) for one in batch.column("id").to_pylist()], np.uint64)
            return pa.table(
                {"split": batch.column("split"), "draw": hashes / 2.0**64, "place": batch.column("source_uri"), **given}
            )

        return sign

    # ---- over all documents

    def decide(self, work: Work) -> Decision:
        """Learn from the train split, and count what that changes everywhere."""
        share = 1.0
        if work.documents > self.sample:
            counts = work.each_group("count_train", [{} for _ in work.bounds])
            share = min(1.0, self.sample / max(1, sum(one["rows"] for one in counts)))
        parts = work.each_group("draw_some", [{"share": share} for _ in work.bounds])
        if not sum(one["rows"] for one in parts):
            raise _no_split()
        (fitted,) = work.each("fit_some", [{"parts": [one["part"] for one in parts]}])
        call = {"fitted": fitted["fitted"], "bounds": list(work.bounds)}
        done = work.each_group("put_group", [call for _ in work.bounds])
        said = {key: [one[key] for one in done] for key in ("counts", "examples")}
        (told,) = work.each("tell", [{"fitted": fitted["fitted"], **said}])
        artifacts = {name: [(held, rows)] for name, (held, rows) in told["told"].items()}
        artifacts["fitted"] = [(fitted["fitted"], 1)]
        return Decision([one["found"] for one in done], artifacts)

    def count_train(self, desk: Desk) -> dict[str, Any]:
        """How many rows of a group are of the train split."""
        import pyarrow.compute as compute

        train = compute.equal(desk.signatures(["split"]).column("split"), "train")
        return {"rows": compute.sum(train).as_py() or 0, "objects": []}

    def draw_some(self, desk: Desk, *, share: float) -> dict[str, Any]:
        """The rows of a group that are learned from."""
        import pyarrow as pa
        import pyarrow.compute as compute

        table = desk.signatures()
        train = compute.equal(table.column("split"), "train").to_numpy()
        table = table.filter(pa.array(train & (table.column("draw").to_numpy() < share)))
        part = desk.write(table.select([name for name in table.column_names if name[0] == _PREFIX]))
        return {"part": part, "rows": table.num_rows, "objects": [part]}

    def fit_some(self, desk: Desk, *, parts: list[str]) -> dict[str, Any]:
        """What they teach."""
        import pyarrow as pa

        tables = [desk.read(part) for part in parts]
        try:
            drawn = pa.concat_tables([one for one in tables if one.num_rows], promote_options="permissive")
        except pa.ArrowTypeError as error:
            raise CurateError(
                f"a column is of one type in some documents, and of another in others: {error}",
                hint="put `{stage: table_types}` before it, which gives it one",
            ) from error
        rows = _plain(drawn)
        facts = {"settings": self.model_dump(mode="json"), "fitted": self.fit(rows)}
        name = desk.write(pa.table({key: [json.dumps(fact, sort_keys=True)] for key, fact in facts.items()}))
        return {"fitted": name, "objects": [name]}

    def put_group(self, desk: Desk, *, fitted: str, bounds: list[int]) -> dict[str, Any]:
        """What changes in a group; what was learned is handed on to each of its shards."""
        import numpy as np
        import pyarrow as pa

        learned = desk.read(fitted).column("fitted")[0].as_py()
        table = desk.signatures()
        documents = table.column("document").to_numpy()
        shards = np.unique(documents >> np.uint64(SHARD_BITS))
        record = pa.table({
            "shard": pa.array(shards.astype(np.int64)), "row": pa.array(np.zeros(len(shards), np.int64)),
            "fitted": [learned] * len(shards),
        })  # fmt: skip
        cut = desk.write_cut(record, shards << np.uint64(SHARD_BITS), bounds)
        counts, some = self._counts(table, json.loads(learned))
        names = ("column", "reason", "id", "source_uri")
        examples = desk.write(pa.Table.from_pylist(some, schema=pa.schema([(name, pa.string()) for name in names])))
        return {"found": cut, "counts": counts, "examples": examples, "objects": [cut["run"], examples]}

    def _counts(self, table: pa.Table, fitted: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The cells that change, by column, reason and split, and some of the documents that they are of."""
        counts, some = dict[tuple[str, str], Counter[str]](), list[dict[str, Any]]()
        seen = Counter[tuple[str, str]]()
        for start in range(0, table.num_rows, SLICE):
            part = table.slice(start, SLICE)
            put = self.put(_plain(part), fitted)
            splits, left = part.column("split").to_pylist(), _leaving(put)
            ids, places = part.column("id"), part.column("place")
            for one in put.cells:
                key = one.column, one.reason
                rows = [row for row in one.rows.nonzero()[0].tolist() if row not in left]
                if rows:
                    counts.setdefault(key, Counter()).update(splits[row] for row in rows)
                for row in rows[: max(SHOWN - seen[key], 0)]:
                    said = {"id": ids[row].as_py(), "source_uri": places[row].as_py()}
                    some.append({"column": one.column, "reason": one.reason, **said})
                seen[key] += len(rows)
        found = [{"column": column, "reason": reason, "counts": dict(one)} for (column, reason), one in counts.items()]
        return found, some

    def tell(
        self, desk: Desk, *, fitted: str, counts: list[list[dict[str, Any]]], examples: list[str]
    ) -> dict[str, Any]:
        """The artifacts `learned`, `cells` and `examples`."""
        import pyarrow as pa

        rows = self.learned(json.loads(desk.read(fitted).column("fitted")[0].as_py()))
        sums: dict[tuple[str, str], Counter[str]] = {}
        for one in (cell for group in counts for cell in group):
            sums.setdefault((one["column"], one["reason"]), Counter()).update(one["counts"])
        cells = [
            {"column": column, "reason": reason, **{split: count[split] for split in SPLITS}}
            for (column, reason), count in sums.items()
        ]
        seen, some = Counter[tuple[str, str]](), list[dict[str, Any]]()
        for one in (row for name in examples for row in desk.read(name).to_pylist()):
            key = one["column"], one["reason"]
            seen[key] += 1
            some += [one] if seen[key] <= SHOWN else []
        tables = {name: table for name, table in (("learned", rows), ("cells", cells), ("examples", some)) if table}
        told = {name: [desk.write(pa.Table.from_pylist(table)), len(table)] for name, table in tables.items()}
        return {"told": told, "objects": [name for name, _ in told.values()]}

    def apply(self, signatures: pa.Table, found: pa.Table) -> Effect:
        """The new columns of one shard, what changed in them, and the rows that leave."""
        from curate.stages.verdicts import verdict_schema

        if not found.num_rows:
            return Effect(verdict_schema().empty_table())
        put = self.put(_plain(signatures), json.loads(found.column("fitted")[0].as_py()))
        return Effect(_verdicts(put), put.columns)


def column_names(schema: pa.Schema, use: Sequence[str], label: str | None, leave: Sequence[str]) -> list[str]:
    """The columns of a table: those that are named and the label, or all that hold a value in each cell; but those to leave."""
    import pyarrow as pa

    binary = (pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary)
    there = [
        field.name for field in schema if field.name not in RESERVED and not any(one(field.type) for one in binary)
    ]
    names = list(dict.fromkeys([*use, *((label,) if label else ())])) if use else there
    return [name for name in names if name not in leave]


def _no_split() -> CurateError:
    return CurateError(
        "no document is in the split `train`, from whose rows a table stage learns",
        hint="put `{stage: split}` before it",
    )


def _plain(table: pa.Table) -> pa.Table:
    """The table's own columns, under their names, and `split` where it is known."""
    kept = [name for name in table.column_names if name[0] == _PREFIX]
    plain = table.select([*kept, *(["split"] if "split" in table.column_names else [])])
    return plain.rename_columns([name.removeprefix(_PREFIX) for name in plain.column_names]).combine_chunks()


def _leaving(put: Put) -> dict[int, Gone]:
    """The rows that leave, each with the first reason."""
    found: dict[int, Gone] = {}
    for one in put.gone:
        for row in one.rows.nonzero()[0].tolist():
            found.setdefault(row, one)
    return found


def _verdicts(put: Put) -> pa.Table:
    import pyarrow as pa

    from curate.stages.verdicts import verdict_schema

    left = _leaving(put)
    rows: list[dict[str, Any]] = []
    for row, gone in left.items():
        rows.append(
            {"row": row, "verdict": "dropped", "reason": gone.reason, **_compared(gone, row), "detail": gone.detail}
        )
    for one in put.cells:
        for row in one.rows.nonzero()[0].tolist():
            if row not in left:
                said = {"row": row, "verdict": "edited", "reason": one.reason, "path": one.column}
                rows.append({**said, **_compared(one, row)})
    return pa.Table.from_pylist(sorted(rows, key=lambda said: said["row"]), schema=verdict_schema())


def _compared(one: Cells | Gone, row: int) -> dict[str, float]:
    return {
        name: float(values[row])
        for name, values in (("value", one.value), ("threshold", one.threshold))
        if values is not None
    }
