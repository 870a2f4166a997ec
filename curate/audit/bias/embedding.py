"""Which groups stand near which attributes in an embedding that is trained on the corpus alone: WEAT.

    vectors     positive pointwise mutual information of words within 5 of each other, cut to 50 dimensions by SVD
                (Levy, Goldberg and Dagan 2015), trained on documents drawn anew for each of 5 seeds
    d           difference of the two groups' mean nearness to the one attribute less the other, over their deviation
    p           share of all ways to part the groups' words that give as much (Caliskan, Bryson and Narayanan 2017)

The interval is over seeds and resampled word lists. Words that occur fewer than 50 times do not count; fewer than 4 words a
list, or a million words of text in all, are `insufficient`. At most `MOST_WORDS` words are read; about 20 s.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import combinations
from math import comb

import numpy as np

from curate.audit.bias.lexicon import Comparison, Lexicon
from curate.audit.bias.measure import SIGNIFICANT, Measure, decide
from curate.audit.bias.statistics import Estimate

__all__ = ["LEAST_CORPUS", "detectable_d", "embedding", "weat"]

LEAST_CORPUS, LEAST_COUNT, LEAST_WORDS = 1_000_000, 50, 4
MOST_WORDS, VOCABULARY, DIMENSIONS, WINDOW = 4_000_000, 6_000, 50, 5
POWER_WANTED = 0.8
SEEDS, EXACT, DRAWS, RESAMPLED = 5, 10_000, 10_000, 100
_WORD = re.compile(r"[^\W\d_]+")


def embedding(
    texts: Iterable[tuple[str, float]], lexicon: Lexicon, *, least_corpus: int = LEAST_CORPUS
) -> list[Measure]:
    """A measure for every comparison of the lexicon, in texts that count by their weights."""
    if not lexicon.comparisons:
        return []
    lists = {key: words for one in lexicon.comparisons for key, words in _lists(lexicon, one).items()}
    read = list(_read(texts))
    documents, weights = [words for words, _ in read], np.array([weight for _, weight in read])
    counts = Counter(word for words in documents for word in words)
    total = sum(counts.values())
    enough = {key: [word for word in words if counts[word] >= LEAST_COUNT] for key, words in lists.items()}
    wanted = {word for words in enough.values() for word in words}
    common = [word for word, count in counts.most_common(VOCABULARY) if count >= LEAST_COUNT]
    places = {word: at for at, word in enumerate(dict.fromkeys([*sorted(wanted), *common]))}
    good = [one for one in lexicon.comparisons if all(len(enough[key]) >= LEAST_WORDS for key in _lists(lexicon, one))]
    spaces = list(_spaces(documents, weights, places)) if good and total >= least_corpus else []
    return decide([_measure(one, lexicon, enough, places, spaces if one in good else [], total)
                   for one in lexicon.comparisons])  # fmt: skip


def _read(texts: Iterable[tuple[str, float]]) -> Iterator[tuple[list[str], float]]:
    left = MOST_WORDS
    for text, weight in texts:
        words = _WORD.findall(text.lower())[:left]
        left -= len(words)
        yield words, weight
        if left <= 0:
            return


def _lists(lexicon: Lexicon, one: Comparison) -> dict[tuple[str, str, str], list[str]]:
    """The two groups' and the two attributes' single words."""
    keys = [("groups", one.axis, group) for group in one.groups]
    for attribute in one.attributes:
        topic, _, name = attribute.partition(".")
        keys.append(("attributes", topic, name))
    return {
        key: [term.words[0].lower() for term in lexicon.terms if term[:3] == key and len(term.words) == 1]
        for key in keys
    }


def _spaces(documents: list[list[str]], counting: np.ndarray, places: dict[str, int]) -> Iterator[np.ndarray]:
    """(words, dimensions) vectors of length 1, for each seed."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import svds

    ids = np.array([places.get(word, -1) for words in documents for word in words], np.int32)
    of = np.repeat(np.arange(len(documents)), [len(words) for words in documents])
    pairs = []
    for apart in range(1, WINDOW + 1):
        left, right = ids[:-apart], ids[apart:]
        both = (left >= 0) & (right >= 0) & (of[:-apart] == of[apart:])
        pairs.append((left[both], right[both], of[:-apart][both]))
    left, right, document = (np.concatenate(part) for part in zip(*pairs, strict=True))
    for seed in range(1, SEEDS + 1):
        weights = np.random.default_rng(seed).poisson(1, len(documents)) * counting
        counts = coo_matrix((weights[document], (left, right)), (len(places), len(places))).tocsr()
        counts = (counts + counts.T).tocoo()
        counts.data, counts.row, counts.col = (one[counts.data > 0] for one in (counts.data, counts.row, counts.col))
        sums = np.asarray(counts.sum(axis=1)).ravel()
        total = sums.sum()
        with np.errstate(divide="ignore"):
            information = np.log(counts.data * total / (sums[counts.row] * sums[counts.col]))
        positive = coo_matrix((np.maximum(information, 0), (counts.row, counts.col)), counts.shape).tocsr()
        start = np.random.default_rng(seed).normal(size=len(places))
        left_vectors, values, _ = svds(positive, k=min(DIMENSIONS, len(places) - 1), v0=start)
        vectors = left_vectors * np.sqrt(values)
        yield vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def weat(near: np.ndarray, first: int, *, seed: int) -> tuple[float, float]:
    """D and its p-value, from what each word of both groups is nearer to; the first `first` are the one group's."""
    d, size = _effect(near, first), len(near)
    if comb(size, first) <= EXACT:
        chosen = [list(one) for one in combinations(range(size), first)]
    else:
        generator = np.random.default_rng(seed)
        chosen = [generator.permutation(size)[:first] for _ in range(DRAWS)]
    sums = np.array([near[one].sum() for one in chosen])
    gaps = sums / first - (near.sum() - sums) / (size - first)
    observed = abs(near[:first].mean() - near[first:].mean())
    exceeding = int((np.abs(gaps) >= observed - 1e-12).sum())
    exact = comb(size, first) <= EXACT
    return d, exceeding / len(chosen) if exact else (exceeding + 1) / (len(chosen) + 1)


def detectable_d(first: int, second: int) -> float | None:
    """The least d that is found with 80 % power in words that differ by chance as normal numbers do; None where none is.

    The deviation in d holds the difference itself, so that d cannot be above a limit, which for few words is near.
    """
    from scipy.stats import nct, t

    free = first + second - 2
    if 2 / comb(first + second, first) >= SIGNIFICANT:
        return None
    root, edge = math.sqrt(1 / first + 1 / second), float(t.ppf(1 - SIGNIFICANT / 2, free))
    apart = next((one for one in np.arange(0.05, 12, 0.01) if nct.sf(edge, free, one / root) >= POWER_WANTED), None)
    if apart is None:
        return None
    between = first * second / (first + second)
    return float(apart / math.sqrt((free + between * apart**2) / (free + 1)))


def _effect(near: np.ndarray, first: int) -> float:
    deviation = near.std(ddof=1)
    return float((near[:first].mean() - near[first:].mean()) / deviation) if deviation else 0.0


def _measure(
    one: Comparison, lexicon: Lexicon, enough: dict[tuple[str, str, str], list[str]], places: dict[str, int],
    spaces: list[np.ndarray], total: int,
) -> Measure:  # fmt: skip
    groups, others, first, second = ([places[word] for word in enough[key]] for key in _lists(lexicon, one))
    facts = {
        "words": [len(part) for part in (groups, others, first, second)],
        "corpus_words": total,
        "seeds": len(spaces),
    }
    subject = f"{one.attributes[0]} against {one.attributes[1]}"
    measure = Measure("embedding", subject, one.axis, f"{one.groups[0]} against {one.groups[1]}", len(groups), len(others),
                      "d", facts=facts)  # fmt: skip
    if not spaces:
        return measure
    least = detectable_d(len(groups), len(others))
    found, drawn = [], []
    for seed, space in enumerate(spaces, start=1):
        targets = space[[*groups, *others]]
        near = (targets @ space[first].T).mean(axis=1) - (targets @ space[second].T).mean(axis=1)
        found.append(weat(near, len(groups), seed=seed))
        generator = np.random.default_rng(seed)
        for _ in range(RESAMPLED):
            mine = generator.choice(len(groups), len(groups))
            rest = len(groups) + generator.choice(len(others), len(others))
            drawn.append(_effect(near[np.concatenate([mine, rest])], len(groups)))
    low, high = np.quantile(drawn, [0.025, 0.975])
    value, p = float(np.median([d for d, _ in found])), float(np.median([p for _, p in found]))
    return Measure("embedding", subject, one.axis, measure.group, len(groups), len(others), "d",
                   Estimate(value, float(low), float(high), p), detectable=least, facts=facts)  # fmt: skip
