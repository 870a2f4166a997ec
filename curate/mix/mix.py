"""A mixture: parts of the documents in given shares, some left out, some repeated.

A document's number is drawn from its id, and the rates follow from the sizes of the cells alone; so which documents stay does
not depend on others but through the rates, and a smaller budget keeps a part of what a larger one keeps. Shares are met on
average: in a cell of n documents to about 1 / sqrt(n). Cost: 0.5 microseconds a document, and the words where they are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from curate.errors import did_you_mean
from curate.mix.cells import UNITS, cells_of, sizes_of
from curate.stages.contract import Decision, Effect, Global
from curate.stages.work import SHARD_BITS

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.stages.work import Desk, Work

__all__ = ["Mix"]

REST = "(rest)"


class Mix(Global):
    """Mixes the documents: cells of them in the shares that are asked for, by leaving some out and repeating others.

    A cell is a value of the columns `by` (of several, joined by ` / `; `(none)` where a document has none), or one of `parts`.
    Every document stays once, with the column `repeats`: how often it is to be seen. Train with `data: {weight: repeats}`. The
    artifact `mix` has for each cell its size, the share asked for (`share`), the rate, the share given (`seen_share`), and what
    its repeated words are worth in words seen once. A run tells which cells have less than was asked for, and whether the
    budget is filled.
    Stratified sampling is `by`, `weights` and no repeats. Stands before `split`.
    """

    version: ClassVar[int] = 2
    libraries: ClassVar[tuple[str, ...]] = ("xxhash",)
    reasons: ClassVar[Mapping[str, str]] = {
        "over_share": "its cell has more than its share, and the draw was above the rate",
        "not_in_mix": "its cell has no weight",
        "size_is_negative": "quarantined: its size, in the column that `size` names, is below 0",
        "size_is_no_number": "quarantined: its size is not a number, or not a finite one",
    }

    by: tuple[str, ...] = Field((), description="Columns whose values make the cells (`topic`, `language`).")
    parts: dict[str, str] = Field(
        {},
        description="In place of `by`: names of cells, each with a pattern of where documents come from (`books*`), as in "
        "their `source_uri`; the first that fits, else `(rest)`.",
    )
    weights: dict[str, float] | None = Field(
        None,
        description="Weight of each cell; cells without one are left out. By default each has its size. A weight of what no "
        "document of the sources has is an error; a cell that stages have emptied is told, and its share goes to the others.",
    )
    temperature: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="Weights are taken to the power of 1 / this: above 1 small cells get more.",
    )
    budget: int | None = Field(
        None,
        ge=1,
        description="How much there is to be of all cells together, in what `size` says. By default as much as `weights` "
        "allow, so that they are met; without weights as much as there is.",
    )
    max_repeats: float = Field(
        1.0,
        gt=0,
        le=1_000_000,
        description="Most times that a document may be seen; up to 4 repeated words are about as good as new ones "
        "(Muennighoff et al. 2023). A budget that a cell cannot fill within this is filled by the others.",
    )
    size: str = Field(
        "words",
        description="What shares and budget are of: `documents`, `bytes`, `words` (runs without white space: a "
        "sentence of Chinese is one; where languages are mixed take `bytes`), or a column of "
        "numbers (`tokens`), in which nothing is 0. A cell whose size is 0 has no share, and stays as it is.",
    )
    seed: int = Field(1, ge=0, lt=2**64, description="Seed of the draw; another seed keeps other documents.")

    @model_validator(mode="after")
    def _cells_are_said(self) -> Self:
        if bool(self.by) == bool(self.parts):
            raise ValueError("give `by` (columns), or `parts` (patterns of `source_uri`), and not both")
        if self.weights is not None and (
            not all(isfinite(weight) and weight >= 0 for weight in self.weights.values())
            or not any(self.weights.values())
        ):
            raise ValueError("`weights` are numbers that are not negative, and one of them is above 0")
        for name in self.weights or () if self.parts else ():
            if name not in (*self.parts, REST):
                near = did_you_mean(name, [*self.parts, REST]) or f"there are: {', '.join([*self.parts, REST])}"
                raise ValueError(f"`weights` names `{name}`, which is none of `parts`; {near}")
        if self.weights is None and self.budget is None and self.max_repeats <= 1 and self.temperature != 1:
            raise ValueError(
                "a `temperature` needs a `budget`, or `max_repeats` above 1: else all that there is stays once"
            )
        return self

    def columns(self) -> Sequence[str]:
        """Those that make the cells, and that of the size."""
        return self.requires()

    def requires(self) -> Sequence[str]:
        """The same."""
        return (*self.by, *(() if self.size in UNITS else (self.size,)))

    def numeric(self) -> Sequence[str]:
        """That of the size."""
        return self.requires()[len(self.by) :]

    def adds(self) -> Sequence[str]:
        """How often each is seen."""
        return ("repeats",)

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that says each document's cell, size and draw."""
        import pyarrow as pa

        from curate.mix.draw import draw

        def sign(batch: pa.Table) -> pa.Table:
            drawn = draw(batch.column("id").to_pylist(), purpose="mix", seed=self.seed)
            return pa.table({"cell": self.cells(batch), "size": sizes_of(batch, self.size), "draw": drawn})

        return sign

    def cells(self, batch: pa.Table) -> pa.Array:
        """The cell of each document."""
        import pyarrow as pa

        if self.parts:
            places = batch.column("source_uri").to_pylist()
            return pa.array([self._part(place) for place in places], pa.string())
        return cells_of(batch, self.by)

    def _part(self, place: str) -> str:
        return next((name for name, pattern in self.parts.items() if fnmatchcase(place, pattern)), REST)

    # ---- over all documents

    def decide(self, work: Work) -> Decision:
        """The sizes of all cells, the rates that follow, and who stays how often."""
        from curate.mix.shares import Cell, shares

        groups = range(len(work.bounds))
        sizes: dict[str, float] = {}
        for tally in work.each_group("tally", [{} for _ in groups]):
            for cell, size in tally["sizes"].items():
                sizes[cell] = sizes.get(cell, 0) + size
        there = {cell: sizes[cell] for cell in sorted(sizes)}
        cells = shares(
            there, weights=self.weights, temperature=self.temperature, budget=self.budget, most=self.max_repeats
        )
        named = sorted({*self.parts, *(self.weights or ())} - sizes.keys())
        cells |= {cell: Cell(0, 0.0, 0.0) for cell in named}  # nothing is in them, and the artifact says so
        rates = {cell: found.rate for cell, found in cells.items()}
        chosen = work.each_group("choose", [{"rates": rates, "bounds": list(work.bounds)} for _ in groups])
        rows: dict[str, list[float]] = {cell: [0, 0, 0, 0] for cell in cells}
        for one in chosen:
            for cell, counts in one["counts"].items():
                rows[cell] = [a + b for a, b in zip(rows[cell], counts, strict=True)]
        facts = [{"cell": cell, **found._asdict(), "counts": rows[cell]} for cell, found in cells.items()]
        (told,) = work.each("tell", [{"cells": facts}])
        return Decision([one["found"] for one in chosen], {"mix": [(told["object"], len(facts))]})

    def tally(self, desk: Desk) -> dict[str, Any]:
        """The size of each cell in a group of shards."""
        table = desk.signatures(["cell", "size"])
        summed = (
            table.select(["cell", "size"])
            .group_by("cell", use_threads=False)
            .aggregate([("size", "sum")])
            .sort_by("cell")
        )
        return {
            "sizes": dict(zip(summed["cell"].to_pylist(), summed["size_sum"].to_pylist(), strict=True)),
            "objects": [],
        }

    def choose(self, desk: Desk, *, rates: dict[str, float], bounds: list[int]) -> dict[str, Any]:
        """How often each document of a group is seen, cut by group; and of each cell what there is and what stays."""
        import numpy as np
        import pyarrow as pa

        table = desk.signatures(["cell", "size", "draw"])
        documents, cells = (
            table.column("document").to_numpy(),
            table.column("cell").combine_chunks().dictionary_encode(),
        )
        places = cells.indices.to_numpy()
        rate = np.array([rates[cell] for cell in cells.dictionary.to_pylist()])[places] if len(places) else np.zeros(0)
        repeats = np.floor(rate) + (table.column("draw").to_numpy() < rate - np.floor(rate))
        found = pa.table({
            "shard": pa.array((documents >> np.uint64(SHARD_BITS)).astype(np.int64)),
            "row": pa.array((documents & np.uint64((1 << SHARD_BITS) - 1)).astype(np.int64)),
            "repeats": pa.array(repeats.astype(np.int32)), "rate": pa.array(rate), "draw": table.column("draw"),
        })  # fmt: skip
        cut = desk.write_cut(found, documents, bounds)
        sizes, counts = table.column("size").to_numpy(), {}
        for number, cell in enumerate(cells.dictionary.to_pylist()):
            here = places == number
            stays = here & (repeats > 0)
            seen = (sizes[here] * repeats[here]).sum()
            counts[cell] = [int(here.sum()), int(stays.sum()), sizes[stays].sum().item(), seen.item()]
        return {"found": cut, "counts": counts, "objects": [cut["run"]]}

    def tell(self, desk: Desk, *, cells: list[dict[str, Any]]) -> dict[str, Any]:
        """The artifact `mix`."""
        import pyarrow as pa

        from curate.mix.shares import effective

        total = sum(one["counts"][3] for one in cells) or 1
        rows = []
        for one in cells:
            documents, kept, unique, seen = one["counts"]
            told = {"cell": one["cell"], "documents": documents, "size": one["size"], "share": one["share"]}
            told |= {"rate": one["rate"], "kept": kept, "unique": unique, "seen": seen, "seen_share": seen / total}
            rows.append({**told, "effective": effective(unique, seen)})
        name = desk.write(pa.Table.from_pylist(rows))
        return {"object": name, "objects": [name]}

    def apply(self, signatures: pa.Table, found: pa.Table) -> Effect:
        """Drop those that are not seen, and say of the others how often they are."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as compute

        from curate.stages.decide import verdict_table

        if not found.num_rows:
            return Effect(verdict_table(np.zeros(0, np.int64), "dropped", "over_share"))
        order = np.searchsorted(found.column("row").to_numpy(), signatures.column("row").to_numpy())
        mine = found.take(pa.array(order))
        repeats, rate = mine.column("repeats").to_numpy(), mine.column("rate").to_numpy()
        gone = np.flatnonzero(repeats == 0)
        reason = np.where(rate[gone] > 0, "over_share", "not_in_mix").astype(object)
        verdicts = verdict_table(
            gone, "dropped", reason, value=mine.column("draw").to_numpy()[gone], threshold=rate[gone],
            detail=compute.binary_join_element_wise("cell ", signatures.column("cell").take(pa.array(gone)), ""),
        )  # fmt: skip
        return Effect(verdicts, {"repeats": pa.array(repeats, pa.int32())})
