"""`curate run`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.options import Json, Overrides, StoreOption
from curate.terminal import echo

__all__ = ["run"]


def run(
    pipeline: Annotated[Path, typer.Argument(help="Pipeline file.")],
    overrides: Overrides = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="Read only the first N documents of each source, into the dataset NAME-sample."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; by default one for each CPU.")] = None,
    backend: Annotated[str, typer.Option(help="Where tasks run: `local`.")] = "local",
    force: Annotated[list[str] | None, typer.Option(help="Run this stage again though nothing changed.")] = None,
    accept_quarantined: Annotated[
        bool,
        typer.Option(
            "--accept-quarantined", help="Do not try documents again that passed the time limit or cost a worker."
        ),
    ] = False,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Run a pipeline file and commit a dataset version.

    Work that is done and still valid is not done again: an interrupted run goes on where it was.
    """
    from curate.commands.options import print_json
    from curate.config.pipeline import load_pipeline
    from curate.errors import CurateError, GateError
    from curate.pipeline.progress import progress_for_terminal
    from curate.pipeline.run import default_store, run_pipeline
    from curate.stages.lean import arrow_without_pandas

    if backend != "local":
        raise CurateError(f"there is no backend `{backend}`", "--backend", "there is: local")
    arrow_without_pandas()
    loaded = load_pipeline(pipeline, overrides or [])
    place, progress = default_store(loaded, store), progress_for_terminal()
    try:
        done = run_pipeline(
            loaded, place, workers=workers, sample=sample, force=force or [], accept=accept_quarantined, progress=progress
        )  # fmt: skip
    except GateError as error:
        if not as_json:
            _print(error.result)
        raise
    print_json(done.to_json()) if as_json else _print(done.to_json())


def _print(done: dict[str, Any]) -> None:
    from curate.commands.tables import balance, print_funnel

    print_funnel(done["stages"])
    counts = done["documents"]
    echo(f"\n{balance(counts)}")
    echo(f"tasks: {done['tasks']['run']} run, {done['tasks']['cached']} cached, {done['seconds']:.1f} s")
    named = f"@{done['tag']}" if done["tag"] else ", which is not the newest: it failed a gate"
    echo(f"version: {done['dataset']}{named} ({done['version'][:12]})")
    echo(f"store: {os.path.relpath(done['store']) if '://' not in done['store'] else done['store']}")
