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

__all__ = ["require_torch", "train", "train_run"]


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
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Go on though this setting, or this fact of the data, has changed.", metavar="NAME"),
    ] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Train a model on a dataset version.

    An interrupted run of the same name goes on from its last checkpoint, and comes to the same parameters.
    """
    from curate.commands.options import print_json

    result = train_run(
        config, overrides=overrides or [], processes=processes, runs=runs, store=store, fresh=fresh, allow=allow or []
    )
    if as_json:
        print_json(result)
        return
    for name, value in {
        "run": result["run"],
        "model": f"{result['parameters']:,} parameters",
        "steps": f"{result['steps']:,}" + (" (stopped early)" if result["stopped_early"] else ""),
        "tokens": f"{result['tokens']:,} ({result['tokens_per_second']:,.0f} a second)",
        "loss": f"{result['loss']:.4f}",
        "validation": _validation(result["validation"]),
        "checkpoint": result["checkpoint"],
    }.items():
        typer.echo(f"{name + ':':12}{value}")


def _validation(metrics: dict[str, Any]) -> str:
    """The metrics in words, bits per byte first."""
    if metrics == {"bits_per_byte": None}:
        return "no validation split"
    found = {name: value for name, value in metrics.items() if isinstance(value, float)}
    tasks = [f"{name}: {_validation(value)}" for name, value in metrics.items() if isinstance(value, dict)]
    words = [f"{name.replace('_', ' ')} {value:.4f}" for name, value in found.items()]
    return "; ".join([", ".join(words), *tasks] if words else tasks)


def train_run(
    path: Path,
    *,
    overrides: list[str],
    processes: int | None = None,
    runs: Path | None = None,
    store: Path | None = None,
    fresh: bool = False,
    allow: Sequence[str] = (),
) -> dict[str, Any]:
    """Train as a file says; returns what `--json` prints.

    Raises:
        CurateError: The file, the dataset, or an earlier run of this name stands in the way; or training diverged.
        ResumableError: It was interrupted; the same call goes on.
    """
    from curate.dataset.reader import open_dataset
    from curate.train.config import load_config
    from curate.train.datasets import pack_all, references
    from curate.train.folder import held, prepare

    config = load_config(path, overrides, processes=processes)
    require_torch()
    # Threads that wait must sleep: by default they spin, which costs five times the CPU time where anything else runs.
    # OpenMP reads this once, when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from curate.train.launch import launch
    from curate.train.origin import find_origin

    root = store or Path(os.environ.get("CURATE_STORE") or path.parent / ".curate")
    datasets = {name: open_dataset(name, root) for name in references(config)}
    with held((runs or path.parent / "runs") / config.run, fresh=fresh) as folder:
        for dataset in datasets.values():
            _say(f"train {config.run}: tokens of {dataset.name}@{dataset.version[:12]}")
        origin = find_origin(config.model)
        packs = pack_all(config, datasets.__getitem__, tokenizer=origin.tokenizer if origin else None)
        prepare(folder, config, packs, allow=allow)
        for name, pack in packs.items():
            if not pack.manifest["splits"].get("validation", {}).get("documents"):
                _say(
                    f"train {config.run}: {name or pack.manifest['dataset']} has no validation split; `{{stage: split}}` makes one"
                )
        first = next(iter(packs.values()))
        _record(next(iter(datasets.values())), folder, first)
        if folder.result():
            _say(f"train {config.run}: complete already")
        else:
            launch(config, folder, packs)
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


def require_torch() -> None:
    from importlib.util import find_spec

    from curate.errors import CurateError

    if find_spec("torch") is None or find_spec("safetensors") is None:
        raise CurateError("training needs torch, which is not installed", hint="pip install 'curate-lm[train]'")


def _say(words: str) -> None:
    typer.echo(words, err=True)
