"""`curate export`: a trained model as a folder that other tools load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.options import Json
from curate.terminal import echo

__all__ = ["export"]


def export(
    run: Annotated[Path, typer.Argument(help="Run folder, or one of its checkpoints.", metavar="RUN")],
    out: Annotated[Path, typer.Option(help="Folder to make.", metavar="DIR")],
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Only the adapters of a LoRA run, as PEFT loads them.")
    ] = False,
    half: Annotated[bool, typer.Option("--half", help="Store numbers as bfloat16: half the size.")] = False,
    as_json: Json = False,
) -> None:
    """Write a trained model as a Hugging Face folder: transformers, and all that reads its files, load it as it is."""
    from curate.commands.options import print_json
    from curate.errors import CurateError
    from curate.train.runs.checks import require_torch

    if not run.is_dir():  # before torch is loaded, which takes seconds
        raise CurateError(
            "there is no trained model here", str(run), "name the folder of a run, or one of its checkpoints"
        )

    require_torch()
    from curate.train.weights.export import export_run

    written = export_run(run, out, adapter=adapter, half=half)
    if as_json:
        print_json(written)
        return
    echo(f"{written['folder']}: {written['parameters']:,} parameters, {written['bytes'] / 1e6:.1f} MB")
    if adapter and not written["base"]:
        echo(
            "note: the adapters do not name their base, which is a run: export it too, and give both to PEFT", err=True
        )
