"""The loop: one process's part of a training run.

A step takes its batch, sums the losses of its pieces, divides by the size of the whole step (all pieces, all
processes), clips, and lets the optimizer move. A run that is interrupted at any moment goes on from its last checkpoint
and comes to the same bits: batch, learning rate, dropout, masks and noise are functions of the seed and the step, and
everything else that a step depends on is in the checkpoint. Dropout alone depends on the process and its pieces, too.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from curate.errors import CurateError
from curate.train.build import Parts
from curate.train.data.batch import IGNORED, Batch
from curate.train.data.source import Source
from curate.train.models.feed_forward import Experts
from curate.train.models.nf4 import is_packed
from curate.train.objectives.contract import Loss
from curate.train.optimization.optimizer import (
    Average,
    allocate_state,
    build_optimizer,
    clip_gradients,
    set_learning_rates,
    state_tensors,
)
from curate.train.optimization.perturbation import build_perturbation
from curate.train.parallel.world import World
from curate.train.settings.config import TrainConfig

__all__ = ["NotFinite", "Step", "Trainer"]


class NotFinite(CurateError):
    """Loss or gradients are not finite; the parameters are as they were before the step."""


class Step(NamedTuple):
    """What a step came to.

    Attributes:
        loss: For each target (or row), over all processes, before the step; of several updates, the mean over them.
        gradient_norm: Before clipping; of several updates, of the last.
        learning_rate: Used in the step.
        tokens: Tokens read in the step, without padding.
        measures: Other means that the objective gives (accuracy, reward).
    """

    loss: float
    gradient_norm: float
    learning_rate: float
    tokens: int
    measures: dict[str, float]


class Trainer:
    """Model, optimizer and data of one process.

    Args:
        config: The run's settings.
        parts: The objective, sharded and filled, and its data.
        world: The processes.
    """

    def __init__(self, config: TrainConfig, parts: Parts, world: World) -> None:
        self.config, self.parts, self.world = config, parts, world
        self.objective = parts.objective
        self.optimizer = build_optimizer(self.objective, config.optimizer)
        allocate_state(self.optimizer)
        decay = config.optimizer.average
        self.average = Average(self.objective, decay) if decay else None
        self.experts = [module for module in self.objective.modules() if isinstance(module, Experts)]
        self.perturbation = build_perturbation(config.adversarial, seed=config.seed) if config.adversarial else None

    def tensors(self) -> dict[str, Tensor]:
        """All that the model is and training changes, by name; loading into them in place takes effect."""
        state = state_tensors(self.objective, self.optimizer)  # first: it lets go of parameters that were made whole
        named = {name: parameter.detach() for name, parameter in self.objective.named_parameters()}
        averages = self.average.tensors() if self.average else {}
        packed = {name: buffer for name, buffer in self.objective.named_buffers() if is_packed(name)}
        return {**named, **packed, **state, **averages}

    def step(self, number: int, *, offset: int = 0) -> Step:
        """Do step `number` (from 1), on the data of step `number + offset`.

        Raises:
            NotFinite: The parameters are as they were before the step; of one with several updates, before the one that failed.
        """
        config, world = self.config, self.world
        rate = set_learning_rates(self.optimizer, number, config.steps, config.optimizer, config.schedule)
        self._seed(_step_seed(config.seed, number, world.reader))
        batch = self._on_device(self.parts.feed.step(number + offset - 1))
        batch = self.objective.prepare(batch, step=number + offset - 1)
        (tokens,) = world.total(_tokens(batch))
        found: dict[str, float] = {}
        sizes = norm = 0.0
        for update in self.objective.updates(batch):
            sums, size, norm = self._update(number, update)
            sizes += size
            found = {name: found.get(name, 0.0) + value for name, value in sums.items()}
        loss = found.pop("loss") / max(sizes, 1e-12)
        return Step(loss, norm, rate, int(tokens), self.objective.measures(found, sizes))

    def _update(self, number: int, batch: Batch) -> tuple[dict[str, float], float, float]:
        """One move of the optimizer; the sums over all processes, what they are divided by, and the norm of the gradients."""
        config, world = self.config, self.world
        size, read = world.total(self.objective.size(batch), self.objective.read(batch))
        # FSDP takes the mean of the gradients over processes; the sum is wanted
        scale = world.readers / max(size, 1e-12)
        for module in self.experts:
            module.per_token = world.readers / max(read, 1.0)
        sums: dict[str, Tensor] = {}
        for piece in _pieces(batch, config.batch.accumulate):
            loss = self._backward(piece, scale)
            for name, value in {"loss": loss.total, **loss.sums}.items():
                sums[name] = sums.get(name, 0) + value.detach().double()
        norm = clip_gradients(self.objective.parameters(), config.optimizer.clip)
        totals = world.total(*(value.item() for value in sums.values()))
        found = dict(zip(sums, totals, strict=True))
        value = found["loss"] / max(size, 1e-12)
        if not (math.isfinite(value) and math.isfinite(norm)):
            self.optimizer.zero_grad(set_to_none=True)
            raise NotFinite(
                f"step {number}: the loss is {value:.4g} and the norm of its gradients {norm:.4g}",
                hint="training diverged: a lower `optimizer.learning_rate` or a longer `schedule.warmup`",
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update()
        return found, size, norm

    def _seed(self, seed: int) -> None:
        # torch.manual_seed asks all kinds of devices, and takes 0.6 ms
        torch.default_generator.manual_seed(seed)
        if self.world.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _backward(self, piece: Batch, scale: float) -> Loss:
        if self.perturbation:
            return self.perturbation.backward(self.objective, piece, scale)
        loss = self.objective(piece)
        (loss.total * scale).backward()
        return loss

    def validate(self, beat: Callable[[], None] = lambda: None) -> dict[str, Any] | None:
        """The objective's metrics on the validation split (of the averaged parameters, where there are); None without one.

        Args:
            beat: Called before each batch.
        """
        return self._measured_on(self.parts.validation, self.config.validation.sequences, beat)

    def test(self, beat: Callable[[], None] = lambda: None) -> dict[str, Any] | None:
        """The same on all of the test split."""
        return self._measured_on(self.parts.test, None, beat)

    @torch.no_grad()
    def _measured_on(
        self, sources: dict[str, Source], most: int | None, beat: Callable[[], None]
    ) -> dict[str, Any] | None:
        if not sources:
            return None
        self.objective.eval()
        with self.average.swapped() if self.average else nullcontext():
            found = {name: self._measured(name, source, most, beat) for name, source in sources.items()}
        self.objective.train()
        return found.get("", found)

    def _measured(self, task: str, source: Source, most: int | None, beat: Callable[[], None]) -> dict[str, Any]:
        """The task's metrics on some examples of a source, all of them where `most` is None."""
        objective, found = self.parts.objective_of(task), dict[str, list[Tensor]]()
        for batch in self._batches(task, source, most, beat):
            for piece in _pieces(batch, self.config.batch.accumulate):
                for name, value in self.objective.score(piece).items():
                    found.setdefault(name, []).append(value.detach().double().cpu())
        world, listed = self.world, objective.listed
        return objective.summary({
            name: world.joined(torch.cat(values)) if name in listed else world.sum(sum(values, torch.zeros(())))
            for name, values in found.items()
        })  # fmt: skip

    def _batches(self, task: str, source: Source, most: int | None, beat: Callable[[], None]) -> Iterator[Batch]:
        """This process's share of the examples; all processes have as many batches, some rows empty.

        A batch is prepared as that of a step is, whatever the pieces: what it comes to does not depend on them.
        """
        numbers = _evenly(len(source), most)
        share = self.config.batch.sequences // self.world.readers
        rounds = -(-len(numbers) // (self.world.readers * share))
        padded = np.full(rounds * self.world.readers * share, -1, dtype=np.int64)
        padded[: len(numbers)] = numbers
        for some in padded[self.world.reader :: self.world.readers].reshape(rounds, share):
            beat()
            batch = {name: torch.from_numpy(values) for name, values in source.read(some).items()}
            batch = self._on_device(
                {**batch, "samples": torch.from_numpy(some), **self.parts.task_key(task, len(some))}
            )
            yield self.objective.prepare(batch, step=-1)

    def _on_device(self, batch: Batch) -> Batch:
        return {name: values.to(self.world.device, non_blocking=True) for name, values in batch.items()}


def _step_seed(seed: int, step: int, reader: int) -> int:
    """Of dropout: processes that share matrices must drop alike, all others must not."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{reader}".encode()).digest()[:7], "little")


def _pieces(batch: Batch, count: int) -> Iterator[Batch]:
    """The batch cut by its rows."""
    rows = len(next(iter(batch.values())))
    for piece in range(count):
        start, stop = rows * piece // count, rows * (piece + 1) // count
        yield {name: values[start:stop] for name, values in batch.items()}


def _tokens(batch: Batch) -> int:
    """Tokens that are read, without padding."""
    if "documents" in batch:
        return int((batch["documents"] >= 0).sum())
    return int((batch["targets"] != IGNORED).sum()) if "targets" in batch else batch["tokens"].numel()


def _evenly(count: int, most: int | None) -> np.ndarray:
    """At most `most` of the numbers below `count`, spread evenly."""
    if most is None or most >= count:
        return np.arange(count)
    return np.arange(most, dtype=np.int64) * count // most
