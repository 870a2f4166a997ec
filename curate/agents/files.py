"""Tools that read the project's files: what a file may say, whether one is right, and what it would do."""

from __future__ import annotations

from typing import (
    Any,
    Literal,
    NotRequired,  # pydantic takes no other one before Python 3.12
)

from pydantic import Field
from typing_extensions import TypedDict

from curate.agents.answer import Answer
from curate.agents.child import aside, command
from curate.agents.project import Project, Value
from curate.agents.tool import Arguments, Say, Tool

__all__ = ["TOOLS", "FileAsked", "schema_of", "words_for"]

Row = dict[str, Any]
SETTINGS = (
    "By STAGE.SETTING (of a training file: SETTING or BLOCK.SETTING) another value than the file has: a number, true, "
    "false, null, words, or a list of words. Of a pipeline only settings of stages can be changed, and not which "
    "stage it is or which documents it sees."
)


class StagesAsked(Arguments):
    """Stages."""

    name: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9_]*$",
        description="Of one stage, which is told with all its settings; by default all.",
    )


class StagesFacts(TypedDict):
    """`stages`: name, kind and summary of all; or `stage`: one, with its settings (type, default, description) and reasons."""

    stages: NotRequired[list[Row]]
    stage: NotRequired[Row]


def _stages(project: Project, asked: StagesAsked) -> Answer:
    from curate.config.reference import stage_reference
    from curate.stages.registry import stage_names

    if asked.name is not None:
        return Answer("A stage, with its settings.", {"stage": stage_reference(asked.name)})
    found = [stage_reference(name) for name in stage_names()]
    return Answer(
        f"{len(found)} stages.", {"stages": [{key: one[key] for key in ("name", "kind", "summary")} for one in found]}
    )


class SchemaAsked(Arguments):
    """A kind of file."""

    kind: Literal["pipeline", "training", "tasks"] = Field(
        description="`pipeline.yaml`, `train.yaml`, or tasks of an evaluation."
    )
    part: str | None = Field(
        None, max_length=100, description="One of the parts named in `definitions`; by default the schema without them."
    )


class SchemaFacts(TypedDict):
    """`json_schema` of the file, or of a part of it; `definitions`: the names of its parts. Whole schemas are resources."""

    json_schema: Row
    definitions: list[str]


def schema_of(kind: str) -> dict[str, Any]:
    """The JSON schema of a kind of file."""
    if kind == "pipeline":
        from curate.config.reference import pipeline_schema

        return pipeline_schema()
    if kind == "training":
        from curate.train.settings.config import TrainConfig

        return TrainConfig.model_json_schema()
    from curate.evaluation.tasks.settings import tasks_schema

    return tasks_schema()


def _schema(project: Project, asked: SchemaAsked) -> Answer:
    from curate.errors import CurateError, did_you_mean

    whole = schema_of(asked.kind)
    parts = whole.pop("$defs", {})
    if asked.part is None:
        return Answer("A schema, and the names of its parts.", {"json_schema": whole, "definitions": sorted(parts)})
    if asked.part not in parts:
        hint = did_you_mean(asked.part, parts) or "without `part`, `definitions` names them"
        raise CurateError(f"the schema has no part `{asked.part}`", hint=hint)
    return Answer("A part of a schema.", {"json_schema": parts[asked.part], "definitions": []})


class FileAsked(Arguments):
    """A file of the project."""

    file: str = Field(description="Path of a pipeline or training file, from the project's folder.", max_length=1000)
    settings: dict[str, Value] = Field({}, max_length=50, description=SETTINGS)


def words_for(project: Project, asked: FileAsked, verb: str, *options: str, store: bool = True) -> list[str]:
    """The command that does something with a file.

    Raises:
        CurateError: The file is elsewhere or not to be loaded here, or a setting is not for a client to change.
    """
    from curate.agents.written import check_file, stage_ids, values_of
    from curate.config.kind import is_training_file

    path = project.path(asked.file)
    shown = path.relative_to(project.folder)
    if "run" not in project.allowed:
        check_file(project, path, [], code=True)  # before it is read
    values, training = values_of(project, path), is_training_file(shown)
    if "run" not in project.allowed:
        check_file(project, path, values, code=training and "train" in project.allowed)
    stages = None if training else stage_ids(values)
    sets = [f"--set={one}" for one in project.overrides(asked.settings, path, stages=stages)]
    place = [f"--store={project.store}"] if store and project.store else []
    return [*verb.split(), "--json", *options, *sets, *place, "--", str(shown)]


class ValidFacts(TypedDict):
    """That the file is right; of a pipeline also its `stages`, the `columns` of the first documents, and `notes`."""

    valid: bool
    dataset: str
    stages: NotRequired[list[str]]
    columns: NotRequired[list[str]]
    notes: NotRequired[list[str]]
    run: NotRequired[str]


async def _validate(project: Project, asked: FileAsked, say: Say) -> Answer:
    words = await aside(words_for, project, asked, "validate", store=False)
    told = await command(project, words, minutes=project.limit_minutes, say=say)
    return Answer("The file is right.", _only(told, ValidFacts))


class PlanAsked(FileAsked):
    """A file, and for a training what it is to be planned by."""

    price: float | None = Field(None, ge=0, description="Of a training: price of a device for an hour.")
    hours: float | None = Field(None, gt=0, description="Of a training: plan for a budget of hours.")
    tokens: float | None = Field(None, gt=0, description="Of a training: plan for as many unique tokens.")
    devices: int | None = Field(None, ge=1, description="Of a training: how many devices compute.")
    hardware: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9-]{1,40}$",
        description="Of a training: what they are, e.g. h100; time and cost need it.",
    )


class PlanFacts(TypedDict):
    """What would be done.

    Of a pipeline: `stages` with what is `cached`, what is `to run` and why; `estimates`: what fetches would ask and
    cost at most. Of a training: `training`, what `curate train --plan` tells (parameters, tokens, time, memory, cost).
    """

    dataset: NotRequired[str]
    stages: NotRequired[list[Row]]
    snapshots: NotRequired[list[Row]]
    estimates: NotRequired[dict[str, Any]]
    training: NotRequired[Row]


async def _plan(project: Project, asked: PlanAsked, say: Say) -> Answer:
    from curate.config.kind import is_training_file

    whole = await aside(words_for, project, asked, "plan")
    if is_training_file(project.path(asked.file).relative_to(project.folder)):
        given = asked.model_dump(exclude={"file", "settings"})
        options = [f"--{name}={value}" for name, value in given.items() if value is not None]
        words = await aside(words_for, project, asked, "train", "--plan", *options)
        told = await command(project, words, minutes=project.limit_minutes, say=say)
        return Answer("What a training would take.", {"training": told})
    told = await command(project, whole, minutes=project.limit_minutes, say=say)
    run = [one["id"] for one in told["stages"] if one["action"] != "cached"]
    if told["snapshots"] and ("://" in told["store"] or (project.folder / told["store"] / "store.json").exists()):
        words = await aside(words_for, project, asked, "collect", "--dry-run")
        told["estimates"] = (await command(project, words, minutes=project.limit_minutes, say=say))["estimates"]
    return Answer(f"{len(run)} of {len(told['stages'])} stages would run.", _only(told, PlanFacts))


class WhatIfFileFacts(TypedDict):
    """What other thresholds would do.

    `documents` kept `before` and `now`, and of how many it is `unknown`; `rules` and `stages` with whom they take;
    `changes` one by one; `examples` at each threshold; `notes`.
    """

    version: str
    changes: list[Row]
    documents: Row
    rules: list[Row]
    stages: list[Row]
    examples: list[Row]
    notes: list[str]
    unit: str


async def _what_if(project: Project, asked: FileAsked, say: Say) -> Answer:
    words = await aside(words_for, project, asked, "what-if")
    told = await command(project, words, minutes=project.limit_minutes, say=say)
    counts = told["documents"]
    summary = f"{counts['before']['documents']:,} documents are kept; it would be {counts['now']['documents']:,}"
    unknown = counts["unknown"]["documents"]
    return Answer(
        summary + (f", and of {unknown:,} it is not known." if unknown else "."), _only(told, WhatIfFileFacts)
    )


class Nothing(Arguments):
    """No arguments."""


class DoctorFacts(TypedDict):
    """`machine`; `packages` and `stages`' models that are there or `missing`, and how to get them."""

    machine: Row
    packages: list[Row]
    stages: list[Row]
    missing: int


async def _doctor(project: Project, asked: Nothing, say: Say) -> Answer:
    place = [f"--store={project.store}"] if project.store else []
    told = await command(project, ["doctor", "--json", *place], minutes=project.limit_minutes, say=say)
    words = f"{told['missing']} missing." if told["missing"] else "Nothing is missing."
    told["packages"] = [one for one in told["packages"] if not one["present"]]
    return Answer(words, _only(told, DoctorFacts))


def _only(told: dict[str, Any], facts: Any) -> dict[str, Any]:
    return {key: told[key] for key in facts.__annotations__ if key in told}


TOOLS = (
    Tool("stages", "List the stages that a pipeline can have, or tell one with all its settings. Use it before you write a "
         "pipeline file.", StagesAsked, StagesFacts, _stages),
    Tool("schema", "Give the JSON schema of a pipeline file, a training file, or a file of evaluation tasks.", SchemaAsked,
         SchemaFacts, _schema),
    Tool("validate", "Check a pipeline or training file: every setting, all errors at once, with file and line. Use it after "
         "you wrote or changed one.", FileAsked, ValidFacts, do=_validate, material=True),
    Tool("plan", "Tell what running a file would do and cost, without doing it: stages that are cached or run, fetches and "
         "their cost at most, time and memory of a training. Use it before `run` or `train`.", PlanAsked, PlanFacts, do=_plan,
         material=True),
    Tool("what_if_file", "Tell what changed thresholds of a pipeline file would do to the newest version, rule by rule; also "
         "for stages that `what_if` cannot move. Slower than `what_if`.", FileAsked, WhatIfFileFacts, do=_what_if,
         material=True),
    Tool("doctor", "Tell what is missing on this machine, and how to get it. Use it when a package or model is missing.",
         Nothing, DoctorFacts, do=_doctor),
)  # fmt: skip
