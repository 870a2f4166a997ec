"""Which datasets a run reads, which of their columns, and with which tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from curate.errors import CurateError
from curate.tokenize.pack import Fields, Pack, pack_dataset
from curate.tokenize.turns import EXCHANGE
from curate.train.settings.blocks import DataSettings
from curate.train.settings.config import TrainConfig
from curate.train.settings.methods import (
    ClassificationSettings,
    ObjectiveSettings,
    ReinforcementSettings,
    TokenClassificationSettings,
)
from curate.train.settings.rewards import COLUMN

if TYPE_CHECKING:
    from collections.abc import Callable

    from curate.dataset.reader import Dataset

__all__ = ["Task", "pack_all", "references", "tasks_of"]

CHAT = ("system", "user", "assistant", "end")
_NEEDS: dict[str, tuple[str, ...]] = {
    "masked": ("mask",),
    "classification": ("start", "separator"),
    "token_classification": ("start", "separator"),
    "seq2seq": ("padding",),
    "sft": CHAT,
}
"""Special tokens that an objective needs besides the end of text."""


@dataclass(frozen=True, slots=True)
class Task:
    """One objective and its data.

    Attributes:
        name: As the file calls it; the only task of a run is "".
        datasets: References of its datasets; more than one are mixed.
        objective: What is learned.
        data: Its columns.
        weight: Share of the steps; None: by its examples.
    """

    name: str
    datasets: tuple[str, ...]
    objective: ObjectiveSettings
    data: DataSettings
    weight: float | None = None

    def needs(self, template: str | None = None) -> tuple[str, ...]:
        """Special tokens that it needs, with the template of the model to begin with, if it has one."""
        if self.objective.kind == "sft" and (self.data.chat_template or template):
            return ()  # the template says which tokens it writes
        return _NEEDS.get(self.objective.kind, ())

    def has_turns(self, template: str | None = None) -> bool:
        """Its prompts and answers are turns of a conversation; by default where the model's template says how."""
        given = bool(self.data.chat_template or template) if self.data.chat is None else self.data.chat
        return given and self.objective.kind in ("preference", "reinforcement")

    def fields(self, template: str | None = None) -> Fields:
        """What of its datasets is packed, with the template of the model to begin with, if it has one."""
        data, kind = self.data, self.objective.kind
        numbers = {"weight": data.weight, "difficulty": data.difficulty}
        texts: dict[str, str | None] = {"text": data.text}
        if kind == "sft":
            return Fields(texts={}, messages=data.messages, chat_template=data.chat_template, numbers=_given(numbers))
        if kind == "token_classification":
            return Fields(texts={}, words={"words": data.words}, labels=data.label, numbers=_given(numbers))
        if kind == "seq2seq":
            texts["target"] = data.target
        if kind == "preference":
            texts = {"prompt": data.prompt, "chosen": data.chosen, "rejected": data.rejected}
        kept: dict[str, str] = {}
        if isinstance(self.objective, ReinforcementSettings):
            texts = {"prompt": data.prompt, "answer": data.answer}
            kept = {f"{COLUMN}{number:02}": column for number, column in enumerate(self.objective.columns)}
        turns = {role: column for role, column in texts.items() if role in EXCHANGE} if self.has_turns(template) else {}
        labels = None
        if isinstance(self.objective, ClassificationSettings):
            texts["second"] = data.second
            labels = None if self.objective.regression else data.label
            numbers["label"] = data.label if self.objective.regression else None
        texts = {role: column for role, column in texts.items() if role not in turns}
        chat = {"turns": _given(turns), "chat_template": data.chat_template} if turns else {}
        return Fields(texts=_given(texts), bytes=kept, labels=labels, numbers=_given(numbers), **chat)


def _given(columns: dict[str, str | None]) -> dict[str, str]:
    return {role: column for role, column in columns.items() if column is not None}


def tasks_of(config: TrainConfig) -> list[Task]:
    """The run's tasks, in the order of the file."""
    if config.tasks is None:
        datasets = tuple(config.mixture) if config.mixture else (config.dataset,)
        return [Task("", datasets, config.objective, config.data)]
    return [
        Task(name, (task.dataset or config.dataset,), task.objective, task.data, task.weight)
        for name, task in config.tasks.items()
    ]


def references(config: TrainConfig) -> list[str]:
    """References of all datasets that the run reads."""
    return list(dict.fromkeys(reference for task in tasks_of(config) for reference in task.datasets))


def pack_all(
    config: TrainConfig,
    open_dataset: Callable[[str], Dataset],
    *,
    tokenizer: Path | None,
    template: str | None = None,
) -> dict[str, Pack]:
    """The token shards of all datasets of all tasks, by `Task.name` or, of a mixture, by the dataset's reference.

    All share one tokenizer: the given one, or the first dataset's.

    Args:
        config: The run's settings.
        open_dataset: From a reference to a dataset.
        tokenizer: That of the model to begin with, if it has one.
        template: Its template of conversations, if it has one.
    """
    settings = config.tokenizer
    if settings.path is None and tokenizer is not None:
        settings = settings.model_copy(update={"path": str(tokenizer)})
    tasks = tasks_of(config)
    needs = tuple(dict.fromkeys(need for task in tasks for need in task.needs(template)))
    packs: dict[str, Pack] = {}
    for task in tasks:
        for reference in task.datasets:
            first = next(iter(packs.values()), None)
            dataset = open_dataset(reference)
            name = reference if len(task.datasets) > 1 else task.name
            shared = first.tokenizer_path if first else None
            packs[name] = pack_dataset(
                dataset, settings, task.fields(template), needs=needs, tokenizer=shared, template=template
            )
            _check_learnable(task, packs[name])
    if config.early_stopping and not any(_documents(pack, "validation") for pack in packs.values()):
        raise CurateError(
            "there is no validation split, by which it could be told when to stop",
            "early_stopping",
            "`{stage: split}` makes one",
        )
    return packs


def _check_learnable(task: Task, pack: Pack) -> None:
    """Refuse what would train, and learn nothing."""
    if isinstance(task.objective, (ClassificationSettings, TokenClassificationSettings)) and len(pack.labels) == 1:
        raise CurateError(f"all documents have the label `{pack.labels[0]}`", "data.label", "nothing can be told apart")
    if _documents(pack, "train") and (rows := pack.rows("train")).has("weight") and not rows.numbers("weight").any():
        raise CurateError(f"the weights in `{task.data.weight}` are all 0", "data.weight", "nothing would be learned")


def _documents(pack: Pack, split: str) -> int:
    return pack.manifest["splits"].get(split, {}).get("documents", 0)
