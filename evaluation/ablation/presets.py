"""How models are trained in ablations: one recipe for each size of machine, and what may be changed in it.

| preset | model | tokens | for |
|---|---|---|---|
| xs | 0.4 million parameters | 200 thousand | 2 CPU cores: minutes |
| s | 10 million | 100 million | one GPU |
| m | 124 million | 3 billion | a machine with several GPUs (`--processes`) |

All have a warm-up, a cosine and clipped gradients: without, the spread over seeds of a small model hides what data does. The
steps of `xs` are small, so that there are many: after 195 steps of 1,024 tokens a model knows little more than frequencies, and
found text with 30% notices of web sites the better one; after 781 of 256 it is the worse one (benchmarks/LOG.md).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from curate.config.yamlfile import Located, parse_scalar
from curate.errors import ConfigurationErrors, CurateError
from curate.train.settings.config import TrainConfig

__all__ = ["PRESETS", "checked", "recipe", "tokens_of", "training"]

Settings = dict[str, Any]
Places = dict[tuple[str | int, ...], tuple[str, int, int]]
"""Where a setting stands, by its path."""
CHECKS = 10
"""Validations of a run."""

PRESETS: dict[str, Settings] = {
    "xs": {
        "tokens": 200_000, "limit": 100,
        "model": {"preset": "1m", "layers": 2, "width": 96, "heads": 3, "key_value_heads": 3, "feed_forward": 256},
        "tokenizer": {"vocabulary": 2048},
        "batch": {"sequences": 4, "length": 64},
        "optimizer": {"learning_rate": 4e-3},
        "schedule": {"warmup": 20},
        "validation": {"sequences": 64},
    },
    "s": {
        "tokens": 100_000_000, "limit": 1000, "precision": "bf16",
        "model": {"preset": "10m"},
        "tokenizer": {"vocabulary": 8192},
        "batch": {"sequences": 64, "length": 512},
        "optimizer": {"learning_rate": 2e-3},
        "schedule": {"warmup": 150},
    },
    "m": {
        "tokens": 3_000_000_000, "limit": 5000, "precision": "bf16",
        "model": {"preset": "124m"},
        "tokenizer": {"vocabulary": 32_768},
        "batch": {"sequences": 512, "length": 1024},
        "optimizer": {"learning_rate": 6e-4},
        "schedule": {"warmup": 300},
    },
}  # fmt: skip
FIXED = ("dataset", "run", "seed", "steps", "epochs", "mixture", "tasks", "objective", "data")
"""What an ablation sets itself."""


def recipe(preset: str, overrides: Sequence[str] = (), *, processes: int | None = None) -> Settings:
    """What all arms share of a training file, with the preset's `tokens` and `limit` (documents of a held-out set).

    Args:
        preset: One of `PRESETS`.
        overrides: `key=value` or `block.key=value`, as `curate train --set` takes them; also `tokens` and `limit`.
        processes: Of each training.

    Raises:
        CurateError: There is no such preset, or an override cannot be read, is of what an ablation sets itself, or does
            not fit, such as sizes of a model that do not divide.
    """
    if preset not in PRESETS:
        raise CurateError(f"there is no preset `{preset}`", "--preset", f"there are: {', '.join(PRESETS)}")
    found, places = copy.deepcopy(PRESETS[preset]), Places()
    for number, override in enumerate(overrides, 1):
        where = f"--set #{number}"
        name, equals, text = override.partition("=")
        *blocks, key = name.split(".")
        target: Any = found
        for block in blocks:
            target = target.setdefault(block, {}) if isinstance(target, dict) else None
        if not equals or not key or not isinstance(target, dict):
            raise CurateError(f"`{override}` is not KEY=VALUE", where, "e.g. --set batch.length=512")
        if name.split(".")[0] in FIXED:
            raise CurateError(f"`{name}` is the same for all arms, or what tells them apart", where, "leave it out")
        target[key] = parse_scalar(text, where)
        places[(*blocks, key)] = (where, 0, 0)
    for key in ("tokens", "limit"):
        if isinstance(found[key], bool) or not isinstance(found[key], int | float) or found[key] < 1:
            raise CurateError(f"`{key}` is a number above 0, not {found[key]!r}", places[(key,)][0], f"e.g. {key}=1000")
    checked({"dataset": "data", "steps": 1_000_000, **_shared(found)}, places, processes=processes)
    return found


def checked(settings: Settings, places: Places | None = None, *, processes: int | None = None) -> TrainConfig:
    """Settings of one run as a training file has them, checked as `curate train` checks them.

    Args:
        settings: Without the name of the run.
        places: What was overridden, and where.
        processes: Instead of those of the settings.

    Raises:
        CurateError: All that is wrong with them.
    """
    from curate.config.validation import validation_errors

    whole = {**settings, "run": "ablation", **({"processes": processes} if processes else {})}
    try:
        return TrainConfig.model_validate(whole)
    except ValidationError as error:
        located = Located(whole, "--set", {(): ("--set", 0, 0), **(places or {})})
        raise ConfigurationErrors(validation_errors(error, TrainConfig, located, (), "the recipe")) from None


def tokens_of(settings: Settings) -> int:
    """Tokens of a step."""
    return settings["batch"]["sequences"] * settings["batch"]["length"]


def training(
    settings: Settings, dataset: str, *, column: str, tokenizer: Path, steps: int, seed: int, last: int = 1
) -> Settings:
    """The training file of one run, without the run's name; `last` checkpoints of it stay, with as many checks between them.

    Raises:
        CurateError: It is too short for so many.
    """
    if last > steps:
        raise CurateError(f"a training of {steps} steps has no {last} checkpoints to take the mean of", "--last")
    every = max(1, steps // CHECKS)
    return {
        "dataset": dataset, "seed": seed, "steps": steps,
        "checkpoint_every": every if last > 1 else max(every, 50),
        **_shared(settings),
        "keep_checkpoints": max(last, settings.get("keep_checkpoints", 1)),
        "tokenizer": {"path": str(tokenizer.resolve())},
        "schedule": {"kind": "cosine", **settings.get("schedule", {}), "warmup": _warmup(settings, steps)},
        "validation": {"every": every, **settings.get("validation", {})},
        **({"data": {"text": column}} if column != "text" else {}),
    }  # fmt: skip


def _shared(settings: Settings) -> Settings:
    return {key: value for key, value in settings.items() if key not in ("tokens", "limit")}


def _warmup(settings: Settings, steps: int) -> int:
    """At most a tenth of the steps, where few tokens are asked for."""
    return min(settings.get("schedule", {}).get("warmup", 10), max(1, steps // 10))
