"""Log-probabilities of texts, and the model as it began, from which preference and reinforcement measure the distance.

The model as it began is one of two, both exact and the same after any interruption:

    a copy       filled with the first weights once more, from the same seed or file; it costs the memory of its parameters
    the model    with its adapters left out, where only adapters are trained; it costs nothing
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from curate.train.data.batch import IGNORED, Batch
from curate.train.models.lora import Lora, disabled
from curate.train.objectives.contract import Objective, trunk_inputs
from curate.train.objectives.loss import linear_log_probabilities

__all__ = ["Reference", "as_it_began", "evaluating", "log_probabilities"]


class Reference(Objective):
    """A copy of the trunk that is never trained, sharded and filled as any objective.

    An objective keeps it outside its own tree of modules: it is neither optimized nor in checkpoints.

    Args:
        trunk: The same architecture as the trunk that is trained.
        temperature: As of `log_probabilities`.
    """

    def __init__(self, trunk: nn.Module, *, temperature: float = 1.0) -> None:
        super().__init__()
        self.model, self.temperature = trunk, temperature
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def respond(self, batch: Batch) -> Tensor:
        """The `log_probabilities` of the batch's targets."""
        return log_probabilities(self.model, batch, temperature=self.temperature)


def log_probabilities(trunk: Any, batch: Batch, *, temperature: float = 1.0) -> Tensor:
    """Logarithm of the probability of each target, in nats; 0 where there is none.

    Args:
        trunk: A trunk whose states at a position know nothing of later ones.
        batch: `tokens`, `targets`, and whatever else the trunk reads.
        temperature: Logits are divided by it.

    Returns:
        (rows, length) float32.
    """
    targets = batch["targets"]
    valid = targets != IGNORED
    states = trunk(batch["tokens"], **trunk_inputs(trunk, batch))
    settings = {"temperature": temperature, "cap": trunk.sizes.logit_cap}
    found = linear_log_probabilities(states[valid], trunk.unembedding, targets[valid], **settings)
    return torch.zeros(targets.shape, dtype=found.dtype, device=found.device).masked_scatter(valid, found)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Without dropout and gradients; afterwards as before."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(training)


@contextmanager
def as_it_began(module: nn.Module) -> Iterator[None]:
    """`evaluating`, with all adapters left out; they are all that is trained."""
    assert any(isinstance(part, Lora) for part in module.modules()), "without adapters the model is not as it began"
    with evaluating(module), disabled(module):
        yield
