"""The loop: one process's part of a training run.

A step reads its windows, sums the cross entropy over them, divides by the valid targets of all processes together,
clips, and lets the optimizer move. A run that is interrupted at any moment goes on from its last checkpoint and comes
to the same bits: the data is a function of the step, so is the learning rate, and there is no dropout.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch

from curate.errors import CurateError
from curate.tokenize.pack import Pack
from curate.tokenize.tokenizer import token_bytes
from curate.train.checkpoint import checkpoints, load_checkpoint, read_checkpoint, save_checkpoint
from curate.train.config import TrainConfig
from curate.train.data import Order, Windows
from curate.train.folder import Metrics, RunFolder, data_facts
from curate.train.loss import IGNORED
from curate.train.model import Decoder
from curate.train.optim import build_optimizer, clip_gradients, learning_rate
from curate.train.shard import World, shard_model

__all__ = ["Step", "Trainer", "Validation", "train_process"]


class Step(NamedTuple):
    """What a step came to.

    Attributes:
        loss: Nats per target, over all processes, before the step.
        gradient_norm: Before clipping.
        learning_rate: Used in the step.
        tokens: Targets in the step.
    """

    loss: float
    gradient_norm: float
    learning_rate: float
    tokens: int


class Validation(NamedTuple):
    """How well the validation text is predicted.

    Attributes:
        bits_per_byte: Bits that the model needs for a byte of text; ends of documents are not counted.
        tokens: Targets that were predicted.
        bytes: Bytes of text that they stand for.
    """

    bits_per_byte: float
    tokens: int
    bytes: int


class Trainer:
    """Model, optimizer and data of one process.

    Args:
        config: The run's settings.
        pack: The token shards.
        world: The processes.

    Raises:
        CurateError: The dataset has no train split.
    """

    def __init__(self, config: TrainConfig, pack: Pack, world: World) -> None:
        self.config, self.world = config, world
        batch, model = config.batch, config.model
        self.windows = Windows(pack, "train", batch.length)
        self.order = Order(len(self.windows), sequences=batch.sequences, seed=config.seed)
        has_validation = pack.manifest["splits"].get("validation", {}).get("tokens", 0) > 0
        self.validation = Windows(pack, "validation", batch.length) if has_validation else None
        self.token_bytes = token_bytes(pack.tokenizer_path)
        decoder = Decoder(
            model.architecture,
            vocabulary=pack.vocabulary,
            length=batch.length,
            theta=model.rope_theta,
            seed=config.seed,
        )
        self.model = shard_model(decoder, decoder.blocks, world, config.precision)
        self.optimizer = build_optimizer(self.model, config.optimizer)

    def step(self, number: int) -> Step:
        """Do step `number` (from 1).

        Raises:
            CurateError: Loss or gradients are not finite; the parameters are as they were before the step.
        """
        config, world = self.config, self.world
        rate = learning_rate(number, config.steps, config.optimizer.learning_rate, config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        inputs, targets = self.windows.read(self.order.step(number - 1, rank=world.rank, size=world.size))
        (valid,) = world.total(int((targets != IGNORED).sum()))
        nats = torch.zeros((), device=world.device)
        pieces = config.batch.accumulate
        for some_inputs, some_targets in zip(np.split(inputs, pieces), np.split(targets, pieces), strict=True):
            loss = self.model(self._tensor(some_inputs), self._tensor(some_targets))
            # FSDP takes the mean of the gradients over processes; the sum is wanted
            (loss * (world.size / valid)).backward()
            nats += loss.detach()
        norm = clip_gradients(self.model.parameters(), config.optimizer.clip)
        (total,) = world.total(nats.item())
        if not (math.isfinite(total) and math.isfinite(norm)):
            self.optimizer.zero_grad(set_to_none=True)
            raise CurateError(
                f"step {number}: the loss is {total / valid:.4g} and the norm of its gradients {norm:.4g}",
                hint="training diverged: a lower `optimizer.learning_rate` or a longer `schedule.warmup`",
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return Step(total / valid, norm, rate, int(valid))

    @torch.no_grad()
    def validate(self) -> Validation | None:
        """Bits per byte on the validation split; None without one."""
        if self.validation is None:
            return None
        numbers = _evenly(len(self.validation), self.config.validation.sequences)
        share = self.config.batch.sequences // (self.world.size * self.config.batch.accumulate)
        rounds = -(-len(numbers) // (self.world.size * share))
        padded = np.full(rounds * self.world.size * share, -1, dtype=np.int64)
        padded[: len(numbers)] = numbers
        nats, tokens, size = 0.0, 0, 0
        self.model.eval()
        for some in padded[self.world.rank :: self.world.size].reshape(rounds, share):
            inputs, targets = self.validation.read(some)
            targets[targets == self.validation.end_of_text] = IGNORED
            counted = targets[targets != IGNORED]
            nats += self.model(self._tensor(inputs), self._tensor(targets)).item()
            tokens, size = tokens + len(counted), size + int(self.token_bytes[counted].sum())
        self.model.train()
        nats, all_tokens, all_bytes = self.world.total(nats, tokens, size)
        return Validation(nats / math.log(2) / max(all_bytes, 1), int(all_tokens), int(all_bytes))

    def _tensor(self, numbers: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(self.world.device)


def _evenly(count: int, most: int | None) -> np.ndarray:
    """At most `most` of the numbers below `count`, spread evenly."""
    if most is None or most >= count:
        return np.arange(count)
    return np.arange(most, dtype=np.int64) * count // most


def train_process(
    config: TrainConfig,
    folder: RunFolder,
    pack: Pack,
    world: World,
    *,
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Train from the last checkpoint to the last step; process 0 writes metrics and, at the end, result.json.

    Args:
        config: The run's settings.
        folder: The run's folder.
        pack: The token shards.
        world: The processes.
        report: Given the record of each step, in process 0.

    Raises:
        CurateError: Training diverged, or a checkpoint is damaged.
        ResumableError: A checkpoint could not be written.
    """
    trainer = Trainer(config, pack, world)
    done = _resume(trainer, folder, world)
    with Metrics(folder.metrics, after=done) if world.rank == 0 else nullcontext() as metrics:
        for record in _steps(trainer, folder, pack, done=done, tokens=metrics.tokens if metrics else 0):
            if metrics:
                metrics.add(record)
                report(record)
        if metrics:
            folder.write("result.json", _result(config, pack, metrics))


def _steps(trainer: Trainer, folder: RunFolder, pack: Pack, *, done: int, tokens: int) -> Iterator[dict[str, Any]]:
    """Do the steps that are left; gives the record of each, and saves the checkpoint that is due after it."""
    config = trainer.config
    facts = {"config": config.model_dump(mode="json"), "data": data_facts(pack)}
    for number in range(done + 1, config.steps + 1):
        began = time.perf_counter()
        step = trainer.step(number)
        seconds = time.perf_counter() - began
        last = number == config.steps
        validation = trainer.validate() if last or number % config.validation.every == 0 else None
        tokens += step.tokens
        yield _record(number, step, tokens, seconds, validation)
        if last or number % config.checkpoint_every == 0:
            save_checkpoint(
                folder.checkpoints,
                number,
                trainer.model,
                trainer.optimizer,
                trainer.world,
                facts=facts,
                keep=config.keep_checkpoints,
            )


def _resume(trainer: Trainer, folder: RunFolder, world: World) -> int:
    """Load the newest checkpoint; returns the steps done."""
    found = checkpoints(folder.checkpoints)
    if not found:
        return 0
    description = read_checkpoint(found[-1])
    load_checkpoint(found[-1], trainer.model, trainer.optimizer, world)
    return description["step"]


def _record(number: int, step: Step, tokens: int, seconds: float, validation: Validation | None) -> dict[str, Any]:
    record: dict[str, Any] = {
        "step": number,
        "loss": step.loss,
        "learning_rate": step.learning_rate,
        "gradient_norm": step.gradient_norm,
        "tokens": tokens,
        "seconds": round(seconds, 6),
        "tokens_per_second": round(step.tokens / seconds, 1),
    }
    return {**record, "validation": validation._asdict()} if validation else record


def _result(config: TrainConfig, pack: Pack, metrics: Metrics) -> dict[str, Any]:
    last = metrics.last
    return {
        "schema": 1,
        "run": config.run,
        "checkpoint": f"checkpoints/step-{config.steps:06}",
        "steps": config.steps,
        "tokens": last["tokens"],
        "loss": last["loss"],
        "validation": last.get("validation", {"bits_per_byte": None, "tokens": 0, "bytes": 0}),
        "tokens_per_second": round(last["tokens"] / metrics.seconds, 1),
        "parameters": config.model.architecture.parameters(pack.vocabulary),
        "dataset_version": pack.manifest["version"],
        "tokenizer": pack.tokenizer,
    }
