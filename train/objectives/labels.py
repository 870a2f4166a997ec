"""Labels: of a whole text or a pair of texts, and of each word (Devlin et al. 2019, section 4).

A linear layer on the trunk's features, behind dropout. Cross entropy for classes, squared error for numbers, summed with the
weights of the examples. Losses and gradients equal those of transformers' BertForSequenceClassification and
BertForTokenClassification with the same weights (tested).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.train.data.batch import IGNORED, Batch
from curate.train.models.perceptron import beside_text
from curate.train.objectives.contract import Loss, Objective, target_weights, trunk_inputs
from curate.train.objectives.metrics import class_metrics, confusion, harmonic, moments, pearson, spearman
from curate.train.objectives.spans import has_spans, span_counts
from curate.train.settings.methods import ClassificationSettings, TokenClassificationSettings

__all__ = ["Classification", "TokenClassification"]


class Classification(Objective):
    """One label of a text, or of a pair of texts; or one number.

    Args:
        trunk: Any trunk: `sentence` gives the features of a row.
        settings: Kind of label, pooling, dropout.
        labels: Number of classes; not used for numbers.
        positive: Class whose F1 is measured, too.
        columns: Numbers of a table that stand beside the text (`features`), if any, which layers over both then read; a trunk
            that reads them itself has none.
        scale: What is added to a number that is predicted, and what it is multiplied with before; the loss is in the latter.

    Validation gives loss, accuracy, macro F1, Matthews' correlation and, of a positive class, `f1`; or for numbers loss,
    Pearson's and Spearman's correlation. `watch` is accuracy or Pearson's correlation. Metrics count rows, the loss is
    weighted.
    """

    listed: ClassVar[frozenset[str]] = frozenset({"pairs"})

    def __init__(
        self,
        trunk: nn.Module,
        settings: ClassificationSettings,
        *,
        labels: int,
        positive: int | None = None,
        columns: int = 0,
        scale: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__()
        self.model, self.positive = trunk, positive
        self.regression, self.pooling = settings.regression, settings.pooling
        self.labels, self.scale = 1 if settings.regression else labels, scale
        self.dropout = nn.Dropout(settings.dropout)
        # a decoder's head has no bias: transformers' classes have none
        decoder = getattr(trunk, "sizes", None) is not None and trunk.sizes.kind == "decoder"  # pyright: ignore
        width = self.model.sentence_width
        self.columns = beside_text(columns + width) if columns else None
        width = self.columns.width if self.columns else width
        self.head = nn.Linear(width, self.labels, bias=not decoder)
        self.watch = "pearson" if settings.regression else "accuracy"
        self.higher_is_better = True

    def forward(self, batch: Batch) -> Loss:
        """Summed cross entropy in nats, or squared error, of rows that have a label."""
        outputs, weights = self._outputs(batch), target_weights(batch)
        sums = {} if self.regression else {"accuracy": ((outputs.argmax(-1) == batch["labels"]) * weights).sum()}
        return Loss(self._total(outputs, batch["labels"], weights), sums)

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Summed loss, and the confusion matrix, or the moments of prediction and label and both of each row."""
        outputs, labels, weights = self._outputs(batch), batch["labels"], target_weights(batch)
        valid = labels != IGNORED
        sums = {"loss": self._total(outputs, labels, weights).double(), "size": weights.double().sum()}
        if self.regression:
            guesses, truth = outputs[valid, 0], labels[valid]
            return {**sums, "moments": moments(guesses, truth), "pairs": torch.stack([guesses, truth], 1).double()}
        return {**sums, "confusion": confusion(labels[valid], outputs[valid].argmax(-1), self.labels)}

    def summary(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """Loss and metrics, and `count`, the rows that have a label."""
        loss = sums["loss"].item() / max(sums["size"].item(), 1e-12)
        if self.regression:
            correlations = {"pearson": pearson(sums["moments"]), "spearman": spearman(sums["pairs"])}
            return {"loss": loss, **correlations, "count": int(sums["moments"][0])}
        matrix = sums["confusion"]
        return {"loss": loss, **class_metrics(matrix, positive=self.positive), "count": int(matrix.sum())}

    def _outputs(self, batch: Batch) -> Tensor:
        """(rows, labels) float32."""
        pooling = {"pooling": self.pooling} if self.pooling else {}
        features = self.model.sentence(batch["tokens"], **trunk_inputs(self.model, batch), **pooling)
        if self.columns:
            features = self.columns(torch.cat([features, batch["features"].to(features.dtype)], dim=-1))
        outputs = self.head(self.dropout(features)).float()
        centre, deviation = self.scale
        return outputs if self.scale == (0.0, 1.0) else outputs * deviation + centre

    def first_weights(self, name: str, tensor: Tensor, generator: torch.Generator) -> None:
        """Fill a parameter, those of `columns` as their layers do it."""
        if self.columns and name.startswith("columns."):
            self.columns.first_weights(name.removeprefix("columns."), tensor, generator)
        else:
            super().first_weights(name, tensor, generator)

    def _total(self, outputs: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        if self.regression:
            return (((outputs[:, 0] - labels.float()) / self.scale[1]).square() * weights).sum()
        return _cross_entropy(outputs, labels, weights)


class TokenClassification(Objective):
    """A label of each word, predicted at its first token.

    Args:
        trunk: Any trunk that gives states.
        settings: Dropout.
        labels: Number of classes.
        names: Of the classes; where they say spans (`B-PER`, `O`), spans are measured.

    Validation gives loss, accuracy, macro F1 and Matthews' correlation over words and, of spans, `span_f1`,
    `span_precision` and `span_recall`; `watch` is the F1 of spans, else macro F1. Words that did not fit into the row are
    wrong, and their spans not found: else who reads less would be asked less.
    """

    higher_is_better = True

    def __init__(
        self, trunk: nn.Module, settings: TokenClassificationSettings, *, labels: int, names: Sequence[str | int] = ()
    ) -> None:
        super().__init__()
        self.model, self.labels = trunk, labels
        self.names = [str(name) for name in names] if has_spans(names) else []
        self.watch = "span_f1" if self.names else "macro_f1"
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(self.model.width, labels)

    def forward(self, batch: Batch) -> Loss:
        """Summed cross entropy in nats over the tokens that have a label."""
        outputs, weights = self._outputs(batch), target_weights(batch)
        right = ((outputs.argmax(-1) == batch["targets"]) * weights).sum()
        return Loss(_cross_entropy(outputs, batch["targets"], weights), {"accuracy": right})

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Summed loss, the confusion matrix (its last class is what was not read) and the numbers of spans."""
        outputs, targets, weights = self._outputs(batch), batch["targets"], target_weights(batch)
        none = torch.full((len(targets), 0), IGNORED, device=targets.device)
        beyond = batch.get("beyond", none)
        truth = torch.cat([targets, beyond], 1)
        guesses = torch.cat([outputs.argmax(-1), torch.full_like(beyond, self.labels)], 1)
        valid = truth != IGNORED
        sums = {
            "loss": _cross_entropy(outputs, targets, weights).double(),
            "size": weights.double().sum(),
            "confusion": confusion(truth[valid], guesses[valid], self.labels + 1),
        }
        return {**sums, "spans": self._spans(truth, guesses, valid)} if self.names else sums

    def _spans(self, truth: Tensor, guesses: Tensor, valid: Tensor) -> Tensor:
        """(3,): spans that are there, that were found, and that are right."""
        names = [*self.names, None]
        total = torch.zeros(3, dtype=torch.float64)
        for gold, guess, here in zip(truth.cpu(), guesses.cpu(), valid.cpu(), strict=True):
            words = [self.names[one] for one in gold[here].tolist()]
            total += torch.tensor(span_counts(words, [names[one] for one in guess[here].tolist()]))
        return total

    def summary(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """Loss and metrics, and `count`, the words."""
        loss, matrix = sums["loss"].item() / max(sums["size"].item(), 1e-12), sums["confusion"]
        found = {"loss": loss, **class_metrics(matrix), "count": int(matrix.sum())}
        if not self.names:
            return found
        wanted, given, right = sums["spans"]
        return {
            **found,
            "span_f1": harmonic(right, given, wanted),
            "span_precision": (right / given.clamp(min=1)).item(),
            "span_recall": (right / wanted.clamp(min=1)).item(),
        }

    def _outputs(self, batch: Batch) -> Tensor:
        """(rows, length, labels) float32."""
        states = self.model(batch["tokens"], **trunk_inputs(self.model, batch))
        return self.head(self.dropout(states)).float()


def _cross_entropy(outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum; classes are the last dimension of `outputs`. Few classes: the logits may be held whole."""
    losses = functional.cross_entropy(outputs.flatten(0, -2), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return (losses * weights.flatten()).sum()
