"""A text from a text (Sutskever et al. 2014; Vaswani et al. 2017): translation, summarization, answers to questions.

The encoder reads `tokens`, the decoder `inputs` (the target one place later, as in T5) and gives a distribution at each
place of `targets`. Loss and gradients equal those of transformers' T5ForConditionalGeneration (tested).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from curate.train.data.batch import IGNORED, Batch
from curate.train.objectives.contract import Loss, Objective, flat_weights, trunk_inputs
from curate.train.objectives.loss import linear_cross_entropy
from curate.train.objectives.metrics import perplexity, predicted
from curate.train.settings.methods import Seq2SeqSettings

__all__ = ["Seq2Seq"]


class Seq2Seq(Objective):
    """The tokens of a target, each from the source and those of the target before it.

    Args:
        trunk: An encoder-decoder.
        settings: Label smoothing.

    Validation gives `loss` in nats and `perplexity`, without label smoothing, and `accuracy` of tokens, all of them with
    the true target before each token.
    """

    def __init__(self, trunk: nn.Module, settings: Seq2SeqSettings) -> None:
        super().__init__()
        self.model, self.label_smoothing = trunk, settings.label_smoothing

    def forward(self, batch: Batch) -> Loss:
        """Summed cross entropy in nats over the targets."""
        total = linear_cross_entropy(
            self._hidden(batch),
            self.model.unembedding,
            batch["targets"].flatten(),
            weights=flat_weights(batch),
            label_smoothing=self.label_smoothing,
        )
        return Loss(total, {})

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Nats, number and right guesses of the targets."""
        hidden, targets, weight = self._hidden(batch), batch["targets"].flatten(), self.model.unembedding
        return {
            "nats": linear_cross_entropy(hidden, weight, targets).double(),
            "right": (predicted(hidden, weight) == targets).sum().double(),
            "tokens": (targets != IGNORED).sum().double(),
        }

    def summary(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """`loss`, `perplexity`, `accuracy` and `tokens`."""
        count = max(sums["tokens"].item(), 1.0)
        loss = sums["nats"].item() / count
        accuracy = sums["right"].item() / count
        return {"loss": loss, "perplexity": perplexity(loss), "accuracy": accuracy, "tokens": int(sums["tokens"])}

    def _hidden(self, batch: Batch) -> Tensor:
        """(rows * target length, width)."""
        return self.model(batch["tokens"], **trunk_inputs(self.model, batch)).flatten(0, 1)
