"""The best documents under a budget, of each cell its part.

The score at which a cell's budget ends is found by counting, in all groups of shards, how much stands in each of 256 parts of
the range that is left, eight times; among documents with just that score a draw from the id decides, found in the same way.
So a budget is never exceeded, and no process holds the documents. Parts of a document that cells have too much are no use to
them: where documents are counted, a document goes to the cells with the largest of these remainders; of other sizes, what
all cells leave is filled with the best documents that are left, whatever their cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import floor, isclose
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from curate.errors import CurateError
from curate.mix.cells import UNITS, cells_of, sizes_of
from curate.mix.numbers import numbers
from curate.stages.contract import Decision, Effect, Global
from curate.stages.work import SHARD_BITS

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from curate.stages.work import Desk, Work

__all__ = ["Select"]

ALL = "(all)"
LEVELS = 8
"""Bytes of a score, and of a draw."""
_BITS = 8
_WIDTH = 1 << _BITS
_LAST = (1 << 64) - 1
_CLOSE = 1e-9
"""Part by which two sums that are one may differ: as numbers are rounded."""
MOST_CELLS = 20_000


class _Cut(NamedTuple):
    """Where a cell's budget ends.

    Attributes:
        keys: The first bytes of the score's key, and of the draw's, as far as they are known.
        left: What is left of the budget for documents that begin with these.
        fits: Whether all of them fit.
    """

    keys: tuple[int, int]
    left: float
    fits: bool = False


class Select(Global):
    """Keeps the documents with the best scores, as many as a budget or a share allows, of all together or of each cell.

    A score is any column of numbers: `difficulty`, what a classifier says, a label's probability. With `by: [topic]` behind
    `topics` the selection is diverse: each topic gives its best. Near and semantic duplicates are best taken out before. The
    artifact `selected` has for each cell its size, its budget, the score at which that ended, and what was kept. Stands before
    `split`.
    """

    libraries: ClassVar[tuple[str, ...]] = ("xxhash",)
    reasons: ClassVar[Mapping[str, str]] = {
        "not_selected": "others of its cell have better scores, and fill its budget; of those with just the last score some "
        "were drawn",
        "no_score": "it has nothing in the column of scores",
        "score_is_no_number": "quarantined: its score is not a number, or not a finite one",
        "size_is_negative": "quarantined: its size, in the column that `size` names, is below 0",
        "size_is_no_number": "quarantined: its size is not a number, or not a finite one",
    }

    score: str = Field(description="Column of numbers by which documents are chosen.")
    order: Literal["highest", "lowest"] = Field("highest", description="Which scores are best.")
    share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="How much stays of each cell, of its size: `0.1` is the best tenth. In place of `budget`.",
    )
    budget: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="How much stays of all cells together, in what `size` says. What a cell cannot give the others give.",
    )
    by: tuple[str, ...] = Field(
        (),
        description="Columns whose values make cells (`topic`, `language`), of which each has its own best documents.",
    )
    cells: Literal["alike", "by_size"] = Field(
        "alike",
        description="Which part of `budget` a cell has: all the same one (`alike`), or in proportion to its size (`by_size`).",
    )
    size: str = Field(
        "documents",
        description="What share and budget are of: `documents`, `bytes`, `words`, or a column of numbers (`tokens`).",
    )
    seed: int = Field(1, ge=0, lt=2**64, description="Seed of the draw among equal scores.")

    @model_validator(mode="after")
    def _how_much_is_said(self) -> Self:
        if (self.share is None) == (self.budget is None):
            raise ValueError("give `share` (of each cell) or `budget` (of all together), and not both")
        return self

    def columns(self) -> Sequence[str]:
        """The scores, those that make the cells, and that of the size."""
        return self.requires()

    def requires(self) -> Sequence[str]:
        """The same."""
        return tuple(dict.fromkeys((*self.numeric(), *self.by)))

    def numeric(self) -> Sequence[str]:
        """The scores and the sizes."""
        return (self.score, *(() if self.size in UNITS else (self.size,)))

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that says each document's cell, size, score and draw."""
        import pyarrow as pa

        from curate.mix.draw import draw

        def sign(batch: pa.Table) -> pa.Table:
            cell = cells_of(batch, self.by) if self.by else pa.array([ALL] * batch.num_rows, pa.string())
            score = numbers(batch.column(self.score), self.score, "score", negative=True)
            drawn = draw(batch.column("id").to_pylist(), purpose="select", seed=self.seed)
            return pa.table({"cell": cell, "size": sizes_of(batch, self.size), "score": score, "draw": drawn})

        return sign

    # ---- over all documents

    def decide(self, work: Work) -> Decision:
        """The sizes of the cells, their budgets, the scores at which these end, and who is before that."""
        calls: list[dict[str, Any]] = [{} for _ in work.bounds]
        sizes = _summed(one["sizes"] for one in work.each_group("tally", calls))
        if len(sizes) > MOST_CELLS:
            raise CurateError(
                f"`by` makes {len(sizes):,} cells, and there may be {MOST_CELLS:,}", hint="name other columns"
            )
        budgets = self._budgets({cell: sizes[cell] for cell in sorted(sizes)})
        cuts = self._searched(work, {cell: budget for cell, budget in budgets.items() if budget < sizes[cell]}, None)
        chosen = self._chosen(work, cuts, None)
        if len(cuts) > 1 and self.size != "documents":
            left = sum(budgets.values()) - sum(size for one in chosen for _, _, size in one["counts"].values())
            rest = self._searched(work, {ALL: left}, cuts).get(ALL)
            chosen = self._chosen(work, cuts, rest)
        cells = sorted({cell for one in chosen for cell in one["counts"]})
        facts = [{"cell": cell, "size": sizes.get(cell, 0), "budget": budgets.get(cell, 0)} for cell in cells]
        (told,) = work.each("tell", [{"cells": facts, "cuts": cuts, "counts": [one["counts"] for one in chosen]}])
        return Decision([one["found"] for one in chosen], {"selected": [(told["object"], len(facts))]})

    def _searched(self, work: Work, budgets: dict[str, float], taken: dict[str, _Cut] | None) -> dict[str, _Cut]:
        """Where budgets end; of all together that are not `taken`, where that is given."""
        cuts = {cell: _Cut((0, 0), budget) for cell, budget in budgets.items() if budget > 0 or taken is None}
        for level in range(2 * LEVELS):
            unsettled = {cell: cut.keys for cell, cut in cuts.items() if level < LEVELS or cut.keys[1] != _LAST}
            if not unsettled:
                break
            asked = {"level": level, "keys": unsettled, "taken": taken}
            parts = [one["parts"] for one in work.each_group("weigh", [asked for _ in work.bounds])]
            for cell in unsettled:
                found = [one[cell] for one in parts if cell in one]
                weights = [sum(column) for column in zip(*found, strict=True)] or [0.0] * _WIDTH
                cuts[cell] = _narrowed(cuts[cell], weights, level)
        return cuts

    def _chosen(self, work: Work, cuts: dict[str, _Cut], rest: _Cut | None) -> list[dict[str, Any]]:
        asked = {"cuts": cuts, "rest": rest, "bounds": list(work.bounds)}
        return work.each_group("choose", [asked for _ in work.bounds])

    def _budgets(self, sizes: dict[str, float]) -> dict[str, float]:
        from curate.mix.shares import shares

        if self.share is not None:
            asked = {cell: size * self.share for cell, size in sizes.items()}
        else:
            alike = dict.fromkeys(sizes, 1.0) if self.cells == "alike" else None
            found = shares(sizes, weights=alike, budget=self.budget)
            asked = {cell: one.rate * one.size for cell, one in found.items()}
        # 30.999999999999996 of 31 would be a document too few
        whole = {cell: float(round(size)) for cell, size in asked.items()}
        asked = {
            cell: whole[cell] if isclose(size, whole[cell], rel_tol=_CLOSE) else size for cell, size in asked.items()
        }
        return self._whole(asked) if self.size == "documents" else asked

    def _whole(self, asked: dict[str, float]) -> dict[str, float]:
        """Whole numbers of documents, with the sum that was asked for: the largest remainders are rounded up."""
        from curate.mix.draw import draw

        found = {cell: float(floor(size)) for cell, size in asked.items()}
        left = floor(sum(asked.values()) * (1 + _CLOSE)) - int(sum(found.values()))
        drawn = dict(zip(asked, draw(asked, purpose="cells", seed=self.seed).tolist(), strict=True))
        by_rest = sorted(asked, key=lambda cell: (round(found[cell] - asked[cell], 9), drawn[cell]))
        return found | {cell: found[cell] + 1 for cell in by_rest[:left] if asked[cell] > found[cell]}

    def tally(self, desk: Desk) -> dict[str, Any]:
        """The size of each cell in a group of shards, of documents with a score."""
        table = desk.signatures(["cell", "size", "score"])
        table = table.filter(table.column("score").is_valid()).select(["cell", "size"])
        summed = table.group_by("cell", use_threads=False).aggregate([("size", "sum")])
        return {
            "sizes": dict(zip(summed["cell"].to_pylist(), summed["size_sum"].to_pylist(), strict=True)),
            "objects": [],
        }

    def weigh(
        self, desk: Desk, *, level: int, keys: dict[str, Sequence[int]], taken: dict[str, Sequence[Any]] | None
    ) -> dict[str, Any]:
        """How much stands in each of the parts of what is left of each cell's range: 256 sums a cell."""
        import numpy as np

        table = desk.signatures(["cell", "size", "score", "draw"])
        there = table.column("score").is_valid().to_numpy()
        size, both = table.column("size").to_numpy(), self._keys(table)
        if taken is not None:
            stays, _ = self._before(table, both, there, taken)
            cells = [(ALL, np.flatnonzero(there & ~stays))]
        else:
            cells = [(cell, here[there[here]]) for cell, here in _cells(table)]
        key, shift = both[level // LEVELS], np.uint64(64 - _BITS * (level % LEVELS + 1))
        part = ((key >> shift) & np.uint64(_WIDTH - 1)).astype(np.int64)
        parts: dict[str, list[float]] = {}
        for cell, here in cells:
            if cell in keys:
                known = [np.uint64(one) for one in keys[cell]]
                if level >= LEVELS:
                    here = here[both[0][here] == known[0]]
                if level % LEVELS:
                    here = here[key[here] >> (shift + np.uint64(_BITS)) == known[level // LEVELS]]
                parts[cell] = np.bincount(part[here], weights=size[here], minlength=_WIDTH).tolist()
        return {"parts": parts, "objects": []}

    def _before(
        self, table: pa.Table, both: tuple[np.ndarray, np.ndarray], there: np.ndarray, cuts: dict[str, Sequence[Any]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which documents stand before the end of their cell's budget, and the last score of that."""
        import numpy as np

        stays, last = there.copy(), np.full(len(there), np.nan)
        for cell, here in _cells(table):
            if cell in cuts:
                cut = _Cut(*cuts[cell])
                stays[here] &= _is_before(both[0][here], both[1][here], cut)
                last[here] = self._score(cut.keys[0])
        return stays, last

    def choose(
        self, desk: Desk, *, cuts: dict[str, Sequence[Any]], rest: Sequence[Any] | None, bounds: list[int]
    ) -> dict[str, Any]:
        """Which documents of a group stay, cut by group; and of each cell how many there are and stay, and their size."""
        import numpy as np
        import pyarrow as pa

        table = desk.signatures(["cell", "size", "score", "draw"])
        documents, there = table.column("document").to_numpy(), table.column("score").is_valid().to_numpy()
        size, both = table.column("size").to_numpy(), self._keys(table)
        stays, last = self._before(table, both, there, cuts)
        if rest is not None:
            stays |= there & _is_before(*both, _Cut(*rest))
        counts = {
            cell: [len(here), int(stays[here].sum()), size[here[stays[here]]].sum().item()]
            for cell, here in _cells(table)
        }
        found = pa.table({
            "shard": pa.array((documents >> np.uint64(SHARD_BITS)).astype(np.int64)),
            "row": pa.array((documents & np.uint64((1 << SHARD_BITS) - 1)).astype(np.int64)),
            "stays": pa.array(stays), "score": table.column("score"), "last": pa.array(last),
        })  # fmt: skip
        cut = desk.write_cut(found, documents, bounds)
        return {"found": cut, "counts": counts, "objects": [cut["run"]]}

    def tell(
        self,
        desk: Desk,
        *,
        cells: list[dict[str, Any]],
        cuts: dict[str, Sequence[Any]],
        counts: list[dict[str, list[float]]],
    ) -> dict[str, Any]:
        """The artifact `selected`."""
        import pyarrow as pa

        rows: list[dict[str, Any]] = []
        for one in cells:
            documents, kept, given = (
                sum(column) for column in zip(*(some.get(one["cell"], [0, 0, 0]) for some in counts), strict=True)
            )
            last = self._score(cuts[one["cell"]][0][0]) if one["cell"] in cuts else None
            rows.append({**one, "documents": documents, "last_score": last, "kept": kept, "given": float(given)})
        schema = {"cell": pa.string(), "documents": pa.int64(), "size": pa.float64(), "budget": pa.float64()}
        schema |= {"last_score": pa.float64(), "kept": pa.int64(), "given": pa.float64()}
        name = desk.write(pa.Table.from_pylist(rows, schema=pa.schema(schema)))
        return {"object": name, "objects": [name]}

    def apply(self, signatures: pa.Table, found: pa.Table) -> Effect:
        """Drop those that were not chosen."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as compute

        from curate.stages.decide import verdict_table

        order = np.searchsorted(found.column("row").to_numpy(), signatures.column("row").to_numpy())
        mine = found.take(pa.array(order))
        gone = np.flatnonzero(~mine.column("stays").to_numpy())
        mine = mine.take(pa.array(gone))
        scored = mine.column("score").is_valid().to_numpy()
        cell = signatures.column("cell").take(pa.array(gone)) if self.by else pa.array([""] * len(gone), pa.string())
        return Effect(
            verdict_table(
                gone, "dropped", np.where(scored, "not_selected", "no_score").astype(object),
                value=mine.column("score"), threshold=pa.array(mine.column("last").to_numpy(), mask=~scored),
                detail=compute.binary_join_element_wise("cell ", cell, "") if self.by else None,
            )
        )  # fmt: skip

    # ---- scores as numbers that are sorted alike

    def _keys(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Of scores and draws, uint64 that are smaller the better one is."""
        import numpy as np

        bits = (table.column("score").fill_null(0.0).to_numpy() + 0.0).view(np.uint64)  # -0.0 is 0.0
        upward = np.where(bits >> np.uint64(63), ~bits, bits | np.uint64(1 << 63))
        drawn = (table.column("draw").to_numpy() * 2.0**53).astype(np.uint64) << np.uint64(11)
        return ~upward if self.order == "highest" else upward, drawn

    def _score(self, key: int) -> float:
        import numpy as np

        upward = np.uint64(key) if self.order == "lowest" else ~np.uint64(key)
        bits = upward & np.uint64((1 << 63) - 1) if upward >> np.uint64(63) else ~upward
        return float(np.array([bits]).view(np.float64)[0])


def _cells(table: pa.Table) -> list[tuple[str, np.ndarray]]:
    """The cells of a group, and the positions of each one's documents."""
    import numpy as np

    coded = table.column("cell").combine_chunks().dictionary_encode()
    places = coded.indices.to_numpy()
    order = np.argsort(places, kind="stable")
    edges = np.searchsorted(places[order], np.arange(len(coded.dictionary) + 1))
    return [(cell, order[edges[i] : edges[i + 1]]) for i, cell in enumerate(coded.dictionary.to_pylist())]


def _summed(parts: Any) -> dict[str, float]:
    sums: dict[str, float] = {}
    for one in parts:
        for cell, size in one.items():
            sums[cell] = sums.get(cell, 0) + size
    return sums


def _is_before(key: np.ndarray, drawn: np.ndarray, cut: _Cut) -> np.ndarray:
    import numpy as np

    at, until = (np.uint64(one) for one in cut.keys)
    return (key < at) | ((key == at) & ((drawn <= until) if cut.fits else (drawn < until)))


def _narrowed(cut: _Cut, weights: Sequence[float], level: int) -> _Cut:
    """The part in which the budget ends, and what is left for it."""
    left, part = cut.left, 0
    for part in (number for number, weight in enumerate(weights) if weight):
        if weights[part] >= left * (1 - _CLOSE):
            break
        left -= weights[part]
    key, drawn = cut.keys
    fits = weights[part] <= left * (1 + _CLOSE)
    if level < LEVELS:
        return _Cut((key << _BITS | part, _LAST if fits else 0), left, fits)
    return _Cut((key, drawn << _BITS | part), left, fits)
