"""Several objectives on one trunk (Caruana 1997): a step belongs to one of them, which its batch names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from curate.train.data.batch import TASK, Batch
from curate.train.objectives.contract import Loss, Objective

__all__ = ["MultiTask"]


class MultiTask(Objective):
    """Hands every batch to its task's objective.

    Args:
        trunk: Shared by all of them.
        objectives: By the tasks' names, in the order of their numbers.
    """

    def __init__(self, trunk: nn.Module, objectives: dict[str, Objective]) -> None:
        super().__init__()
        self.model = trunk
        self.tasks = nn.ModuleDict(objectives)
        self.objectives = list(objectives.values())

    def _of(self, batch: Batch) -> tuple[Objective, Batch]:
        rest = {name: values for name, values in batch.items() if name != TASK}
        return self.objectives[int(batch[TASK][0])], rest

    def forward(self, batch: Batch) -> Loss:
        """The loss of the batch's task."""
        objective, rest = self._of(batch)
        return objective(rest)

    def size(self, batch: Batch) -> float:
        """The size by the batch's task."""
        objective, rest = self._of(batch)
        return objective.size(rest)

    def read(self, batch: Batch) -> int:
        """The tokens that the batch's task reads."""
        objective, rest = self._of(batch)
        return objective.read(rest)

    def prepare(self, batch: Batch, *, step: int) -> Batch:
        """The batch as its task prepares it."""
        objective, rest = self._of(batch)
        prepared = objective.prepare(rest, step=step)
        rows = len(next(iter(prepared.values())))
        return {**prepared, TASK: batch[TASK][:1].expand(rows)}

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """The sums of the batch's task."""
        objective, rest = self._of(batch)
        return objective.score(rest)

    def respond(self, *arguments: Any, **settings: Any) -> Any:
        """Texts are sampled for one task only."""
        raise NotImplementedError

    def first_weights(self, name: str, tensor: Tensor, generator: torch.Generator) -> None:
        """Fill a parameter: the trunk's, or a task's."""
        first, _, rest = name.partition(".")
        if first == "model":
            self.objectives[0].first_weights(name, tensor, generator)
        else:
            task, _, inner = rest.partition(".")
            self.objectives[list(self.tasks).index(task)].first_weights(inner, tensor, generator)
