"""A labeling task, as `task.yaml` says it: which documents, what is shown of them, and what people may answer.

    task: spam
    dataset: messages
    kind: classification
    labels: [ham, {name: spam, description: "advertising that nobody asked for", key: s}]
    instructions: |
      What would the person who got it call it?

| kind | shown | an answer |
|---|---|---|
| `classification` | `text` | one label |
| `multilabel` | `text` | labels, perhaps none |
| `spans` | `text` | start, end, label of each; characters (code points), the end exclusive |
| `preference` | `prompt`, `first`, `second` | `first`, `second` or `tie` |
| `answer` | `prompt` | a text |
| `rating` | `messages` (up to an assistant's turn) | 1 to 5, for the last turn, or that of `turn` |
| `rewrite` | `messages` (up to an assistant's turn) | a better last turn, or that of `turn` |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from curate.errors import ConfigurationErrors, CurateError, did_you_mean
from curate.files import write_durably
from curate.jsontext import dumps

__all__ = ["CHOICES", "KINDS", "RATINGS", "Kind", "Label", "Task", "find_task", "load_task", "new_task", "notes_on"]

Kind = Literal["classification", "multilabel", "spans", "preference", "answer", "rating", "rewrite"]
KINDS: tuple[Kind, ...] = ("classification", "multilabel", "spans", "preference", "answer", "rating", "rewrite")
CHOICES = ("first", "second", "tie")
RATINGS = (1, 2, 3, 4, 5)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,39}")
LABELED: tuple[Kind, ...] = ("classification", "multilabel", "spans")
SHOWN: dict[Kind, tuple[str, ...]] = {
    "classification": ("text",), "multilabel": ("text",), "spans": ("text",),
    "preference": ("prompt", "first", "second"), "answer": ("prompt",),
    "rating": ("messages",), "rewrite": ("messages",),
}  # fmt: skip
DIALOGUE = "messages[].content"


class Label(BaseModel):
    """One of the labels: its name, what it means, and the key that gives it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(min_length=1, max_length=100, description="what the label is called in the data")
    description: str | None = Field(default=None, description="when to give it, for the people who label")
    key: str | None = Field(default=None, pattern="^[a-z0-9]$", description="key that gives it; by default 1, 2, ...")


def _label(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class Task(BaseModel):
    """What a `task.yaml` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(alias="task", description="its name; annotations are kept by it")
    dataset: str = Field(
        min_length=1, description="the dataset, `NAME` or `NAME@TAG`, unless a command names a version"
    )
    kind: Kind = Field(description="what people are asked for")
    labels: tuple[Annotated[Label, BeforeValidator(_label)], ...] = Field(
        default=(), description="names, or maps with `name`, `description`, `key`"
    )
    text: str = Field(default="text", description="column that is labelled (`messages`: shown as a conversation)")
    prompt: str | None = Field(default=None, description="column with the question; `preference` and `answer` show it")
    first: str = Field(default="chosen", description="column with one answer; sides are changed at random")
    second: str = Field(default="rejected", description="column with the other one")
    messages: str = Field(default="messages", description="column with the conversation")
    turn: int | None = Field(
        default=None,
        ge=1,
        description="number of the assistant's turn that is judged, and shown last; by default the last",
    )
    context: tuple[str, ...] = Field(default=(), description="columns shown beside it")
    instructions: str = Field(default="", description="what the people who label are told")
    column: str = Field(default="label", pattern="^[A-Za-z][A-Za-z0-9_]*$", description="column that `commit` writes")

    @model_validator(mode="after")
    def _whole(self) -> Task:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"`{self.name}` is not a name of 2 to 40 letters, digits, `.`, `_` and `-`")
        names = [label.name for label in self.labels]
        if self.name.endswith((".rounds", ".predictions", ".decided")):
            raise ValueError(f"`{self.name}` ends as the logs of a task do")
        fewest = 2 if self.kind == "classification" else 1
        if self.kind in LABELED and len(names) < fewest:
            raise ValueError(f"`{self.kind}` needs {'two labels' if fewest == 2 else 'a label'} at least")
        if self.kind not in LABELED and names:
            raise ValueError(f"`{self.kind}` has no labels: its answers are {ANSWERS[self.kind]}")
        for what, given in (("label", names), ("key", [label.key for label in self.labels if label.key])):
            twice = next((one for one in given if given.count(one) > 1), None)
            if twice is not None:
                raise ValueError(f"the {what} `{twice}` stands twice in `labels`")
        if self.kind == "spans" and self.is_dialogue(self.text):
            raise ValueError("`spans` are of a text, and `messages` is a conversation")
        if self.turn is not None and self.kind not in ("rating", "rewrite"):
            raise ValueError(f"`turn` is for `rating` and `rewrite`, not for `{self.kind}`")
        if self.kind == "answer" and self.prompt is None:
            raise ValueError("`answer` needs `prompt`, the column with the question")
        return self

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels' names, in their order."""
        return tuple(label.name for label in self.labels)

    @property
    def main(self) -> tuple[tuple[str, str], ...]:
        """What is judged: pairs of a field's name (`text`, `prompt`, ...) and its column."""
        pairs = [(name, getattr(self, name)) for name in SHOWN[self.kind]]
        return tuple((name, column) for name, column in pairs if column is not None)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are shown, context included."""
        return tuple(dict.fromkeys([*(column for _, column in self.main), *self.context]))

    @property
    def on(self) -> tuple[str, ...]:
        """Selectors of the strings whose hash an answer is bound to: what is judged, without context."""
        return tuple(f"{column}[].content" if self.is_dialogue(column) else column for _, column in self.main)

    def is_dialogue(self, column: str) -> bool:
        """Whether a column is shown as a conversation."""
        return column == self.messages and (self.kind in ("rating", "rewrite") or column == "messages")


ANSWERS: dict[Kind, str] = {
    "preference": "`first`, `second`, `tie`", "answer": "texts", "rating": "1 to 5", "rewrite": "texts",
}  # fmt: skip


def load_task(path: Path) -> Task:
    """Read and check a task.yaml.

    Raises:
        CurateError: It cannot be read, or (as `ConfigurationErrors`) all that is wrong with it.
    """
    from curate.config.validation import validation_errors
    from curate.config.yamlfile import load_yaml

    located = load_yaml(path)
    if not isinstance(located.value, dict):
        raise CurateError("a labeling task is a map with `task`, `dataset`, `kind`, ...", located.where())
    try:
        return Task.model_validate(located.value)
    except ValidationError as error:
        raise ConfigurationErrors(validation_errors(error, Task, located, (), "the task")) from None


def find_task(given: Path | None, here: Path) -> Path:
    """The task.yaml that a command means: the one given (file or folder), the one here, or the only one in `labeling/`.

    Raises:
        CurateError: There is none, or several could be meant.
    """
    if given is not None:
        path = given / "task.yaml" if given.is_dir() else given
        if not path.is_file():
            raise CurateError(f"there is no task file `{path}`", hint="`curate label init NAME` makes one")
        return path
    if (here / "task.yaml").is_file():
        return here / "task.yaml"
    found: Sequence[Path] = sorted((here / "labeling").glob("*/task.yaml"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(path.parent.relative_to(here)) for path in found)
        raise CurateError(
            f"there are several labeling tasks: {names}", hint=f"--task {found[0].parent.relative_to(here)}"
        )
    raise CurateError("there is no task.yaml here or in labeling/*/", hint="`curate label init NAME` makes one")


EXAMPLES = {"classification": ["yes", "no"], "multilabel": ["one", "other"], "spans": ["PERSON", "PLACE"]}
NEXT = """\
instructions: |
  Say here what the labels mean, with an example of each, and what to do where it is not clear.
"""


def new_task(
    folder: Path,
    *,
    name: str,
    dataset: str,
    kind: str,
    labels: Sequence[str] = (),
    text: str | None = None,
    prompt: str | None = None,
) -> Path:
    """Write `folder`/task.yaml; the file.

    Raises:
        CurateError: There is one, or what was given makes no task.
    """
    path = folder / "task.yaml"
    if path.exists():
        raise CurateError(f"there is a task already: {path}", hint="take another name, or edit it")
    known = next((one for one in KINDS if one == kind), None)
    if known is None:
        raise CurateError(
            f"there is no kind of task `{kind}`",
            "--kind",
            did_you_mean(kind, KINDS) or f"there are: {', '.join(KINDS)}",
        )
    lines = [f"task: {dumps(name)}", f"dataset: {dumps(dataset)}", f"kind: {known}"]
    if known in LABELED or labels:
        lines.append("labels:")
        lines += [f'  - {{name: {dumps(one)}, description: ""}}' for one in labels or EXAMPLES[known]]
    if text:
        lines.append(f"text: {dumps(text)}")
    if prompt or known == "answer":
        lines.append(f"prompt: {dumps(prompt or 'prompt')}")
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(path, ("\n".join(lines) + "\n" + NEXT).encode())
    try:
        load_task(path)
    except CurateError:
        path.unlink()
        for one in (folder, folder.parent):
            with suppress(OSError):  # somebody's files are in it
                one.rmdir()
        raise
    return path


def notes_on(path: Path) -> list[str]:
    """What a run of the task would stumble over: its dataset, its columns, labels that are examples."""
    from curate.dataset.reader import open_dataset

    task, notes = load_task(path), list[str]()
    if task.kind in LABELED and list(task.label_names) == EXAMPLES[task.kind]:
        notes.append(f"the labels {', '.join(task.label_names)} are examples: write your own into {path}")
    try:
        dataset = open_dataset(task.dataset)
    except CurateError as error:
        return [*notes, error.problem]
    missing = [column for column in task.columns if column not in dataset.columns]
    return [*notes, *(f"`{task.dataset}` has no column `{column}`, which the task shows" for column in missing)]
