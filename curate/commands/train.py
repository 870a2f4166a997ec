"""`curate train`: from a dataset version to a trained model."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["train"]


def train(
    config: Annotated[Path, typer.Argument(help="The training file (YAML).")] = Path("train.yaml"),
    set: Annotated[
        list[str] | None,
        typer.Option("--set", help="Replace a setting, e.g. `batch.length=512`. May be given more than once."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes that share the work, in place of the file's number.")
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Folder of run folders; by default `runs` beside the training file.")
    ] = None,
    store: Annotated[Path | None, typer.Option(help="The store; by default CURATE_STORE, then `.curate` here.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove an earlier run of this name first.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a language model on a dataset version; an interrupted run goes on where it was."""
    result = train_run(config, overrides=set or [], processes=processes, runs=runs, store=store, fresh=fresh)
    if json:
        sys.stdout.write(json_module.dumps(result) + "\n")
        return
    bits = result["validation"]["bits_per_byte"]
    sys.stdout.write(
        f"run              {result['run']}\n"
        f"steps            {result['steps']}\n"
        f"tokens           {result['tokens']:,}, {result['tokens_per_second']:,.0f} a second\n"
        f"loss             {result['loss']:.4f}\n"
        f"bits per byte    {'no validation split' if bits is None else format(bits, '.4f')}\n"
        f"checkpoint       {result['checkpoint']}\n"
    )


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
    from curate.train.launch import launch

    dataset = open_dataset(config.dataset, store)
    with held((runs or path.parent / "runs") / config.run, fresh=fresh) as folder:
        _say(f"train {config.run}: tokens of {dataset.name}@{dataset.version[:12]}")
        pack = pack_dataset(dataset, config.tokenizer)
        prepare(folder, config, pack)
        if not pack.manifest["splits"].get("validation", {}).get("tokens"):
            _say(
                f"train {config.run}: no validation split, so no bits per byte; add `{{stage: split}}` to the pipeline"
            )
        dataset.store.record_training(
            config.run,
            {
                "schema": 1,
                "run": config.run,
                "folder": str(folder.path.resolve()),
                "dataset": dataset.name,
                "version": dataset.version,
                "tokenizer": pack.tokenizer,
            },
        )
        result = folder.result()
        if result:
            _say(f"train {config.run}: complete already")
        else:
            launch(config, folder, pack)
            result = folder.result()
        assert result is not None  # noqa: S101  launch raises unless it has written one
        return {**result, "checkpoint": str(folder.path / result["checkpoint"])}


def _require_torch() -> None:
    from importlib.util import find_spec

    from curate.errors import CurateError

    if find_spec("torch") is None or find_spec("safetensors") is None:
        raise CurateError("training needs torch, which is not installed", hint="pip install 'curate-lm[train]'")


def _say(words: str) -> None:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()
