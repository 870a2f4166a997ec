"""The packaged linear model: logistic regression over hashed word 1- and 2-grams, read in windows.

Words that only name who somebody is (`gay`, `muslim`, `middle eastern`) are taken out first: the model cannot hold against a
text whom it is about. The rest goes to 2^18 weights. A text is read in blocks of 12 words, a window being two of them:
its score is bias + sum(weights) / sqrt(number of n-grams), put on the scale of probabilities by Platt's line (1999). So one
sentence shows in a long text (the greatest window), and how much of it is like that, too (the mean).

How the weights were made, of what data, and how they do is in `card.json` beside them; `benchmarks/toxicity_model.py` makes
both. What they hardly see: hate without a word that is used for it, other languages than English, quotation and irony.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit

from curate.audit.toxicity.words import Terms, character_table, find_terms, hash_words, terms

__all__ = ["BLOCK", "CARD", "WEIGHTS", "Model", "load_model", "score_texts", "window_features"]

WEIGHTS = Path(__file__).parent / "weights.safetensors"
CARD = Path(__file__).parent / "card.json"
BLOCK = 12
"""Words of a block; a window is two."""
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX_A = np.uint64(0xFF51AFD7ED558CCD)
_SHIFT = np.uint64(33)


class Model(NamedTuple):
    """The model, ready to score.

    Attributes:
        weights: One for each bucket (float32, a power of two of them).
        bias: What a text of no known word scores.
        slope: Platt's line: the probability is 1 / (1 + exp(-(slope * score + intercept))).
        intercept: See there.
        identities: The words that are taken out.
    """

    weights: np.ndarray
    bias: float
    slope: float
    intercept: float
    identities: Terms


@cache
def load_model() -> Model:
    """The packaged model."""
    from safetensors import safe_open

    with safe_open(WEIGHTS, "numpy") as file:
        weights = file.get_tensor("weights").astype(np.float32)
        numbers = json.loads(file.metadata()["model"])
    return Model(weights, numbers["bias"], numbers["slope"], numbers["intercept"], terms(numbers["identity_terms"]))


def score_texts(data: np.ndarray, offsets: np.ndarray, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """The greatest and the mean probability over the windows of each text (float32); 0 where nothing is left to read.

    Args:
        data: UTF-8 bytes (uint8).
        offsets: Where each text begins, and where the last ends (integers).
        model: What scores.
    """
    names = model.identities
    return _score(
        data, offsets, character_table(), names.hashes, names.maybe, names.longest,
        model.weights, model.bias, model.slope, model.intercept,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _without(words, second, count: int, hashes, maybe, longest: int) -> int:  # noqa: ANN001
    """Take the terms out of the words, in place; returns how many stay."""
    at, kept = 0, 0
    while at < count:
        size, _ = find_terms(words, at, count, hashes, maybe, longest)
        if size == 0:
            words[kept], second[kept] = words[at], second[at]
            kept += 1
        at += max(size, 1)
    return kept


@njit(cache=True, nogil=True, inline="always")
def _pair(before, word, mask):  # noqa: ANN001, ANN202
    """The bucket of two words in a row."""
    state = before * _BASE + word
    state ^= state >> _SHIFT
    state *= _MIX_A
    return np.int64((state ^ (state >> _SHIFT)) & mask)


@njit(cache=True, nogil=True)
def _score(data, offsets, table, hashes, maybe, longest, weights, bias, slope, intercept):  # noqa: ANN001, ANN202
    documents, mask = len(offsets) - 1, np.uint64(len(weights) - 1)
    greatest, mean = np.zeros(documents, np.float32), np.zeros(documents, np.float32)
    room = np.max(offsets[1:] - offsets[:-1]) + 1 if documents else 1
    words, second = np.empty(room, np.uint64), np.empty(room, np.uint64)
    for document in range(documents):
        count = hash_words(data, offsets[document], offsets[document + 1], table, words, second)
        count = _without(words, second, count, hashes, maybe, longest)
        if count == 0:
            continue
        windows, most, total = 0, 0.0, 0.0
        sum_before, size_before = 0.0, 0
        for start in range(0, count, BLOCK):
            here, size = 0.0, 0
            for index in range(start, min(start + BLOCK, count)):
                here += weights[np.int64(words[index] & mask)]
                size += 1
                if second[index] != 0:
                    here += weights[np.int64(second[index] & mask)]
                    size += 1
                if index > 0:
                    here += weights[_pair(words[index - 1], words[index], mask)]
                    size += 1
            if start > 0 or count <= BLOCK:
                score = bias + (sum_before + here) / np.sqrt(size_before + size)
                probability = 1.0 / (1.0 + np.exp(-(slope * score + intercept)))
                windows, total, most = windows + 1, total + probability, max(most, probability)
            sum_before, size_before = here, size
        greatest[document], mean[document] = most, total / windows
    return greatest, mean


def window_features(
    data: np.ndarray, offsets: np.ndarray, identities: Terms, buckets: int, *, block: int = BLOCK
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the model sees, for its training: as a sparse matrix of windows by buckets.

    Returns:
        The buckets of all windows one after the other (int32), where those of each window begin (int64, one more than
        windows), and the text of each window (int64).
    """
    room = 8 * (int(offsets[-1]) + len(offsets)) + 6
    columns, starts, owners = np.empty(room, np.int32), np.zeros(room // 3, np.int64), np.empty(room // 3, np.int64)
    used, windows = _features(
        data, offsets, character_table(), identities.hashes, identities.maybe, identities.longest,
        np.uint64(buckets - 1), block, columns, starts, owners,
    )  # fmt: skip
    return columns[:used].copy(), starts[: windows + 1].copy(), owners[:windows].copy()


@njit(cache=True, nogil=True)
def _features(data, offsets, table, hashes, maybe, longest, mask, block, columns, starts, owners):  # noqa: ANN001, ANN202
    documents = len(offsets) - 1
    room = np.max(offsets[1:] - offsets[:-1]) + 1 if documents else 1
    words, second = np.empty(room, np.uint64), np.empty(room, np.uint64)
    used, windows = 0, 0
    for document in range(documents):
        count = hash_words(data, offsets[document], offsets[document + 1], table, words, second)
        count = _without(words, second, count, hashes, maybe, longest)
        for start in range(0, max(count - block, min(count, 1)), block):
            for index in range(start, min(start + 2 * block, count)):
                columns[used] = np.int64(words[index] & mask)
                used += 1
                if second[index] != 0:
                    columns[used] = np.int64(second[index] & mask)
                    used += 1
                if index > 0:
                    columns[used] = _pair(words[index - 1], words[index], mask)
                    used += 1
            owners[windows] = document
            windows += 1
            starts[windows] = used
    return used, windows
