"""Clusters of texts: tf-idf of a vocabulary, its singular vectors, k-means on the sphere, and words that name each cluster.

    tf-idf      (1 + log tf) log(n / df) of words in at least 3 and at most half of the texts, rows of length 1
    vectors     on the first right singular vectors (randomized, Halko et al. 2011: 8 more, 4 power iterations), of length 1
    k-means     by cosine, k-means++ beginnings (Arthur and Vassilvitskii 2007), the best of some
    names       words of at least 5 texts with the largest p(w | cluster) log(p(w | cluster) / p(w)), p by texts with it;
                without stop words of the cluster's languages (curate/mix/function_words.py), unless it has no others

2,000 texts of 300 words and 20 clusters: 3 CPU seconds with the engine's part (benchmarks/topics.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.mix.function_words import spoken
from curate.mix.words import BATCH, words_of

if TYPE_CHECKING:
    import pyarrow as pa
    from scipy.sparse import csr_matrix

__all__ = [
    "Counts",
    "Vocabulary",
    "clusters",
    "cosines",
    "count_words",
    "names",
    "singular_vectors",
    "sphere",
    "tf_idf",
    "vocabulary",
]

LEAST, MOST = 3, 0.5
"""A word of the vocabulary stands in at least so many texts, and at most in this share of them."""
NAMED = 5
"""A word that names a cluster stands in at least so many texts: what stands in fewer may be about one person."""
MORE, POWERS, BEGINNINGS, ROUNDS = 8, 4, 4, 100
Floats = NDArray[np.float64]


class Counts(NamedTuple):
    """How often texts have words: one entry for each text and word that it has.

    Attributes:
        text: The text (int64).
        word: Its place among `words` (int64).
        often: How often.
        words: The different words.
        texts: How many texts there are.
    """

    text: NDArray[np.int64]
    word: NDArray[np.int64]
    often: NDArray[np.int64]
    words: list[str]
    texts: int


class Vocabulary(NamedTuple):
    """Words that texts are told apart by, sorted, and log(n / df) of each."""

    words: list[str]
    idf: Floats


def count_words(texts: pa.Array) -> Counts:
    """Count the words of texts."""
    known: dict[str, int] = {}
    parts: list[tuple[NDArray, NDArray, NDArray]] = []
    for start in range(0, len(texts), BATCH):
        found = words_of(texts.slice(start, BATCH))
        places = np.array([known.setdefault(word, len(known)) for word in found.different], dtype=np.int64)
        size = max(len(found.different), 1)
        pairs, counts = np.unique(found.text * size + found.word, return_counts=True)
        parts.append((pairs // size + start, places[pairs % size], counts))
    text, word, count = (np.concatenate([np.zeros(0, np.int64), *(part[n] for part in parts)]) for n in range(3))
    return Counts(text, word, count, list(known), len(texts))


def vocabulary(counts: Counts, most: int) -> Vocabulary:
    """The most frequent words that tell texts apart, by the number of texts that have them; words with digits are none."""
    frequency = np.bincount(counts.word, minlength=len(counts.words))
    there = np.flatnonzero((frequency >= LEAST) & (frequency <= max(MOST * counts.texts, LEAST)))
    wanted = [
        (-int(frequency[n]), counts.words[n]) for n in there.tolist() if not any(map(str.isdigit, counts.words[n]))
    ]
    chosen = sorted(wanted)[:most]
    by_word = sorted((word, -rank) for rank, word in chosen)
    idf = np.log(counts.texts / np.array([number for _, number in by_word], dtype=np.float64))
    return Vocabulary([word for word, _ in by_word], idf)


def tf_idf(counts: Counts, known: Vocabulary) -> csr_matrix:
    """(texts, words of the vocabulary): rows of length 1, or 0 where a text has none of them."""
    from scipy.sparse import csr_matrix

    place = {word: number for number, word in enumerate(known.words)}
    column = np.array([place.get(word, -1) for word in counts.words], dtype=np.int64)[counts.word]
    here = column >= 0
    values = (1 + np.log(counts.often[here])) * known.idf[column[here]]
    length = np.sqrt(np.bincount(counts.text[here], weights=values**2, minlength=counts.texts))
    values = values / length[counts.text[here]]
    return csr_matrix((values, (counts.text[here], column[here])), (counts.texts, len(known.words)))


def singular_vectors(matrix: csr_matrix, most: int, seed: int) -> Floats:
    """The first right singular vectors, as columns: (words, at most `most` and the 8 more).

    All that were searched in are there: which of equal ones were left out would be a matter of the kind of CPU.
    """
    shape: tuple[int, int] = matrix.shape  # type: ignore[assignment]
    number = min(most, *shape)
    draw = np.random.default_rng(seed).standard_normal((shape[1], min(number + MORE, *shape)))
    basis = np.linalg.qr(matrix @ draw)[0]
    for _ in range(POWERS):
        basis = np.linalg.qr(matrix @ np.linalg.qr(matrix.T @ basis)[0])[0]
    return np.linalg.svd((matrix.T @ basis).T, full_matrices=False)[2].T


def sphere(vectors: Floats) -> Floats:
    """Vectors of length 1; those of length 0 stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def cosines(vectors: Floats, centres: Floats) -> Floats:
    """Of vectors of length 1, to 6 places: the last bits of a product are those of the kind of CPU."""
    return np.round(vectors @ centres.T, 6)


def clusters(vectors: Floats, number: int, seed: int) -> Floats:
    """Centres (at most `number`, dimensions) of length 1, the largest cluster first."""
    draw = np.random.default_rng(seed)
    best, centres = -np.inf, np.zeros((0, vectors.shape[1]))
    if not len(vectors):
        return centres
    for _ in range(BEGINNINGS):
        found = _rounds(vectors, _beginning(vectors, number, draw))
        fit = float(cosines(vectors, found).max(axis=1).sum())
        if fit > best + 1e-9:
            best, centres = fit, found
    sizes = np.bincount(cosines(vectors, centres).argmax(axis=1), minlength=len(centres))
    return centres[np.argsort(-sizes, kind="stable")]


def _beginning(vectors: Floats, number: int, draw: np.random.Generator) -> Floats:
    """Vectors that are far from one another."""
    chosen = [int(draw.integers(len(vectors)))]
    far = np.clip(1 - cosines(vectors, vectors[chosen[0]]), 0, None)
    while len(chosen) < number and far.sum() > 1e-9:
        chosen.append(int(draw.choice(len(vectors), p=far / far.sum())))
        far = np.minimum(far, np.clip(1 - cosines(vectors, vectors[chosen[-1]]), 0, None))
    return vectors[chosen]


def _rounds(vectors: Floats, centres: Floats) -> Floats:
    nearest = np.full(len(vectors), -1)
    for _ in range(ROUNDS):
        before, nearest = nearest, cosines(vectors, centres).argmax(axis=1)
        if np.array_equal(before, nearest):
            break
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, vectors)
        empty = np.linalg.norm(sums, axis=1) == 0
        centres = np.where(empty[:, None], centres, sphere(sums))
    return centres


def names(counts: Counts, known: Vocabulary, nearest: NDArray[np.int64], number: int, words: int) -> list[list[str]]:
    """The words that tell each cluster from all texts, the most telling first."""
    there, frequency = set(known.words), np.bincount(counts.word, minlength=len(counts.words))
    told = [word in there and len(word) > 1 - (ord(word[0]) > 0x2E80) for word in counts.words]
    useful = np.array(told, dtype=bool) & (frequency >= NAMED)
    here = useful[counts.word] & (nearest[counts.text] >= 0)
    text, word = counts.text[here], counts.word[here]
    whole = np.bincount(word, minlength=len(counts.words)) / max(counts.texts, 1)
    found = []
    for cluster in range(number):
        mine = nearest[text] == cluster
        share = np.bincount(word[mine], minlength=len(whole)) / max(int((nearest == cluster).sum()), 1)
        ratio = np.divide(share, whole, out=np.ones_like(share), where=(share > 0) & (whole > 0))
        score = share * np.log(ratio)
        best: Iterable[int] = np.argsort(-score, kind="stable")[: int((score > 0).sum())].tolist()
        telling = [counts.words[one] for one in best]
        of_cluster = counts.word[nearest[counts.text] == cluster]
        empty = spoken(counts.words, np.bincount(of_cluster, minlength=len(counts.words)))
        found.append(([word for word in telling if word not in empty] or telling)[:words])
    return _unique(found)


def _unique(found: Sequence[list[str]]) -> list[list[str]]:
    """No two clusters of the same name: a later one has its number with it."""
    seen: set[tuple[str, ...]] = set()
    made = []
    for number, words in enumerate(found):
        made.append([*words, str(number)] if tuple(words) in seen or not words else words)
        seen.add(tuple(made[-1]))
    return made
