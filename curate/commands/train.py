"""`curate train`: from a dataset version to a trained model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import Json, StoreOption

if TYPE_CHECKING:
    from curate.dataset.reader import Dataset
    from curate.tokenize.pack import Pack
    from curate.train.folder import RunFolder

__all__ = ["train", "train_run"]


def train(
    config: Annotated[Path, typer.Argument(help="Training file.")] = Path("train.yaml"),
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting: key=value, or block.key=value.", metavar="KEY=VALUE"),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes that share the work; by default as the file says.")
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Folder of run folders; by default `runs` beside the file.", metavar="DIR")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove an earlier run of this name first.")] = False,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Train a language model on a dataset version.

    An interrupted run of the same name goes on from its last checkpoint, and comes to the same parameters.
    """
    from curate.commands.options import print_json

    result = train_run(config, overrides=overrides or [], processes=processes, runs=runs, store=store, fresh=fresh)
    if as_json:
        print_json(result)
        return
    bits = result["validation"]["bits_per_byte"]
    for name, value in {
        "run": result["run"],
        "model": f"{result['parameters']:,} parameters",
        "steps": f"{result['steps']:,}",
        "tokens": f"{result['tokens']:,} ({result['tokens_per_second']:,.0f} a second)",
        "loss": f"{result['loss']:.4f} nats per token",
        "validation": "no validation split" if bits is None else f"{bits:.4f} bits per byte",
        "checkpoint": result["checkpoint"],
    }.items():
        typer.echo(f"{name + ':':12}{value}")


def train_run(
    path: Path,
    *,
    overrides: list[str],
    processes: int | None = None,
    runs: Path | None = None,
    store: Path | None = None,
    fresh: bool = False,
) -> dict[str, Any]:
    """Train as a file says; returns what `--json` prints.

    Raises:
        CurateError: The file, the dataset, or an earlier run of this name stands in the way; or training diverged.
        ResumableError: It was interrupted; the same call goes on.
    """
    from curate.dataset.reader import open_dataset
    from curate.tokenize.pack import pack_dataset
    from curate.train.config import load_config
    from curate.train.folder import held, prepare

    config = load_config(path, overrides, processes=processes)
    _require_torch()
    # Threads that wait must sleep: by default they spin, which costs five times the CPU time where anything else runs.
    # OpenMP reads this once, when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from curate.train.launch import launch

    dataset = open_dataset(config.dataset, store or Path(os.environ.get("CURATE_STORE") or path.parent / ".curate"))
    with held((runs or path.parent / "runs") / config.run, fresh=fresh) as folder:
        _say(f"train {config.run}: tokens of {dataset.name}@{dataset.version[:12]}")
        pack = pack_dataset(dataset, config.tokenizer)
        prepare(folder, config, pack)
        if not pack.manifest["splits"].get("validation", {}).get("tokens"):
            _say(f"train {config.run}: no validation split, no bits per byte; `{{stage: split}}` makes one")
        _record(dataset, folder, pack)
        if folder.result():
            _say(f"train {config.run}: complete already")
        else:
            launch(config, folder, pack)
        result = folder.result()
        assert result is not None
        return {**result, "checkpoint": str(folder.path / result["checkpoint"])}


def _record(dataset: Dataset, folder: RunFolder, pack: Pack) -> None:
    """Tell the store of the run, for its report."""
    run = folder.path.name
    dataset.store.record_training(
        run,
        {
            "schema": 1,
            "run": run,
            "folder": str(folder.path.resolve()),
            "dataset": dataset.name,
            "version": dataset.version,
            "tokenizer": pack.tokenizer,
        },
    )


def _require_torch() -> None:
    from importlib.util import find_spec

    from curate.errors import CurateError

    if find_spec("torch") is None or find_spec("safetensors") is None:
        raise CurateError("training needs torch, which is not installed", hint="pip install 'curate-lm[train]'")


def _say(words: str) -> None:
    typer.echo(words, err=True)
