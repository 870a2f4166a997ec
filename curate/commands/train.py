"""`curate train`: from a dataset version to a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.train.runs.watch import OpenWatch, Watch
    from curate.train.settings.config import TrainConfig

__all__ = ["train"]


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
Tasks = Annotated[
    Path | None, typer.Option("--eval", help="A YAML file of tasks that are measured on the way.", metavar="FILE")
]
Every = Annotated[
    int | None, typer.Option("--eval-every", min=1, help="Steps between two evaluations; by default the last only.")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(help="Go on though this setting, or this fact of the data, has changed.", metavar="NAME"),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Begin anew, though there is a run of this name.")]


def train(
    config: Annotated[Path, typer.Argument(help="Training file.")] = Path("train.yaml"),
    overrides: Overrides = None,
    processes: Processes = None,
    runs: Runs = None,
    fresh: Fresh = False,
    allow: Allow = None,
    tasks: Tasks = None,
    every: Every = None,
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
        from curate.train.planner.request import train_plan
        from curate.train.planner.text import plan_text

        found = train_plan(config, overrides=given, processes=processes, store=store, **planning)
        print_json(found) if as_json else echo(plan_text(found))
        return
    _refuse_planning(planning)
    from curate.train.run import train_run
    from curate.train.runs.launch import is_first

    result = train_run(
        config, overrides=given, processes=processes, runs=runs, store=store, fresh=fresh, allow=some,
        watch=_watch(tasks, every),
    )  # fmt: skip
    if is_first():
        print_json(result) if as_json else _print(result)


def _watch(tasks: Path | None, every: int | None) -> OpenWatch | None:
    """What measures the tasks of a file while a run is trained; none without a file."""
    from curate.errors import CurateError

    if tasks is None:
        if every is not None:
            raise CurateError(
                "--eval-every says how often the tasks of --eval are measured", hint="add --eval tasks.yaml"
            )
        return None
    from curate.evaluation.tasks.settings import load_tasks

    asked = load_tasks(tasks)

    def opened(config: TrainConfig, store: str) -> Watch:
        from curate.evaluation.watch import Evaluations

        return Evaluations(config, store, asked, every=every or config.steps)

    return opened


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
        **({"test": _validation(result["test"])} if "test" in result else {}),
        "checkpoint": result["checkpoint"],
    }.items():
        echo(f"{name + ':':12}{value}")


def _validation(metrics: dict[str, Any]) -> str:
    """The metrics in words, bits per byte first."""
    if metrics == {"bits_per_byte": None}:
        return "none"
    words = [f"{value:.4f} {name.replace('_', ' ')}" for name, value in metrics.items() if isinstance(value, float)]
    parts = [f"{name}: {_validation(value)}" for name, value in metrics.items() if isinstance(value, dict)]
    return "; ".join([", ".join(words), *parts] if words else parts)
