"""Tools that do something, listed only where `--allow` names them: run a pipeline, fetch, train, evaluate.

What they may cost is bounded before they begin. Time: by the call's `minutes`, at most the server's. Money: a source
that asks a model behind an endpoint has a budget in its file, held to the prompt (curate/synthesize/ask.py); the sum of
those that were asked since the server began, and would be now, must not be more than its limit, and a client cannot
change them. Without `collect` nothing is fetched at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import (
    Annotated,
    Any,
    NotRequired,  # pydantic takes no other one before Python 3.12
)

from pydantic import Field
from typing_extensions import TypedDict

from curate.agents.answer import Answer
from curate.agents.child import aside, command
from curate.agents.files import FileAsked, words_for
from curate.agents.project import Project, checked_version
from curate.agents.spend import is_here
from curate.agents.tool import Arguments, Say, Tool
from curate.errors import CurateError

__all__ = ["TOOLS", "Minutes", "minutes_of"]

Row = dict[str, Any]
Minutes = Annotated[
    float | None,
    Field(None, gt=0, description="Most minutes that it may take; at most, and by default, the server's limit."),
]
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TASK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")


def minutes_of(project: Project, asked: float | None) -> float:
    """Minutes that a call may take."""
    return min(asked or project.limit_minutes, project.limit_minutes)


class RunAsked(FileAsked):
    """A pipeline that is run."""

    sample: int | None = Field(
        None, ge=1, description="Read only the first so many documents of each source, into the dataset NAME-sample."
    )
    minutes: Minutes


class RunFacts(TypedDict):
    """A run.

    The version that was made (`dataset`, `version`, `tag`), `documents` that came in, were kept, dropped or
    quarantined, and the same of each of the `stages`; `tasks` that were run or cached.
    """

    dataset: str
    version: str
    tag: str
    documents: dict[str, int]
    stages: list[Row]
    tasks: dict[str, int]
    seconds: float


async def _run(project: Project, asked: RunAsked, say: Say) -> Answer:
    words = await aside(words_for, project, asked, "run", *([f"--sample={asked.sample}"] if asked.sample else []))
    if "collect" in project.allowed:
        await _check_spend(project, asked.file, say)
    else:
        words.insert(2, "--offline")
    told = await command(project, words, minutes=minutes_of(project, asked.minutes), say=say)
    counts = told["documents"]
    summary = f"A version with {counts['kept']:,} of {counts['in']:,} documents; {told['tasks']['run']} tasks were run."
    return Answer(summary, {key: told[key] for key in RunFacts.__annotations__})


class CollectAsked(FileAsked):
    """A pipeline whose sources are fetched."""

    refresh: list[str] = Field([], max_length=20, description="Ids of sources to fetch again though they are pinned.")
    minutes: Minutes


class CollectFacts(TypedDict):
    """The `snapshots` that are pinned, and the `lock` file that says so."""

    dataset: str
    lock: str | None
    snapshots: list[Row]


async def _collect(project: Project, asked: CollectAsked, say: Say) -> Answer:
    for name in asked.refresh:
        if not _ID.fullmatch(name):
            raise CurateError(f"`{name[:100]}` is no id of a source", hint="`plan` lists the sources of a file")
    words = await aside(words_for, project, asked, "collect", *(f"--refresh={name}" for name in asked.refresh))
    await _check_spend(project, asked.file, say, again=asked.refresh)
    told = await command(project, words, minutes=minutes_of(project, asked.minutes), say=say)
    summary = f"{len(told['snapshots'])} source(s) are pinned."
    return Answer(summary, {key: told[key] for key in CollectFacts.__annotations__})


async def _check_spend(project: Project, file: str, say: Say, *, again: Sequence[str] = ()) -> None:
    """Refuse what could cost more than the limit, with all that was begun before; or count it as begun.

    Raises:
        CurateError: It could, or nothing bounds what it costs.
    """
    path = project.path(file).relative_to(project.folder)
    words = [str(path), project.store or "", *again]
    told = await command(project, words, minutes=project.limit_minutes, say=say, module="curate.agents.spend")
    asked = dict(project.spent)
    for one in told["asked"]:
        if not one["bounded"]:
            raise CurateError(
                f"nothing bounds what `{one['source']}` may cost: it asks a model", file,
                "in the file, `budget: {money: ..., read_price: ..., write_price: ...}`",
            )  # fmt: skip
        asked[one["key"]] = max(one["money"], asked.get(one["key"], 0.0))
    before, total = sum(project.spent.values()), sum(asked.values())
    if total > project.limit_spend and total > before:
        more = f", beside {before:,.2f} for what was begun before" if before else ""
        raise CurateError(
            f"it may cost {total - before:,.2f}{more}, and this server may spend {project.limit_spend:,.2f}", file,
            "whoever starts the server sets --limit-spend",
        )  # fmt: skip
    project.spent = asked


class TrainAsked(FileAsked):
    """A training."""

    minutes: Minutes


class TrainFacts(TypedDict):
    """The `run`, its `checkpoint`, `parameters`, `steps`, `tokens`, `loss`, and what was measured on `validation` documents."""

    run: str
    parameters: int
    steps: int
    tokens: int
    loss: float | None
    validation: Row
    checkpoint: str
    stopped_early: bool


async def _train(project: Project, asked: TrainAsked, say: Say) -> Answer:
    from curate.config.kind import is_training_file
    from curate.train.settings.file import load_config

    path = project.path(asked.file)
    if not is_training_file(path.relative_to(project.folder)):
        raise CurateError("this is no training file", asked.file, "`schema` with kind=training tells what one has")
    words = await aside(words_for, project, asked, "train")
    config = await aside(load_config, path.relative_to(project.folder), project.overrides(asked.settings, path))
    for endpoint in _endpoints(config.model_dump(mode="json")):
        if not is_here(endpoint):
            raise CurateError(
                "this training asks a model elsewhere, and nothing bounds what that may cost", asked.file,
                "an endpoint on this machine, or training from the command line",
            )  # fmt: skip
    told = await command(project, words, minutes=minutes_of(project, asked.minutes), say=say)
    told["checkpoint"] = _short(project, told["checkpoint"])
    summary = f"Trained {told['parameters']:,} parameters for {told['steps']:,} steps."
    return Answer(summary, {key: told[key] for key in TrainFacts.__annotations__})


def _endpoints(settings: Any) -> Iterator[str]:
    inside = (
        settings.items() if isinstance(settings, dict) else enumerate(settings) if isinstance(settings, list) else ()
    )
    for key, value in inside:
        if key == "endpoint" and isinstance(value, str):
            yield value
        yield from _endpoints(value)


def _short(project: Project, place: str) -> str:
    path = (project.folder / place).resolve()
    return str(path.relative_to(project.folder)) if path.is_relative_to(project.folder) else place


class EvaluateAsked(Arguments):
    """A model, and what it is measured on."""

    model: str = Field(
        description="A run, or the folder of a run, a checkpoint or a Hugging Face model, in the project."
    )
    tasks: list[str] = Field([], max_length=20, description="Files of tasks in the project, or names of tasks.")
    data: list[str] = Field(
        [], max_length=20,
        description="Versions, or jsonl, csv or parquet files in the project, to predict; without these and tasks, what the "
        "run was validated on.",
    )  # fmt: skip
    limit: int | None = Field(None, ge=1, description="At most as many rows of each.")
    minutes: Minutes


class EvaluateFacts(TypedDict):
    """An evaluation.

    The `folder` of the evaluation (which `compare` takes), and of each task its metrics, each with a 95% interval;
    `warnings`; tasks that `failed`, with why.
    """

    folder: str
    model: str
    tasks: Row
    warnings: list[str]
    failed: dict[str, str]
    contamination: NotRequired[Row | None]


async def _evaluate(project: Project, asked: EvaluateAsked, say: Say) -> Answer:
    options = [f"--tasks={_file_or(project, one, _TASK, 'task')}" for one in asked.tasks]
    options += [f"--data={_data(project, one)}" for one in asked.data]
    options += [f"--limit={asked.limit}"] if asked.limit else []
    options += [f"--store={project.store}"] if project.store else []
    words = ["eval", "--json", *options, "--", _model(project, asked.model)]
    told = await command(project, words, minutes=minutes_of(project, asked.minutes), say=say)
    failed = f" {len(told['failed'])} failed." if told["failed"] else ""
    summary = f"Measured on {len(told['tasks'])} task(s).{failed}"
    return Answer(summary, {key: told[key] for key in EvaluateFacts.__annotations__ if key in told})


def _model(project: Project, named: str) -> str:
    """A folder of the project, from there; a run may be named without its folder."""
    for place in (named, f"runs/{named}"):
        path = project.place(place)
        if path.is_dir():
            return str(path.relative_to(project.folder))
    return str(project.path(named, folder=True))


def _file_or(project: Project, named: str, pattern: re.Pattern[str], what: str) -> str:
    path = project.place(named)
    if path.is_file():
        return str(path.relative_to(project.folder))
    if not pattern.fullmatch(named):
        raise CurateError(f"`{named[:200]}` is no {what}", hint="a file in the project, or a name")
    return named


def _data(project: Project, named: str) -> str:
    path = project.place(named)
    if path.is_file():
        return str(path.relative_to(project.folder))
    return checked_version(named) if not Path(named).suffix or "@" in named else str(project.path(named))


TOOLS = (
    Tool("run", "Run a pipeline file: read, clean, filter and compare documents, and make a version. Work that is done is not "
         "done again, and what was interrupted goes on. Call `validate` and `plan` first.", RunAsked, RunFacts, do=_run,
         verb="run", material=True),
    Tool("collect", "Fetch what the sources of a pipeline read from elsewhere, and pin it, so that runs read the same again.",
         CollectAsked, CollectFacts, do=_collect, verb="collect", material=True, outside=True),
    Tool("train", "Train a model as a training file says. An interrupted run of the same name goes on.", TrainAsked, TrainFacts,
         do=_train, verb="train", material=True),
    Tool("evaluate", "Measure what a model can do, every number with a 95% interval. What was measured is not measured again.",
         EvaluateAsked, EvaluateFacts, do=_evaluate, verb="eval", material=True),
)  # fmt: skip
