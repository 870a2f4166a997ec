"""The answer to `curate train --plan`: from a training file, its dataset and a budget to a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.dataset.reader import open_dataset
from curate.errors import CurateError
from curate.train.planner.budget import Data, compute_of, find_data, given_vocabulary
from curate.train.planner.plan import plan_run
from curate.train.settings.config import TrainConfig
from curate.train.settings.file import load_config, store_of

__all__ = ["train_plan"]


def train_plan(
    path: Path,
    *,
    overrides: list[str],
    processes: int | None = None,
    store: str | None = None,
    tokens: float | None = None,
    preset: str | None = None,
    **budget: Any,
) -> dict[str, Any]:
    """The plan for a training file; returns what `--json` prints. The budget is what `compute_of` takes.

    Raises:
        CurateError: The file is wrong, options contradict each other, or there is nothing to plan from.
    """
    config = load_config(path, overrides, processes=processes)
    compute = compute_of(**budget)
    enough = compute.flop is not None or compute.hours is not None or preset is not None
    data, missing = _data(config, tokens, store_of(path, store), enough)
    plan = plan_run(config, data, compute, preset=preset)
    notes = plan["notes"] if missing is None else [missing, *plan["notes"]]
    return {**plan, "file": str(path), "notes": notes}


def _data(config: TrainConfig, tokens: float | None, store: str, budget: bool) -> tuple[Data, str | None]:
    """The text there is; and, where the dataset is missing but not needed, what is to be said of it."""
    vocabulary = given_vocabulary(config)
    if tokens is not None:
        return Data(unique_tokens=tokens, source="given", vocabulary=vocabulary), None
    try:
        return find_data(config, lambda name: open_dataset(name, store)), None
    except CurateError as error:
        if not budget:
            hint = error.hint or "--tokens N plans without the dataset"
            raise CurateError(error.problem, error.where, hint) from None
        return Data(
            vocabulary=vocabulary
        ), f"{error.problem}: planned as if there were as much text as wanted (see --tokens)"
