"""train.yaml: read, overridden, checked; what is wrong with it is told with its place in the file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from curate.errors import ConfigurationErrors, CurateError
from curate.train.settings.config import TrainConfig
from curate.train.settings.rewards import MODEL

__all__ = ["load_config", "store_of"]


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


_PATHS = (
    ("model", "path"),
    ("tokenizer", "path"),
    ("lora", "path"),
    ("objective", "teacher"),
    ("data", "chat_template"),
)


def _blocks(tasks: object) -> list[Any]:
    return list(tasks.values()) if isinstance(tasks, dict) else []


def _make_absolute(settings: Any, folder: Path) -> None:
    """Paths in a file are seen from its folder."""
    for block, key in _PATHS:
        inner = settings.get(block) if isinstance(settings, dict) else None
        if isinstance(inner, dict) and isinstance(inner.get(key), str):
            inner[key] = _absolute(inner[key], folder)
    objective = settings.get("objective") if isinstance(settings, dict) else None
    if isinstance(objective, dict):
        rewards = objective.get("rewards")
        for entry in (objective, *(rewards if isinstance(rewards, list) else ())):
            _make_reward_absolute(entry, folder)


def _make_reward_absolute(entry: Any, folder: Path) -> None:
    """`reward: model:FOLDER`, or `{reward: model, path: FOLDER}`."""
    reward = entry.get("reward") if isinstance(entry, dict) else None
    if isinstance(reward, str) and reward.startswith(MODEL):
        entry["reward"] = MODEL + _absolute(reward.removeprefix(MODEL), folder)
    elif reward == "model" and isinstance(entry.get("path"), str):
        entry["path"] = _absolute(entry["path"], folder)


def _absolute(path: str, folder: Path) -> str:
    return str((folder / Path(path).expanduser()).resolve())


def store_of(path: Path, store: str | None) -> str:
    """The store that a training file reads: the option, then `CURATE_STORE`, then `.curate` beside the file."""
    return store or os.environ.get("CURATE_STORE") or str(path.parent / ".curate")
