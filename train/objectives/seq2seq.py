"""A text from a text (Sutskever et al. 2014; Vaswani et al. 2017): translation, summarization, answers to questions.

The encoder reads `tokens`, the decoder `inputs` (the target one place later, as in T5) and gives a distribution at each
place of `targets`. Loss and gradients equal those of transformers' T5ForConditionalGeneration (tested).
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from curate.train.data.batch import IGNORED, Batch
from curate.train.models.generate import translate
from curate.train.objectives.contract import Loss, Objective, flat_weights, trunk_inputs
from curate.train.objectives.loss import linear_cross_entropy
from curate.train.objectives.metrics import perplexity, predicted
from curate.train.objectives.texts import summed, text_scores
from curate.train.settings.methods import Seq2SeqSettings

__all__ = ["Seq2Seq"]


class Seq2Seq(Objective):
    """The tokens of a target, each from the source and those of the target before it.

    Args:
        trunk: An encoder-decoder.
        settings: Label smoothing, and what is measured of targets that are written.
        tokenizer: Turns tokens into the texts that are compared; where there is something to measure.
        start: Token that the decoder begins with, as in the data.
        end: Token that ends a target.

    Validation gives `loss` in nats and `perplexity`, without label smoothing, and `accuracy` of tokens, all of them with
    the true target before each token; and the metrics of targets that are written with the likeliest token each time,
    against the targets as the tokenizer reads them.
    """

    def __init__(
        self,
        trunk: nn.Module,
        settings: Seq2SeqSettings,
        *,
        tokenizer: Tokenizer | None = None,
        start: int = 0,
        end: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.settings, self.label_smoothing = trunk, settings, settings.label_smoothing
        self.tokenizer, self.start, self.end = tokenizer, start, end

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
        """Nats, number and right guesses of the targets; sums of what is measured of those that are written."""
        hidden, targets, weight = self._hidden(batch), batch["targets"].flatten(), self.model.unembedding
        sums = {
            "nats": linear_cross_entropy(hidden, weight, targets).double(),
            "right": (predicted(hidden, weight) == targets).sum().double(),
            "tokens": (targets != IGNORED).sum().double(),
        }
        return {**sums, **self._written(batch)} if self.settings.metrics else sums

    def _written(self, batch: Batch) -> dict[str, Tensor]:
        """Sums of the metrics of texts; all processes write, those without a source too."""
        documents = batch["documents"].clone()
        there = (documents >= 0).any(-1)
        documents[~there, 0] = 0  # an empty row reads one token, for nothing else may be attended to
        found = translate(
            self.model, batch["tokens"], documents, start=self.start, end=self.end, most=self.settings.target_length
        )
        said, right = self._texts(found[there]), self._texts(self._whole(batch)[there])
        return {name: torch.from_numpy(value) for name, value in summed(said, right, self.settings.metrics).items()}

    def _whole(self, batch: Batch) -> Tensor:
        """The targets with what did not fit, (rows, any)."""
        return torch.cat([batch["targets"], batch["beyond"]], 1) if "beyond" in batch else batch["targets"]

    def _texts(self, tokens: Tensor) -> list[str]:
        assert self.tokenizer is not None
        rows = [[one for one in row if one not in (IGNORED, self.end)] for row in tokens.tolist()]
        return self.tokenizer.decode_batch(rows, skip_special_tokens=True)

    def summary(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """`loss`, `perplexity`, `accuracy`, `tokens`, and the metrics of the settings."""
        count = max(sums["tokens"].item(), 1.0)
        loss = sums["nats"].item() / count
        accuracy = sums["right"].item() / count
        found = {"loss": loss, "perplexity": perplexity(loss), "accuracy": accuracy, "tokens": int(sums["tokens"])}
        return {**found, **text_scores(sums)} if self.settings.metrics else found

    def _hidden(self, batch: Batch) -> Tensor:
        """(rows * target length, width)."""
        return self.model(batch["tokens"], **trunk_inputs(self.model, batch)).flatten(0, 1)
