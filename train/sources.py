"""From tasks and token shards to batches: which source an objective reads, in which order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch

from curate.tokenize.pack import Pack
from curate.train.config import TrainConfig
from curate.train.data.order import Order
from curate.train.data.source import Source
from curate.train.data.windows import Windows
from curate.train.datasets import Task
from curate.train.objectives.contract import Batch
from curate.train.world import World

__all__ = ["Feed", "Source", "open_feed", "validation_sources"]


class Feed(Protocol):
    """This process's batches."""

    def step(self, number: int) -> Batch:
        """The batch of step `number` (from 0)."""
        ...


def _source(task, config, pack, split):
    return Windows(pack, split, config.batch.length, document_mask=config.batch.document_mask)


class _Feed:
    def __init__(self, source, order, world): self.source, self.order, self.world = source, order, world

    def step(self, number):
        samples, numbers = self.order.step(number, rank=self.world.reader, size=self.world.readers)
        return {**{n: torch.from_numpy(v) for n, v in self.source.read(numbers).items()}, "samples": torch.from_numpy(samples)}


def validation_sources(tasks, config, packs):
    return {t.name: _source(t, config, packs[t.name], "validation") for t in tasks if packs[t.name].manifest["splits"].get("validation", {}).get("tokens")}


@contextmanager
def open_feed(tasks, config, packs, world):
    s = _source(tasks[0], config, packs[tasks[0].name], "train")
    yield _Feed(s, Order(len(s), sequences=config.batch.sequences, seed=config.seed), world)
