"""`curate train`: from a dataset version to a trained model."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import Json, StoreOption

if TYPE_CHECKING:
    from curate.tokenize.pack import Pack
    from curate.train.config import TrainConfig
    from curate.train.origin import Origin
    from curate.train.runs.folder import RunFolder

__all__ = ["require_torch", "train", "train_run"]


Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting: key=value, or block.key=value.", metavar="KEY=VALUE"),
]
Processes = Annotated[
    int | None, typer.Option(min=1, help="Processes that share the work; by default as the file says.")
]
Runs = Annotated[
    Path | None, typer.Option(help="Folder of run folders; by default `runs` beside the file.", metavar="DIR")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(help="Go on though this setting, or this fact of the data, has changed.", metavar="NAME"),
]


def train(
    config: Annotated[Path, typer.Argument(help="Training file.")] = Path("train.yaml"),
    overrides: Overrides = None,
    processes: Processes = None,
    runs: Runs = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove an earlier run of this name first.")] = False,
    allow: Allow = None,
    plan: Annotated[bool, typer.Option("--plan", help="Train nothing: say what to train.")] = False,
    tokens: Annotated[float | None, typer.Option(help="Plan for as many unique tokens.", metavar="N")] = None,
    preset: Annotated[str | None, typer.Option(help="Plan a model of this preset.")] = None,
    flops: Annotated[float | None, typer.Option(help="Plan for a budget of operations, e.g. 1e19.")] = None,
    hours: Annotated[float | None, typer.Option(help="Plan for a budget of hours.")] = None,
    devices: Annotated[int | None, typer.Option(help="Devices that compute (--plan).")] = None,
    hardware: Annotated[str | None, typer.Option(help="What they are, e.g. h100 (--plan).")] = None,
    peak: Annotated[float | None, typer.Option(help="Peak of a device, TFLOP/s (--plan).")] = None,
    mfu: Annotated[float | None, typer.Option(help="Share of the peak that training reaches (--plan).")] = None,
    price: Annotated[float | None, typer.Option(help="Price of a device for an hour (--plan).")] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Train a model on a dataset version.

    An interrupted run of the same name goes on from its last checkpoint, and comes to the same parameters.
    """
    from curate.commands.options import print_json

    given, some = overrides or [], allow or []
    budget = {"flops": flops, "hours": hours, "devices": devices, "hardware": hardware, "peak": peak}
    planning = {"tokens": tokens, "preset": preset, **budget, "mfu": mfu, "price": price}
    if plan:
        from curate.commands.train_plan import print_plan, train_plan

        found = train_plan(config, overrides=given, processes=processes, store=store, **planning)
        print_json(found) if as_json else print_plan(found)
        return
    _refuse_planning(planning)
    result = train_run(config, overrides=given, processes=processes, runs=runs, store=store, fresh=fresh, allow=some)
    if _is_first():
        print_json(result) if as_json else _print(result)


def _refuse_planning(planning: dict[str, Any]) -> None:
    from curate.errors import CurateError

    given = [name for name, value in planning.items() if value is not None]
    if given:
        raise CurateError(f"--{given[0]} is an option of planning", hint="add --plan")


def _print(result: dict[str, Any]) -> None:
    for name, value in {
        "run": result["run"],
        "model": f"{result['parameters']:,} parameters",
        "steps": f"{result['steps']:,}" + (" (stopped early)" if result["stopped_early"] else ""),
        "tokens": f"{result['tokens']:,} ({result['tokens_per_second']:,.0f} a second)",
        "loss": "not finite" if result["loss"] is None else f"{result['loss']:.4f}",
        "validation": _validation(result["validation"]),
        "checkpoint": result["checkpoint"],
    }.items():
        typer.echo(f"{name + ':':12}{value}")


def _validation(metrics: dict[str, Any]) -> str:
    """The metrics in words, bits per byte first."""
    if metrics == {"bits_per_byte": None}:
        return "none"
    words = [f"{value:.4f} {name.replace('_', ' ')}" for name, value in metrics.items() if isinstance(value, float)]
    parts = [f"{name}: {_validation(value)}" for name, value in metrics.items() if isinstance(value, dict)]
    return "; ".join([", ".join(words), *parts] if words else parts)


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
    from curate.train.config import load_config
    from curate.train.runs.folder import RunFolder, held
    from curate.train.runs.launch import torchrun_place

    place, first = torchrun_place(), _is_first()
    config = load_config(path, overrides, processes=processes or (place.size if place else None))
    require_torch()
    # Threads that wait must sleep: by default they spin, which costs five times the CPU time where anything else runs.
    # OpenMP reads this once, when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.path.append(str(path.parent.resolve()))  # rewards of one's own stand beside the file; they hide no package
    root = store or Path(os.environ.get("CURATE_STORE") or path.parent / ".curate")
    named = (runs or path.parent / "runs") / config.run
    again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0  # torchrun's, after a process has died
    # of torchrun's processes the first holds the folder and writes; the others wait for it when they join
    with held(named, fresh=fresh and not again) if first else nullcontext(RunFolder(named)) as folder:
        result = _trained(config, root, folder, allow=allow, first=first, alone=place is None)
        return {**result, "checkpoint": str(folder.path / result["checkpoint"])}


def _trained(
    config: TrainConfig, root: Path, folder: RunFolder, *, allow: Sequence[str], first: bool, alone: bool
) -> dict[str, Any]:
    """The result of the run, done now or before."""
    from curate.dataset.reader import open_dataset
    from curate.train.datasets import pack_all, references
    from curate.train.origin import model_hash
    from curate.train.runs.folder import prepare
    from curate.train.runs.launch import launch
    from curate.train.runs.logs import check_logs
    from curate.train.runs.record import recorded

    datasets = {name: open_dataset(name, root) for name in references(config)}
    models = _models(config)
    check_logs(config)
    _check_machine(config, models.get("path"))
    for dataset in datasets.values() if first else ():
        _say(f"train {config.run}: tokens of {dataset.name}@{dataset.version[:12]}")
    packs = pack_all(config, datasets.__getitem__, tokenizer=_tokenizer(config, models))
    if first:
        prepare(folder, config, packs, models={name: model_hash(model) for name, model in models.items()}, allow=allow)
        _tell_splits(config.run, packs)
    complete = first and folder.result()
    if complete:
        _say(f"train {config.run}: complete already")
    with recorded(datasets, packs, folder) if first else nullcontext():
        if not (alone and complete):
            launch(config, folder, packs)
    result = folder.result()
    assert result is not None
    return result


def _models(config: TrainConfig) -> dict[str, Origin]:
    """The models that the run begins with (`path`), or learns from (`teacher`)."""
    from curate.train.methods import DistillationSettings
    from curate.train.origin import find_model, find_origin

    origin = find_origin(config.model)
    found = {"path": origin} if origin else {}
    if isinstance(config.objective, DistillationSettings):
        found["teacher"] = find_model(config.objective.teacher, setting="objective.teacher")
    return found


def _tokenizer(config: TrainConfig, models: dict[str, Origin]) -> Path | None:
    """That of the model to begin with, else of the teacher; None where the file names one, or one is to be trained.

    Raises:
        CurateError: The model has none: with another it would be worth nothing.
    """
    from curate.errors import CurateError

    model = next(iter(models.values()), None)
    if config.tokenizer.path or model is None:
        return None
    if model.tokenizer is None:
        raise CurateError(
            f"the model in `{model.path}` has no tokenizer.json beside it",
            "tokenizer.path",
            "name the tokenizer that it was trained with; `AutoTokenizer` of transformers saves the file",
        )
    return model.tokenizer


def _check_machine(config: TrainConfig, origin: Origin | None) -> None:
    """Refuse what cannot run here, before any work is done.

    Raises:
        CurateError: It cannot fit (it says by how much); or there is no CUDA device, or none for fp8, and one is asked for.
    """
    import torch

    from curate.errors import CurateError
    from curate.train.fp8 import check_fp8
    from curate.train.planner.budget import given_vocabulary
    from curate.train.planner.memory import check_fits

    cuda = torch.cuda.is_available()
    if config.device == "cuda" and not cuda:
        raise CurateError("there is no CUDA device here", "device", "`device: cpu`, or auto")
    if config.precision == "fp8":
        check_fp8(torch.device("cuda" if cuda and config.device != "cpu" else "cpu"))
    sizes = origin.sizes if origin else config.model.architecture
    if sizes is None:
        return
    vocabulary = origin.vocabulary if origin else given_vocabulary(config) or config.tokenizer.vocabulary
    if cuda and config.device != "cpu":
        available = torch.cuda.get_device_properties(0).total_memory
        check_fits(config, sizes, vocabulary, available=available, device="cuda")
    else:
        from psutil import virtual_memory

        here = int(os.environ.get("LOCAL_WORLD_SIZE", config.processes))
        check_fits(config, sizes, vocabulary, available=virtual_memory().available // here, device="cpu")


def _is_first() -> bool:
    """This process is the only one, or the first of those that torchrun started."""
    from curate.train.runs.launch import torchrun_place

    place = torchrun_place()
    return place is None or place.rank == 0


def _tell_splits(run: str, packs: dict[str, Pack]) -> None:
    for name, pack in packs.items():
        if not pack.manifest["splits"].get("validation", {}).get("documents"):
            dataset = name or pack.manifest["dataset"]
            _say(f"train {run}: {dataset} has no validation split; `{{stage: split}}` makes one")


def require_torch() -> None:
    """Refuse where torch is missing.

    Raises:
        CurateError: It says how to install it.
    """
    from importlib.util import find_spec

    from curate.errors import CurateError

    if find_spec("torch") is None or find_spec("safetensors") is None:
        raise CurateError("training needs torch, which is not installed", hint="pip install 'curate-lm[train]'")


def _say(words: str) -> None:
    typer.echo(words, err=True)
