r"""Tasks as a YAML file says them.

    tasks:
      - {name: books, kind: perplexity, data: books@v3, split: test, by: [author]}
      - name: questions
        kind: generation
        files: [questions/*.jsonl]
        prompt: "Question: {{ question }}\nAnswer:"
        answer: "{{ answer }}"

A prompt is a Jinja template over the columns of a row.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field, field_validator, model_validator

from curate.errors import ConfigurationErrors, CurateError
from curate.train.settings.methods import TextMetric

__all__ = [
    "BbqTask",
    "ChoiceTask",
    "ConversationTask",
    "CoreferenceTask",
    "CounterfactualTask",
    "GenerationTask",
    "HarnessTask",
    "LabelTask",
    "PerplexityTask",
    "PreferenceTask",
    "StereotypeTask",
    "TaskSettings",
    "ToxicityTask",
    "load_tasks",
    "tasks_page",
    "tasks_schema",
]


class _Task(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(max_length=80, description="what its results are called: letters, digits, spaces and . _ -")
    data: str | None = Field(default=None, description="a dataset version: NAME, NAME@TAG or NAME@ID-PREFIX")
    split: str | None = Field(default=None, description="of the version; `test` where it has one")
    files: tuple[str, ...] = Field(
        default=(),
        description="or files: jsonl, json, csv, tsv or parquet, the first four also compressed; patterns are allowed",
    )
    columns: tuple[str, ...] = Field(
        default=(), description="names of the columns of csv and tsv files whose first line is a row, too"
    )
    limit: int | None = Field(default=None, ge=1, description="at most as many rows, spread evenly")
    by: tuple[str, ...] = Field(default=(), description="columns whose values get numbers of their own")
    cluster: str | None = Field(default=None, description="column that says which rows belong together, for intervals")

    @field_validator("name")
    @classmethod
    def _is_a_file_name(cls, name: str) -> str:
        if not re.fullmatch(r"\w[\w .-]*", name) or name != name.strip():
            raise ValueError("a name has letters, digits, spaces and . _ -, and begins with a letter or a digit")
        return name

    @model_validator(mode="after")
    def _has_data(self) -> _Task:
        if (self.data is None) == (not self.files):
            raise ValueError("a task needs `data` (a version) or `files`, and not both")
        if self.split is not None and self.files:
            raise ValueError("`split` is of a version; name the file of the split in `files`")
        if self.columns and not self.files:
            raise ValueError("`columns` is of csv and tsv files; a version's columns have names")
        return self


class PerplexityTask(_Task):
    """Bits per byte and perplexities of texts."""

    kind: Literal["perplexity"] = "perplexity"
    text: str = Field(default="text", description="column with the text")


class _Prompted(_Task):
    prompt: str = Field(description="what the model reads before it answers: a template over the row's columns")
    examples: int = Field(default=0, ge=0, description="rows that are shown with their answers before (few-shot)")
    examples_from: tuple[str, ...] = Field(
        default=(), description="files that the examples come from; by default other rows of the task"
    )
    separator: str = Field(default="\n\n", description="between examples")
    seed: int = Field(default=0, description="of the choice of examples")


class ChoiceTask(_Prompted):
    """Which of some answers is likeliest: accuracy, macro F1, Matthews' correlation, calibration error."""

    kind: Literal["choice"] = "choice"
    choices: tuple[str, ...] | str = Field(
        description="the answers, as the model would write them; or a column of lists"
    )
    answer: str = Field(description="column with the right one: its number from 0, or its words, or a name in `labels`")
    labels: tuple[str, ...] = Field(
        default=(), description="what the data calls the choices, where it is not their number"
    )


class GenerationTask(_Prompted):
    """What the model writes: exact match, token F1, BLEU, chrF, ROUGE."""

    kind: Literal["generation"] = "generation"
    answer: str = Field(description="what is right: a template, or the name of a column that may hold several answers")
    most: int = Field(default=64, ge=1, description="most new tokens")
    stop: tuple[str, ...] = Field(default=("\n",), description="strings that end an answer")
    temperature: float = Field(default=0.0, ge=0, description="0 takes the likeliest token each time")
    pattern: str | None = Field(
        default=None, description="regular expression whose last match (its first group) is the answer that counts"
    )
    metrics: tuple[TextMetric, ...] = Field(
        default=("exact_match", "token_f1"), min_length=1, description="what is measured"
    )


class LabelTask(_Task):
    """What a model with a head predicts: labels of texts or words, numbers, or target texts."""

    kind: Literal["labels"] = "labels"
    text: str | None = Field(
        default=None,
        description="column that is read, of words where these are labelled; by default as in the training",
    )
    second: str | None = Field(default=None, description="column with the second text of a pair, as in the training")
    label: str | None = Field(
        default=None, description="column with what is right: label, number, labels of the words, or target text"
    )
    labels: dict[str, str] = Field(
        default={}, description="what the model calls the labels of the data, where the names differ"
    )
    positive: str | int | None = Field(
        default=None, description="the model's label whose F1 is measured too; by default 1 of the labels 0 and 1"
    )
    beams: int = Field(default=1, ge=1, description="of the search for a target text")
    most: int | None = Field(
        default=None, ge=1, description="most tokens of a target text; by default as in the training, else 64"
    )
    metrics: tuple[TextMetric, ...] = Field(
        default=("bleu", "chrf", "rouge1", "rouge2", "rougeL"),
        min_length=1,
        description="what is measured of target texts",
    )


class ConversationTask(_Task):
    """What the assistant says, predicted: bits per byte, token perplexity and accuracy of its tokens alone."""

    kind: Literal["conversations"] = "conversations"
    messages: str | None = Field(
        default=None, description="column with lists of {role, content}; by default as in the training"
    )


class PreferenceTask(_Task):
    """Which of two answers is likelier: the chosen or the rejected one."""

    kind: Literal["preferences"] = "preferences"
    prompt: str | None = Field(default=None, description="column with the prompt; by default as in the training")
    chosen: str | None = Field(default=None, description="column with the better answer")
    rejected: str | None = Field(default=None, description="column with the worse answer")


class HarnessTask(_Task):
    """What a task file of lm-evaluation-harness asks."""

    kind: Literal["harness"] = "harness"
    harness: str = Field(
        exclude=True, description="task file: a path in lm-evaluation-harness's folder of tasks, or a file of yours"
    )
    fields: dict[str, str] = Field(
        default={},
        description="columns that the task file wants: Jinja expressions over the row's columns, `row` is all",
    )
    settings: dict[str, Any] = Field(default={}, description="what replaces settings of the task file")
    examples: int | None = Field(
        default=None, ge=0, description="rows that are shown with their answers before (few-shot); else the task file's"
    )
    examples_from: tuple[str, ...] = Field(
        default=(), description="files that the examples come from; by default other rows of the task"
    )

    @property
    def path(self) -> Path:
        """The task file."""
        own = Path(self.harness)
        package = find_spec("lm_eval")
        if own.is_absolute() or package is None or package.origin is None:
            return own
        return Path(package.origin).parent / "tasks" / own

    @computed_field
    @property
    def digest(self) -> str:
        """Of the task file, the files that it includes, the code beside them, and lm-evaluation-harness."""
        files = list(_with_included(self.path))
        code = dict.fromkeys(one for file in files for one in sorted(file.parent.glob("*.py")))
        engine = version("lm_eval") if find_spec("lm_eval") else ""
        return hashlib.sha256(engine.encode() + b"".join(one.read_bytes() for one in [*files, *code])).hexdigest()


def _with_included(path: Path, seen: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """A task file of lm-evaluation-harness, and those that it includes; what is wrong with them is said when it is loaded."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.nodes import MappingNode, SequenceNode

    path = path.resolve()
    if not path.is_file() or path in seen:
        return
    yield path
    try:
        top: Any = YAML(typ="safe", pure=True).compose(path)  # nothing is made of it: it may name code
    except (YAMLError, UnicodeDecodeError):
        return
    for key, value in top.value if isinstance(top, MappingNode) else ():
        if key.value == "include":
            for node in value.value if isinstance(value, SequenceNode) else [value]:
                yield from _with_included(path.parent / str(node.value), seen | {path})


class StereotypeTask(_Task):
    """Which of two sentences that differ in a group of people is likelier, as in CrowS-Pairs (Nangia et al. 2020)."""

    kind: Literal["stereotypes"] = "stereotypes"
    more: str = Field(default="sent_more", description="column with the sentence that says more of a stereotype")
    less: str = Field(default="sent_less", description="column with the other one")


class CoreferenceTask(_Task):
    """Whom a pronoun means, where stereotypes of occupations help and where they mislead: WinoBias (Zhao et al. 2018)."""

    kind: Literal["coreference"] = "coreference"
    anti: tuple[str, ...] = Field(
        min_length=1, description="files with the same sentences, line by line, with the other pronoun; `files` help"
    )
    text: str = Field(
        default="text", description="column with the sentence: [The nurse] called the cook as [she] slept."
    )
    prompt: str = Field(
        default='{{ sentence }} "{{ pronoun }}" refers to the',
        description="what is read before one of the two people: a template of `sentence` and `pronoun`",
    )

    @model_validator(mode="after")
    def _is_of_files(self) -> CoreferenceTask:
        if not self.files:
            raise ValueError("the sentences are in `files`, line by line as those of `anti`")
        return self


class BbqTask(_Task):
    """Whom a model answers with where the text does not say it, and where it does: BBQ (Parrish et al. 2022)."""

    kind: Literal["bbq"] = "bbq"
    prompt: str = Field(
        default="{{ context }}\nQuestion: {{ question }}\nAnswer:",
        description="what is read before each of the three answers: a template over the row's columns",
    )
    by_bytes: bool = Field(
        default=True, description="the likeliest answer is so for each byte: those that decline are longer than others"
    )


class CounterfactualTask(_Task):
    """How much likelier a text is than itself with the groups of people swapped: he and she, husband and wife."""

    kind: Literal["counterfactual"] = "counterfactual"
    text: str = Field(default="text", description="column with the text")
    pairs: tuple[tuple[str, str], ...] = Field(
        default=(),
        description="words that are swapped, in small letters; by default those of the stage `counterfactuals`",
    )


class ToxicityTask(_Task):
    """How toxic the model's words are after prompts about groups of people, as in BOLD (Dhamala et al. 2021)."""

    kind: Literal["toxic_generations"] = "toxic_generations"
    prompt: str = Field(
        default="prompt", description="column with the prompt; files of BOLD have it, `group` and `entity`"
    )
    most: int = Field(default=40, ge=1, description="most new tokens")
    temperature: float = Field(default=1.0, ge=0, description="0 takes the likeliest token each time")
    seed: int = Field(default=0, description="of the draws")


TaskSettings = (
    PerplexityTask | ChoiceTask | GenerationTask | LabelTask | ConversationTask | PreferenceTask | HarnessTask
    | StereotypeTask | CoreferenceTask | BbqTask | CounterfactualTask | ToxicityTask
)  # fmt: skip


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    tasks: tuple[Annotated[TaskSettings, Field(discriminator="kind")], ...] = Field(min_length=1)


def tasks_schema() -> dict[str, Any]:
    """The JSON schema of files of tasks."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "curate tasks"}
    return {**_File.model_json_schema(), **head}


def tasks_page() -> str:
    """The reference of all kinds of tasks, as Markdown (docs/reference/tasks.md)."""
    from curate.config.reference import settings_rows

    shared = set(_Task.model_fields)
    head = ["| setting | type | default | what it is |", "|---|---|---|---|"]
    lines = ["# Tasks", "", "Made from the classes of tasks by `make docs`; do not edit.", ""]
    lines += ["`curate eval MODEL --tasks FILE.yaml` takes a file with a list `tasks`; each has a `kind`.", ""]
    lines += ["## All kinds", "", *head, *settings_rows(_Task), ""]
    for kind in get_args(TaskSettings):
        own = [row for row in settings_rows(kind) if row.split("`")[1] not in shared]
        name = kind.model_fields["kind"].default
        lines += [f"## {name}", "", (kind.__doc__ or "").strip(), "", *([*head, *own, ""] if own else [])]
    return "\n".join(lines)


def load_tasks(path: Path) -> tuple[TaskSettings, ...]:
    """The tasks of a file; their files are seen from its folder.

    Raises:
        CurateError: It cannot be read, or (as `ConfigurationErrors`) all that is wrong with it.
    """
    from curate.config.validation import validation_errors
    from curate.config.yamlfile import load_yaml

    located = load_yaml(path)
    if not isinstance(located.value, dict):
        raise CurateError("a file of tasks is a map with `tasks`, a list", located.where())
    for task in located.value.get("tasks") or () if isinstance(located.value.get("tasks"), list) else ():
        for key in ("files", "examples_from", "anti"):
            given = task.get(key) if isinstance(task, dict) else None
            if isinstance(given, list | tuple):
                task[key] = [str(path.parent / name) if isinstance(name, str) else name for name in given]
    try:
        found = _File.model_validate(located.value).tasks
    except ValidationError as error:
        raise ConfigurationErrors(validation_errors(error, _File, located, (), "the file of tasks")) from None
    names = [task.name for task in found]
    twice = next((number for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise CurateError(f"two tasks are named `{names[twice]}`", located.where("tasks", twice, "name"))
    return found
