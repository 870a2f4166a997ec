"""Which datasets a run reads, which of their columns, and with which tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from curate.errors import CurateError
from curate.tokenize.pack import Fields, Pack, pack_dataset
from curate.tokenize.roles import FILL
from curate.tokenize.turns import EXCHANGE
from curate.train.settings.blocks import DataSettings
from curate.train.settings.config import TrainConfig
from curate.train.settings.methods import (
    CausalSettings,
    ClassificationSettings,
    ObjectiveSettings,
    PreferenceSettings,
    ReinforcementSettings,
    RewardModelSettings,
    TokenClassificationSettings,
)
from curate.train.settings.rewards import COLUMN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from curate.dataset.reader import Dataset

__all__ = ["Task", "label_scale", "pack_all", "positive_of", "references", "tasks_of"]

CHAT = ("system", "user", "assistant", "end")
_NEEDS: dict[str, tuple[str, ...]] = {
    "masked": ("mask",),
    "classification": ("start", "separator"),
    "token_classification": ("start", "separator"),
    "seq2seq": ("padding",),
    "sft": CHAT,
    "reward": ("padding",),
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
        alone: Its features are all that is read; there is no text.
    """

    name: str
    datasets: tuple[str, ...]
    objective: ObjectiveSettings
    data: DataSettings
    weight: float | None = None
    alone: bool = False

    def needs(self, template: str | None = None) -> tuple[str, ...]:
        """Special tokens that it needs, with the template of the model to begin with, if it has one."""
        if self.objective.kind == "sft" and (self.data.chat_template or template):
            return ()  # the template says which tokens it writes
        if isinstance(self.objective, CausalSettings) and self.objective.fill_in_the_middle:
            return FILL
        return _NEEDS.get(self.objective.kind, ())

    def has_turns(self, template: str | None = None) -> bool:
        """Its prompts and answers are turns of a conversation; by default where the model's template says how."""
        given = bool(self.data.chat_template or template) if self.data.chat is None else self.data.chat
        return given and self.objective.kind in ("preference", "reward", "reinforcement")

    def fields(self, template: str | None = None) -> Fields:
        """What of its datasets is packed, with the template of the model to begin with, if it has one."""
        data, kind = self.data, self.objective.kind
        numbers = {"weight": data.weight, "difficulty": data.difficulty}
        texts: dict[str, str | None] = {"text": data.text}
        if kind == "sft":
            chat = {"messages": data.messages, "chat_template": data.chat_template, "unfit": data.unfit}
            return Fields(texts={}, numbers=_given(numbers), **chat)
        if kind == "token_classification":
            return Fields(texts={}, words={"words": data.words}, labels=data.label, numbers=_given(numbers))
        if kind == "seq2seq":
            texts["target"] = data.target
        if isinstance(self.objective, PreferenceSettings | RewardModelSettings):
            texts = {role: getattr(data, role) for role in self._answered}
        kept: dict[str, str] = {}
        if isinstance(self.objective, ReinforcementSettings):
            texts = {"prompt": data.prompt, "answer": data.answer}
            kept = {f"{COLUMN}{number:02}": column for number, column in enumerate(self.objective.columns)}
        turns = {role: column for role, column in texts.items() if role in EXCHANGE} if self.has_turns(template) else {}
        labels = None
        if isinstance(self.objective, ClassificationSettings):
            texts["second"] = data.second
            texts = {} if self.alone else texts
            labels = None if self.objective.regression else data.label
            numbers["label"] = data.label if self.objective.regression else None
        if self.judged:
            labels = data.label
        if isinstance(self.objective, RewardModelSettings) and self.objective.paired:
            numbers["margin"] = data.margin
        texts = {role: column for role, column in texts.items() if role not in turns}
        chat = {"turns": _given(turns), "chat_template": data.chat_template, "unfit": data.unfit} if turns else {}
        vectors = _given({"features": data.features})
        return Fields(texts=_given(texts), bytes=kept, labels=labels, numbers=_given(numbers), vectors=vectors, **chat)

    @property
    def _answered(self) -> tuple[str, ...]:
        """Roles of the prompt and of the answers to it."""
        return ("prompt", "completion") if self.judged else ("prompt", "chosen", "rejected")

    @property
    def positive(self) -> str | int | None:
        """The one label that is positive, where it is named."""
        return self.data.positive[0] if self.data.positive else None

    @property
    def judged(self) -> bool:
        """It reads single answers that are called good or bad."""
        return isinstance(self.objective, PreferenceSettings | RewardModelSettings) and not self.objective.paired

    def good(self, pack: Pack) -> list[bool]:
        """Of each of the pack's labels, whether it is that of a good answer.

        Raises:
            CurateError: It is not said which are, or all are, or none.
        """
        labels, positive = pack.labels, self.data.positive
        names = ", ".join(f"`{label}`" for label in labels[:10])
        where, said = "data.positive", f"the labels in `{self.data.label}` are {names}"
        if positive is None and not {0, 1}.issuperset(labels):
            raise CurateError(
                f"{said}: it is not said which of them are good",
                where,
                f"`positive: [{labels[-1]}]` names those that are",
            )
        wanted = {str(one) for one in positive or (1,)}
        if unknown := sorted(wanted - {str(label) for label in labels}) if positive else []:
            raise CurateError(f"{said}, and none is `{unknown[0]}`", where)
        found = [str(label) in wanted for label in labels]
        if len(set(found)) < 2:
            raise CurateError(
                f"{said}: all answers are {'good' if all(found) else 'bad'}", where, "nothing can be told apart"
            )
        return found


def _given(columns: dict[str, str | None]) -> dict[str, str]:
    return {role: column for role, column in columns.items() if column is not None}


def tasks_of(config: TrainConfig) -> list[Task]:
    """The run's tasks, in the order of the file."""
    if config.tasks is None:
        datasets = tuple(config.mixture) if config.mixture else (config.dataset,)
        return [Task("", datasets, config.objective, config.data, alone=config.model.kind == "mlp")]
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
            _check_answers(task, dataset)
            shared = first.tokenizer_path if first else None
            packs[name] = pack_dataset(
                dataset, settings, task.fields(template), needs=needs, tokenizer=shared, template=template
            )
            _check_learnable(task, packs[name])
    if config.validation.test and not any(_documents(pack, "test") for pack in packs.values()):
        raise CurateError("there is no test split to measure on", "validation.test", "`{stage: split}` makes one")
    if config.early_stopping and not any(_documents(pack, "validation") for pack in packs.values()):
        raise CurateError(
            "there is no validation split, by which it could be told when to stop",
            "early_stopping",
            "`{stage: split}` makes one",
        )
    return packs


def _check_answers(task: Task, dataset: Dataset) -> None:
    """Say what learns from the answers that are there, where they are pairs and single ones are read, or the other way.

    Raises:
        CurateError: It names the method.
    """
    if not isinstance(task.objective, PreferenceSettings | RewardModelSettings):
        return
    data, there = task.data, set(dataset.columns)
    pair, single = [data.chosen, data.rejected], [data.completion, data.label]
    wanted, others = (single[:1], pair) if task.judged else (pair, single)
    absent = next((column for column in wanted if column not in there), None)
    if absent is None or not there.issuperset(others):
        return
    methods = {"preference": ("kto", "dpo"), "reward": ("outcome", "bradley_terry")}[task.objective.kind]
    learns = f"`objective.method: {methods[task.judged]}` learns from"
    raise CurateError(
        f"`{dataset.name}` has no column `{absent}`, which {task.objective.method} reads", "data",
        f"{learns} pairs: its `{others[0]}` and `{others[1]}`" if task.judged
        else f"{learns} single answers: its `{others[0]}` and `{others[1]}`",
    )  # fmt: skip


def _check_learnable(task: Task, pack: Pack) -> None:
    """Refuse what would train, and learn nothing."""
    if task.judged:
        task.good(pack)
    if isinstance(task.objective, (ClassificationSettings, TokenClassificationSettings)) and len(pack.labels) == 1:
        raise CurateError(f"all documents have the label `{pack.labels[0]}`", "data.label", "nothing can be told apart")
    if isinstance(task.objective, ClassificationSettings):
        positive_of(task.positive, pack.labels)
    if _documents(pack, "train") and (rows := pack.rows("train")).has("weight") and not rows.numbers("weight").any():
        raise CurateError(f"the weights in `{task.data.weight}` are all 0", "data.weight", "nothing would be learned")


def positive_of(wanted: str | int | None, labels: Sequence[str | int], *, where: str = "data.positive") -> int | None:
    """Place of the label whose F1 is measured; None without one: the one that is named, else 1 of the labels 0 and 1.

    Raises:
        CurateError: There is no such label.
    """
    names = [str(label) for label in labels]
    if wanted is None:
        return 1 if names == ["0", "1"] else None
    if str(wanted) not in names:
        some = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
        raise CurateError(f"no document has the label `{wanted}`", where, f"labels: {some}")
    return names.index(str(wanted))


def label_scale(data: DataSettings, objective: ObjectiveSettings, pack: Pack) -> tuple[float, float]:
    """What is added to a number that is predicted from a table, and what it is multiplied with before: prices are no weights.

    Mean and deviation of the train split's labels; 0 and 1 of all else.
    """
    regression = isinstance(objective, ClassificationSettings) and objective.regression
    if not (regression and data.features):
        return 0.0, 1.0
    labels = pack.rows("train").numbers("label")
    return float(labels.mean()), float(labels.std()) or 1.0


def _documents(pack: Pack, split: str) -> int:
    return pack.manifest["splits"].get(split, {}).get("documents", 0)
