"""A run from its first step, or its last checkpoint, to its end: checkpoints, validation, and what to do when it goes wrong.

Decisions here (skip, go back, stop) follow from numbers that all processes have alike, and are in the state of every
checkpoint: a run that is killed and goes on makes them again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from curate.tokenize.pack import Pack
from curate.train.build import build_parts
from curate.train.models.nf4 import packed_in
from curate.train.parallel.world import World
from curate.train.runs.card import write_card
from curate.train.runs.earlier import forget_earlier
from curate.train.runs.folder import RunFolder, data_facts
from curate.train.runs.looks import said
from curate.train.runs.machine import flops_per_token, measured_peak, memory_used, utilization
from curate.train.runs.metrics import Metrics
from curate.train.runs.samples import Samples
from curate.train.runs.watch import Watch
from curate.train.settings.config import TrainConfig
from curate.train.trainer import NotFinite, Step, Trainer
from curate.train.weights.checkpoint import Checkpoints, checkpoints, load_checkpoint, parameters_hash, read_checkpoint
from curate.train.weights.export import trained_in

__all__ = ["State", "train_process"]

ENDED, ENDLESS = 0.05, 5
"""Share of sampled texts that come to their end below which something is wrong, and after how many steps it is said."""


@dataclass(frozen=True, slots=True)
class State:
    """All of a run's state that is no tensor.

    Attributes:
        step: Steps done.
        offset: Steps by which the data is ahead of the step, for data that was left out.
        skipped: Steps in a row that were skipped, up to now.
        rewinds: Times that the run went back.
        best: Best value of the watched metric, for early stopping.
        best_step: When it was reached.
        worse: Validations since then.
    """

    step: int = 0
    offset: int = 0
    skipped: int = 0
    rewinds: int = 0
    best: float | None = None
    best_step: int | None = None
    worse: int = 0


def train_process(
    config: TrainConfig,
    folder: RunFolder,
    packs: dict[str, Pack],
    world: World,
    *,
    report: Callable[[dict[str, Any]], None],
    heartbeat: Callable[[], None] = lambda: None,
    watch: Watch | None = None,
) -> None:
    """Train from the last checkpoint to the last step; process 0 writes metrics and, at the end, result.json.

    Args:
        config: The run's settings.
        folder: The run's folder.
        packs: The token shards, by the name of their task or dataset.
        world: The processes.
        report: Given the record of each step, in process 0.
        heartbeat: Called before each step, batch of validation and part of a checkpoint: what takes too long has hung.
        watch: What else is measured on the way, in a single process.

    Raises:
        CurateError: Training diverged, or a checkpoint is damaged.
        ResumableError: A checkpoint could not be written.
    """
    heartbeat()
    with build_parts(config, packs, world, folder=folder.path) as parts:
        run = _Run(config, folder, packs, world, Trainer(config, parts, world))
        run.report, run.heartbeat, run.watch = report, heartbeat, watch
        parts.objective.listen(heartbeat)
        run.go()


class _Run:
    """What the steps of a run share."""

    report: Callable[[dict[str, Any]], None]
    heartbeat: Callable[[], None]
    watch: Watch | None

    def __init__(
        self, config: TrainConfig, folder: RunFolder, packs: dict[str, Pack], world: World, trainer: Trainer
    ) -> None:
        self.config, self.folder, self.packs, self.world, self.trainer = config, folder, packs, world, trainer
        self.saved = Checkpoints(
            folder.checkpoints, world, keep=config.keep_checkpoints, asynchronous=config.checkpoint_async,
            beat=lambda: self.heartbeat(),
        )  # fmt: skip
        self.state = State()
        self.speed = _Speed(config, folder, trainer, world)
        self.saved_step = 0
        self.metrics: Metrics | None = None
        self.samples: Samples | None = None
        self.tokens = 0
        self.endless = 0  # steps in a row in which hardly any sampled text came to its end

    def go(self) -> None:
        """To the end."""
        try:
            self._load_newest()
            if self.metrics and self.state.step:
                sys.stderr.write(f"train {self.config.run}: going on from step {self.state.step:,}\n")
            if self.metrics and self.trainer.parts.cut:
                cut = self.trainer.parts.cut
                sys.stderr.write(
                    f"train {self.config.run}: {cut:,} examples are longer than they may be, and are cut\n"
                )
            while self.state.step < self.config.steps and not self._stopped():
                self._next()
            if self.saved_step != self.state.step:
                self._save()
            self.saved.finish()
            self._forget_earlier()
            result = self._result()
            if self.world.rank == 0:
                self.folder.write("result.json", result)
                write_card(self.folder)
        finally:
            self.saved.close()
            if self.metrics:
                self.metrics.__exit__()

    def _next(self) -> None:
        """One step, or what stands in for one."""
        self.heartbeat()
        number, began = self.state.step + 1, time.perf_counter()
        try:
            step = self.trainer.step(number, offset=self.state.offset)
        except NotFinite as error:
            self._left_out(number, error)
            return
        seconds = time.perf_counter() - began
        self.tokens += step.tokens
        self.state = replace(self.state, step=number, skipped=0)
        record = {**_record(number, step, seconds), **self.speed(step, seconds), "tokens": self.tokens}
        samples = self.samples.of(number, "train") if self.samples else []
        last = number == self.config.steps
        if last or number % self.config.validation.every == 0:
            record |= self._validated()
            found = said(self.trainer, self.config, next(iter(self.packs.values())), self.heartbeat)
            samples += self.samples.of(number, "validation", found) if self.samples else []
        if self.watch and (last or number % self.watch.every == 0):
            record |= self._watched(self.watch)
        self._write(record, samples)
        self._tell_endless(step.measures.get("ended", 1.0))
        if last or number % self.config.checkpoint_every == 0 or self.state.best_step == number:
            self._save()

    # ---- checkpoints

    def _save(self) -> None:
        labels = [] if self.config.tasks else next(iter(self.packs.values())).labels
        facts = {
            "config": self.config.model_dump(mode="json"),
            "data": data_facts(self.packs),
            "models": (self.folder.read("config.json") or {}).get("models", {}),
            "state": asdict(self.state),
            "sizes": asdict(self.trainer.objective.model.sizes),
            "labels": labels,
            "length": getattr(self.trainer.objective.model, "length", None),
        }
        protect = self.state.best_step if self.config.early_stopping else None
        self.saved.save(self.state.step, self.trainer.tensors(), facts, protect=protect)
        self.saved_step = self.state.step
        self._forget_earlier()

    def _forget_earlier(self) -> None:
        if self.world.rank == 0:
            forget_earlier(self.folder.path)

    def _load_newest(self) -> None:
        found = checkpoints(self.folder.checkpoints)
        self.heartbeat()
        if found:
            description = read_checkpoint(found[-1], self.world)
            load_checkpoint(found[-1], self.trainer.tensors(), self.world)
            self.state = State(**description["state"])
            self.saved_step = self.state.step
        if self.metrics:
            self.metrics.__exit__()
        if self.world.rank == 0:
            self.metrics = Metrics(self.folder.metrics, after=self.state.step)
            self.samples = Samples(self.folder.completions, self.config, self.trainer, after=self.state.step)
        (tokens,) = self.world.total(self.metrics.tokens if self.metrics else 0)
        self.tokens = int(tokens)

    # ---- a loss that is not finite

    def _left_out(self, number: int, error: NotFinite) -> None:
        """Leave the step out; after some in a row go back to the last checkpoint, and on from there on later data.

        Raises:
            NotFinite: Neither helps any more.
        """
        guard, state = self.config.guard, self.state
        if state.skipped < guard.skip:
            self.state = replace(state, step=number, skipped=state.skipped + 1)
            self._write({"step": number, "loss": None, "skipped": True, "tokens": self.tokens, "seconds": 0.0})
            return
        self.saved.finish()
        if state.rewinds >= guard.rewind or not checkpoints(self.folder.checkpoints):
            raise error
        self._load_newest()
        # the data from the checkpoint to the bad step, and that step's, is not used again
        ahead = number + state.offset - self.state.step
        self.state = replace(self.state, offset=ahead, rewinds=state.rewinds + 1, skipped=0)

    # ---- validation and early stopping

    def _validated(self) -> dict[str, Any]:
        validation = self.trainer.validate(self.heartbeat)
        if validation is None:
            return {}
        if self.config.early_stopping:
            self._judge(validation)
        return {"validation": validation}

    def _watched(self, watch: Watch) -> dict[str, Any]:
        assert self.metrics
        self.heartbeat()
        pack = next(iter(self.packs.values()))
        trained = trained_in(
            self.config, self.trainer.objective, self.trainer.tensors(),
            labels=pack.labels, tokenizer=self.folder.path / "tokenizer.json",
        )  # fmt: skip
        return watch.measure(trained, self.metrics.records(), self.heartbeat)

    def _judge(self, validation: dict[str, Any]) -> None:
        objective, metrics = self.trainer.parts.watched(validation)
        value = float(metrics[objective.watch])
        better = value if objective.higher_is_better else -value
        state, settings = self.state, self.config.early_stopping
        assert settings
        if state.best is None or better > state.best + settings.least:
            self.state = replace(state, best=better, best_step=state.step, worse=0)
        else:
            self.state = replace(state, worse=state.worse + 1)

    def _stopped(self) -> bool:
        settings = self.config.early_stopping
        return settings is not None and self.state.worse >= settings.patience

    # ---- what is written

    def _write(self, record: dict[str, Any], samples: Sequence[dict[str, Any]] = ()) -> None:
        if self.metrics and self.samples:
            self.samples.add(samples)
            self.metrics.add(record)
            self.report({**record, "samples": samples} if samples else record)

    def _tell_endless(self, ended: float) -> None:
        """Warn, once, where texts are sampled that do not end: they are cut, judged and learned from all the same."""
        self.endless = self.endless + 1 if ended < ENDED else 0
        if self.endless == ENDLESS and self.metrics:
            sys.stderr.write(
                f"train {self.config.run}: warning: in the last {ENDLESS} steps {ended:.0%} of the sampled texts came to their "
                "end: `objective.new_tokens` is too small, or the model does not know how an answer ends (`data.chat`)\n"
            )

    def _result(self) -> dict[str, Any]:
        config, state = self.config, self.state
        self.heartbeat()
        best = state.best_step if config.early_stopping and state.best_step else state.step
        if best != state.step:
            load_checkpoint(self.folder.checkpoints / f"step-{best:06}", self.trainer.tensors(), self.world)
        weights = parameters_hash(dict(self.trainer.objective.named_parameters()))
        test = self.trainer.test(self.heartbeat)
        if self.metrics is None:
            return {}
        records = self.metrics.records()
        losses = [record["loss"] for record in records if record["step"] <= best and record["loss"] is not None]
        validations = [record["validation"] for record in records if record["step"] <= best and "validation" in record]
        pack = next(iter(self.packs.values()))
        watched = self.watch.summary([record for record in records if record["step"] <= best]) if self.watch else {}
        return {
            "schema": 1,
            "run": config.run,
            "checkpoint": f"checkpoints/step-{best:06}",
            "steps": state.step,
            "stopped_early": self._stopped(),
            "tokens": self.tokens,
            "loss": losses[-1] if losses else None,
            "validation": {"bits_per_byte": None, **(validations[-1] if validations else {})},
            **({} if test is None else {"test": test}),
            "tokens_per_second": round(self.tokens / max(self.metrics.seconds, 1e-9), 1),
            "parameters": _parameter_count(self.trainer.objective),
            "dataset_version": pack.manifest["version"],
            "tokenizer": pack.tokenizer,
            "weights": weights,
            **watched,
        }


def _parameter_count(objective: torch.nn.Module) -> int:
    """Numbers of a model, those in 4 bits too."""
    packed = sum(matrix.shape.numel() for matrix in packed_in(objective).values())
    return packed + sum(parameter.numel() for parameter in objective.parameters())


class _Speed:
    """How fast steps are: tokens a second, the share of the measured peak, memory."""

    def __init__(self, config: TrainConfig, folder: RunFolder, trainer: Trainer, world: World) -> None:
        self.world, self.flops, self.peak = world, None, 0.0
        sizes, trunk = getattr(trainer.objective.model, "sizes", None), trainer.objective.model
        vocabulary = trunk.embedding.num_embeddings if config.objective.kind in _PREDICTS_TOKENS else 0
        if sizes is not None and config.objective.kind != "reinforcement":
            self.flops = flops_per_token(sizes, vocabulary, config.batch.length)
        if self.flops and world.rank == 0:
            self.peak = measured_peak(folder, world.device, _TYPES[config.precision])

    def __call__(self, step: Step, seconds: float) -> dict[str, Any]:
        """For the record of a step."""
        rate = step.tokens / seconds
        found: dict[str, Any] = {"tokens_per_second": round(rate, 1), "memory_bytes": memory_used(self.world.device)}
        if self.flops and self.peak:
            found["mfu"] = round(utilization(rate, self.flops, self.peak, self.world.size), 4)
        return found


_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn}
_PREDICTS_TOKENS = ("causal", "masked", "multi_token", "sft", "distillation", "preference")


def _record(number: int, step: Step, seconds: float) -> dict[str, Any]:
    return {
        "step": number,
        "loss": step.loss,
        "learning_rate": step.learning_rate,
        "gradient_norm": step.gradient_norm,
        **step.measures,
        "seconds": round(seconds, 6),
    }
