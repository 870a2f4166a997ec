"""How far probabilities can be believed, and one number that makes them better.

temperature                  divides logits so that held-out labels are most likely (Guo et al. 2017); order and labels stay
expected_calibration_error   15 bins of equal width of the greatest probability; of sets, of each label's (ibid.)
brier                        mean squared distance from the truth, summed over classes (Brier 1950); from 0 to 2, of sets to 1

Logits must be of texts that the model has not learned from. Labels are numbers (n,) for one label a text, 0 and 1
(n, labels) for sets of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

__all__ = ["BINS", "brier", "expected_calibration_error", "log_loss", "probabilities", "temperature"]

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
BINS = 15
_COLDEST, _HOTTEST = -4.0, 4.0
"""Limits of the temperature's logarithm; where every held-out label is right, the likeliest temperature is 0."""


def probabilities(logits: Numbers, *, multilabel: bool = False) -> Numbers:
    """Of classes that exclude each other, or of labels that do not."""
    return expit(logits) if multilabel else softmax(logits, axis=1)


def log_loss(logits: Numbers, labels: Integers) -> float:
    """Mean negative log-likelihood of labels, in nats."""
    if labels.ndim == 2:
        return float(-log_expit(np.where(labels == 1, logits, -logits)).mean())
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def temperature(logits: Numbers, labels: Integers) -> float:
    """What to divide logits by; 1 leaves them."""
    if not len(labels):
        return 1.0
    found = minimize_scalar(
        lambda power: log_loss(logits / np.exp(power), labels), bounds=(_COLDEST, _HOTTEST), method="bounded"
    )
    return float(np.exp(found.x))


def expected_calibration_error(probable: Numbers, labels: Integers, *, bins: int = BINS) -> float | None:
    """Mean distance of confidence and accuracy over bins, by how many texts are in each; None without texts."""
    if not len(labels):
        return None
    if labels.ndim == 2:
        confidence, right = probable.ravel(), labels.ravel() == 1
    else:
        confidence, right = probable.max(axis=1), probable.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    distance = np.bincount(place, confidence, bins) - np.bincount(place, right, bins)
    return float(np.abs(distance).sum() / len(confidence))


def brier(probable: Numbers, labels: Integers) -> float | None:
    """Mean squared distance of probabilities from the truth; None without texts."""
    if not len(labels):
        return None
    if labels.ndim == 2:
        return float(((probable - labels) ** 2).mean())
    truth = np.zeros_like(probable)
    truth[np.arange(len(labels)), labels] = 1
    return float(((probable - truth) ** 2).sum(axis=1).mean())
