"""Supervised fine-tuning on conversations (Wei et al. 2022; Ouyang et al. 2022): only what the assistant says is learned.

Cross entropy of the next token, as in pretraining; the source leaves targets at the assistant's tokens only. Logits are
made at targets only, so the prompts cost no vocabulary. Loss and gradients equal those of transformers' Llama on the
collated batches of trl's SFTTrainer with `assistant_only_loss`, and packed rows those of the conversations one by one
(tested).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from curate.train.data.batch import IGNORED, Batch
from curate.train.objectives.contract import Loss, Objective, target_weights, trunk_inputs
from curate.train.objectives.loss import linear_cross_entropy
from curate.train.objectives.metrics import perplexity, predicted
from curate.train.settings.methods import SftSettings

__all__ = ["Sft"]


class Sft(Objective):
    """The assistant's tokens, from what was said before.

    Args:
        trunk: A trunk whose states at a position know nothing of later ones.
        settings: There are none but the kind.

    Validation gives `loss` in nats, `perplexity`, `accuracy` of the likeliest token, and `tokens`; all targets weigh
    the same in it.
    """

    def __init__(self, trunk: nn.Module, settings: SftSettings) -> None:
        super().__init__()
        self.model = trunk

    def forward(self, batch: Batch) -> Loss:
        """Summed cross entropy in nats, each target by its weight."""
        states, targets, valid = self._target_states(batch)
        weights = target_weights(batch)[valid]
        cap = self.model.sizes.logit_cap
        return Loss(linear_cross_entropy(states, self.model.unembedding, targets, weights=weights, cap=cap), {})

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Nats, right guesses and number of the targets."""
        states, targets, _ = self._target_states(batch)
        weight, cap = self.model.unembedding, self.model.sizes.logit_cap
        return {
            "nats": linear_cross_entropy(states, weight, targets, cap=cap).double(),
            "right": (predicted(states, weight) == targets).sum().double(),
            "tokens": torch.tensor(float(len(targets)), dtype=torch.float64),
        }

    def summary(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """`loss`, `perplexity`, `accuracy` and `tokens`."""
        tokens = int(sums["tokens"])
        loss = sums["nats"].item() / max(tokens, 1)
        accuracy = sums["right"].item() / max(tokens, 1)
        return {"loss": loss, "perplexity": perplexity(loss), "accuracy": accuracy, "tokens": tokens}

    def _target_states(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """States (n, width) and targets (n,) where there are targets, and where that is, (rows, length)."""
        valid = batch["targets"] != IGNORED
        states = self.model(batch["tokens"], **trunk_inputs(self.model, batch))
        return states[valid], batch["targets"][valid], valid
