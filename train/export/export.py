"""A run's model in the files of an engine: written aside, compared with our own forward pass, then renamed.

    OUT/export.json   {"format", "data", "run", "weights", "files", "check", ...}: what it was made of, by hashes, and how it
                      was compared; no time and no place, so the same checkpoint gives the same bytes

A failed comparison, a full disk or a kill leaves nothing at OUT; a kill leaves a folder `.writing-*` beside it, which the
next export removes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.files import file_hash, replacing_folder, sweep, write_durably
from curate.train.export.formats import Form, Made, check_form, refuse_present
from curate.train.export.huggingface import base_of
from curate.train.settings.config import TrainConfig
from curate.train.weights.checkpoint import describe_checkpoint
from curate.train.weights.export import read_trained, stored_in
from curate.train.weights.origin import Origin, model_hash

__all__ = ["RECORD", "export_run", "new_folder"]

RECORD = "export.json"
"""File that says what an export was made of."""


def export_run(
    path: Path,
    out: Path,
    *,
    format: str = "huggingface",
    adapter: bool = False,
    half: bool = False,
    quantize: str | None = None,
) -> dict[str, Any]:
    """Write a run's model in a new folder.

    Args:
        path: A run's folder, or one of its checkpoints.
        out: The folder to make.
        format: One of `FORMATS`.
        adapter: Write only the adapters of a LoRA run, in PEFT's format.
        half: Write bfloat16, not float32.
        quantize: Type of the weights in a GGUF file: f16 or q8_0.

    Returns:
        What was written, for `--json`.

    Raises:
        CurateError: There is no such format for the model, a package is missing, the folder is there, or what was written
            is not the model.
    """
    form = Form(format, adapter, half, quantize)
    check_form(form)
    refuse_present(out)
    stored = stored_in(path)
    _refuse(stored.config, path)
    writer = import_module(f"curate.train.export.{format}")
    if not adapter:  # of which more have a form
        writer.refuse(stored, path)
    trained = read_trained(path, stored)
    with new_folder(out) as folder:
        made: Made = writer.write(trained, path, folder, form)
        record = _record(folder, form, stored.checkpoint, trained.config, made)
        write_durably(folder / RECORD, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
        refuse_present(out)  # whoever made one meanwhile keeps it
    result = {
        **{name: record[name] for name in ("schema", "format", "objective", "parameters", "weights", "check", "notes")},
        "folder": str(out),
        "bytes": sum(file.stat().st_size for file in out.iterdir()),
    }
    return {**result, "base": base_of(trained.config)} if adapter else result


def _record(folder: Path, form: Form, checkpoint: Path, config: TrainConfig, made: Made) -> dict[str, Any]:
    """What the files in a folder were made of, and how they were compared."""
    return {
        "schema": 1,
        "curate": version("curate-lm"),
        "format": form.format,
        "objective": config.objective.kind,
        "parameters": sum(tensor.numel() for tensor in made.trained.tensors.values()),
        **_made_of(checkpoint, config),
        "weights": _weights(folder),
        "files": {file.name: file_hash(file) for file in sorted(folder.iterdir())},
        "check": made.check,
        "notes": [*_notes(config, adapter=form.adapter), *made.notes],
        **made.facts,
    }


def _refuse(config: TrainConfig, path: Path) -> None:
    """What no format has a form for."""
    if config.tasks:
        raise CurateError(
            "a model of several tasks has no Hugging Face class",
            str(path),
            "train one task, or begin with it: `model.path`",
        )
    if config.data.features:
        raise CurateError(
            "a model that reads the numbers of a table has no Hugging Face class",
            str(path),
            "`curate predict` takes the run itself",
        )


def _made_of(checkpoint: Path, config: TrainConfig) -> dict[str, Any]:
    """Hashes of the data and the checkpoint, and the run by name."""
    description = describe_checkpoint(checkpoint)
    data = description.get("data") or {}
    several = data if data and "version" not in data else {"": data}
    names = ("dataset", "version", "tokenizer", "tokens")
    return {
        "data": [{name: some[name] for name in names if name in some} for _, some in sorted(several.items())],
        "run": {
            "name": config.run,
            "step": description["step"],
            "checkpoint": model_hash(Origin(checkpoint, "run", None, 0, None, None)),
        },
    }


def _weights(folder: Path) -> str:
    """sha256 over the files of weights; of a Hugging Face folder as `model_hash` has it, by which evaluations know it."""
    if (folder / "config.json").is_file() and list(folder.glob("*.safetensors")):
        return model_hash(Origin(folder, "foreign", None, 0, None, None))
    (file,) = (file for name in ("*.safetensors", "*.gguf", "model.bin", "*.onnx") for file in folder.glob(name))
    return file_hash(file)


def _notes(config: TrainConfig, *, adapter: bool) -> list[str]:
    """What is not seen from the files: where the model under the adapters was held in fewer bits than it may have had."""
    if config.lora is None or config.lora.base == "full":
        return []
    held = f"the model under the adapters was held in {config.lora.base} (`lora.base`)"
    if adapter:
        return [f"{held}: beside a finer one these give other logits than were trained; load it in {config.lora.base}"]
    return [f"{held}: all weights are those so rounded, not the original's, with what was learned added"]


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` that takes its name when the block ends; what a kill left there before is removed.

    Raises:
        CurateError: It cannot be written.
    """
    path = path.absolute()
    try:
        if path.parent.is_dir():
            sweep(path.parent)
        with replacing_folder(path) as folder:
            yield folder
    except OSError as error:
        raise CurateError(f"the model cannot be written: {error}", str(path)) from error
