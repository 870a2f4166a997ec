"""A training run: a tree of frozen settings, every one with a default but the dataset and the run's name.

The settings decide the weights: with the same dataset version, settings, processes, threads and library versions, the
trained parameters are the same bits. Only the settings of `FREE` may change when an interrupted run goes on. What does not
go together (which models learn what, and which methods exclude each other) is refused here, before anything is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from curate.tokenize.tokenizer import TokenizerSettings
from curate.train.settings.architecture import ModelSettings
from curate.train.settings.blocks import (
    BatchSettings,
    DataSettings,
    GuardSettings,
    LogSettings,
    OptimizerSettings,
    ParallelSettings,
    ScheduleSettings,
    TaskSettings,
    ValidationSettings,
)
from curate.train.settings.methods import (
    AdversarialSettings,
    CausalSettings,
    ClassificationSettings,
    CurriculumSettings,
    EarlyStoppingSettings,
    LoraSettings,
    ObjectiveSettings,
    ReinforcementSettings,
    Settings,
)

__all__ = ["FREE", "TrainConfig"]

FREE = frozenset(
    {"processes", "parallel", "checkpoint_every", "checkpoint_async", "keep_checkpoints", "restarts", "timeout", "log"}
)
"""Settings that may change between the parts of an interrupted run: they do not say what is computed."""


class TrainConfig(Settings):
    """A training run."""

    dataset: str = Field(description="`NAME`, `NAME@TAG` or `NAME@ID-PREFIX` of the version to train on")
    run: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="names the run folder; an interrupted run of this name goes on",
    )
    steps: int = Field(default=200, ge=1, description="optimizer steps")
    epochs: float | None = Field(
        default=None,
        gt=0,
        description="passes over the train split instead of `steps`, which are counted from the data",
    )
    checkpoint_every: int = Field(default=50, ge=1, description="steps between two checkpoints; the last step has one")
    checkpoint_async: bool = Field(default=False, description="write checkpoints while training goes on")
    keep_checkpoints: int = Field(default=2, ge=1, description="newest checkpoints that are kept")
    seed: int = Field(default=1, ge=0, lt=1 << 32, description="decides the first weights and the order of the data")
    precision: Literal["fp32", "bf16", "fp8"] = Field(
        default="fp32",
        description="of the computation, by default bf16 on CUDA devices that have it; parameters, sums and the optimizer "
        "are fp32 always; fp8 needs a GPU that has it",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA where there is one")
    processes: int = Field(default=1, ge=1, le=1024, description="processes that share the work on this machine")
    restarts: int = Field(default=0, ge=0, description="times that processes are started again after one has died")
    timeout: float = Field(
        default=600.0,
        gt=0,
        description="seconds that a step, or a batch of validation, may take: then the run has hung",
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

    @model_validator(mode="before")
    @classmethod
    def _rate_by_what_is_trained(cls, given: Any) -> Any:
        """A learning rate where none is given: one that suits a new model ruins one that has learned already."""
        optimizer = given.get("optimizer") or {} if isinstance(given, dict) else None
        if not isinstance(optimizer, dict) or "learning_rate" in optimizer:
            return given
        rate = _default_rate(given)
        return given if rate is None else {**given, "optimizer": {**optimizer, "learning_rate": rate}}

    @model_validator(mode="before")
    @classmethod
    def _one_end(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("epochs") is not None and "steps" in given:
            raise ValueError("`steps` and `epochs` both say when a run ends: leave one of them out")
        return given

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
        parts = getattr(self.objective, "minibatches", 1)
        if self.batch.sequences % (readers * self.batch.accumulate * parts):
            raise ValueError(
                f"batch.sequences ({self.batch.sequences}) must be a multiple of processes x batch.accumulate x "
                f"objective.minibatches ({readers} x {self.batch.accumulate} x {parts})"
            )
        return self

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        for problem in _misfits(self):
            raise ValueError(problem)
        return self


# ---- defaults

_FINE_TUNING = {"preference": 5e-7, "kto": 1e-6, "orpo": 8e-6, "reinforcement": 1e-6, "reward": 1e-5}
"""Learning rates of objectives, and of methods that differ from theirs, for a model that has learned already; 2e-5 of
others, and ten times that with adapters. Those of the papers (dpo, ipo, simpo, orpo), of trl (kto) and of Llama 2 (reward)."""


def _default_rate(given: dict[str, Any]) -> float | None:
    """The learning rate for a model to begin with, or for adapters; None for what is trained from scratch."""
    model, objective = _values(given.get("model")), _values(given.get("objective"))
    if not model.get("path") or model.get("kind") in ("lstm", "cnn"):
        return None
    kind, method = objective.get("kind", ""), objective.get("method", "")
    rate = _FINE_TUNING.get(method if kind == "preference" else "") or _FINE_TUNING.get(kind, 2e-5)
    return rate * 10 if given.get("lora") is not None else rate


def _values(block: Any) -> dict[str, Any]:
    if isinstance(block, BaseModel):
        return block.model_dump()
    return block if isinstance(block, dict) else {}


# ---- what goes together

_STEPWISE = frozenset({"decoder", "lstm", "pretrained"})
_MODELS = {
    "causal": _STEPWISE,
    "masked": frozenset({"encoder"}),
    "multi_token": frozenset({"decoder"}),
    "seq2seq": frozenset({"encoder_decoder"}),
    "classification": frozenset({"decoder", "encoder", "lstm", "cnn", "mlp", "pretrained"}),
    "token_classification": frozenset({"decoder", "encoder", "lstm", "pretrained"}),
    "sft": _STEPWISE,
    "preference": _STEPWISE,
    "reward": frozenset({"decoder", "lstm"}),
    "reinforcement": frozenset({"decoder", "lstm"}),
    "distillation": frozenset({"decoder", "lstm"}),
}
_STREAMS = frozenset({"causal", "masked", "multi_token", "distillation"})
"""Objectives that read a split as one stream of tokens."""
_SHARED = frozenset({"causal", "masked", "seq2seq", "classification", "token_classification"})
"""Objectives that may share a trunk."""
_NOISY = frozenset({"causal", "masked", "seq2seq", "classification", "token_classification", "sft"})
"""Objectives that can be trained on worst-case noise: others have several forward passes, or none of their own."""


def _misfits(config: TrainConfig) -> Iterator[str]:
    """What in the settings does not go together, each a sentence."""
    named = config.tasks or {"": config}
    kinds = {task.objective.kind for task in named.values()}
    model = config.model.kind
    for kind in sorted(kinds):
        if model not in _MODELS[kind]:
            yield f"the objective `{kind}` needs a model of the kind {_either(_MODELS[kind])}, not {model}"
    yield from _tasks(config, kinds)
    yield from _methods(config, kinds)
    yield from _features(config, kinds)
    yield from _curriculum(config, kinds)


def _either(kinds: frozenset[str]) -> str:
    *some, last = sorted(kinds)
    return f"{', '.join(some)} or {last}" if some else last


def _tasks(config: TrainConfig, kinds: set[str]) -> Iterator[str]:
    if config.tasks and (alone := kinds - _SHARED):
        yield f"`{min(alone)}` shares its model with no other task"
    if config.tasks and len({task.weight is None for task in config.tasks.values()}) > 1:
        yield "`weight` must be given for all of the `tasks`, or for none of them"
    if config.tasks and config.mixture:
        yield "`tasks` have their own datasets: leave out `mixture`"
    if config.mixture and config.dataset not in config.mixture:
        yield f"`mixture` must name `{config.dataset}` too, which is the dataset of the run"
    if config.mixture and min(config.mixture.values()) <= 0:
        yield "shares in `mixture` must be greater than 0"


def _methods(config: TrainConfig, kinds: set[str]) -> Iterator[str]:
    if config.adversarial and (quiet := kinds - _NOISY):
        yield f"`adversarial` does not go with the objective `{min(quiet)}`"
    if config.model.kind == "pretrained" and "causal" in kinds and config.batch.document_mask:
        yield "a `pretrained` model sees the whole row: set `batch.document_mask: false`"
    if config.parallel.tensor > 1 and config.model.kind != "decoder":
        yield "`parallel.tensor` splits decoders only"
    for task in (config.tasks or {"": config}).values():
        paired = getattr(task.objective, "paired", None)
        if task.data.margin and not (task.objective.kind == "reward" and paired):
            yield "`data.margin` is read by the objective `reward` with `method: bradley_terry`"
        if task.data.positive and paired is not False and not _one_label(task):
            yield (
                "`data.positive` is read by `method: kto` of preferences, `method: outcome` of rewards, and, a single label, "
                "by `classification`"
            )
    if config.model.bidirectional and config.model.kind != "lstm":
        yield "`model.bidirectional` is of the kind lstm only"
    if config.model.bidirectional and kinds - {"classification", "token_classification"}:
        yield f"a `bidirectional` model sees what comes after: it cannot learn `{min(kinds)}`"
    if config.precision == "fp8" and config.lora:
        yield "`lora` does not go with `precision: fp8`, which leaves adapters out"
    if config.optimizer.kind == "muon" and config.lora:
        yield "`lora` does not go with `optimizer.kind: muon`, which would make each adapter's factors orthogonal: take adamw"
    limits = config.objective.reward_limits if isinstance(config.objective, ReinforcementSettings) else None
    if config.parallel.tensor > 1 and limits and limits.failed != "error":
        yield "`reward_limits.failed` does not go with `parallel.tensor`: one of those that share a batch may fail alone"
    if config.parallel.tensor > 1 and config.lora:
        yield "`lora` does not go with `parallel.tensor`"
    if config.epochs and (config.tasks or config.mixture):
        yield "`epochs` are passes over one dataset: with `tasks` or `mixture` give `steps`"
    if config.lora and config.lora.base == "nf4":
        if config.model.path is None:
            yield "`lora.base: nf4` needs a model that has learned: `model.path`"
        if config.compile:
            yield "`lora.base: nf4` does not go with `compile`"
    if config.lora and config.lora.path:
        yield from _adapter_files(config, kinds)
    if config.early_stopping and config.epochs is None and config.validation.every > config.steps:
        yield f"`early_stopping` needs validations: `validation.every` is more than the {config.steps} steps"


def _features(config: TrainConfig, kinds: set[str]) -> Iterator[str]:
    """What does not go with the numbers of a table."""
    alone = config.model.kind == "mlp"
    if alone and config.data.features is None:
        yield "a model of the kind mlp reads numbers: name their column, `data.features` (`{stage: table_features}` makes one)"
    if alone and (config.adversarial or config.lora or config.data.second):
        yield "a model of the kind mlp reads no text: leave out `adversarial`, `lora` and `data.second`"
    given = any(task.data.features for task in (config.tasks or {"": config}).values())
    if given and kinds != {"classification"}:
        yield "`data.features` is read by the objective `classification` alone"
    if (given or alone) and (config.tasks or config.mixture):
        yield "`data.features` does not go with `tasks` or `mixture`: their tables need not be alike"


def _adapter_files(config: TrainConfig, kinds: set[str]) -> Iterator[str]:
    if config.model.path is None:
        yield "`lora.path` needs the model that its adapters were made for: `model.path`"
    if config.model.kind == "pretrained":
        yield "`lora.path` does not go with a `pretrained` model, whose adapters are not read"
    if labelled := kinds & {"classification", "token_classification"}:
        yield f"`lora.path` does not go with the objective `{min(labelled)}`: files of adapters do not name classes"


def _one_label(task: TrainConfig | TaskSettings) -> bool:
    """It tells classes apart, and one label is the positive one."""
    objective = task.objective
    labels = isinstance(objective, ClassificationSettings) and not objective.regression
    return labels and len(task.data.positive or ()) == 1


def _curriculum(config: TrainConfig, kinds: set[str]) -> Iterator[str]:
    settings = config.curriculum
    if settings is None:
        return
    if config.tasks or config.mixture:
        yield "`curriculum` does not go with `tasks` or `mixture`"
    if settings.difficulty and config.data.difficulty is None:
        yield "`curriculum.difficulty` needs the name of the column, `data.difficulty`"
    if settings.lengths and kinds - _STREAMS:
        yield f"`curriculum.lengths` does not go with the objective `{min(kinds)}`, whose examples are not cut"
    for length in settings.lengths:
        if length < 1 or config.batch.length % length:
            yield f"the length {length} in `curriculum.lengths` must divide `batch.length`, {config.batch.length}"
    if not settings.difficulty and not settings.lengths:
        yield "`curriculum` needs `difficulty: true` or `lengths`"
