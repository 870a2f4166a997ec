"""Of sets of documents that hang together: true similarities, which of them stay, and clusters.

A bucket holds whole sets, so nothing beyond it is needed. The n-gram sets of its documents are mapped from a temporary
file, 8 bytes an n-gram, so the system decides how much of them stands in memory.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numba import njit

from curate.dedup import clusters
from curate.dedup.keep import Order, preference_order
from curate.dedup.minhash import jaccard, shingle_sets
from curate.dedup.words import character_table
from curate.stages.buffers import text_buffer
from curate.stages.work import SHARD_BITS

if TYPE_CHECKING:
    from curate.stages.work import Desk

__all__ = ["cover", "last_of", "last_pairs", "settle", "shingle_column"]

_CHUNK = 32_000_000
"""Characters of text that are looked at in one go."""
_ROUNDS = 8
"""Most times that the documents kept from one set are proposed again; 2 or 3 do, but for the oddest sets."""
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


def shingle_column(
    desk: Desk, documents: np.ndarray, lengths: np.ndarray, wanted: np.ndarray, *, ngram: int
) -> pa.ChunkedArray:
    """The sorted n-gram hashes of documents (large_list of uint64); an empty list where they are not wanted."""
    chunks = []
    cut = np.cumsum(np.where(wanted, lengths, 0)) // _CHUNK
    for part in np.split(np.arange(len(documents)), np.flatnonzero(np.diff(cut)) + 1):
        chosen = part[wanted[part]]
        sizes = np.zeros(len(part), dtype=np.int64)
        values = np.zeros(0, dtype=np.uint64)
        if len(chosen):
            data, offsets = text_buffer(desk.texts(documents[chosen]))
            values, found = shingle_sets(data, offsets, table=character_table(), ngram=ngram)
            sizes[wanted[part]] = found
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        chunks.append(pa.LargeListArray.from_arrays(pa.array(bounds), pa.array(values)))
    return pa.chunked_array(chunks)


def settle(
    members: pa.Table, edges: pa.Table, *, similarity: float, order: Order, verify: bool
) -> tuple[pa.Table, pa.Table]:
    """Decide about the sets of a bucket.

    Args:
        members: `document`, `id`, `copy`, `set`, with `verify` their `shingles`, and `preference` where it counts.
        edges: `left`, `right`, `equal`: pairs to look at, and copies (`right`) of documents.
        similarity: From where on two documents are duplicates.
        order: Which preference is the best.
        verify: Whether the pairs have to prove themselves.

    Returns:
        For every member `document`, `shard`, `row`, the id of the one `kept` in its place (null: it stays), its
        `similarity` to that, the id of the first of its `cluster` and the cluster's `size`; and the pairs of duplicates:
        `id_a`, `id_b`, `similarity`, and their addresses `left` and `right`.
    """
    members = members.sort_by("document")
    wanted = preference_order(members, order)
    members = members.take(pa.array(wanted))
    documents = members.column("document").to_numpy()
    number = np.argsort(documents, kind="stable")
    sides = [number[np.searchsorted(documents[number], edges.column(side).to_numpy())] for side in ("left", "right")]
    equal = edges.column("equal").to_numpy()
    left, right = np.minimum(*sides)[~equal], np.maximum(*sides)[~equal]
    original = np.arange(len(documents))
    original[sides[1][equal]] = sides[0][equal]
    left, right = _unique(left, right, len(documents))
    accepted = (left, right, np.full(len(left), np.nan))
    if verify:
        accepted = _accept(members, left, right, similarity=similarity)
    return _outcome(members, original, accepted)


def _unique(left: np.ndarray, right: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    both = np.unique(left * count + right)
    return both // max(count, 1), both % max(count, 1)


def _accept(members: pa.Table, left: np.ndarray, right: np.ndarray, *, similarity: float) -> Pairs:
    """The pairs of duplicates, sorted, and their similarities.

    Two documents of a set may never have met (in a crowded bucket, or by bad luck with the bands), so those that would be
    kept from one set are proposed in turn, until nothing new is found.
    """
    count = members.num_rows
    with tempfile.TemporaryFile(prefix="curate-shingles-") as file:
        bounds = _write_shingles(members, file)
        values = np.empty(0, dtype=np.uint64)
        if bounds[-1]:
            values = np.memmap(file, dtype=np.uint64, mode="r", shape=(int(bounds[-1]),)).view(np.ndarray)

        def alike(left: np.ndarray, right: np.ndarray) -> Pairs:
            found = jaccard(values, bounds, left, right)
            enough = found >= similarity
            return left[enough], right[enough], found[enough]

        pairs = alike(left, right)
        for _ in range(_ROUNDS):
            kept, _ = cover(count, *pairs)
            stay = np.flatnonzero((kept == np.arange(count)) & ~members.column("copy").to_numpy())
            label = clusters.components(count, pairs[0], pairs[1])
            again = [stay[side] for side in clusters.candidate_pairs([label[stay]])]
            before = len(pairs[0])
            pairs = _merge(pairs, alike(again[0], again[1]), count)
            if len(pairs[0]) == before:
                break
    return pairs


@njit(cache=True, nogil=True)
def cover(count, left, right, similarities):  # noqa: ANN001, ANN201
    """For each position the one kept in its place (itself where it is kept), and the similarity to it, else NaN.

    Greedy, the most wanted first: a position is kept unless a kept one before it is a duplicate of it. The pairs are
    sorted, left < right, so a position's fate is settled before it is looked at as `left`.
    """
    kept = np.arange(count)
    similarity = np.full(count, np.nan)
    for pair in range(len(left)):
        a, b = left[pair], right[pair]
        if kept[a] == a and kept[b] == b:
            kept[b], similarity[b] = a, similarities[pair]
    return kept, similarity


def _write_shingles(members: pa.Table, file: object) -> np.ndarray:
    sizes: list[np.ndarray] = [np.zeros(1, dtype=np.int64)]
    for chunk in members.column("shingles").chunks:
        bounds = chunk.offsets.to_numpy()
        file.write(chunk.values.slice(bounds[0], bounds[-1] - bounds[0]).to_numpy().data)  # type: ignore[attr-defined]
        sizes.append(np.diff(bounds))
    file.flush()  # type: ignore[attr-defined]
    return np.cumsum(np.concatenate(sizes))


def _merge(pairs: Pairs, more: Pairs, count: int) -> Pairs:
    """Both sets of pairs of positions below `count`, sorted, each pair once."""
    left, right, similarity = (np.concatenate(columns) for columns in zip(pairs, more, strict=True))
    _, first = np.unique(left * count + right, return_index=True)
    return left[first], right[first], similarity[first]


def _outcome(members: pa.Table, original: np.ndarray, accepted: Pairs) -> tuple[pa.Table, pa.Table]:
    """From the pairs that proved themselves to what becomes of every member; a copy goes the way of its original."""
    count = members.num_rows
    documents, ids = members.column("document").to_numpy(), members.column("id")
    left, right, similarity = accepted
    kept, value = cover(count, left, right, similarity)
    stands_for = kept[original]
    value = np.where(stands_for == original, 1.0, value[original])
    gone = stands_for != np.arange(count)
    copies = np.flatnonzero(original != np.arange(count))
    label = clusters.components(count, np.concatenate([left, original[copies]]), np.concatenate([right, copies]))
    by_document = np.argsort(documents, kind="stable")
    first, size = clusters.first_number(label[by_document])
    cluster, sizes = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    cluster[by_document], sizes[by_document] = by_document[first], size
    found = pa.table({
        "document": documents,
        "shard": (documents >> np.uint64(SHARD_BITS)).astype(np.int64),
        "row": (documents & np.uint64((1 << SHARD_BITS) - 1)).astype(np.int64),
        "kept": ids.take(pa.array(stands_for, mask=~gone)),
        "similarity": pa.array(value),
        "cluster": ids.take(pa.array(cluster)),
        "size": sizes,
    })  # fmt: skip
    one = np.concatenate([left, original[copies]])
    other = np.concatenate([right, copies])
    alike = np.concatenate([similarity, np.ones(len(copies))])
    swap = documents[one] > documents[other]
    one, other = np.where(swap, other, one), np.where(swap, one, other)
    order = np.lexsort((documents[other], documents[one]))
    pairs = pa.table({
        "id_a": ids.take(pa.array(one[order])),
        "id_b": ids.take(pa.array(other[order])),
        "similarity": pa.array(alike[order], pa.float64(), from_pandas=True),
        "left": documents[one[order]],
        "right": documents[other[order]],
    })  # fmt: skip
    return found, pairs


def last_of(documents: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Of records about documents, the places of those that have seen most: one for each document, by document."""
    order = np.lexsort((seen, documents))
    last = np.ones(len(order), dtype=bool)
    last[:-1] = documents[order][1:] != documents[order][:-1]
    return order[last]


def last_pairs(found: pa.Table, pairs: pa.Table) -> pa.Table:
    """The pairs that were listed when their documents were settled for the last time, by document.

    Args:
        found: `document`, `seen`: when documents were settled; those that are `left` in a pair among them.
        pairs: As `settle` gives them, with `seen`.
    """
    documents, seen = (found.column(name).to_numpy() for name in ("document", "seen"))
    last = last_of(documents, seen)
    left, right = (pairs.column(name).to_numpy() for name in ("left", "right"))
    settled = seen[last][np.searchsorted(documents[last], left)]
    order = np.lexsort((right, left))
    order = order[(settled == pairs.column("seen").to_numpy())[order]]
    return pairs.select(["id_a", "id_b", "similarity"]).take(pa.array(order))
