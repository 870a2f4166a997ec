"""`curate run`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import Json, Overrides, StoreOption
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.pipeline.backends.named import Placement

__all__ = ["run"]

Workers = Annotated[
    int | None, typer.Option(min=1, help="Most tasks at once; by default one for each CPU, and 100 on Slurm.")
]
Sbatch = Annotated[
    list[str] | None, typer.Option(help="An option for Slurm's sbatch, such as --sbatch=--partition=cpu.")
]
AcceptQuarantined = Annotated[
    bool,
    typer.Option(
        "--accept-quarantined", help="Do not try documents again that passed the time limit or cost a worker."
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Fetch nothing: what no lock file pins is an error.")]


def run(
    pipeline: Annotated[Path, typer.Argument(help="Pipeline file.")],
    overrides: Overrides = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="Read only the first N documents of each source, into the dataset NAME-sample."),
    ] = None,
    workers: Workers = None,
    backend: Annotated[str, typer.Option(help="Where tasks run: `local`, `ray` or `slurm`.")] = "local",
    address: Annotated[str | None, typer.Option(help="Address of a Ray cluster; by default $RAY_ADDRESS.")] = None,
    sbatch: Sbatch = None,
    detach: Annotated[bool, typer.Option("--detach", help="Submit the run to Slurm as a job, and return.")] = False,
    force: Annotated[list[str] | None, typer.Option(help="Run this stage again though nothing changed.")] = None,
    accept_quarantined: AcceptQuarantined = False,
    offline: Offline = False,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Run a pipeline file and commit a dataset version.

    Work that is done and still valid is not done again: an interrupted run goes on where it was.
    """
    from curate.commands.options import print_json
    from curate.config.pipeline import load_pipeline
    from curate.errors import GateError
    from curate.pipeline.backends.named import Placement
    from curate.pipeline.preview import not_here
    from curate.pipeline.progress import progress_for_terminal
    from curate.pipeline.run import default_store, run_pipeline

    placement = Placement(backend, workers, address, tuple(sbatch or ()))
    placement.check()
    loaded = load_pipeline(pipeline, overrides or [])
    for told in not_here(loaded) if backend == "local" else ():
        echo(f"note: {told}", err=True)
    if detach:
        return _detach(loaded.root, placement, as_json)
    try:
        done = run_pipeline(
            loaded, default_store(loaded, store), progress=progress_for_terminal(), placement=placement, sample=sample,
            force=force or [], accept=accept_quarantined, offline=offline,
        )  # fmt: skip
    except GateError as error:
        if not as_json and error.result:  # there is none where a budget ended while something was fetched
            _print(error.result)
        raise
    print_json(done.to_json()) if as_json else _print(done.to_json())


def _detach(root: Path, placement: Placement, as_json: bool) -> None:
    from curate.commands.options import print_json
    from curate.errors import CurateError
    from curate.pipeline.backends.slurm import detach

    if placement.backend != "slurm":
        raise CurateError("`--detach` is for `--backend slurm`", "--detach")
    job, log = detach([word for word in sys.argv[1:] if word != "--detach"], root, placement.sbatch)
    if as_json:
        print_json({"job": job, "log": str(log)})
    else:
        echo(f"job {job}: {log}")


def _print(done: dict[str, Any]) -> None:
    from curate.commands.tables import balance, print_funnel

    print_funnel(done["stages"])
    counts = done["documents"]
    echo(f"\n{balance(counts)}")
    echo(f"tasks: {done['tasks']['run']} run, {done['tasks']['cached']} cached, {done['seconds']:.1f} s")
    named = f"@{done['tag']}" if done["tag"] else ", which is not the newest: it failed a gate"
    echo(f"version: {done['dataset']}{named} ({done['version'][:12]})")
    echo(f"store: {os.path.relpath(done['store']) if '://' not in done['store'] else done['store']}")
