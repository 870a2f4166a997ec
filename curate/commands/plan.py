"""`curate plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.options import Json, Overrides, StoreOption

__all__ = ["plan"]


def plan(
    pipeline: Annotated[Path, typer.Argument(help="Pipeline file.")],
    overrides: Overrides = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Say for each stage whether it will run or is cached, and why."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.config.pipeline import load_pipeline
    from curate.dataset.store import Store, blobs_at
    from curate.pipeline.explain import explain
    from curate.pipeline.run import default_store
    from curate.stages.lean import arrow_without_pandas

    arrow_without_pandas()
    loaded = load_pipeline(pipeline, overrides or [])
    root = default_store(loaded, store)
    there = blobs_at(root).exists("store.json")
    rows = explain(loaded, Store.open(root) if there else None)
    if as_json:
        print_json({"dataset": loaded.settings.dataset, "store": str(root), "stages": rows})
        return
    shown = [
        [row["id"], row["action"], row["cached"], "?" if row["run"] is None else row["run"], row["why"]] for row in rows
    ]
    print_table(("stage", "action", "cached", "to run", "why"), shown)
