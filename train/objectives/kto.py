"""Kahneman-Tversky optimization (Ethayarajh et al. 2024): answers that are each called good or bad, without pairs.

A good answer gains by how much likelier the model makes it than the model as it began, beyond z0, and a bad one by how
much less likely. z0 is the divergence of the two models: the mean log-ratio of answers to prompts that are not theirs
(the next document's answer), over the whole step and never below 0. It is found without gradients before the step, so it
does not depend on how the step is cut. Loss, gradients and z0 equal those of trl's KTOTrainer (tested).
A step reads each row four times, once with gradients.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from curate.train.data.batch import IGNORED, Batch
from curate.train.objectives.contract import Loss, Objective
from curate.train.objectives.preference import side_by_side
from curate.train.objectives.preference_loss import kto_loss
from curate.train.objectives.reference import Reference, as_it_began, evaluating, log_probabilities
from curate.train.settings.methods import PreferenceSettings

__all__ = ["Kto"]

_OWN = ("tokens", "targets", "documents", "positions", "segments")


class Total(Protocol):
    """Sums over all processes."""

    def __call__(self, *values: float) -> list[float]:
        """The sum of each value."""
        ...


class Kto(Objective):
    """Good answers likelier, bad ones less likely, than the model as it began made them.

    Args:
        trunk: A trunk whose states at a position know nothing of later ones.
        settings: Beta, and the weights of good and of bad answers.
        reference: The model as it began; None if only adapters are trained: then it is the trunk without them.
        total: Sums over all processes; called by all of them.

    An answer counts if it has a target and a label. Training logs and validation gives `loss`, `accuracy` (share of
    answers whose reward is on the right side of z0), `margin` (mean reward of good answers less that of bad ones),
    `desirable_reward`, `undesirable_reward` (not there where no answer is such), and `divergence`, which z0 is.
    """

    def __init__(
        self, trunk: nn.Module, settings: PreferenceSettings, *, reference: Reference | None, total: Total
    ) -> None:
        super().__init__()
        self.model, self.beta, self.total = trunk, settings.beta, total
        self.of_labels = settings.desirable_weight, settings.undesirable_weight
        self.outside = (reference,)  # in a tuple: no part of this module's tree

    def size(self, batch: Batch) -> float:
        """Answers that count, each by its weight."""
        return float(_weights(batch).sum())

    def read(self, batch: Batch) -> int:
        """Tokens of the answers that are judged; the others, of z0, are read in `prepare`."""
        return super().read({name: values[:, 0] for name, values in batch.items() if name in _OWN})

    def prepare(self, batch: Batch, *, step: int) -> Batch:
        """The batch with `references`, the answers' log-probabilities by the model as it began, and `z0`; both (rows,)."""
        (reference,) = self.outside
        both = side_by_side(batch)
        began = (self.respond(both) if reference is None else reference.respond(both)).sum(-1).view(-1, 2)
        others = {name: values[1::2] for name, values in both.items()}
        strayed = self.respond(others, as_is=True).sum(-1) - began[:, 1]
        weights = _weights(batch) * (batch["targets"][:, 1] != IGNORED).any(-1)
        total, size = self.total(float((strayed * weights).sum()), float(weights.sum()))
        z0 = max(total / size, 0.0) if size else 0.0
        return {**batch, "references": began[:, 0], "z0": torch.full_like(strayed, z0)}

    def respond(self, rows: Batch, *, as_is: bool = False) -> Tensor:
        """Log-probabilities (rows, length) of the targets, by the trunk without its adapters, or as it is."""
        with evaluating(self) if as_is else as_it_began(self):
            return log_probabilities(self.model, rows)

    def forward(self, batch: Batch) -> Loss:
        """Summed loss of the answers of a prepared batch, each by its weight."""
        own = {name: batch[name][:, 0] for name in _OWN if name in batch}
        weights, good = _weights(batch), batch["labels"] == 1
        ratios = log_probabilities(self.model, own).sum(-1) - batch["references"]
        losses = kto_loss(ratios, good, batch["z0"], beta=self.beta, weights=self.of_labels)
        rewards = self.beta * ratios.detach()
        right = (rewards > self.beta * batch["z0"]) == good
        measures = {
            "accuracy": right.float(),
            "desirable_reward": rewards * good,
            "undesirable_reward": rewards * ~good,
            "desirable": good.float(),
            "divergence": batch["z0"],
        }
        return Loss((losses * weights).sum(), {name: (value * weights).sum() for name, value in measures.items()})

    def measures(self, sums: dict[str, float], size: float) -> dict[str, float]:
        """Means over the answers, and of the rewards over those of each kind."""
        good = sums["desirable"]
        counts = {"desirable_reward": good, "undesirable_reward": size - good}
        rewards = {name: sums[name] / count for name, count in counts.items() if count > 1e-6}
        found = {name: sums[name] / max(size, 1e-12) for name in sums if name not in (*counts, "desirable")}
        if len(rewards) == 2:
            found["margin"] = rewards["desirable_reward"] - rewards["undesirable_reward"]
        return {**found, **rewards}

    def summary(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """`measures` of the validation split, `loss` among them, and `count`, the answers."""
        values = {name: value.item() for name, value in sums.items()}
        size = values.pop("size")
        return {**self.measures(values, size), "count": int(size)}


def _weights(batch: Batch) -> Tensor:
    """(rows,) float32; 0 for an answer without a target or a label."""
    valid = ((batch["targets"][:, 0] != IGNORED).any(-1) & (batch["labels"] != IGNORED)).float()
    return valid * batch["weights"] if "weights" in batch else valid
