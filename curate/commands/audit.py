"""`curate audit toxicity`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo

__all__ = ["toxicity"]


def toxicity(
    name: Annotated[str, typer.Argument(help="NAME, NAME@TAG or NAME@ID-PREFIX.", metavar="VERSION")],
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Tell how many documents lie above which score of the stage `toxicity`, by source and split; do its models agree?"""
    from curate.audit.toxicity.summary import LEVELS, summarize
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset
    from curate.terminal import visible

    dataset = open_dataset(name, find_store(store))
    told = summarize(dataset)
    if as_json:
        print_json({"dataset": dataset.name, "version": dataset.version, "stages": told})
        return
    for one in told:
        groups = {"all that the stage saw": one["documents"]}
        groups |= {f"source {key}": value for key, value in one["sources"].items()}
        groups |= {f"kept, split {key}": value for key, value in one["splits"].items()}
        levels = [f"above {level:g}" for level in LEVELS]
        print_table(
            (one["stage"], "documents", "mean", *levels, "with terms"), [_row(*pair) for pair in groups.items()]
        )
        highest = ", ".join(f"{row['id']} ({row['toxicity']:.2f})" for row in one["highest"])
        echo(visible(f"highest: {highest}", in_one_line=True))
        _print_agreement(one["detoxify"])


def _row(group: str, numbers: dict[str, Any]) -> list[str]:
    count = numbers["documents"]
    cells = (*numbers["above"].values(), numbers["with_terms"])
    mean = "-" if numbers["mean"] is None else f"{numbers['mean']:.3f}"
    return [group, f"{count:,}", mean, *(f"{cell:,} ({cell / count:.2%})" if count else "0" for cell in cells)]


def _print_agreement(numbers: dict[str, Any] | None) -> None:
    if numbers is None:
        return
    echo(f"detoxify was asked about {numbers['asked']:,} documents, and decided {numbers['decided']:,} in the band")
    if numbers["compared"]:
        rank = "-" if numbers["correlation"] is None else f"{numbers['correlation']:.2f}"
        echo(f"on the {numbers['compared']:,} others: rank correlation {rank}; above 0.5 in both {numbers['both_above']:,}, "
             f"in one only {numbers['one_above']:,}")  # fmt: skip
