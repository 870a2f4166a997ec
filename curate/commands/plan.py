"""`curate plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.commands.options import Json, Overrides, StoreOption
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.config.pipeline import Pipeline

__all__ = ["plan"]


def plan(
    pipeline: Annotated[Path, typer.Argument(help="Pipeline file.")],
    overrides: Overrides = None,
    reorder: Annotated[bool, typer.Option("--reorder", help="Propose a cheaper order of the filters instead.")] = False,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Say for each stage whether it will run or is cached, and why."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.config.pipeline import load_pipeline
    from curate.dataset.store import Store, blobs_at
    from curate.pipeline.explain import explain
    from curate.pipeline.fetch import known_snapshots, lines, row
    from curate.pipeline.lock import fetched_sources
    from curate.pipeline.run import default_store

    loaded = load_pipeline(pipeline, overrides or [])
    root = default_store(loaded, store)
    if reorder:
        _propose(loaded, str(root), as_json)
        return
    opened = Store.open(root) if blobs_at(root).exists("store.json") else None
    rows, known = explain(loaded, opened), known_snapshots(loaded, opened)
    if as_json:
        fetched = [row(entry.id, known.get(entry.id)) for entry in fetched_sources(loaded)]
        print_json({"dataset": loaded.settings.dataset, "store": str(root), "stages": rows, "snapshots": fetched})
        return
    shown = [
        [one["id"], one["action"], one["cached"], "?" if one["run"] is None else one["run"], one["why"]] for one in rows
    ]
    print_table(("stage", "action", "cached", "to run", "why"), shown)
    for line in lines(loaded, known):
        echo(line)


def _propose(pipeline: Pipeline, root: str, as_json: bool) -> None:
    """Print a cheaper order of the filters."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset
    from curate.pipeline.reorder import reordered

    dataset = open_dataset(pipeline.settings.dataset, find_store(root))
    found = reordered(dataset, pipeline)
    if as_json:
        print_json({"dataset": dataset.name, "version": dataset.version, "store": root, "filters": found})
        return
    if not found:
        echo("no two filters stand beside each other: only those can change places and keep the same documents")
    for one in found:
        place = {name: number for number, name in enumerate(one["proposed"], 1)}
        rows = [
            [stage["id"], f"{stage['seconds']:.3f}", f"{100 * stage['dropped']:.1f}%", place[stage["id"]]]
            for stage in one["stages"]
        ]
        print_table(("filter", "s for 1,000 documents", "drops", "proposed place"), rows)
        if one["proposed"] == [stage["id"] for stage in one["stages"]]:
            echo("this order is as good as any: no other saves a tenth and a second\n")
            continue
        saved = f"{one['before']:.1f} -> {one['after']:.1f} s for {one['documents']:,} documents"
        echo(f"proposed: {', '.join(one['proposed'])}; {saved}, if what one drops says nothing about the next")
        echo("the kept documents are the same: each decides by a document alone, and nothing between them edits;")
        echo(
            "who is dropped by which of them changes. Cutting texts into words counts for none: the first does it for all\n"
        )
