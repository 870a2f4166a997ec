"""`curate export`: a trained model in the files of engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import Json
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.dataset.store import Store
    from curate.train.export.formats import Form

__all__ = ["export"]


def export(
    run: Annotated[Path, typer.Argument(help="Run folder, or one of its checkpoints.", metavar="RUN")],
    out: Annotated[Path | None, typer.Option(help="Folder to make.", metavar="DIR")] = None,
    format: Annotated[
        str,
        typer.Option(help="Whose files: huggingface, gguf (llama.cpp), ctranslate2 (int8), onnx.", metavar="FORMAT"),
    ] = "huggingface",
    quantize: Annotated[
        str | None, typer.Option(help="Type of the weights in gguf: f16 (by default), q8_0.", metavar="TYPE")
    ] = None,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Only the adapters of a LoRA run, as PEFT loads them (huggingface).")
    ] = False,
    half: Annotated[
        bool, typer.Option("--half", help="Store numbers as bfloat16: half the size (huggingface).")
    ] = False,
    deploy: Annotated[
        Path | None,
        typer.Option(
            help="Folder to make with the model and a Dockerfile, a compose file and a systemd unit that serve it.",
            metavar="DIR",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a trained model as a folder that other tools load: by default all that read Hugging Face's files.

    What was written is read again and compared with the run's model; `export.json` in the folder says how, and what it was
    made of.
    """
    from curate.commands.options import print_json
    from curate.train.export.formats import Form

    form = Form(format, adapter, half, quantize)
    _check(run, out, deploy, form)
    written = _written(run, out, deploy, form)
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


def _check(run: Path, out: Path | None, deploy: Path | None, form: Form) -> None:
    """Refuse what can be refused before torch is loaded, which takes seconds.

    Raises:
        CurateError: It says what to do.
    """
    from curate.errors import CurateError
    from curate.train.export.formats import check_form, refuse_present
    from curate.train.runs.checks import require_torch

    check_form(form)
    if not run.is_dir():
        raise CurateError(
            "there is no trained model here", str(run), "name the folder of a run, or one of its checkpoints"
        )
    if (out is None) == (deploy is None):
        raise CurateError("an export needs one of --out and --deploy", hint="the folder to make")
    if deploy and (form.format != "huggingface" or form.adapter):
        raise CurateError("`curate serve` runs Hugging Face folders", "--deploy", "leave out --format and --adapter")
    refuse_present(Path(out or deploy or ""))
    require_torch()


def _written(run: Path, out: Path | None, deploy: Path | None, form: Form) -> dict[str, Any]:
    """What was written; the store has a record of it."""
    from curate.commands.options import optional_store
    from curate.dataset.runs import now
    from curate.serve.deploy import deploy_run
    from curate.train.export.export import export_run

    store, began = optional_store(None), now()
    if deploy:
        written = deploy_run(run, deploy, half=form.half)
    else:
        assert out is not None
        written = export_run(run, out, format=form.format, adapter=form.adapter, half=form.half, quantize=form.quantize)
    if store:
        _record(store, began, run, Path(written["folder"]), written)
    return written


def _record(store: Store, began: str, run: Path, out: Path, written: dict[str, Any]) -> None:
    """What was exported from which checkpoint: the model card finds evaluations of the folder by it, `curate trace` the run."""
    from curate.dataset.runs import Thing, record, run_id
    from curate.train.weights.origin import Origin, checkpoint_of, model_hash

    checkpoint = checkpoint_of(run)
    assert checkpoint is not None
    digest = model_hash(Origin(checkpoint, "run", None, 0, None, None))
    record(
        store, "model_export", run_id(), name=out.name, state="done", began=began,
        inputs=[Thing(kind="checkpoint", id=digest, name=str(run.resolve()))],
        outputs=[Thing(kind="model", id=written["weights"], name=str(out.resolve()))],
        facts={"folder": str(out.resolve()), "format": written["format"]},
    )  # fmt: skip
