"""`curate run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.options import Json, Overrides, StoreOption

__all__ = ["run"]


def run(
    pipeline: Annotated[Path, typer.Argument(help="Pipeline file.")],
    overrides: Overrides = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Read only the first N documents, into the dataset NAME-sample.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; by default one for each CPU.")] = None,
    backend: Annotated[str, typer.Option(help="Where tasks run: `local`.")] = "local",
    force: Annotated[list[str] | None, typer.Option(help="Run this stage again though nothing changed.")] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Run a pipeline file and commit a dataset version.

    Work that is done and still valid is not done again: an interrupted run goes on where it was.
    """
    from curate.commands.options import print_json
    from curate.errors import CurateError, GateError
    from curate.pipeline.config import load_pipeline
    from curate.pipeline.progress import progress_for_terminal
    from curate.pipeline.run import default_store, run_pipeline

    if backend != "local":
        raise CurateError(f"there is no backend `{backend}`", "--backend", "there is: local")
    loaded = load_pipeline(pipeline, overrides or [])
    root, progress = default_store(loaded, store), progress_for_terminal()
    try:
        done = run_pipeline(loaded, root, workers=workers, sample=sample, force=force or [], progress=progress)
    except GateError as error:
        if not as_json:
            _print(error.result)
        raise
    if as_json:
        print_json(done.to_json())
    else:
        _print(done.to_json())


def _print(done: dict[str, Any]) -> None:
    from curate.commands.tables import print_funnel

    print_funnel(done["stages"])
    counts = done["documents"]
    typer.echo(
        f"\n{counts['in']:,} documents in = {counts['kept']:,} kept + {counts['dropped']:,} dropped"
        f" + {counts['quarantined']:,} quarantined"
    )
    typer.echo(f"tasks: {done['tasks']['run']} run, {done['tasks']['cached']} cached, {done['seconds']:.1f} s")
    typer.echo(f"version: {done['dataset']}@{done['tag']} ({done['version'][:12]})")
