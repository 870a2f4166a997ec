"""`curate label fit | preannotate`: models that learn from labels, and suggest them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from curate.commands.label import TaskOption, VersionArgument, opened
from curate.commands.options import Json, StoreOption
from curate.terminal import echo

__all__ = ["fit", "preannotate"]


def fit(
    version: VersionArgument = None,
    seed: Annotated[int, typer.Option(help="Of the folds.")] = 0,
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Fit a model to what people said: cross-validated, calibrated, with the learning curve."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.labeling.model import fit_model

    said, path, dataset = opened(task, version, store)
    told = fit_model(dataset, said, path.parent, seed=seed)
    if as_json:
        print_json(told)
        return
    echo(f"{told['name']}: {told['documents']:,} labelled documents; {path.parent / 'model.safetensors'}")
    errors = told["calibration_error"]
    echo(f"on documents that it had not seen (5 folds): accuracy {told['accuracy']:.3f}, macro-F1 {told['macro_f1']:.3f}; "
         f"calibration error {errors['after']:.3f} (before temperature {errors['before']:.3f})")  # fmt: skip
    if told["learning_curve"]:
        echo()
        points = [(one["labels"], _shown(one["accuracy"]), _shown(one["macro_f1"])) for one in told["learning_curve"]]
        print_table(("labels", "accuracy", "macro-F1"), points)


def _shown(one: dict[str, Any] | None) -> str:
    return "insufficient" if one is None else f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"


def preannotate(
    version: VersionArgument = None,
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Suggest answers for what is still to be labelled, by the task's model; blind documents get none."""
    from curate.commands.options import print_json
    from curate.labeling.suggest import by_model, suggest

    said, path, dataset = opened(task, version, store)
    name, of = by_model(said, path.parent)
    told = {"task": said.name, "model": name, **suggest(dataset, said, name, of)}
    if as_json:
        print_json(told)
        return
    echo(f"{name}: {told['suggested']:,} suggested, {told['again']:,} there already, {told['blind']:,} blind")
