"""Direct preference optimization (Rafailov et al. 2023): the chosen answer over the rejected one.

The reward of an answer is beta times how much likelier the model makes it than the model as it began, in nats summed
over its tokens; the loss of a pair is -log sigmoid(chosen reward - rejected reward), with label smoothing mixed with
that of the pair turned round (Mitchell 2023). Loss, gradients and rewards equal those of trl's DPOTrainer (tested).
A step reads each pair once more than plain training would, for the reference, without gradients.
"""

from __future__ import annotations

from torch import Tensor, nn

from curate.train.data.batch import IGNORED, Batch
from curate.train.objectives.contract import Loss, Objective
from curate.train.objectives.loss import preference_loss
from curate.train.objectives.reference import Reference, as_it_began, log_probabilities
from curate.train.settings.methods import PreferenceSettings

__all__ = ["Preference"]

_PAIRED = ("tokens", "targets", "documents", "positions", "segments", "noise")


class Preference(Objective):
    """Chosen over rejected, against the model as it began.

    Args:
        trunk: A trunk whose states at a position know nothing of later ones.
        settings: Beta and label smoothing.
        reference: The model as it began; None if only adapters are trained: then it is the trunk without them.

    A pair counts if both answers have a target. Training logs and validation gives, for each pair: `loss`, `accuracy`
    (share of pairs whose chosen reward is higher), `margin` (its lead), `chosen_reward` and `rejected_reward`.
    """

    def __init__(self, trunk: nn.Module, settings: PreferenceSettings, *, reference: Reference | None) -> None:
        super().__init__()
        self.model = trunk
        self.beta, self.label_smoothing = settings.beta, settings.label_smoothing
        self.outside = (reference,)  # in a tuple: no part of this module's tree

    def size(self, batch: Batch) -> float:
        """Pairs that count, each by its weight."""
        return float(_pair_weights(batch).sum())

    def prepare(self, batch: Batch, *, step: int) -> Batch:
        """The batch with `references` (rows, 2): the answers' log-probabilities by the model as it began."""
        (reference,) = self.outside
        pairs = _side_by_side(batch)
        found = self.respond(pairs) if reference is None else reference.respond(pairs)
        return {**batch, "references": found.sum(-1).view(-1, 2)}

    def respond(self, pairs: Batch) -> Tensor:
        """Log-probabilities (rows, length) of the targets, by the trunk without its adapters."""
        with as_it_began(self):
            return log_probabilities(self.model, pairs)

    def forward(self, batch: Batch) -> Loss:
        """Summed loss of the pairs of a prepared batch, each by its weight."""
        policy = log_probabilities(self.model, _side_by_side(batch)).sum(-1).view(-1, 2)
        references, weights = batch["references"], _pair_weights(batch)
        losses = preference_loss(
            *policy.unbind(1), *references.unbind(1), beta=self.beta, label_smoothing=self.label_smoothing
        )
        chosen, rejected = (self.beta * (policy.detach() - references)).unbind(1)
        measures = {
            "accuracy": (chosen > rejected).float(),
            "margin": chosen - rejected,
            "chosen_reward": chosen,
            "rejected_reward": rejected,
        }
        return Loss((losses * weights).sum(), {name: (value * weights).sum() for name, value in measures.items()})


def _side_by_side(batch: Batch) -> Batch:
    """The two answers of each pair as rows, (rows * 2, length): chosen, rejected, chosen, ..."""
    return {name: batch[name].flatten(0, 1) for name in _PAIRED if name in batch}


def _pair_weights(batch: Batch) -> Tensor:
    """(rows,) float32; 0 for a pair of which an answer has no target."""
    valid = (batch["targets"] != IGNORED).any(-1).all(-1).float()
    return valid * batch["weights"] if "weights" in batch else valid
