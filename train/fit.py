"""Which models learn what, and which methods go together: what `curate train` refuses before it begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from curate.train.config import TrainConfig

__all__ = ["misfits"]

_STEPWISE = frozenset({"decoder", "lstm", "pretrained"})
_MODELS = {
    "causal": _STEPWISE,
    "masked": frozenset({"encoder"}),
    "multi_token": frozenset({"decoder"}),
    "seq2seq": frozenset({"encoder_decoder"}),
    "classification": frozenset({"decoder", "encoder", "lstm", "cnn", "pretrained"}),
    "token_classification": frozenset({"decoder", "encoder", "lstm", "pretrained"}),
    "sft": _STEPWISE,
    "preference": _STEPWISE,
    "reinforcement": frozenset({"decoder", "lstm"}),
    "distillation": frozenset({"decoder", "lstm"}),
}
_STREAMS = frozenset({"causal", "masked", "multi_token", "distillation"})
"""Objectives that read a split as one stream of tokens."""
_SHARED = frozenset({"causal", "masked", "seq2seq", "classification", "token_classification"})
"""Objectives that may share a trunk."""
_NOISY = frozenset({"causal", "masked", "seq2seq", "classification", "token_classification", "sft"})
"""Objectives that can be trained on worst-case noise: others have several forward passes, or none of their own."""


def misfits(config: TrainConfig) -> Iterator[str]:
    """What in the settings does not go together, each a sentence."""
    named = config.tasks or {"": config}
    kinds = {task.objective.kind for task in named.values()}
    model = config.model.kind
    for kind in sorted(kinds):
        if model not in _MODELS[kind]:
            yield f"the objective `{kind}` needs a model of the kind {_either(_MODELS[kind])}, not {model}"
    yield from _tasks(config, kinds)
    yield from _methods(config, kinds)
    yield from _curriculum(config, kinds)


def _either(kinds: frozenset[str]) -> str:
    *some, last = sorted(kinds)
    return f"{', '.join(some)} or {last}" if some else last


def _tasks(config: TrainConfig, kinds: set[str]) -> Iterator[str]:
    if config.tasks and (alone := kinds - _SHARED):
        yield f"`{min(alone)}` shares its model with no other task"
    if config.tasks and config.mixture:
        yield "`tasks` have their own datasets: leave out `mixture`"
    if config.mixture and config.dataset not in config.mixture:
        yield f"`mixture` must name `{config.dataset}` too, which is the dataset of the run"
    if config.mixture and min(config.mixture.values()) <= 0:
        yield "shares in `mixture` must be greater than 0"


def _methods(config: TrainConfig, kinds: set[str]) -> Iterator[str]:
    if config.adversarial and (quiet := kinds - _NOISY):
        yield f"`adversarial` does not go with the objective `{min(quiet)}`"
    if config.model.kind == "pretrained" and kinds & {"causal", "sft"} and config.batch.document_mask:
        yield "a `pretrained` model sees the whole row: set `batch.document_mask: false`"
    if config.parallel.tensor > 1 and config.model.kind != "decoder":
        yield "`parallel.tensor` splits decoders only"
    if config.model.bidirectional and config.model.kind != "lstm":
        yield "`model.bidirectional` is of the kind lstm only"
    if config.model.bidirectional and kinds - {"classification", "token_classification"}:
        yield f"a `bidirectional` model sees what comes after: it cannot learn `{min(kinds)}`"
    if config.precision == "fp8" and config.lora:
        yield "`lora` does not go with `precision: fp8`, which leaves adapters out"
    if config.parallel.tensor > 1 and config.lora:
        yield "`lora` does not go with `parallel.tensor`"
    if config.early_stopping and config.validation.every > config.steps:
        yield f"`early_stopping` needs validations: `validation.every` is more than the {config.steps} steps"


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
