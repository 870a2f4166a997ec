"""Labeling functions: rules that each say a label of some documents, and nothing of the others (Ratner et al. 2017).

    functions:
      - {name: prize, label: spam, words: [prize, winner, "free entry"]}
      - {name: number, label: spam, regex: "[0-9]{5,}"}
      - {name: short, label: ham, python: rules:short}
      - {name: toxic, label: spam, column: toxicity, above: 0.9}

A `python` function stands in a file beside the task (`rules.py`: `def short(text: str) -> bool | str | None`): true gives the
function's label, a text is one itself, everything else abstains. Words are whole ones, in any case. Each function looks at
every document once; votes take one byte each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curate.dataset.reader import Dataset
from curate.errors import ConfigurationErrors, CurateError, did_you_mean
from curate.labeling.crowd import Key
from curate.labeling.documents import documents, text_to_learn
from curate.labeling.task import Task

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ABSTAINS", "LabelingFunction", "Votes", "load_functions", "votes", "votes_on"]

ABSTAINS = -1
MEANS = ("words", "regex", "python", "column")


class LabelingFunction(BaseModel):
    """One rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(min_length=1, description="its name in tables")
    label: str | None = Field(default=None, description="the label that it says; a `python` function may say its own")
    words: tuple[str, ...] = Field(default=(), description="whole words or phrases, in any case")
    regex: str | None = Field(default=None, description="a regular expression; `(?i)` for any case")
    python: str | None = Field(default=None, description="`module:function` beside the task, called with the text")
    column: str | None = Field(default=None, description="a column of numbers, with `above` or `below`")
    above: float | None = Field(default=None, description="says the label from this value on")
    below: float | None = Field(default=None, description="says the label below this value")

    @model_validator(mode="after")
    def _one_means(self) -> LabelingFunction:
        given = [name for name in MEANS if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"`{self.name}` needs one of {', '.join(MEANS)}, and has {', '.join(given) or 'none'}")
        if self.label is None and not self.python:
            raise ValueError(f"`{self.name}` needs a `label`")
        if self.column and (self.above is None) == (self.below is None):
            raise ValueError(f"`{self.name}` needs `above` or `below`")
        if self.regex:
            try:
                re.compile(self.regex)
            except re.error as error:
                raise ValueError(f"`regex` of `{self.name}`: {error}") from None
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    functions: tuple[LabelingFunction, ...] = Field(min_length=1, description="the functions")


class Votes(NamedTuple):
    """What the functions said.

    Attributes:
        keys: The documents.
        names: The functions.
        votes: Label numbers, documents by functions (int8); -1 abstains.
    """

    keys: list[Key]
    names: list[str]
    votes: np.ndarray


def load_functions(path: Path, task: Task) -> tuple[LabelingFunction, ...]:
    """Read and check a file of labeling functions.

    Raises:
        CurateError: It cannot be read, or (as `ConfigurationErrors`) all that is wrong with it.
    """
    from curate.config.validation import validation_errors
    from curate.config.yamlfile import load_yaml

    if task.kind != "classification":
        raise CurateError(f"labeling functions say one label, and `{task.name}` is {task.kind}", str(path))
    located = load_yaml(path)
    if not isinstance(located.value, dict):
        raise CurateError("a file of labeling functions is a map with `functions`", located.where())
    try:
        found = _File.model_validate(located.value).functions
    except ValidationError as error:
        raise ConfigurationErrors(validation_errors(error, _File, located, (), "the file")) from None
    wrong: list[CurateError] = []
    for number, one in enumerate(found):
        if one.label is not None and one.label not in task.label_names:
            hint = did_you_mean(one.label, task.label_names) or f"there are: {', '.join(task.label_names)}"
            wrong.append(CurateError(f"`{one.label}` is no label", located.where("functions", number, "label"), hint))
        if [other.name for other in found].index(one.name) != number:
            wrong.append(CurateError(f"the name `{one.name}` stands twice", located.where("functions", number, "name")))
    if wrong:
        raise ConfigurationErrors(wrong)
    return found


def votes(dataset: Dataset, task: Task, functions: Sequence[LabelingFunction], folder: Path) -> Votes:
    """What each function says of every document.

    Raises:
        CurateError: A function is not there, raises, or says what is no label; a column is not there.
    """
    import numpy as np

    number = {name: place for place, name in enumerate(task.label_names)}
    ready = [_ready(one, number, folder) for one in functions]
    columns = list(dict.fromkeys(one.column for one in functions if one.column))
    keys, blocks = list[Key](), [np.zeros((0, len(functions)), np.int8)]
    for table, some in documents(dataset, task, columns):
        values = {name: table.column(name).to_pylist() for name in columns}
        block = np.full((len(some), len(functions)), ABSTAINS, np.int8)
        for row, one in enumerate(some):
            text = text_to_learn(task, one.data)
            for place, (function, said) in enumerate(zip(functions, ready, strict=True)):
                block[row, place] = said(values[function.column][row] if function.column else text)
        keys += [(one.id, one.hash) for one in some]
        blocks.append(block)
    return Votes(keys, [one.name for one in functions], np.concatenate(blocks))


def votes_on(texts: Sequence[str], functions: Sequence[LabelingFunction], task: Task, folder: Path) -> np.ndarray:
    """What each function says of texts alone, texts by functions (int8); those that look at columns abstain."""
    import numpy as np

    number = {name: place for place, name in enumerate(task.label_names)}
    ready = [None if one.column else _ready(one, number, folder) for one in functions]
    said = [[ABSTAINS if rule is None else rule(text) for rule in ready] for text in texts]
    return np.array(said, np.int8).reshape(len(texts), len(functions))


def _ready(one: LabelingFunction, number: dict[str, int], folder: Path) -> Callable[[Any], int]:
    label = ABSTAINS if one.label is None else number[one.label]
    if one.words or one.regex:
        wanted = "|".join(map(re.escape, sorted(one.words, key=len, reverse=True)))
        found = re.compile(one.regex) if one.regex else re.compile(rf"(?i)(?<!\w)(?:{wanted})(?!\w)")
        return lambda text: label if found.search(text) else ABSTAINS
    if one.column:
        return lambda value: label if _beyond(one, value) else ABSTAINS
    return _called(one, _function(one, folder), label, number)


def _beyond(one: LabelingFunction, value: Any) -> bool:
    if value is None:
        return False
    if isinstance(value, str) or not isinstance(value, int | float):
        raise CurateError(f"the column `{one.column}` of the labeling function `{one.name}` holds no numbers")
    return value >= one.above if one.above is not None else value < (one.below or 0)


def _function(one: LabelingFunction, folder: Path) -> Callable[[str], Any]:
    module, _, name = str(one.python).partition(":")
    path = folder / f"{module}.py"
    spec = spec_from_file_location(f"labeling_functions_{module}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise CurateError(f"there is no file `{module}.py` for the labeling function `{one.name}`", str(folder))
    loaded = module_from_spec(spec)
    try:
        spec.loader.exec_module(loaded)
    except Exception as error:  # the user's code
        raise CurateError(f"`{module}.py` raised {type(error).__name__}: {error}", str(path)) from error
    found = getattr(loaded, name, None)
    if not callable(found):
        raise CurateError(f"`{module}` has no function `{name}`, which `{one.name}` names", str(folder))
    return found


def _called(
    one: LabelingFunction, function: Callable[[str], Any], label: int, number: dict[str, int]
) -> Callable[[str], int]:
    def said(text: str) -> int:
        try:
            value = function(text)
        except Exception as error:  # the user's code
            raise CurateError(f"the labeling function `{one.name}` raised {type(error).__name__}: {error}") from error
        if isinstance(value, str):
            if value not in number:
                raise CurateError(f"the labeling function `{one.name}` said `{value[:40]}`, which is no label")
            return number[value]
        return label if value is True else ABSTAINS

    return said
