"""`curate collect`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.commands.options import Json, Overrides, StoreOption
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.config.pipeline import Pipeline
    from curate.dataset.store import Store
    from curate.stages.fetched import Snapshot

__all__ = ["collect"]


def collect(
    pipeline: Annotated[Path, typer.Argument(help="Pipeline file.")],
    overrides: Overrides = None,
    refresh: Annotated[
        list[str] | None,
        typer.Option(help="Fetch this source again, from where its snapshot ends where it can.", metavar="ID"),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Fetch nothing: only check what is pinned.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what a fetch that costs money would cost at most.")
    ] = False,
    addresses: Annotated[
        str | None,
        typer.Option(
            help="List every address that this source of web pages has met, one JSON object a line.", metavar="ID"
        ),
    ] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Fetch what the sources of a pipeline read from elsewhere, and pin it in the lock file beside it.

    What is pinned is not fetched again, unless it is named by --refresh. A fetch that was interrupted goes on.
    """
    from curate.config.pipeline import load_pipeline
    from curate.dataset.leases import lease
    from curate.dataset.store import Store
    from curate.pipeline.fetch import fetch, met_addresses
    from curate.pipeline.run import default_store
    from curate.stages.lean import import_lean

    import_lean()
    loaded = load_pipeline(pipeline, overrides or [])
    opened = Store.open(default_store(loaded, store), create=True)
    if dry_run:
        _estimated(loaded, opened, as_json=as_json)
        return
    if addresses is not None:
        for line in met_addresses(loaded, opened, addresses):
            echo(line)
        return
    with lease(opened, "run"):
        opened.blobs.sweep()
        found = fetch(loaded, opened, refresh=refresh or (), offline=offline, say=partial(echo, err=True))
    _told(loaded, opened, found, as_json=as_json)


def _estimated(pipeline: Pipeline, store: Store, *, as_json: bool) -> None:
    """Say what fetches would cost at most."""
    from curate.commands.options import print_json
    from curate.pipeline.lock import fetched_sources

    told = {entry.id: entry.stage.estimate(store) for entry in fetched_sources(pipeline)}
    if as_json:
        print_json({"pipeline": str(pipeline.path), "estimates": told})
    for name, words in told.items() if not as_json else ():
        echo(f"{name}: {words or 'costs nothing'}")


def _told(pipeline: Pipeline, store: Store, found: Mapping[str, Snapshot], *, as_json: bool) -> None:
    """Say what is pinned."""
    from curate.commands.options import print_json
    from curate.pipeline.fetch import lines, row
    from curate.pipeline.lock import lock_path

    lock = lock_path(pipeline)
    if as_json:
        print_json({
            "pipeline": str(pipeline.path), "dataset": pipeline.settings.dataset, "store": store.location,
            "lock": str(lock) if found else None, "snapshots": [row(name, one) for name, one in found.items()],
        })  # fmt: skip
        return
    for line in lines(pipeline, found):
        echo(line)
    echo(f"pinned in {lock}" if found else "no source of this pipeline fetches: files are read where they are")
