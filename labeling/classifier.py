"""The embedded classifier: logistic regression on hashed n-grams, or on embeddings that are given.

Multinomial for one label a text, one against the rest for sets of labels; L2 on the weights, L-BFGS (Liu and Nocedal 1989). How
strong the L2 is, is chosen by the log-loss of texts held out in stratified folds, after temperature scaling; the same held-out
logits give the temperature, thresholds (`certification.py`) and suspected labels (`suspects.py`). Buckets are weighted by how
rare they are in the labelled texts.

A class that no label has keeps a probability near 0; fewer than two classes are refused. Data and seed decide all.
Accuracy and CPU time beside scikit-learn: benchmarks/RESULTS.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from curate.errors import CurateError
from curate.files import replacing
from curate.labeling.calibration import log_loss, probabilities, temperature
from curate.labeling.features import hashed, rarity, spread, weighted
from curate.labeling.logistic import Problem, rotate, solve

__all__ = [
    "FOLDS", "PENALTIES", "Classifier", "Fitted", "Inputs", "fit", "fit_matrix", "folds", "learnable", "load", "save",
    "saved_labels",
]  # fmt: skip

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
Inputs = Sequence[str] | NDArray[Any] | sparse.csr_array
"""Texts, embeddings (n, d), or what `hashed` made of texts."""
FOLDS = 5
PENALTIES = (1.0, 0.1, 0.01)
"""Weights of half the sum of squares beside the sum of losses: 1 / C of scikit-learn. The strongest first."""
FEWEST = 2
"""Labelled texts that an n-gram must stand in."""
_PART = 10_000
_FORMAT = 1


class Classifier(NamedTuple):
    """A model, ready to predict.

    Attributes:
        columns: The features that it looks at.
        scale: What they are multiplied by: how rare buckets are, or 1 / deviation of embeddings (float32).
        center: What is taken off embeddings before; None for texts (float32).
        weights: Features by classes (float32).
        bias: Of the classes (float64).
        temperature: What its logits are divided by.
        penalty: The strength of its L2.
        multilabel: Whether a text may have several labels.
    """

    columns: Integers
    scale: NDArray[np.float32]
    center: NDArray[np.float32] | None
    weights: NDArray[np.float32]
    bias: Numbers
    temperature: float
    penalty: float
    multilabel: bool

    def predict_proba(self, inputs: Inputs) -> Numbers:
        """Probabilities, inputs by classes: of texts (or what `hashed` made of them), or of embeddings."""
        return probabilities(self.logits(inputs) / self.temperature, multilabel=self.multilabel)

    def logits(self, inputs: Inputs) -> Numbers:
        """What the model says before temperature and link, inputs by classes; in parts, so that a pool may be large."""
        parts: list[Numbers] = [np.zeros((0, len(self.bias)))]
        for start in range(0, _count(inputs), _PART):
            part = cast(Any, inputs)[start : start + _PART]
            made = self._features(part) @ self.weights
            parts.append(np.asarray(made, np.float64) + self.bias)
        return np.concatenate(parts)

    def _features(self, inputs: Any) -> Any:
        if self.center is not None:
            return (np.asarray(inputs, np.float32) - self.center) * self.scale
        counts = inputs if sparse.issparse(inputs) else hashed(inputs)
        return weighted(counts, spread(self.scale, self.columns, counts.shape[1]))[:, self.columns]


class Fitted(NamedTuple):
    """A model and what cross-validation says of it.

    Attributes:
        model: Fitted to all labels.
        held_out: Logits of each text by the model that did not see it, not yet divided by the temperature.
        loss: Log-loss of the held-out texts by strength of L2, after temperature scaling.
    """

    model: Classifier
    held_out: Numbers
    loss: dict[float, float]

    def out_of_fold(self) -> Numbers:
        """Calibrated probabilities of each text by the model that did not see it."""
        return probabilities(self.held_out / self.model.temperature, multilabel=self.model.multilabel)


def fit(
    texts: Inputs, labels: Integers, classes: int, *, seed: int,
    penalties: Sequence[float] = PENALTIES, class_weights: Numbers | None = None, parts: int = FOLDS,
) -> Fitted:  # fmt: skip
    """Fit a classifier of texts.

    Args:
        texts: What is labelled, or what `hashed` made of it.
        labels: Their labels (n,), or for sets of them 0 and 1 (n, classes).
        classes: How many labels there are.
        seed: Of the folds.
        penalties: Strengths of L2 to choose from.
        class_weights: The weight of each class's loss; all 1 unless given.
        parts: How many folds; no more than the texts of the second most frequent class.

    Raises:
        CurateError: All labels are the same, or there is no other text of any but one label.
    """
    features, columns, scale = learnable(texts)
    fitted = _fitted(features, labels, classes, seed, penalties, class_weights, parts)
    return fitted._replace(model=fitted.model._replace(columns=columns, scale=scale))


def _count(inputs: Any) -> int:
    return inputs.shape[0] if sparse.issparse(inputs) else len(inputs)


def learnable(texts: Inputs) -> tuple[Any, Integers, NDArray[np.float32]]:
    """What labelled texts teach: features of n-grams that two of them share, which these are, and how rare."""
    counts: Any = texts if sparse.issparse(texts) else hashed(cast(Sequence[str], texts))
    columns = np.flatnonzero(np.bincount(counts.indices) >= min(FEWEST, counts.shape[0]))
    scale = rarity(counts)[columns]
    return weighted(counts, spread(scale, columns, counts.shape[1]))[:, columns], columns, scale


def fit_matrix(
    embeddings: NDArray[Any], labels: Integers, classes: int, *, seed: int,
    penalties: Sequence[float] = PENALTIES, class_weights: Numbers | None = None, parts: int = FOLDS,
) -> Fitted:  # fmt: skip
    """Fit a classifier of embeddings (n, d), such as those of a trained checkpoint; else as `fit`."""
    given = np.asarray(embeddings, np.float32)
    center, scale = given.mean(0), 1 / np.maximum(given.std(0), 1e-6) / np.float32(np.sqrt(given.shape[1]))
    fitted = _fitted((given - center) * scale, labels, classes, seed, penalties, class_weights, parts)
    return fitted._replace(model=fitted.model._replace(columns=np.arange(given.shape[1]), scale=scale, center=center))


def _fitted(
    features: Any, labels: Integers, classes: int, seed: int, penalties: Sequence[float],
    class_weights: Numbers | None, parts: int,
) -> Fitted:  # fmt: skip
    multilabel = labels.ndim == 2
    _check(labels.sum(0) if multilabel else np.bincount(labels, minlength=classes), len(labels), multilabel)
    weights = np.ones(classes) if class_weights is None else class_weights
    problem = Problem(labels.astype(np.float64) if multilabel else np.eye(classes)[labels], weights, multilabel)
    rotated, back = rotate(features)
    logits = np.zeros((len(penalties), len(labels), classes))
    for held in folds(labels, parts, seed=seed):
        learned = np.setdiff1d(np.arange(len(labels)), held)
        theta = None
        for place, penalty in enumerate(penalties):
            theta = solve(rotated[learned], problem.of(learned), penalty, start=theta)
            logits[place, held] = rotated[held] @ theta[:-1] + theta[-1]
    heats = [temperature(one, labels) for one in logits]
    losses = [log_loss(one / heat, labels) for one, heat in zip(logits, heats, strict=True)]
    best = int(np.argmin(losses))
    theta = solve(rotated, problem, penalties[best])
    model = Classifier(
        np.zeros(0, np.int64), np.zeros(0, np.float32), None, back(theta[:-1]).astype(np.float32), theta[-1].copy(),
        heats[best], penalties[best], multilabel,
    )  # fmt: skip
    return Fitted(model, logits[best], dict(zip(penalties, losses, strict=True)))


def _check(of_classes: Integers, texts: int, multilabel: bool) -> None:
    known = (of_classes > 0) & (of_classes < texts) if multilabel else of_classes > 0
    if texts < 2 or known.sum() < (1 if multilabel else 2):
        raise CurateError(
            f"there is nothing to learn from {texts} labels: "
            + (
                "each is on all texts or on none"
                if multilabel
                else f"they are of {int(known.sum())} of {len(known)} classes"
            ),
            hint="label more texts, or some that are more different (`--strategy diverse`)",
        )


def save(model: Classifier, path: Path, labels: Sequence[str] = ()) -> None:
    """Write a model as safetensors, the rest as JSON in its header; durably, and equal models as equal bytes.

    Args:
        model: What is written.
        path: Where.
        labels: Names of its classes.
    """
    from safetensors.numpy import save as to_bytes

    tensors = {"columns": model.columns, "scale": model.scale, "weights": model.weights, "bias": model.bias}
    if model.center is not None:
        tensors["center"] = model.center
    told = {
        "format": _FORMAT,
        "temperature": model.temperature,
        "penalty": model.penalty,
        "multilabel": model.multilabel,
        "labels": list(labels),
    }
    with replacing(path) as file:
        file.write(
            to_bytes({name: np.ascontiguousarray(one) for name, one in tensors.items()}, {"curate": json.dumps(told)})
        )


def load(path: Path) -> Classifier:
    """Read a model that `save` wrote.

    Raises:
        CurateError: The file is no such model.
    """
    told, tensors = _read(path)
    return Classifier(
        tensors["columns"], tensors["scale"], tensors.get("center"), tensors["weights"], tensors["bias"],
        told["temperature"], told["penalty"], told["multilabel"],
    )  # fmt: skip


def saved_labels(path: Path) -> list[str]:
    """The names of the classes of a model that `save` wrote.

    Raises:
        CurateError: The file is no such model, or has no names.
    """
    names = _read(path)[0].get("labels")
    if not names:
        raise CurateError("the model does not name its labels", str(path), "`curate label fit` writes it anew")
    return names


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the header says, and the tensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            told = json.loads((file.metadata() or {}).get("curate", "{}"))
            if told.get("format") != _FORMAT:
                raise CurateError(
                    f"the file has no model of format {_FORMAT}", str(path), "`curate label fit` writes it anew"
                )
            return told, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CurateError(f"the file is no model: {error}", str(path), "`curate label fit` writes it anew") from None


def folds(labels: Integers, parts: int, *, seed: int) -> list[Integers]:
    """Texts in parts of about one size, each with its share of every class; for sets of labels, of every set."""
    keys = np.unique(labels, axis=0, return_inverse=True)[1].ravel() if labels.ndim == 2 else labels
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    dealt = shuffled[np.argsort(keys[shuffled], kind="stable")]
    parts = max(2, min(parts, len(labels)))
    return [np.sort(dealt[part::parts]) for part in range(parts)]
