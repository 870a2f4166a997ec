"""`curate worker`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from curate.commands.options import Json
from curate.terminal import echo

__all__ = ["worker"]


def worker(
    folder: Annotated[Path, typer.Argument(help="Folder of a run's tasks.")],
    cpus: Annotated[int, typer.Option(min=1, help="Processors that this worker has.")] = 1,
    memory: Annotated[float, typer.Option(min=0, help="GB that it has; 0 where nobody asked.")] = 0,
    gpus: Annotated[int, typer.Option(min=0, help="Graphics processors that it has.")] = 0,
    as_json: Json = False,
) -> None:
    """Do tasks of a run until none waits any more.

    `curate run --backend slurm` starts it in job arrays.
    """
    from curate.commands.options import print_json
    from curate.config.resources import Resources
    from curate.pipeline.backends.spool import serve

    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    name = f"{array}_{element}" if array and element else f"{os.uname().nodename}-{os.getpid()}"
    done = serve(folder, Resources(cpus=cpus, memory=memory or None, gpus=gpus), name)
    print_json({"tasks": done}) if as_json else echo(f"{done} tasks done")
