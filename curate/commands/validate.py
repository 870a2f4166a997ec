"""`curate validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.options import Json, Overrides

__all__ = ["validate"]


def validate(
    pipeline: Annotated[Path, typer.Argument(help="Pipeline file.")],
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Check a pipeline file without running it: every setting of every stage, all errors at once."""
    from curate.commands.options import print_json
    from curate.config.pipeline import load_pipeline

    loaded = load_pipeline(pipeline, overrides or [])
    if as_json:
        ids = [entry.id for entry in (*loaded.sources, *loaded.stages)]
        print_json({"pipeline": str(pipeline), "dataset": loaded.settings.dataset, "valid": True, "stages": ids})
        return
    count = len(loaded.stages)
    typer.echo(f"{pipeline}: {len(loaded.sources)} source(s) and {count} stage(s), all settings valid")
