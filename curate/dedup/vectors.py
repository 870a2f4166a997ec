"""Embeddings: read from a column, put into clusters, and compared within them.

Directions alone count: vectors are divided by their lengths, similarity is the cosine. Clusters are of spherical k-means
(Dhillon and Modha 2001): some rounds of nearest centroid and mean direction, from the first documents of the sample on. Cost of
a comparison within a cluster: the square of its size, in blocks of BLOCK documents, by matrix products.

What a matrix product gives depends on the processor, on the threads, and on the other rows in it. So it only says which pairs
may be the most similar; their cosines are summed up in float64, number after number, and rounded to PLACES, everywhere alike.
"""

from __future__ import annotations

import math

import numpy as np
import orjson
import pyarrow as pa
from numba import njit

from curate.errors import CurateError
from curate.stages.verdicts import Unfit

__all__ = ["BLOCK", "as_matrix", "check_sizes", "cluster_directions", "first_alike", "nearest", "read_directions"]

SHOWN = 40
"""Most characters that are told of what is no embedding."""
BLOCK = 1024
PLACES = 6
ROUNDS = 20
Matrix = np.ndarray


def read_directions(column: pa.ChunkedArray | pa.Array, name: str) -> pa.Array:
    """A column of lists of numbers (or of their JSON text) as lists of float32 of length 1; null where there is none.

    Raises:
        CurateError: The column holds something else.
        Unfit: An embedding has no direction: no list of numbers, zeros alone, or one that is not finite.
    """
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        there, sizes, values = _of_json(column.to_pylist(), name)
    elif pa.types.is_null(column.type) or pa.types.is_nested(column.type):
        there, sizes, values = _of_lists(column, name)
    else:
        raise CurateError(
            f"column `{name}` holds {column.type}, no embeddings", hint="an embedding is a list of numbers"
        )
    if (sizes == 0).any():
        raise Unfit("embedding_is_empty", f"`{name}` has no numbers")
    starts = np.cumsum(sizes) - sizes
    lengths = np.sqrt(np.add.reduceat(values * values, starts)) if len(sizes) else np.zeros(0)
    if not np.isfinite(lengths).all():
        raise Unfit("embedding_is_not_finite", f"`{name}` has a number that is none, or too large a one")
    if (lengths == 0).any():
        raise Unfit("embedding_is_zero", f"`{name}` is 0 in every place, {sizes[lengths == 0][0]} of them")
    unit = pa.array((values / np.repeat(lengths, sizes)).astype(np.float32))
    whole = np.zeros(len(there), np.int64)
    whole[there] = sizes
    kind = pa.list_(pa.field("element", pa.float32()))
    return pa.LargeListArray.from_arrays(np.concatenate([[0], np.cumsum(whole)]), unit, mask=pa.array(~there)).cast(
        kind
    )


def _of_json(texts: list[str | None], name: str) -> tuple[Matrix, Matrix, Matrix]:
    """Which there are, how many numbers each of these has, and these."""
    lists = [_list(text, name) for text in texts if text is not None]
    found = [np.array(one, np.float64) for one in lists]
    sizes = np.array([len(one) for one in found], np.int64)
    return np.array([text is not None for text in texts], bool), sizes, np.concatenate([np.zeros(0), *found])


def _list(text: str, name: str) -> list[float]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, list) or any(type(number) not in (int, float) for number in found):
        shown = text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
        raise Unfit("embedding_is_no_list", f"`{name}` is {shown!r}, no list of numbers")
    return found


def _of_lists(column: pa.ChunkedArray | pa.Array, name: str) -> tuple[Matrix, Matrix, Matrix]:
    element = getattr(column.type, "value_type", pa.float64())
    if (
        pa.types.is_boolean(element) or pa.types.is_string(element) or pa.types.is_large_string(element)
    ):  # cast would do
        raise Unfit("embedding_is_no_list", f"`{name}` holds {column.type}, no lists of numbers")
    try:
        lists = (column if isinstance(column, pa.Array) else column.combine_chunks()).cast(pa.large_list(pa.float64()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise Unfit("embedding_is_no_list", f"`{name}` holds {column.type}, no lists of numbers") from error
    some = lists.drop_null()
    sizes = some.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    return lists.is_valid().to_numpy(zero_copy_only=False), sizes, some.flatten().to_numpy(zero_copy_only=False)


def as_matrix(column: pa.ChunkedArray) -> Matrix:
    """Lists of one length as rows (float32).

    Raises:
        CurateError: They have different lengths.
    """
    flat = column.combine_chunks()
    sizes = set(flat.value_lengths().unique().to_pylist())
    check_sizes(sizes)
    return flat.flatten().to_numpy().reshape(len(column), max(sizes, default=0))


def check_sizes(sizes: set[int]) -> None:
    """A `CurateError` unless all embeddings have as many numbers."""
    if len(sizes) > 1:
        raise CurateError(
            f"there are embeddings of {' and of '.join(str(size) for size in sorted(sizes)[:3])} numbers",
            hint="those of one model have one length: let the same model make those of all documents",
        )


def cluster_directions(sample: Matrix, clusters: int) -> Matrix:
    """Centroids (at most `clusters`, float32) of directions; one that has no document stays where it is."""
    _, first = np.unique(sample, axis=0, return_index=True)  # equal ones would all be the nearest of as many documents
    centroids = sample[np.sort(first)[:clusters]]
    for _ in range(ROUNDS):
        of = nearest(sample, centroids)
        sums = np.zeros(centroids.shape, np.float64)
        np.add.at(sums, of, sample)
        lengths = np.linalg.norm(sums, axis=1)
        moved = np.where(lengths[:, None] > 0, sums / np.maximum(lengths, 1e-30)[:, None], centroids).astype(np.float32)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


def nearest(rows: Matrix, centroids: Matrix) -> Matrix:
    """The centroid of each row (int64): the most similar, of equal ones the first."""
    found = [_most_similar(rows[start : start + BLOCK], centroids, -1.0)[0] for start in range(0, len(rows), BLOCK)]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def first_alike(rows: Matrix, similarity: float) -> tuple[Matrix, Matrix]:
    """Of each row, in their order, the most similar one before it that stays (-1: it stays itself), and how similar it is."""
    kept: list[Matrix] = []
    numbers = np.zeros(0, np.int64)
    alike, values = np.full(len(rows), -1, np.int64), np.zeros(len(rows))
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        for others, places in _blocks(kept, numbers):
            best, value = _most_similar(block, others, np.maximum(values[start : start + BLOCK], similarity))
            more = (value >= similarity) & (value > values[start : start + BLOCK])
            alike[start : start + BLOCK][more], values[start : start + BLOCK][more] = places[best[more]], value[more]
        within = block @ block.T
        for row in range(len(block)):
            before = np.flatnonzero(alike[start : start + row] < 0)
            near = within[row, before]
            least = max(similarity, values[start + row], near.max(initial=-1)) - _margin(block)
            of = before[near >= least]
            value = _cosines(block, block, np.full(len(of), row), of)
            best = value.argmax() if len(of) else 0
            if len(of) and value[best] >= similarity and value[best] > values[start + row]:
                alike[start + row], values[start + row] = start + of[best], value[best]
        stays = np.flatnonzero(alike[start : start + BLOCK] < 0)
        kept.append(block[stays])
        numbers = np.concatenate([numbers, stays + start])
    return alike, values


def _margin(rows: Matrix) -> float:
    """How far the products of two pairs of rows may be off each other: sums in float32, and the rounding of cosines."""
    return 2.0 * rows.shape[1] * float(np.finfo(np.float32).eps) + 4 * 10.0**-PLACES


def _most_similar(rows: Matrix, others: Matrix, least: Matrix | float) -> tuple[Matrix, Matrix]:
    """Of each row the most similar of the others (of equal ones the first), and the cosine; -inf where none reaches `least`."""
    near = rows @ others.T
    at, of = np.nonzero(near >= (np.maximum(near.max(axis=1), least) - _margin(rows))[:, None])
    value = _cosines(rows, others, at, of)
    order = np.lexsort((of, -value, at))
    there, first = np.unique(at[order], return_index=True)
    best, values = np.zeros(len(rows), np.int64), np.full(len(rows), -np.inf)
    best[there], values[there] = of[order][first], value[order][first]
    return best, values


def _cosines(rows: Matrix, others: Matrix, at: Matrix, of: Matrix) -> Matrix:
    """The cosines of pairs of rows and others (float64)."""
    return np.round(_summed(rows, others, at, of), PLACES)


@njit(cache=True, nogil=True)
def _summed(rows, others, at, of):  # noqa: ANN001, ANN202
    found = np.empty(len(at), np.float64)
    for pair in range(len(at)):
        one, two = rows[at[pair]], others[of[pair]]
        both, left, right = 0.0, 0.0, 0.0
        for place in range(len(one)):
            here, there = np.float64(one[place]), np.float64(two[place])  # products of float32 are exact in float64
            both += here * there
            left += here * here
            right += there * there
        found[pair] = both / math.sqrt(left * right)
    return found


def _blocks(kept: list[Matrix], numbers: Matrix) -> list[tuple[Matrix, Matrix]]:
    """The rows that stay, block by block, each with its numbers."""
    edges = np.concatenate([[0], np.cumsum([len(one) for one in kept])]).astype(np.int64)
    return [(one, numbers[edges[at] : edges[at + 1]]) for at, one in enumerate(kept) if len(one)]
