"""Options that the commands of `curate label` share, and what each of them begins with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from curate.dataset.reader import Dataset
    from curate.labeling.task import Task

__all__ = [
    "URL", "AnnotatorsOption", "ByOption", "DataOption", "DrawSeed", "GoldOption", "MethodOption", "OverlapOption",
    "StrategyOption", "TaskOption", "UrlOption", "VersionArgument", "method_of", "opened",
]  # fmt: skip

TaskOption = Annotated[
    Path | None,
    typer.Option(
        "--task", help="The task: its folder or task.yaml; by default the one here, or the only one in labeling/.",
        metavar="PLACE",
    ),
]  # fmt: skip
VersionArgument = Annotated[
    str | None,
    typer.Argument(help="NAME, NAME@TAG or NAME@ID-PREFIX; by default the task's dataset.", metavar="[VERSION]"),
]
StrategyOption = Annotated[
    str | None,
    typer.Option(help="random, stratified, active, margin or diverse; by default active where there is a model."),
]
ByOption = Annotated[
    str | None, typer.Option(help="Column whose values are strata, which get their shares.", metavar="COLUMN")
]
AnnotatorsOption = Annotated[int, typer.Option(min=1, help="How many people see a document of the overlap.")]
OverlapOption = Annotated[
    float | None, typer.Option(min=0, max=1, help="Share that several people see; by default 0.2 with several.")
]
GoldOption = Annotated[Path | None, typer.Option(help="JSON lines with `id` and `label` of known documents to mix in.")]
DrawSeed = Annotated[int, typer.Option(help="Of the draw.")]
MethodOption = Annotated[
    str, typer.Option(help="How several answers become one: majority, or dawid-skene.", metavar="METHOD")
]
URL = "CURATE_LABEL_STUDIO_URL"
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL",
        help=f"The Label Studio; by default {URL}, then the one that `serve` runs. Its token is CURATE_LABEL_STUDIO_TOKEN.",
    ),
]  # fmt: skip
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Data folder of the local Label Studio; by default one for this account.", metavar="DIR"
    ),
]


def opened(task: Path | None, version: str | None, store: str | None) -> tuple[Task, Path, Dataset]:
    """The task, its file, and the version that it labels; answers of ended sessions are brought in."""
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset
    from curate.labeling.session import collect
    from curate.labeling.task import find_task, load_task

    path = find_task(task, Path.cwd())
    said = load_task(path)
    dataset = open_dataset(version or said.dataset, find_store(store))
    collect(dataset.store, said, path.parent)
    return said, path, dataset


def method_of(given: str) -> Any:
    """The method that an option names.

    Raises:
        CurateError: There is no such method.
    """
    from curate.errors import CurateError, did_you_mean
    from curate.labeling.decide import METHODS

    if given not in METHODS:
        hint = did_you_mean(given, METHODS) or f"there are: {', '.join(METHODS)}"
        raise CurateError(f"there is no method `{given}`", "--method", hint)
    return given
