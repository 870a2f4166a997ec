"""The models of `curate label fit`, asked about many texts: compiled, without a matrix of their n-grams.

Same probabilities as `Classifier.predict_proba` (labeling/classifier.py), which is for training: n-grams that the model has no
weight for cost a look into a table. Cost: benchmarks/quality.py; models of words alone (`--words`) are several times as fast.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from curate.audit.toxicity.words import character_table, hash_words
from curate.errors import CurateError
from curate.labeling.calibration import probabilities
from curate.labeling.classifier import Classifier
from curate.labeling.features import BUCKETS, character_buckets, word_buckets

__all__ = ["Scorer", "scorer"]


class Scorer(NamedTuple):
    """A model laid out for looking up.

    Attributes:
        places: Of each bucket its place among those with weights, -1 where it has none (int32).
        scale: How rare those are (float32).
        weights: Theirs, by classes (float32).
        bias: Of the classes (float64).
        temperature: What logits are divided by.
        multilabel: Whether a text may have several labels.
    """

    places: NDArray[np.int32]
    scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float64]
    temperature: float
    multilabel: bool

    def probabilities(self, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of each class, texts by classes.

        Args:
            data: UTF-8 bytes.
            offsets: Where each text begins, and where the last ends.
        """
        logits = _logits(data, offsets, character_table(), self.places, self.scale, self.weights)
        return probabilities((logits + self.bias) / self.temperature, multilabel=self.multilabel)


def scorer(model: Classifier, where: str) -> Scorer:
    """Lay out a model of texts.

    Raises:
        CurateError: It is one of embeddings, or of other buckets.
    """
    if model.center is not None:
        raise CurateError("the model is one of embeddings: it cannot read texts", where)
    places = np.full(2 * BUCKETS, -1, np.int32)
    if model.columns.max(initial=0) >= len(places) or len(model.weights) != len(model.columns):
        raise CurateError(
            "the model does not fit the n-grams of this version", where, "`curate label fit` writes it anew"
        )
    places[model.columns] = np.arange(len(model.columns), dtype=np.int32)
    characters = bool((model.columns >= BUCKETS).any())
    return Scorer(
        places if characters else places[:BUCKETS].copy(), model.scale, np.ascontiguousarray(model.weights), model.bias,
        model.temperature, model.multilabel,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _add(columns, start: int, stop: int, places, scale, weights, counts, seen, sums) -> None:  # noqa: ANN001
    """Add to `sums` what n-grams of one kind weigh, by 1 + log(count) and how rare they are, scaled to length 1."""
    distinct = 0
    for index in range(start, stop):
        place = places[columns[index]]
        if place >= 0:
            if counts[place] == 0:
                seen[distinct] = place
                distinct += 1
            counts[place] += 1
    squares, added = 0.0, np.zeros(len(sums), np.float64)
    for index in range(distinct):
        place = seen[index]
        value = np.float64(scale[place]) * (1.0 if counts[place] == 1 else 1.0 + np.log(counts[place]))
        counts[place] = 0
        squares += value * value
        for column in range(len(sums)):
            added[column] += value * weights[place, column]
    if squares > 0:
        sums += added / np.sqrt(squares)


@njit(cache=True, nogil=True)
def _logits(data, offsets, table, places, scale, weights):  # noqa: ANN001, ANN202
    texts, longest = len(offsets) - 1, 0
    for text in range(texts):
        longest = max(longest, offsets[text + 1] - offsets[text])
    mask, characters = np.uint64(BUCKETS - 1), len(places) > BUCKETS
    words, second = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.uint64)
    codes, columns = np.empty(longest + 2, np.int64), np.empty(3 * longest + 6, np.int32)
    counts, seen = np.zeros(len(scale), np.int32), np.empty(3 * longest + 6, np.int32)
    found = np.zeros((texts, weights.shape[1]), np.float64)
    for text in range(texts):
        start, stop = offsets[text], offsets[text + 1]
        used = word_buckets(words, hash_words(data, start, stop, table, words, second), mask, columns, 0)
        _add(columns, 0, used, places, scale, weights, counts, seen, found[text])
        if characters:
            used = character_buckets(data, start, stop, table, mask, codes, columns, 0)
            _add(columns, 0, used, places, scale, weights, counts, seen, found[text])
    return found
