"""What others measure of the model while it is trained: training itself knows no evaluation, and gets it handed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from curate.train.settings.config import TrainConfig

if TYPE_CHECKING:
    from curate.train.weights.export import Trained

__all__ = ["OpenWatch", "Watch"]


class Watch(Protocol):
    """Measures the model of the moment; what it does must not change the training.

    Attributes:
        every: Steps between two measurements; the last step has one.
    """

    every: int

    def measure(self, trained: Trained, before: Sequence[dict[str, Any]], beat: Callable[[], None]) -> dict[str, Any]:
        """What is added to the record of the step.

        Args:
            trained: The model, whole; its tensors are those that are trained.
            before: The records of the steps before.
            beat: To be called now and then: who is silent for too long has hung.
        """
        ...

    def summary(self, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """What is added to the result, of the records of all steps."""
        ...


OpenWatch = Callable[[TrainConfig, str], Watch]
"""From the settings and the place of the store to what measures; called before anything is trained."""
