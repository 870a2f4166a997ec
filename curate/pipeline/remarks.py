"""What a version is short of that its pipeline asked for: shares and budgets of mixtures, cells and splits without documents.

Told by a run and by `curate data show`, from what the version holds. Cost: nothing where all is as it was asked; for a split
without documents, the column that it was drawn by, up to `MOST_GROUPS` values of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from curate.dataset.reader import Dataset
from curate.errors import did_you_mean
from curate.jsontext import dumps

__all__ = ["asked_splits", "mix_cells", "remarks"]

MOST_GROUPS = 1000
NAMED = 5
SPLITS = ("train", "validation", "test")
_CLOSE = 1e-6


def remarks(dataset: Dataset) -> list[str]:
    """What a version is short of, in words."""
    told: list[str] = []
    for stage in dataset.manifest["stages"]:
        if stage["stage"] == "mix":
            told += _of_mix(dataset, stage, mix_cells(dataset, stage))
        elif stage["stage"] == "split":
            told += _of_split(dataset, stage)
        elif stage["stage"] in ("table_types", "table_duplicates"):
            told += _of_table(dataset, stage)
        if stage["settings"].get("where") and stage["in"]:
            told += _of_where(dataset, stage)
    return told


def _of_where(dataset: Dataset, stage: Mapping[str, Any]) -> Iterator[str]:
    steps = (step for shard in dataset.ledger() for step in shard.steps if step.stage == stage["id"])
    if not any(step.features for step in steps):
        asked = dumps(stage["settings"]["where"])
        yield f"`{stage['id']}` looked at none of {stage['in']:,} documents: no document is as its `where` says, {asked}"


def mix_cells(dataset: Dataset, stage: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The cells of a stage that mixed, as its artifact has them."""
    objects = stage["artifacts"].get("mix", {}).get("objects", [])
    return [row for name in objects for row in dataset.store.read_table(name).to_pylist()]


def asked_splits(dataset: Dataset) -> list[str]:
    """The splits that the version's pipeline draws documents into."""
    drawn = [one["settings"] for one in dataset.manifest["stages"] if one["stage"] == "split"]
    return [name for name in SPLITS if drawn and not drawn[-1]["column"] and drawn[-1][name] > 0]


def _of_mix(dataset: Dataset, stage: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    name, settings = stage["id"], stage["settings"]
    yield from _empty_cells(dataset, name, settings, cells)
    expected = {cell["cell"]: cell["size"] * cell["rate"] for cell in cells if cell["share"] > 0}
    total, cap = sum(expected.values()), f"`max_repeats: {settings['max_repeats']:g}`"
    short = [
        cell for cell in cells
        if cell["share"] > 0 and expected[cell["cell"]] < cell["share"] * total * (1 - _CLOSE)
    ]  # fmt: skip
    if short:
        told = [
            f"`{cell['cell']}` (asked {cell['share']:.3f}, given {cell['seen_share']:.3f})" for cell in short[:NAMED]
        ]
        yield (
            f"`{name}`: the shares asked for are not met: all that there is of {_listed(told, len(short))} is given within "
            f"{cap}, and the others give the rest"
        )
    budget = settings["budget"]
    if budget is not None and total < budget * (1 - _CLOSE):
        yield (
            f"`{name}`: the budget is not filled: {round(sum(cell['seen'] for cell in cells)):,} {settings['size']} of the "
            f"{budget:,} asked for are given, which is all within {cap}"
        )


def _empty_cells(
    dataset: Dataset, name: str, settings: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    there = [cell["cell"] for cell in cells if cell["documents"]]
    for cell in [cell["cell"] for cell in cells if not cell["documents"]][:NAMED]:
        if pattern := settings["parts"].get(cell):
            place = _a_place(dataset)
            like = f"; documents come from places like `{place}`" if place else ""
            yield f"`{name}`: no document is in the cell `{cell}`: `{pattern}` fits no `source_uri` that it is given{like}"
        else:
            near = did_you_mean(cell, there)
            yield f"`{name}`: no document is left in the cell `{cell}` of `weights`, and the others have its share" + (
                f"; {near}" if near else ""
            )


def _a_place(dataset: Dataset) -> str | None:
    """Where a document of the version comes from."""
    for shard in dataset.ledger():
        if shard.documents:
            with dataset.store.parquet(shard.object) as file:
                batch = next(file.iter_batches(1, columns=["source_uri"]), None)
            if batch is not None and batch.num_rows and batch.column(0)[0].is_valid:
                return batch.column(0)[0].as_py()
    return None


def _listed(told: Sequence[str], count: int) -> str:
    return ", ".join(told) + (f" and {count - len(told):,} more" if count > len(told) else "")


def _of_split(dataset: Dataset, stage: Mapping[str, Any]) -> Iterator[str]:
    settings = stage["settings"]
    empty = [name for name in asked_splits(dataset) if name not in dataset.manifest["splits"]]
    if not empty or not len(dataset):
        return
    column = settings["by"] or ("duplicate_cluster" if "duplicate_cluster" in dataset.columns else None)
    groups = _groups(dataset, column) if column in dataset.columns else len(dataset)
    whole = column is not None and groups < len(dataset)
    of = (
        f"{groups:,} values of `{column}`, of which each goes into one split as a whole"
        if whole
        else f"{groups:,} documents"
    )
    named, shares = (
        " and ".join(words)
        for words in zip(*[(f"`{one}`", f"`{one}: {settings[one]:g}`") for one in empty], strict=True)
    )
    yield (
        f"`{stage['id']}`: no document is in the split {named}: {shares} fell on none of {of}; ask for a larger share"
        + (", or split by what has more values" if whole else "")
    )


_UNPARSED = {"no_number": "no number", "not_finite": "a number beyond all others", "no_date": "no date"}


def _of_table(dataset: Dataset, stage: Mapping[str, Any]) -> Iterator[str]:
    """Cells that did not parse, rows that stood in several splits, rows that contradict each other."""
    examples = dataset.artifact(stage["id"], "examples").to_pylist() if "examples" in stage["artifacts"] else []
    for one in dataset.artifact(stage["id"], "cells").to_pylist() if "cells" in stage["artifacts"] else ():
        if one["reason"] in _UNPARSED:
            count, told = (
                sum(one[split] for split in SPLITS),
                [
                    f"{row['id']} ({row['source_uri']})"
                    for row in examples
                    if (row["column"], row["reason"]) == (one["column"], one["reason"])
                ],
            )
            some = ", ".join(told[:NAMED])
            yield (
                f"`{stage['id']}`: cells of `{one['column']}` that held {_UNPARSED[one['reason']]} and are empty now: "
                f"{count:,}, as in {some}"
            )
    if leaked := stage["reasons"].get("dropped", {}).get("row_in_other_split"):
        yield (
            f"`{stage['id']}`: rows that stood in two splits, and stay in the one that is measured on alone: {leaked:,}; "
            "`split: by: COLUMN` keeps rows together that have a value in common"
        )
    if conflicts := stage["artifacts"].get("conflicts"):
        yield f"`{stage['id']}`: equal rows with different labels: {conflicts['rows']:,} times (artifact `conflicts`)"


def _groups(dataset: Dataset, column: str) -> int:
    """How many different values a column has, counted up to `MOST_GROUPS`; a document without one is its own."""
    import pyarrow.compute as compute

    seen: set[Any] = set()
    alone = 0
    for batch in dataset.batches(columns=[column]):
        values = batch.column(column)
        alone += values.null_count
        seen.update(compute.unique(values.drop_null()).to_pylist())
        if len(seen) > MOST_GROUPS:
            break
    return len(seen) + alone
