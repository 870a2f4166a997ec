"""From band hashes to pairs, and from pairs to clusters: linear in the documents, whatever they hold.

Documents go here by their position in the order of preference, 0 the most wanted. In each bucket (the documents that
share a band's hash) every document is paired with the `LINKS` most wanted ones and with the `LINKS` before it: all
pairs of a bucket of up to 9, a linear number in a larger one. Cost: a sort of 8-byte numbers for each band.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

__all__ = ["LINKS", "candidate_pairs", "components", "first_equal", "first_number", "linked_pairs"]

LINKS = 4
"""Most wanted documents of a bucket, and documents before it in the bucket, that a document is paired with."""


def _changes(*ordered: np.ndarray) -> np.ndarray:
    """Where sorted arrays differ from the place before; the first place counts as different."""
    changes = np.ones(len(ordered[0]), dtype=bool)
    changes[1:] = np.logical_or.reduce([array[1:] != array[:-1] for array in ordered])
    return changes


def _run_starts(changes: np.ndarray) -> np.ndarray:
    """For each position of a sorted array, where its run of equal values starts; `changes[i]`: i differs from i - 1."""
    return np.maximum.accumulate(np.where(changes, np.arange(len(changes)), 0))


def first_equal(*keys: np.ndarray) -> np.ndarray:
    """For each position, the first position at which all keys are equal to its own (int64)."""
    order = np.lexsort(keys)
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[_run_starts(_changes(*(key[order] for key in keys)))]
    return first


def candidate_pairs(bands: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of positions that share a bucket, left < right, sorted, each once; `bands` gives the hashes of a band."""
    found, count = np.empty(0, dtype=np.uint64), np.uint64(1)
    for hashes in bands:
        count = np.uint64(max(1, len(hashes)))
        links = [left.astype(np.uint64) * count + right.astype(np.uint64) for left, right in _links(hashes)]
        found = np.unique(np.concatenate([found, *links]))
    return (found // count).astype(np.int64), (found % count).astype(np.int64)


def linked_pairs(hashes: np.ndarray, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of documents that share a hash, each once; records in order of preference, the more wanted first in a pair."""
    lefts: list[np.ndarray] = [np.empty(0, dtype=np.uint64)]
    rights: list[np.ndarray] = [np.empty(0, dtype=np.uint64)]
    for left, right in _links(hashes):
        lefts.append(documents[left])
        rights.append(documents[right])
    left, right = np.concatenate(lefts), np.concatenate(rights)
    order = np.lexsort((right, left))
    left, right = left[order], right[order]
    new = _changes(left, right) if len(left) else np.zeros(0, dtype=bool)
    return left[new], right[new]


def _links(hashes: np.ndarray) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    order = np.argsort(hashes, kind="stable")
    changes = _changes(hashes[order])
    places = np.flatnonzero(~changes)
    starts = _run_starts(changes)[places]
    for link in range(LINKS):
        for others, linked in (
            (starts + link, starts + link < places),
            (places - 1 - link, places - 1 - link >= starts + LINKS),
        ):
            yield order[others[linked]], order[places[linked]]


def components(count: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Labels (integers below `count`) of the connected components of `count` positions under the pairs given."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def first_number(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each document, the number of the first that has the same label, and how many have it."""
    _, first, inverse, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    return first[inverse], counts[inverse]
