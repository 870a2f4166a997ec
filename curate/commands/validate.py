"""`curate validate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.commands.options import Json, Overrides
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.config.pipeline import Pipeline
    from curate.dataset.store import Store

__all__ = ["validate"]


def validate(
    pipeline: Annotated[Path, typer.Argument(help="Pipeline file, or training file.")],
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Check a pipeline file, or a training file, without running it: every setting, all errors at once.

    Of a pipeline the first documents of every source are looked at, and whether stages find the columns that they read.
    """
    from curate.commands.options import print_json
    from curate.config.kind import is_training_file
    from curate.config.pipeline import load_pipeline
    from curate.errors import ConfigurationErrors
    from curate.pipeline.fetch import known_snapshots, lines, row
    from curate.pipeline.lock import fetched_sources
    from curate.pipeline.preview import preview

    if is_training_file(pipeline):
        _validate_training(pipeline, overrides or [], as_json)
        return
    loaded = load_pipeline(pipeline, overrides or [])
    store = _store_of(loaded) if fetched_sources(loaded) else None
    seen = preview(loaded, store)
    if seen.errors:
        raise ConfigurationErrors(seen.errors)
    known = known_snapshots(loaded, store)
    for note in seen.notes:
        echo(f"note: {note}", err=True)
    if as_json:
        ids = [entry.id for entry in (*loaded.sources, *loaded.stages)]
        print_json({
            "pipeline": str(pipeline), "dataset": loaded.settings.dataset, "valid": True, "stages": ids,
            "columns": seen.columns, "notes": seen.notes,
            "snapshots": [row(entry.id, known.get(entry.id)) for entry in fetched_sources(loaded)],
        })  # fmt: skip
        return
    count = len(loaded.stages)
    echo(f"{pipeline}: {len(loaded.sources)} source(s) and {count} stage(s), all settings valid")
    for line in lines(loaded, known):
        echo(line)
    echo(f"columns of the documents: {', '.join(seen.columns) or 'none were read'}")


def _store_of(pipeline: Pipeline) -> Store | None:
    """The store that a run would use, where it is there: it has what was fetched."""
    from curate.dataset.store import Store, blobs_at
    from curate.pipeline.run import default_store

    place = default_store(pipeline, None)
    return Store.open(place) if blobs_at(place).exists("store.json") else None


def _validate_training(path: Path, overrides: list[str], as_json: bool) -> None:
    from curate.commands.options import print_json
    from curate.train.settings.file import load_config

    config = load_config(path, overrides)
    if as_json:
        print_json({"training": str(path), "run": config.run, "dataset": config.dataset, "valid": True})
    else:
        echo(f"{path}: run `{config.run}` on `{config.dataset}`, all settings valid")
