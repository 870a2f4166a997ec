"""Metrics of the validation split, from sums that all processes can add up.

Bits per byte compare models with different vocabularies, which losses and perplexities do not. A confusion matrix holds
all that accuracy, F1 and Matthews' correlation need, and six sums all that Pearson's does; Spearman's needs the numbers.
Where a metric is not defined (one class only, no spread) it is 0, as in scikit-learn and GLUE.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional

from curate.train.data.batch import IGNORED
from curate.train.objectives.loss import linear_cross_entropy

__all__ = [
    "TextMeasure",
    "class_metrics",
    "confusion",
    "harmonic",
    "moments",
    "pearson",
    "perplexity",
    "predicted",
    "spearman",
]

CHUNK = 1024
"""Positions whose logits are held at once."""


class TextMeasure:
    """How well a text is predicted; ends of documents do not count, they are no text.

    Args:
        token_bytes: Bytes of text that each token stands for, by token; None where nobody knows.
        end_of_text: The token that ends a document.

    Attributes:
        watch: The metric that tells better from worse; lower is better.
    """

    def __init__(self, token_bytes: np.ndarray | None, end_of_text: int) -> None:
        self.token_bytes, self.end_of_text = token_bytes, end_of_text
        self.watch = "loss" if token_bytes is None else "bits_per_byte"

    def sums(self, hidden: Tensor, weight: Tensor, targets: Tensor, *, cap: float | None = None) -> dict[str, Tensor]:
        """Nats, tokens and bytes of the text among the targets; every token weighs the same.

        Args:
            hidden: (positions, width).
            weight: (vocabulary, width).
            targets: (positions,) tokens, or IGNORED.
            cap: Of the logits.
        """
        targets = targets.masked_fill(targets == self.end_of_text, IGNORED)
        counted = targets[targets != IGNORED].cpu()
        sums = {
            "nats": linear_cross_entropy(hidden, weight, targets, cap=cap).double(),
            "tokens": torch.tensor(float(len(counted)), dtype=torch.float64),
        }
        if self.token_bytes is None:
            return sums
        return {**sums, "bytes": torch.from_numpy(self.token_bytes)[counted].sum().double()}

    def summary(self, sums: dict[str, Tensor]) -> dict[str, float | int]:
        """`bits_per_byte` and `bytes` where the bytes of tokens are known; `loss` in nats, `perplexity`, `tokens`."""
        loss = sums["nats"].item() / max(sums["tokens"].item(), 1.0)
        metrics = {"loss": loss, "perplexity": perplexity(loss), "tokens": int(sums["tokens"])}
        if self.token_bytes is None:
            return metrics
        size = int(sums["bytes"])
        return {"bits_per_byte": sums["nats"].item() / math.log(2) / max(size, 1), **metrics, "bytes": size}


def confusion(truth: Tensor, guess: Tensor, classes: int) -> Tensor:
    """How often each class (row) was taken for each (column), (classes, classes) float64.

    Args:
        truth: (n,) classes.
        guess: (n,) classes.
        classes: How many there are.
    """
    counts = torch.bincount(truth * classes + guess, minlength=classes * classes)
    return counts.view(classes, classes).double()


def class_metrics(matrix: Tensor, *, positive: int | None = None) -> dict[str, float]:
    """Accuracy, macro F1 and Matthews' correlation of a confusion matrix (Gorodkin 2004 for several classes).

    Macro F1 is the plain mean over the classes that occur, in truth or as a guess.

    Args:
        matrix: (classes, classes), of `confusion`.
        positive: Class whose F1 is added as `f1`.
    """
    right, total = matrix.diagonal(), matrix.sum().item()
    truth, guess = matrix.sum(1), matrix.sum(0)
    occurs = truth + guess > 0
    scores = 2 * right[occurs] / (truth + guess)[occurs]
    covariance = right.sum() * total - truth @ guess
    spread = math.sqrt((total**2 - guess @ guess).item() * (total**2 - truth @ truth).item())
    one = {} if positive is None else {"f1": harmonic(right[positive], guess[positive], truth[positive])}
    return {
        "accuracy": right.sum().item() / max(total, 1.0),
        "macro_f1": scores.mean().item() if len(scores) else 0.0,
        "matthews_correlation": covariance.item() / spread if spread else 0.0,
        **one,
    }


def harmonic(right: Tensor, found: Tensor, wanted: Tensor) -> float:
    """F1: the harmonic mean of precision (right of those found) and recall (right of those wanted)."""
    return (2 * right / (found + wanted).clamp(min=1)).item()


def moments(first: Tensor, second: Tensor) -> Tensor:
    """Count, sums, sums of squares and of products of two (n,) columns, (6,) float64: what `pearson` needs."""
    first, second = first.double(), second.double()
    ones = torch.ones_like(first)
    return torch.stack([ones, first, second, first * first, second * second, first * second]).sum(1)


def pearson(sums: Tensor) -> float:
    """Pearson's correlation from `moments`; 0 where a column does not vary."""
    count, first, second, first_squares, second_squares, products = sums.tolist()
    spread = (count * first_squares - first**2) * (count * second_squares - second**2)
    return (count * products - first * second) / math.sqrt(spread) if spread > 0 else 0.0


def spearman(pairs: Tensor) -> float:
    """Spearman's correlation of the two columns of (n, 2): Pearson's of their ranks, equal numbers sharing one."""
    ranks = torch.from_numpy(rankdata(pairs.numpy(), axis=0)) if len(pairs) else pairs
    return pearson(moments(ranks[:, 0], ranks[:, 1]))


def perplexity(loss: float) -> float:
    """The exponential of a loss in nats; infinity where that is no float64."""
    return math.exp(loss) if loss < 709 else math.inf


def predicted(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The likeliest token of each position, (positions,), of logits that are never held all at once.

    Args:
        hidden: (positions, width).
        weight: (vocabulary, width).
        bias: (vocabulary,).
    """
    guesses = [functional.linear(piece, weight, bias).argmax(-1) for piece in hidden.split(CHUNK)]
    return torch.cat(guesses) if guesses else torch.empty(0, dtype=torch.int64, device=hidden.device)
