"""From tasks and token shards to batches: which source an objective reads, in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Protocol

import torch

from curate.tokenize.pack import Pack
from curate.train.data.answers import Compared, Judged, Outcomes, Preferences
from curate.train.data.batch import TASK, Batch
from curate.train.data.curriculum import CurriculumOrder, length_at
from curate.train.data.examples import Labelled, Pairs, Prompts, Tagged
from curate.train.data.loader import Loader, Ordered
from curate.train.data.mixture import Mixture, Schedule, tempered
from curate.train.data.order import Order
from curate.train.data.packed import Packed
from curate.train.data.source import Source
from curate.train.data.tasks import Task
from curate.train.data.windows import Windows
from curate.train.parallel.world import World
from curate.train.settings.config import TrainConfig
from curate.train.settings.methods import ClassificationSettings, Seq2SeqSettings

__all__ = ["Feed", "examples_in", "open_feed", "sources_of"]


class Feed(Protocol):
    """This process's batches."""

    def step(self, number: int) -> Batch:
        """The batch of step `number` (from 0)."""
        ...


class _Turns:
    """A step belongs to one task; each has its own order, and its batches say whose they are."""

    def __init__(self, feeds: Sequence[Feed], weights: Sequence[float]) -> None:
        self.feeds, self.schedule = feeds, Schedule(weights)

    def step(self, number: int) -> Batch:
        """The batch of step `number` (from 0)."""
        task, nth = self.schedule.step(number)
        batch = self.feeds[task].step(nth)
        return {**batch, TASK: torch.full((len(batch["tokens"]),), task)}


@contextmanager
def open_feed(
    tasks: Sequence[Task], config: TrainConfig, packs: Mapping[str, Pack], world: World, *, alone: bool = False
) -> Iterator[tuple[Feed, int]]:
    """This process's batches, and how many examples are longer than they may be, and so are cut.

    Args:
        tasks: What is learned.
        config: The run's settings.
        packs: Token shards, by the names of tasks or datasets.
        world: The processes.
        alone: The model cannot keep several documents of a row apart: conversations have rows of their own.
    """
    with ExitStack() as stack:
        sources = [_train_source(task, config, packs, alone=alone) for task in tasks]
        feeds = [
            stack.enter_context(
                Loader(
                    source,
                    order,
                    rank=world.reader,
                    size=world.readers,
                    length=_length(config),
                    device_prepare=_pinned if world.device.type == "cuda" else None,
                )
            )
            for source, order in sources
        ]
        cut = sum(source.cut for source, _ in sources)
        if len(tasks) == 1:
            yield feeds[0], cut
            return
        shares = tempered([len(source) for source, _ in sources], config.temperature)
        shares = [share / sum(shares) for share in shares]
        yield _Turns(feeds, [task.weight or share for task, share in zip(tasks, shares, strict=True)]), cut


def _pinned(batch: Batch) -> Batch:
    return {name: values.pin_memory() for name, values in batch.items()}


def _length(config: TrainConfig) -> partial[int] | None:
    """From a step to the length of its windows, where it changes."""
    if config.curriculum is None or not config.curriculum.lengths:
        return None
    return partial(length_at, length=config.batch.length, steps=config.steps, settings=config.curriculum)


def _train_source(task: Task, config: TrainConfig, packs: Mapping[str, Pack], *, alone: bool) -> tuple[Source, Ordered]:
    """The examples of a task, and which of them a step takes."""
    sequences, seed = config.batch.sequences, config.seed
    if len(task.datasets) > 1:
        assert config.mixture
        parts = {name: _source(task, config, packs[name], "train", alone=alone) for name in task.datasets}
        mixture = Mixture(parts, config.mixture, sequences=sequences, seed=seed)
        return mixture, mixture
    source = _source(task, config, packs[task.name], "train", alone=alone)
    if config.curriculum and config.curriculum.difficulty:
        order: Ordered = CurriculumOrder(
            source.difficulty(), sequences=sequences, seed=seed, steps=config.steps, settings=config.curriculum
        )
        return source, order
    return source, Order(len(source), sequences=sequences, seed=seed)


def examples_in(task: Task, config: TrainConfig, pack: Pack, *, alone: bool = False) -> int:
    """Examples (rows of a batch) of a task's train split."""
    return len(_source(task, config, pack, "train", alone=alone))


def sources_of(
    split: str, tasks: Sequence[Task], config: TrainConfig, packs: Mapping[str, Pack], *, alone: bool = False
) -> dict[str, Source]:
    """A split's examples by the names of tasks, or of the datasets of a mixture; without those that have none."""
    names = [(name, task) for task in tasks for name in (task.datasets if len(task.datasets) > 1 else [task.name])]
    return {
        name: _source(task, config, packs[name], split, alone=alone)
        for name, task in names
        if packs[name].manifest["splits"].get(split, {}).get("documents")
    }


def _source(task: Task, config: TrainConfig, pack: Pack, split: str, *, alone: bool) -> Source:
    """A split's examples as the task's objective reads them."""
    length, settings = config.batch.length, task.objective
    match settings.kind:
        case "classification":
            assert isinstance(settings, ClassificationSettings)
            return Labelled(pack, split, length, regression=settings.regression)
        case "token_classification":
            return Tagged(pack, split, length)
        case "seq2seq":
            assert isinstance(settings, Seq2SeqSettings)
            # T5 begins a target with padding
            return Pairs(pack, split, length, target_length=settings.target_length, start=pack.roles["padding"])
        case "sft":
            return Packed(pack, split, length, alone=alone)
        case "preference" if settings.paired:
            return Preferences(pack, split, length)
        case "preference":
            return Judged(pack, split, length, good=task.good(pack))
        case "reward" if settings.paired:
            return Compared(pack, split, length)
        case "reward":
            return Outcomes(pack, split, length, good=task.good(pack))
        case "reinforcement":
            return Prompts(pack, split, length)
        case _:
            return Windows(pack, split, length, document_mask=config.batch.document_mask)
