"""The points of a sweep: every combination of some values (a grid), or as many as asked for, drawn by a seed (random search).

    optimizer.learning_rate=1e-3,2e-3        values, as YAML reads a list of them
    optimizer.learning_rate=1e-4..1e-2       a range, drawn from evenly on a logarithmic scale (with `--random`)
    mixture.books=0.2,0.5                    a share of a mixture: only proportions count, as in the training file

Few settings out of many matter, and a random search tries more values of each than a grid does (Bergstra and Bengio 2012).
"""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.config.yamlfile import parse_scalar
from curate.errors import ConfigurationErrors, CurateError
from curate.train.settings.config import FREE, TrainConfig
from curate.train.settings.file import load_config

__all__ = ["BASE", "Point", "points_of"]

BASE = "as in the file"
"""Name of the point that changes nothing."""
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({NUMBER})\.\.({NUMBER})")
_DIGITS = 3
"""Of numbers that are drawn."""
_APART = {
    "run": "the sweep names its runs", "seed": "--seeds says how many there are", "tasks": "a sweep is of one task",
    "dataset": "`curate ablate` compares data", "data": "`curate ablate` compares data",
    "validation": "it changes nothing that is learned",
}  # fmt: skip
"""What is not varied, and why."""


@dataclass(frozen=True, slots=True)
class Point:
    """Settings to try.

    Attributes:
        name: What results call it: its changes.
        changes: Values by setting.
        config: The training file with them.
    """

    name: str
    changes: Mapping[str, Any]
    config: TrainConfig

    @property
    def overrides(self) -> list[str]:
        """The changes as `curate train --set` takes them."""
        return _written(self.changes)

    @property
    def shares(self) -> dict[str, float] | None:
        """What the proportions of its mixture come to; None without a mixture."""
        mixture = self.config.mixture
        return mixture and {name: share / sum(mixture.values()) for name, share in mixture.items()}


def points_of(
    path: Path, over: Sequence[str], overrides: Sequence[str] = (), *, draws: int | None = None, seed: int = 1
) -> list[Point]:
    """The file's own settings, and those to try, all of them checked.

    Args:
        path: The training file.
        over: `setting=value,value` or `setting=low..high`.
        overrides: Changes of the file, for all points.
        draws: How many combinations are drawn; None: all are tried.
        seed: Of the draws.

    Raises:
        CurateError: Nothing is varied, an axis cannot be read, or the settings of a point do not go together.
    """
    if not over:
        raise CurateError("nothing is varied", "--over", "e.g. --over optimizer.learning_rate=1e-3,2e-3,4e-3")
    axes = dict(_axis(text, f"--over #{number}") for number, text in enumerate(over, 1))
    if len(axes) < len(over):
        raise CurateError("a setting is varied twice", "--over", "name its values in one --over, with commas")
    base = load_config(path, overrides)
    if base.epochs is not None:
        raise CurateError("a sweep compares runs of so many `steps`, not `epochs`", str(path), "give `steps`")
    found = {_decides(base): Point(BASE, {}, base)}
    for changes in _combinations(axes, draws, seed):
        name = ", ".join(f"{key}={_shown(value)}" for key, value in changes.items())
        config = _config(path, [*overrides, *_written(changes)], name)
        found.setdefault(_decides(config), Point(name, changes, config))
    if len(found) < 2:
        raise CurateError("all points are what the file says", "--over", "name other values than the file's own")
    return list(found.values())


def _decides(config: TrainConfig) -> str:
    return config.model_dump_json(exclude={"run", "seed", *FREE})


def _written(changes: Mapping[str, Any]) -> list[str]:
    return [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in changes.items()]


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _config(path: Path, overrides: Sequence[str], name: str) -> TrainConfig:
    try:
        return load_config(path, overrides)
    except CurateError as error:
        first = error.errors[0] if isinstance(error, ConfigurationErrors) else error
        raise CurateError(f"{name}: {first.problem}", "--over", first.hint) from None


# ---- axes

_Draw = Callable[[random.Random], Any]


def _axis(text: str, where: str) -> tuple[str, list[Any] | _Draw]:
    name, equals, said = text.partition("=")
    if not equals or not name or not said.strip():
        raise CurateError(f"`{text}` is not SETTING=VALUES", where, "e.g. --over optimizer.learning_rate=1e-3,2e-3")
    block = name.partition(".")[0]
    if block in _APART or block in FREE:
        raise CurateError(f"`{name}` is not varied", where, _APART.get(block, "it changes nothing that is learned"))
    if limits := _RANGE.fullmatch(said.strip()):
        return name, _range(limits[1], limits[2], where)
    values = parse_scalar(f"[{said}]", where)
    return name, list({json.dumps(value): value for value in values}.values())


def _range(first: str, last: str, where: str) -> _Draw:
    low, high = float(first), float(last)
    if not 0 < low < high:
        raise CurateError(
            f"a range goes from a number above 0 to a greater one, not from {first} to {last}", where,
            "it is drawn from on a logarithmic scale; name values with commas instead",
        )  # fmt: skip
    whole = first.isdigit() and last.isdigit()

    def draw(source: random.Random) -> float:
        value = math.exp(source.uniform(math.log(low), math.log(high)))
        return min(max(round(value), int(low)), int(high)) if whole else float(f"{value:.{_DIGITS}g}")

    return draw


def _combinations(axes: Mapping[str, list[Any] | _Draw], draws: int | None, seed: int) -> list[dict[str, Any]]:
    listed = {name: values for name, values in axes.items() if isinstance(values, list)}
    source = random.Random(seed)  # noqa: S311 - no secret
    if len(listed) == len(axes):
        grid = [dict(zip(listed, values, strict=True)) for values in itertools.product(*listed.values())]
        return grid if draws is None or draws >= len(grid) else source.sample(grid, draws)
    if draws is None:
        name = next(name for name in axes if name not in listed)
        raise CurateError(f"`{name}` is a range", "--over", "--random N draws from it; or name values, with commas")
    return [
        {name: source.choice(values) if isinstance(values, list) else values(source) for name, values in axes.items()}
        for _ in range(draws)
    ]
