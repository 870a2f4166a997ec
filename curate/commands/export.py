"""`curate export`: a trained model as a folder that other tools load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.commands.options import Json
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.dataset.store import Store

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
    from curate.commands.options import optional_store, print_json
    from curate.dataset.runs import now
    from curate.errors import CurateError
    from curate.train.runs.checks import require_torch

    if not run.is_dir():  # before torch is loaded, which takes seconds
        raise CurateError(
            "there is no trained model here", str(run), "name the folder of a run, or one of its checkpoints"
        )

    require_torch()
    from curate.train.weights.export import export_run

    store, began = optional_store(None), now()
    written = export_run(run, out, adapter=adapter, half=half)
    if store and not adapter:
        _record(store, began, run, out)
    if as_json:
        print_json(written)
        return
    echo(f"{written['folder']}: {written['parameters']:,} parameters, {written['bytes'] / 1e6:.1f} MB")
    for note in written["notes"]:
        echo(f"note: {note}", err=True)
    if adapter and not written["base"]:
        echo(
            "note: the adapters do not name their base, which is a run: export it too, and give both to PEFT", err=True
        )


def _record(store: Store, began: str, run: Path, out: Path) -> None:
    """What was exported from which checkpoint: the model card finds evaluations of the folder by it."""
    from curate.dataset.runs import Thing, record, run_id
    from curate.train.weights.origin import Origin, checkpoint_of, model_hash

    checkpoint = checkpoint_of(run)
    assert checkpoint is not None
    record(
        store, "model_export", run_id(), name=out.name, state="done", began=began,
        inputs=[Thing(kind="checkpoint", id=model_hash(Origin(checkpoint, "run", None, 0, None, None)), name=str(run))],
        outputs=[Thing(kind="model", id=model_hash(Origin(out, "foreign", None, 0, None, None)), name=str(out.resolve()))],
        facts={"folder": str(out.resolve())},
    )  # fmt: skip
