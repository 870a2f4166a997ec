"""`curate report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo

__all__ = ["report"]


def report(
    target: Annotated[
        str,
        typer.Argument(
            help="NAME, NAME@TAG or NAME@ID-PREFIX, a training run, or the folder of an evaluation.",
            metavar="VERSION_OR_RUN",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="HTML file to write; by default NAME-VERSION.html or RUN.html, here.")
    ] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Write the HTML report of a version, a training run or an evaluation, as one file, and print its path.

    A run is named by its name or its folder; a name that is a dataset's too means the dataset. The page of a run is its model
    card, with the evaluations of it that the store knows.
    """
    from curate.commands.options import print_json
    from curate.dataset.find import find_store
    from curate.reports.card import collect_card
    from curate.reports.data import RunData
    from curate.reports.report import build_report, build_run_report, find_target

    if (Path(target) / "items").is_dir():
        _evaluation(Path(target), out, as_json=as_json)
        return
    opened = find_store(store)
    found = find_target(opened, target)
    facts = {"dataset": found.dataset, "version": found.version}
    if isinstance(found, RunData):
        facts["run"] = found.run
        path = build_run_report(found, out or Path(f"{found.run}.html"), collect_card(found, opened))
    else:
        path = build_report(opened, found.version, out or Path(f"{found.dataset}-{found.version[:12]}.html"))
    if as_json:
        print_json({"report": str(path), **facts})
    else:
        echo(path)


def _evaluation(folder: Path, out: Path | None, *, as_json: bool) -> None:
    from curate.commands.options import print_json
    from curate.evaluation.result import open_evaluation
    from curate.reports.evaluation import build_evaluation_page

    found = open_evaluation(folder)
    path = build_evaluation_page(found, out or Path(f"{folder.resolve().name}-evaluation.html"))
    if as_json:
        print_json({"report": str(path), "evaluation": str(folder), "model": found.result["model"]})
    else:
        echo(path)
