"""train.yaml: a tree of frozen settings, every one with a default but the dataset and the run's name.

The settings decide the weights: with the same dataset version, settings, processes, threads and library versions, the
trained parameters are the same bits. Only the settings of `FREE` may change when an interrupted run goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curate.errors import ConfigurationErrors, CurateError
from curate.tokenize.tokenizer import TokenizerSettings
from curate.train.architecture import ModelSettings
from curate.train.fit import misfits
from curate.train.methods import (
    AdversarialSettings,
    CausalSettings,
    CurriculumSettings,
    EarlyStoppingSettings,
    LoraSettings,
    ObjectiveSettings,
)

__all__ = [
    "FREE",
    "BatchSettings",
    "DataSettings",
    "GuardSettings",
    "LogSettings",
    "OptimizerSettings",
    "ParallelSettings",
    "ScheduleSettings",
    "TaskSettings",
    "TrainConfig",
    "ValidationSettings",
    "load_config",
]

FREE = frozenset(
    {"processes", "parallel", "checkpoint_every", "checkpoint_async", "keep_checkpoints", "restarts", "timeout", "log"}
)
"""Settings that may change between the parts of an interrupted run: they do not say what is computed."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BatchSettings(_Settings):
    """What one step sees."""

    sequences: int = Field(
        default=16, ge=1, description="sequences in one step, of all processes and accumulated pieces together"
    )
    length: int = Field(default=256, ge=2, description="tokens in a sequence")
    accumulate: int = Field(
        default=1, ge=1, description="pieces that each process cuts its share into, one after the other: less memory"
    )
    document_mask: bool = Field(
        default=True, description="attention stays inside a document, and positions count from its start"
    )


class DataSettings(_Settings):
    """Which columns of the dataset hold what; an objective uses those that it needs."""

    text: str = Field(default="text", description="text, or the first of a pair")
    second: str | None = Field(default=None, description="second text of a pair (classification)")
    label: str = Field(default="label", description="label (classification), or list of labels (token_classification)")
    words: str = Field(default="words", description="list of words (token_classification)")
    target: str = Field(default="target", description="text to produce (seq2seq)")
    messages: str = Field(default="messages", description="list of {role, content} (sft)")
    prompt: str = Field(default="prompt", description="prompt (preference, reinforcement)")
    chosen: str = Field(default="chosen", description="the better answer (preference)")
    rejected: str = Field(default="rejected", description="the worse answer (preference)")
    answer: str = Field(default="answer", description="what the reward compares with (reinforcement)")
    weight: str | None = Field(default=None, description="how much a document counts in the loss")
    difficulty: str | None = Field(default=None, description="how hard a document is (curriculum)")
    chat_template: str | None = Field(
        default=None, description="file of a Jinja template of conversations, as in Hugging Face tokenizers"
    )


class TaskSettings(_Settings):
    """One task of several that share a trunk."""

    dataset: str | None = Field(default=None, description="its dataset; by default that of the run")
    objective: ObjectiveSettings = Field(default=CausalSettings(), description="what is learned")
    data: DataSettings = Field(default=DataSettings(), description="its columns")
    weight: float | None = Field(default=None, gt=0, description="share of the steps; by default by its examples")


class OptimizerSettings(_Settings):
    """AdamW (Loshchilov and Hutter 2019), SGD, or Muon (Jordan et al. 2024) for the matrices of the blocks."""

    kind: Literal["adamw", "sgd", "muon"] = Field(
        default="adamw", description="muon: embeddings, heads and vectors are left to adamw"
    )
    learning_rate: float = Field(default=2e-3, gt=0, description="highest learning rate, after the warm-up")
    matrix_learning_rate: float = Field(default=0.02, gt=0, description="highest learning rate of muon's matrices")
    momentum: float = Field(default=0.95, ge=0, lt=1, description="of sgd and muon")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="decay of the mean of the gradients")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="decay of the mean of their squares")
    epsilon: float = Field(default=1e-8, gt=0, description="added to the root of the mean of squares")
    weight_decay: float = Field(default=0.1, ge=0, description="decay of the matrices; norms are left alone")
    clip: float | None = Field(default=1.0, gt=0, description="most that the norm of the gradients may be; null is off")
    average: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay of an exponential moving average of the parameters, which is validated",
    )


class ScheduleSettings(_Settings):
    """The learning rate over the steps."""

    kind: Literal["cosine", "linear", "wsd", "constant"] = Field(
        default="cosine", description="how it falls after the warm-up; wsd: it stays, and falls at the end"
    )
    warmup: int = Field(default=10, ge=0, description="steps over which it rises from zero")
    floor: float = Field(default=0.1, ge=0, le=1, description="share of the highest rate that is left at the last step")
    decay: float = Field(default=0.2, gt=0, le=1, description="share of the steps in which wsd falls")


class ValidationSettings(_Settings):
    """What the model does on the validation split, during training and at its end."""

    every: int = Field(default=50, ge=1, description="steps between two validations")
    sequences: int | None = Field(
        default=256, ge=1, description="sequences used, spread evenly over the split; null is all of them"
    )


class ParallelSettings(_Settings):
    """How processes share the model; what is left of them shards it (FSDP)."""

    replicate: int = Field(default=1, ge=1, description="copies of the sharded model (hybrid sharding)")
    tensor: int = Field(default=1, ge=1, description="processes that share each matrix (tensor parallel; decoders)")


class GuardSettings(_Settings):
    """What happens when loss or gradients are not finite."""

    skip: int = Field(default=2, ge=0, description="steps that are skipped, one after the other, before going back")
    rewind: int = Field(
        default=1, ge=0, description="times to go back to the last checkpoint, and on from there without that data"
    )


class LogSettings(_Settings):
    """Where metrics go besides metrics.jsonl and the terminal."""

    tensorboard: bool = Field(default=False, description="write event files into the run folder's `tensorboard`")
    wandb: str | None = Field(default=None, description="project in Weights & Biases, where it is installed")


class TrainConfig(_Settings):
    """A training run."""

    dataset: str = Field(description="`NAME`, `NAME@TAG` or `NAME@ID-PREFIX` of the version to train on")
    run: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="names the run folder; an interrupted run of this name goes on",
    )
    steps: int = Field(default=200, ge=1, description="optimizer steps")
    checkpoint_every: int = Field(default=50, ge=1, description="steps between two checkpoints; the last step has one")
    checkpoint_async: bool = Field(default=False, description="write checkpoints while training goes on")
    keep_checkpoints: int = Field(default=2, ge=1, description="newest checkpoints that are kept")
    seed: int = Field(default=1, ge=0, lt=1 << 32, description="decides the first weights and the order of the data")
    precision: Literal["fp32", "bf16", "fp8"] = Field(
        default="fp32",
        description="of the computation; parameters, sums and the optimizer are fp32 always; fp8 needs a GPU that has it",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA where there is one")
    processes: int = Field(default=1, ge=1, le=1024, description="processes that share the work on this machine")
    restarts: int = Field(default=0, ge=0, description="times that processes are started again after one has died")
    timeout: float = Field(
        default=600.0, gt=0, description="seconds that a step may take before the run is ended as hung"
    )
    compile: bool = Field(default=False, description="compile each block: slow to begin, then faster")
    recompute: bool = Field(default=False, description="compute activations again instead of keeping them: less memory")
    objective: ObjectiveSettings = Field(default=CausalSettings(), description="what is learned")
    data: DataSettings = DataSettings()
    mixture: dict[str, float] | None = Field(
        default=None,
        min_length=1,
        description="datasets and their shares of the sequences; `dataset` must be among them",
    )
    tasks: dict[str, TaskSettings] | None = Field(
        default=None, min_length=2, description="tasks by name, instead of `objective` and `data`"
    )
    temperature: float = Field(
        default=1.0,
        gt=0,
        description="tasks without weight are drawn by their number of examples to the power 1 / this",
    )
    model: ModelSettings = ModelSettings()
    lora: LoraSettings | None = Field(default=None, description="train adapters only")
    tokenizer: TokenizerSettings = TokenizerSettings()
    batch: BatchSettings = BatchSettings()
    curriculum: CurriculumSettings | None = Field(default=None, description="easy examples first")
    adversarial: AdversarialSettings | None = Field(default=None, description="train against worst-case noise")
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    validation: ValidationSettings = ValidationSettings()
    early_stopping: EarlyStoppingSettings | None = Field(default=None, description="end when validation gets worse")
    guard: GuardSettings = GuardSettings()
    parallel: ParallelSettings = ParallelSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _shares_are_equal(self) -> Self:
        readers = self.processes // self.parallel.tensor
        if self.processes % (self.parallel.tensor * self.parallel.replicate):
            raise ValueError(
                f"processes ({self.processes}) must be a multiple of "
                f"parallel.replicate x parallel.tensor ({self.parallel.replicate} x {self.parallel.tensor})"
            )
        if self.batch.sequences % (readers * self.batch.accumulate):
            raise ValueError(
                f"batch.sequences ({self.batch.sequences}) must be a multiple of "
                f"processes x batch.accumulate ({readers} x {self.batch.accumulate})"
            )
        return self

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        for problem in misfits(self):  # pyright: ignore[reportArgumentType]
            raise ValueError(problem)
        return self


def load_config(path: Path, overrides: Sequence[str] = (), *, processes: int | None = None) -> TrainConfig:
    """Read and check a train.yaml.

    Args:
        path: The file.
        overrides: `key=value` or `block.key=value`, as given with `--set`.
        processes: Replaces the file's, where given.

    Raises:
        CurateError: The file cannot be read, or (as `ConfigurationErrors`) all that is wrong with it.
    """
    from curate.config.validation import validation_errors
    from curate.config.yamlfile import load_yaml, parse_scalar

    located = load_yaml(path)
    if not isinstance(located.value, dict):
        raise CurateError("a training file is a map with `dataset`, `run`, `steps`, ...", located.where())
    given = [*overrides, *([f"processes={processes}"] if processes is not None else [])]
    for number, override in enumerate(given, 1):
        name, equals, text = override.partition("=")
        where = f"--set #{number}" if number <= len(overrides) else "--processes"
        *blocks, key = name.split(".")
        target = located.value
        for block in blocks:
            target = target.setdefault(block, {}) if isinstance(target, dict) else None
        if not equals or not key or not isinstance(target, dict):
            raise CurateError(f"`{override}` is not KEY=VALUE", where, "e.g. --set batch.length=512")
        target[key] = parse_scalar(text, where)
        located.replaced((*blocks, key), where)
    for settings in (located.value, *_blocks(located.value.get("tasks"))):
        _make_absolute(settings, path.parent)
    try:
        return TrainConfig.model_validate(located.value)
    except ValidationError as error:
        found = validation_errors(error, TrainConfig, located, (), "the training file")
        raise ConfigurationErrors(found) from None


_PATHS = (("model", "path"), ("tokenizer", "path"), ("objective", "teacher"), ("data", "chat_template"))


def _blocks(tasks: object) -> list[Any]:
    return list(tasks.values()) if isinstance(tasks, dict) else []


def _make_absolute(settings: Any, folder: Path) -> None:
    """Paths in a file are seen from its folder."""
    for block, key in _PATHS:
        inner = settings.get(block) if isinstance(settings, dict) else None
        if isinstance(inner, dict) and isinstance(inner.get(key), str):
            inner[key] = str((folder / Path(inner[key]).expanduser()).resolve())
