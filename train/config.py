"""train.yaml: a tree of frozen settings, every one with a default but the dataset and the run's name.

The settings decide the weights: with the same dataset version, settings, processes, threads and library versions, the
trained parameters are the same bits. Only the settings of `FREE` may change when an interrupted run goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curate.errors import ConfigurationErrors, CurateError, did_you_mean
from curate.tokenize.tokenizer import TokenizerSettings

__all__ = [
    "FREE",
    "PRESETS",
    "Architecture",
    "BatchSettings",
    "ModelSettings",
    "OptimizerSettings",
    "ScheduleSettings",
    "TrainConfig",
    "ValidationSettings",
    "load_config",
]

FREE = frozenset({"processes", "checkpoint_every", "keep_checkpoints"})
"""Settings that may change between the parts of an interrupted run: they do not say what is computed."""


class Architecture(NamedTuple):
    """Sizes of a decoder.

    Attributes:
        layers: Blocks.
        width: Size of the residual stream.
        heads: Query heads; each has width / heads dimensions.
        key_value_heads: Key and value heads, shared by groups of query heads.
        feed_forward: Hidden size of the gated feed-forward layer.
    """

    layers: int
    width: int
    heads: int
    key_value_heads: int
    feed_forward: int

    def parameters(self, vocabulary: int) -> int:
        """Number of parameters, the tied embedding counted once."""
        head = self.width // self.heads
        attention = 2 * self.width * head * (self.heads + self.key_value_heads)
        block = attention + 3 * self.width * self.feed_forward + 2 * self.width
        return vocabulary * self.width + self.layers * block + self.width


PRESETS = {
    "1m": Architecture(4, 128, 4, 2, 384),
    "3m": Architecture(4, 192, 6, 2, 512),
    "10m": Architecture(4, 384, 6, 2, 1152),
    "30m": Architecture(8, 512, 8, 4, 1536),
    "100m": Architecture(12, 768, 12, 4, 2048),
}
"""Named by their parameters with a vocabulary of a few thousand tokens (100m: 32 thousand)."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSettings(_Settings):
    """The model: a preset, and sizes that replace the preset's."""

    preset: Literal["1m", "3m", "10m", "30m", "100m"] = Field(
        default="10m", description="sizes by name, about the number of parameters"
    )
    layers: int | None = Field(default=None, ge=1, description="blocks")
    width: int | None = Field(default=None, ge=2, description="size of the residual stream")
    heads: int | None = Field(default=None, ge=1, description="query heads")
    key_value_heads: int | None = Field(default=None, ge=1, description="key and value heads; divides `heads`")
    feed_forward: int | None = Field(default=None, ge=1, description="hidden size of the feed-forward layers")
    rope_theta: float = Field(default=10_000.0, gt=1, description="base of the rotary position frequencies")

    @property
    def architecture(self) -> Architecture:
        """The sizes, the preset's where none is given."""
        given = {name: getattr(self, name) for name in Architecture._fields}
        return PRESETS[self.preset]._replace(**{name: size for name, size in given.items() if size is not None})

    @model_validator(mode="after")
    def _divides(self) -> Self:
        sizes = self.architecture
        if sizes.width % (2 * sizes.heads):
            raise ValueError(f"width {sizes.width} must be a multiple of twice the {sizes.heads} heads")
        if sizes.heads % sizes.key_value_heads:
            raise ValueError(f"{sizes.heads} heads must be a multiple of {sizes.key_value_heads} key_value_heads")
        return self


class BatchSettings(_Settings):
    """What one step sees."""

    sequences: int = Field(
        default=16, ge=1, description="sequences in one step, of all processes and accumulated pieces together"
    )
    length: int = Field(default=256, ge=2, description="tokens in a sequence")
    accumulate: int = Field(
        default=1, ge=1, description="pieces that each process cuts its share into, one after the other: less memory"
    )


class OptimizerSettings(_Settings):
    """AdamW."""

    learning_rate: float = Field(default=2e-3, gt=0, description="highest learning rate, after the warm-up")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="decay of the mean of the gradients")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="decay of the mean of their squares")
    epsilon: float = Field(default=1e-8, gt=0, description="added to the root of the mean of squares")
    weight_decay: float = Field(default=0.1, ge=0, description="decay of the matrices; norms are left alone")
    clip: float | None = Field(default=1.0, gt=0, description="most that the norm of the gradients may be; null is off")


class ScheduleSettings(_Settings):
    """The learning rate over the steps."""

    kind: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="how it falls after the warm-up"
    )
    warmup: int = Field(default=10, ge=0, description="steps over which it rises from zero")
    floor: float = Field(default=0.1, ge=0, le=1, description="share of the highest rate that is left at the last step")


class ValidationSettings(_Settings):
    """Bits per byte on the validation split, during training and at its end."""

    every: int = Field(default=50, ge=1, description="steps between two validations")
    sequences: int | None = Field(
        default=256, ge=1, description="sequences used, spread evenly over the split; null is all of them"
    )


class TrainConfig(_Settings):
    """A training run."""

    dataset: str = Field(description="`NAME`, `NAME@TAG` or `NAME@ID-PREFIX` of the version to train on")
    run: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="names the run folder; an interrupted run of this name goes on",
    )
    steps: int = Field(default=200, ge=1, description="optimizer steps")
    checkpoint_every: int = Field(default=50, ge=1, description="steps between two checkpoints; the last step has one")
    keep_checkpoints: int = Field(default=2, ge=1, description="newest checkpoints that are kept")
    seed: int = Field(default=1, ge=0, lt=1 << 32, description="decides the first weights and the order of the data")
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="of the computation; parameters, sums and the optimizer are fp32 always"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA where there is one")
    processes: int = Field(default=1, ge=1, le=1024, description="processes that share the work on this machine")
    model: ModelSettings = ModelSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    batch: BatchSettings = BatchSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    validation: ValidationSettings = ValidationSettings()

    @model_validator(mode="after")
    def _shares_are_equal(self) -> Self:
        pieces = self.processes * self.batch.accumulate
        if self.batch.sequences % pieces:
            raise ValueError(
                f"batch.sequences ({self.batch.sequences}) must be a multiple of "
                f"processes x batch.accumulate ({self.processes} x {self.batch.accumulate})"
            )
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
    from curate.pipeline.validation import validation_errors
    from curate.pipeline.yamlfile import load_yaml, parse_scalar

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
    try:
        return TrainConfig.model_validate(located.value)
    except ValidationError as error:
        found = validation_errors(error, TrainConfig, located, (), "the training file")
        raise ConfigurationErrors([_with_hint(problem, error) for problem in found]) from None


def _with_hint(problem: CurateError, error: ValidationError) -> CurateError:
    """Did-you-mean for a setting inside a block."""
    for detail in error.errors(include_url=False):
        loc = detail["loc"]
        block = TrainConfig.model_fields.get(str(loc[0])) if len(loc) == 2 else None
        if detail["type"] != "extra_forbidden" or block is None or f"`{loc[0]}.{loc[1]}`" not in problem.problem:
            continue
        kind = block.annotation
        known = list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []
        hint = did_you_mean(str(loc[1]), known) or f"it has: {', '.join(known)}"
        return CurateError(problem.problem, problem.where, hint)
    return problem
