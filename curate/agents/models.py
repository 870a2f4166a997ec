"""Tools that look at training runs and evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field
from typing_extensions import TypedDict  # pydantic takes no other one before Python 3.12

from curate.agents.answer import Answer
from curate.agents.project import Project
from curate.agents.tool import Arguments, Tool
from curate.errors import CurateError
from curate.workbench import comparing

__all__ = ["TOOLS"]

Row = dict[str, Any]
POINTS = 20
"""Points of a curve that are told."""


class RunsAsked(Arguments):
    """Training runs."""

    ids: list[str] = Field(
        [], max_length=comparing.MOST_RUNS, description="Ids of runs whose curves and settings are told."
    )


class RunsFacts(TypedDict):
    """Training runs.

    `runs`: all training runs, newest first; `chosen`: of those that were asked for, about 20 points of every curve
    (step, value), the last among them; `settings`: those that differ between them.
    """

    runs: list[Row]
    chosen: list[Row]
    settings: list[Row]


def _runs(project: Project, asked: RunsAsked) -> Answer:
    told = comparing.runs(project.desk(), {}, [("id", one) for one in asked.ids])
    chosen = [
        {**one, "metrics": {name: _some(points) for name, points in one["metrics"].items()}} for one in told["chosen"]
    ]
    listed = [{key: value for key, value in one.items() if key != "chosen"} for one in told["runs"]]
    facts = {"runs": listed, "chosen": chosen, "settings": told["settings"]}
    return Answer(f"{len(listed)} training run(s), newest first.", facts)


def _some(points: list[Any]) -> list[Any]:
    found = points[:: max(1, -(-len(points) // POINTS))]
    return found if not points or found[-1] == points[-1] else [*found, points[-1]]


class EvaluationsAsked(Arguments):
    """Evaluations in the project's folder."""

    folder: str | None = Field(
        None, description="Of one evaluation, whose results are told whole; by default all, in short."
    )


class EvaluationsFacts(TypedDict):
    """Evaluations.

    Of each evaluation its `folder`, `model`, and of its tasks the metrics, each with `value`, `low` and `high` (a 95%
    interval).
    """

    evaluations: list[Row]


def _evaluations(project: Project, asked: EvaluationsAsked) -> Answer:
    from curate.evaluation.result import open_evaluation

    if asked.folder is not None:
        folder = project.path(asked.folder, folder=True)
        one = {"folder": str(folder.relative_to(project.folder)), **open_evaluation(folder).result}
        return Answer("One evaluation.", {"evaluations": [one]})
    found: list[Row] = []
    for folder in sorted(path.parent for path in project.folder.glob("evaluations/*/items")):
        named = str(folder.relative_to(project.folder))
        try:
            result = open_evaluation(project.path(named, folder=True)).result
        except CurateError as error:
            found.append({"folder": named, "problem": error.problem})
            continue
        told = {key: result[key] for key in ("model", "tasks", "failed", "warnings") if key in result}
        found.append({"folder": named, **told})
    return Answer(f"{len(found)} evaluation(s) in `evaluations/`.", {"evaluations": found})


class CompareAsked(Arguments):
    """Evaluations that are compared."""

    models: list[str] = Field(
        min_length=2, max_length=8,
        description="Folders of evaluations, or names of runs whose evaluation is in `evaluations/`; the first is the "
        "baseline.",
    )  # fmt: skip
    metrics: list[str] = Field([], description="What is tested; by default of each task the first that it has.")


class CompareFacts(TypedDict):
    """Models, compared.

    `comparisons`: of each task, model and metric both values, their difference with a 95% interval, and a `verdict`:
    better, worse, or no difference shown; `secondary`: differences without a verdict; `not_compared`: tasks that could
    not be paired; `meaning` of the numbers.
    """

    models: list[Row]
    comparisons: list[Row]
    secondary: list[Row]
    not_compared: list[Row]
    notes: list[str]
    meaning: str


def _compare(project: Project, asked: CompareAsked) -> Answer:
    from curate.evaluation.compare import compare, find_evaluation

    evaluations = [find_evaluation(str(_evaluated(project, one))) for one in asked.models]
    told = compare(evaluations, metrics=asked.metrics, say=lambda _: None).json()
    verdicts = [one["verdict"] for one in told["comparisons"]]
    counts = ", ".join(f"{verdicts.count(one)} {one}" for one in dict.fromkeys(verdicts)) or "nothing to test"
    return Answer(f"{len(verdicts)} comparison(s): {counts}.", {key: told[key] for key in CompareFacts.__annotations__})


def _evaluated(project: Project, named: str) -> Path:
    """The folder of an evaluation of the project."""
    for place in (named, f"evaluations/{Path(named).name}"):
        folder = project.place(place)
        if (folder / "items").is_dir():
            return folder
    project.path(named, folder=True)
    raise CurateError(f"there is no evaluation of `{named}`", hint="`evaluations` lists those of the project")


TOOLS = (
    Tool("runs", "List training runs; for some of them give curves, and the settings in which they differ. Use it to see how a "
         "training went.", RunsAsked, RunsFacts, _runs, material=True),
    Tool("evaluations", "List what models were measured to do, with 95% intervals.", EvaluationsAsked, EvaluationsFacts,
         _evaluations, material=True),
    Tool("compare", "Compare evaluated models on the items that they were all measured on: better, worse, or no difference "
         "shown. Use it before you say that a model is better.", CompareAsked, CompareFacts, _compare, material=True),
)  # fmt: skip
