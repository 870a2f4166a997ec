"""Reward models: one number that says how good an answer to a prompt is, from the last token of the two.

Pairs (Bradley and Terry 1952; Ouyang et al. 2022) give -log sigmoid(chosen score - rejected score - margin), and with
`centering` (Eisenstein et al. 2023) that times the squared sum of the two scores, for differences alone leave their
place open. Outcomes (Cobbe et al. 2021) give the binary cross entropy of a right or wrong answer, whose log-odds the
score then is. Loss and gradients of pairs equal those of trl's RewardTrainer (tested).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from curate.train.data.batch import IGNORED, Batch
from curate.train.objectives.contract import Loss, Objective, trunk_inputs
from curate.train.objectives.preference import side_by_side
from curate.train.settings.methods import RewardModelSettings

__all__ = ["OutcomeReward", "PairReward"]


class _Scores(Objective):
    """A linear layer on the state of the last token.

    Args:
        trunk: A trunk whose states at a position know nothing of later ones.
    """

    watch = "accuracy"
    higher_is_better = True

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.model: Any = trunk
        # a decoder's head has no bias: transformers' classes have none
        decoder = getattr(trunk, "sizes", None) is not None and self.model.sizes.kind == "decoder"
        self.head = nn.Linear(self.model.sentence_width, 1, bias=not decoder)

    def scores(self, rows: Batch) -> Tensor:
        """(rows,) float32."""
        features = self.model.sentence(rows["tokens"], **trunk_inputs(self.model, rows), pooling="last")
        return self.head(features)[:, 0].float()

    def size(self, batch: Batch) -> float:
        """Rows that count, each by its weight."""
        return float(self.weights(batch).sum())

    def weights(self, batch: Batch) -> Tensor:
        """(rows,) float32."""
        valid = self.valid(batch).float()
        return valid * batch["weights"] if "weights" in batch else valid

    def valid(self, batch: Batch) -> Tensor:
        """(rows,) bool: none of the row's texts is empty."""
        there = (batch["documents"] >= 0).any(-1)
        return there.all(-1) if there.ndim > 1 else there


class PairReward(_Scores):
    """The chosen answer's score over the rejected one's.

    Args:
        trunk: A trunk whose states at a position know nothing of later ones.
        settings: The weight of the scores' place.

    A pair counts if neither text is empty. Training logs and validation gives, for each pair: `loss`, `accuracy` (share
    of pairs whose chosen score is higher), `lead` of it, `chosen_score` and `rejected_score`.
    """

    def __init__(self, trunk: nn.Module, settings: RewardModelSettings) -> None:
        super().__init__(trunk)
        self.centering = settings.centering

    def forward(self, batch: Batch) -> Loss:
        """Summed loss of the pairs, each by its weight."""
        chosen, rejected = self.scores(side_by_side(batch)).view(-1, 2).unbind(1)
        weights, lead = self.weights(batch), chosen - rejected
        losses = -functional.logsigmoid(lead - batch["margins"] if "margins" in batch else lead)
        losses = losses + self.centering * (chosen + rejected).square()
        measures = {"accuracy": (lead > 0).float(), "lead": lead, "chosen_score": chosen, "rejected_score": rejected}
        sums = {name: (value.detach() * weights).sum() for name, value in measures.items()}
        return Loss((losses * weights).sum(), sums)


class OutcomeReward(_Scores):
    """Whether an answer is right.

    An answer counts if it has a label. Training logs and validation gives, for each answer: `loss`, `accuracy` (share
    whose score is above 0 where it is right, and not where it is wrong), and `right`, the share of right ones: what a
    model that knows nothing comes to.
    """

    def valid(self, batch: Batch) -> Tensor:
        """(rows,) bool: the text is not empty and has a label."""
        return super().valid(batch) & (batch["labels"] != IGNORED)

    def forward(self, batch: Batch) -> Loss:
        """Summed binary cross entropy in nats, each answer by its weight."""
        scores, right, weights = self.scores(batch), batch["labels"] == 1, self.weights(batch)
        losses = functional.binary_cross_entropy_with_logits(scores, right.float(), reduction="none")
        measures = {"accuracy": ((scores > 0) == right).float(), "right": right.float()}
        return Loss((losses * weights).sum(), {name: (value * weights).sum() for name, value in measures.items()})
