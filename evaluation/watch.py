"""Evaluation while a model is trained (`curate train --eval`): the same tasks, facts and metrics, on the model of the moment.

Language models of one dataset that holds out text also have a `gap`: bits per byte of a fixed sample of held-out passages less
that of as many of the training (memorization.py). A model overfits where the interval of the gap is above 0 and the gap has
grown at each of the last three evaluations. Steps, learning rate and seed of the training are not touched, nor its weights.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from curate.dataset.reader import open_dataset
from curate.errors import CurateError
from curate.evaluation.asking import measured, whole
from curate.evaluation.memorization import Passage, gap, held_out, passages
from curate.evaluation.metrics import measures
from curate.evaluation.models.headed import HEADS, HeadedModel, headed_of
from curate.evaluation.models.ours import TrunkModel, trunk_of
from curate.evaluation.run import read_tasks
from curate.evaluation.tasks.settings import TaskSettings
from curate.train.settings.config import TrainConfig
from curate.train.weights.export import Trained

__all__ = ["GROWN", "Evaluations", "overfitting"]

GROWN = 3
"""Evaluations in a row at which the gap grew."""
PASSAGES = 100
_READ_AS_TEXT = ("causal", "multi_token", "distillation")


class Evaluations:
    """Measures the tasks every so many steps; see `curate.train.runs.watch.Watch`.

    Args:
        config: The run's settings.
        store: Where versions are.
        tasks: What is asked.
        every: Steps between two evaluations.

    Raises:
        CurateError: Data of a task is not there, or the run has a model that cannot be asked.
    """

    def __init__(self, config: TrainConfig, store: str, tasks: Sequence[TaskSettings], *, every: int) -> None:
        if config.tasks or config.model.kind == "pretrained" or config.objective.kind == "masked":
            what = (
                "several tasks" if config.tasks else f"`{config.model.kind}` models, learning `{config.objective.kind}`"
            )
            raise CurateError(f"runs of {what} are not evaluated", "--eval")
        self.run, self.every = config.run, every
        self.read = read_tasks(tasks, store)
        self.told = False
        self.samples = _samples(config, store)

    def measure(self, trained: Trained, before: Sequence[dict[str, Any]], beat: Callable[[], None]) -> dict[str, Any]:
        """What is added to the record of the step: `evaluation`, and `gap` where there is one."""
        model = self._model(trained)
        model.progress = lambda share: beat()
        found: dict[str, Any] = {"evaluation": {}}
        for task, every in self.read:
            beat()
            rows = whole(task, every, model)
            if rows.left_out and not self.told:
                self._say(
                    f"{task.name}: {rows.left_out:,} rows have nothing in a column that is read, and are left out"
                )
            facts = measured(task, rows, model)
            found["evaluation"][task.name] = {name: one.json() for name, one in measures(facts).items()}
        self.told = True
        if self.samples and isinstance(model, TrunkModel):
            beat()
            found["gap"] = gap(model, *self.samples).json()
            self._tell(before, found)
        return found

    def _model(self, trained: Trained) -> TrunkModel | HeadedModel:
        headed = trained.config.objective.kind in HEADS
        return headed_of(trained, self.run, "") if headed else trunk_of(trained, self.run, "")

    def _tell(self, before: Sequence[dict[str, Any]], found: dict[str, Any]) -> None:
        step = max((record["step"] for record in before), default=0) + 1
        over = overfitting([*before, {**found, "step": step}])
        if over and over["since_step"] == step:
            one = over["gap"]
            self._say(
                f"overfitting: text of the training costs {one['value']:.3f} bits per byte less than text "
                f"that was held out (95% interval {one['low']:.3f} to {one['high']:.3f}), and the gap grows"
            )

    def _say(self, words: str) -> None:
        sys.stderr.write(f"train {self.run}: {words}\n")

    def summary(self, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """What is added to the result: the last evaluation, and since when the model overfits."""
        last = next((record["evaluation"] for record in reversed(records) if "evaluation" in record), {})
        over = overfitting(records)
        return {"evaluation": last, **({"overfitting": over} if over else {})}


def overfitting(records: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Since which step a model overfits, and its last gap; None where it does not, or no more."""
    gaps = [(record["step"], record["gap"]) for record in records if "gap" in record]
    since = None
    for number, (step, one) in enumerate(gaps):
        if one["low"] is None or one["low"] <= 0:
            since = None
            continue
        values = [some["value"] for _, some in gaps[max(number - GROWN, 0) : number + 1]]
        grew = len(values) > GROWN and None not in values and all(a < b for a, b in pairwise(values))
        if since is None and grew:
            since = step
    return None if since is None else {"since_step": since, "gap": gaps[-1][1]}


def _samples(config: TrainConfig, store: str) -> tuple[list[Passage], list[Passage]] | None:
    """Passages of the training and as many held-out ones; None where a model has no such text."""
    if config.mixture or config.objective.kind not in _READ_AS_TEXT:
        return None
    dataset = open_dataset(config.dataset, store)
    if not dataset.splits.get("validation"):
        return None
    count = min(PASSAGES, dataset.splits["train"], dataset.splits[held_out(dataset)])
    train, held = (passages(dataset, split, config.data.text, count) for split in ("train", "validation"))
    return train, held
