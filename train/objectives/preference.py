"""Preferences: the chosen answer over the rejected one, by DPO, IPO, SimPO or ORPO (formulas: preference_loss.py).

The reward of an answer is what its method raises: beta (ipo: tau) times how much likelier the model makes it than the
model as it began, in nats, summed over its tokens (ipo: their mean); without a reference, beta (orpo: the weight of the
odds) times the mean of its tokens' log-probabilities. A step of DPO or IPO reads each pair once more than plain training
would, for the reference, without gradients; SimPO and ORPO do not, and hold no other model.
"""

from __future__ import annotations

from torch import Tensor, nn

from curate.train.data.batch import IGNORED, Batch
from curate.train.objectives.contract import Loss, Objective
from curate.train.objectives.preference_loss import dpo_loss, ipo_loss, orpo_loss, simpo_loss
from curate.train.objectives.reference import Reference, as_it_began, log_probabilities
from curate.train.settings.methods import PreferenceSettings

__all__ = ["Preference", "side_by_side"]

_SIDES = ("tokens", "targets", "documents", "positions", "segments", "noise")


class Preference(Objective):
    """Chosen over rejected.

    Args:
        trunk: A trunk whose states at a position know nothing of later ones.
        settings: The method, and its settings.
        reference: The model as it began; None if the method needs none, or if only adapters are trained: then it is the
            trunk without them.

    A pair counts if both answers have a target. Training logs and validation gives, for each pair: `loss`, `accuracy`
    (share of pairs whose chosen reward is higher), `margin` (its lead), `chosen_reward` and `rejected_reward`.
    """

    def __init__(self, trunk: nn.Module, settings: PreferenceSettings, *, reference: Reference | None) -> None:
        super().__init__()
        self.model, self.settings = trunk, settings
        self.outside = (reference,)  # in a tuple: no part of this module's tree
        self.scale = {"ipo": settings.tau, "orpo": settings.odds_weight}.get(settings.method, settings.beta)

    def size(self, batch: Batch) -> float:
        """Pairs that count, each by its weight."""
        return float(_pair_weights(batch).sum())

    def prepare(self, batch: Batch, *, step: int) -> Batch:
        """The batch, for DPO and IPO with `references` (rows, 2): the answers' log-probabilities by the model as it began."""
        if not self.settings.compares:
            return batch
        (reference,) = self.outside
        pairs = side_by_side(batch)
        found = self.respond(pairs) if reference is None else reference.respond(pairs)
        return {**batch, "references": self._of_answers(found, pairs)}

    def respond(self, pairs: Batch) -> Tensor:
        """Log-probabilities (rows, length) of the targets, by the trunk without its adapters."""
        with as_it_began(self):
            return log_probabilities(self.model, pairs)

    def forward(self, batch: Batch) -> Loss:
        """Summed loss of the pairs of a prepared batch, each by its weight."""
        pairs, weights = side_by_side(batch), _pair_weights(batch)
        policy = self._of_answers(log_probabilities(self.model, pairs), pairs)
        gained = policy.detach()
        if self.settings.compares:
            gained = gained - batch["references"]
        chosen, rejected = (self.scale * gained).unbind(1)
        measures = {
            "accuracy": (chosen > rejected).float(),
            "margin": chosen - rejected,
            "chosen_reward": chosen,
            "rejected_reward": rejected,
        }
        losses = self._losses(policy, batch)
        return Loss((losses * weights).sum(), {name: (value * weights).sum() for name, value in measures.items()})

    def _of_answers(self, log_probabilities: Tensor, pairs: Batch) -> Tensor:
        """(rows, 2) the sums over tokens, or their means; 0 for an answer without targets."""
        sums = log_probabilities.sum(-1)
        if self.settings.method != "dpo":
            sums = sums / (pairs["targets"] != IGNORED).sum(-1).clamp(min=1)
        return sums.view(-1, 2)

    def _losses(self, policy: Tensor, batch: Batch) -> Tensor:
        settings, pair = self.settings, policy.unbind(1)
        if settings.method == "simpo":
            return simpo_loss(*pair, beta=settings.beta, gamma_beta_ratio=settings.gamma_beta_ratio)
        if settings.method == "orpo":
            return orpo_loss(*pair, weight=settings.odds_weight)
        references = batch["references"].unbind(1)
        if settings.method == "ipo":
            return ipo_loss(*pair, *references, tau=settings.tau)
        return dpo_loss(*pair, *references, beta=settings.beta, label_smoothing=settings.label_smoothing)


def side_by_side(batch: Batch) -> Batch:
    """The two texts of each row as rows, (rows * 2, length): first, second, first, ..."""
    return {name: batch[name].flatten(0, 1) for name in _SIDES if name in batch}


def _pair_weights(batch: Batch) -> Tensor:
    """(rows,) float32; 0 for a pair of which an answer has no target."""
    valid = (batch["targets"] != IGNORED).any(-1).all(-1).float()
    return valid * batch["weights"] if "weights" in batch else valid
