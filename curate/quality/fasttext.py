"""Classifiers in fastText's files (`.bin`, and `.ftz`, which is quantized), read and asked without fastText.

A model of n-grams is linear: what its labels' outputs make of the mean of some rows is the mean of what they make of each
row. So where there are fewer labels than dimensions the rows are multiplied by the outputs once, when the file is read; then
a text costs a few numbers a word, and not hundreds. Quantized rows are put together from their centroids for that.
Probabilities are those of its `predict`, which adds 1e-5 before it takes logarithms (tests/quality/test_fasttext.py).

Source: Joulin et al. 2016 (classifier), 2016 (FastText.zip: quantization); the file format of versions 11 and 12.
Memory: rows x min(labels, dimensions) x 4 bytes. Cost: benchmarks/quality.py.
"""

from __future__ import annotations

from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from curate.errors import CurateError
from curate.quality.fasttext_words import Dictionary, entries, sum_texts, sum_words, table_of

__all__ = ["MAGIC", "FastText", "fasttext_labels", "read_fasttext"]

MAGIC = (793712314).to_bytes(4, "little")
_NEWEST = 12
_HIERARCHICAL, _SOFTMAX, _SUPERVISED = 1, 3, 3
_CENTROIDS = 256
_PART = 1 << 16
_MOST_BUCKETS = 1 << 26
_PREFIX = "__label__"
_ADDED = 1e-5
Numbers = NDArray[np.float64]


class FastText(NamedTuple):
    """A model that can be asked.

    Attributes:
        labels: Without `__label__`.
        dictionary: Words and how texts are cut.
        rows: Of words, with those of their runs of characters added (float32).
        grams: Of the buckets of runs (float32).
        sizes: How many rows are in that of each word (int32).
        outputs: Labels by dimensions (float64); None where rows are multiplied by them already.
        loss: How outputs become probabilities.
        tree: Of the inner nodes, the root last, the left and the right child; labels are 0, 1, ... (hierarchical softmax).
    """

    labels: list[str]
    dictionary: Dictionary
    rows: NDArray[np.float32]
    grams: NDArray[np.float32]
    sizes: NDArray[np.int32]
    outputs: Numbers | None
    loss: int
    tree: NDArray[np.int64]

    def probabilities(self, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> Numbers:
        """Of each label, texts by labels; NaN where the model knows nothing of a text.

        Args:
            data: UTF-8 bytes, read-only. Line breaks are read as spaces.
            offsets: Where each text begins, and where the last ends.
        """
        means = sum_texts(data, offsets, self.dictionary, self.rows, self.grams, self.sizes)
        outputs = means if self.outputs is None else means @ self.outputs.T
        if self.loss == _HIERARCHICAL:
            return _down_the_tree(outputs, self.tree)
        found = softmax(outputs, axis=1) if self.loss == _SOFTMAX else _by_table(outputs)
        return np.minimum(found + _ADDED, 1)


class _File:
    """A file that is read from its begin; nothing is read behind its end."""

    def __init__(self, path: Path) -> None:
        self.path, self.place = path, 0
        if not path.is_file():
            raise CurateError(f"there is no model `{path}`", hint="it is a file on this machine; nothing is downloaded")
        size = path.stat().st_size  # nothing cannot be mapped
        self.data: NDArray[np.uint8] = np.asarray(np.memmap(path, np.uint8, "r")) if size else np.zeros(0, np.uint8)

    def damaged(self, what: str) -> CurateError:
        return CurateError(
            f"the fastText model is damaged: {what}", str(self.path), "copy it again from where it is from"
        )

    def array(self, kind: str, count: int) -> NDArray[Any]:
        """So many numbers of a kind."""
        size = np.dtype(kind).itemsize * count
        if count < 0 or self.place + size > len(self.data):
            raise self.damaged(f"it ends after {len(self.data):,} bytes, before all that it says it has")
        found = self.data[self.place : self.place + size].view(kind)
        self.place += size
        return found

    def numbers(self, form: str) -> tuple[Any, ...]:
        """Numbers of several kinds, as `struct` writes them."""
        known = Struct("<" + form)
        return known.unpack(self.array("u1", known.size).tobytes())


class _Arguments(NamedTuple):
    """How a model was trained."""

    dimensions: int
    window: int
    epochs: int
    fewest: int
    negatives: int
    ngrams: int
    loss: int
    kind: int
    buckets: int
    shortest: int
    longest: int
    rate: int
    threshold: float


def fasttext_labels(path: Path) -> list[str]:
    """The labels of the model in a file, without `__label__`; its numbers are not read.

    Raises:
        CurateError: As `read_fasttext` does.
    """
    file = _File(path)
    return _dictionary(file, _arguments(file))[1]


def read_fasttext(path: Path) -> FastText:
    """The model in a file.

    Raises:
        CurateError: It is none of fastText, damaged, or not one that was trained with labels.
    """
    file = _File(path)
    arguments = _arguments(file)
    dictionary, labels, counts = _dictionary(file, arguments)
    matrix, quantized = _matrix(file, dimensions=arguments.dimensions)
    (output_quantized,) = file.numbers("?")
    outputs = _whole(_matrix(file, dimensions=arguments.dimensions, quantized=quantized and output_quantized)[0])
    if len(outputs) != len(labels):
        raise file.damaged(f"{len(labels)} labels, and {len(outputs)} outputs")
    tree = _huffman(counts) if arguments.loss == _HIERARCHICAL else np.zeros((0, 2), np.int64)
    few = len(labels) <= arguments.dimensions
    return _ready(file, dictionary, labels, matrix, outputs, (arguments.loss, tree), few=few)


def _arguments(file: _File) -> _Arguments:
    """How the model was trained; what the file is shows here."""
    where = str(file.path)
    if len(file.data) < 4 or file.array("u1", 4).tobytes() != MAGIC:
        raise CurateError("the file is no fastText model", where, "such a file begins with the bytes ba 16 4f 2f")
    (version,) = file.numbers("i")
    if version > _NEWEST:
        raise CurateError(
            f"the fastText model is of version {version}", where, f"the newest that is known is {_NEWEST}"
        )
    arguments = _Arguments(*file.numbers("12id"))
    if arguments.kind != _SUPERVISED:
        raise CurateError(
            "the fastText model is one of words alone (cbow or skipgram): it says nothing of texts", where,
            "a classifier is trained with `fasttext supervised`",
        )  # fmt: skip
    # models of version 11 read no runs of characters, whatever they say
    return arguments._replace(longest=0) if version == 11 else arguments


def _dictionary(file: _File, arguments: _Arguments) -> tuple[Dictionary, list[str], NDArray[np.int64]]:
    """Words, labels, and how often each label was seen."""
    size, words, labels, _, pruned = file.numbers("3i2q")
    if size != words + labels or min(words, labels) < 0 or not labels or size * 10 > len(file.data):
        raise file.damaged(f"{size} entries of {words} words and {labels} labels")
    starts, stops, counts = (np.zeros(size, np.int64) for _ in range(3))
    kinds, hashes = np.zeros(size, np.uint8), np.zeros(size, np.uint64)
    file.place = entries(file.data, file.place, starts, stops, counts, kinds)
    if file.place < 0:
        raise file.damaged(f"it ends after {len(file.data):,} bytes, before all that it says it has")
    if kinds[:words].any() or not (kinds[words:] == 1).all():
        raise file.damaged("words and labels are mixed up")
    kept = file.array("<i4", 2 * max(pruned, 0)).reshape(-1, 2)
    buckets = arguments.buckets
    reads = arguments.ngrams > 1 or arguments.longest > 0
    if not 0 <= buckets <= _MOST_BUCKETS or (reads and buckets == 0):
        raise file.damaged(f"{buckets} buckets for runs of words and characters")
    places = np.zeros(0, np.int32)
    if pruned >= 0:
        if len(kept) and not ((kept >= 0) & (kept < max(buckets, 1))).all():
            raise file.damaged("rows of buckets that there are none of")
        places = np.full(max(buckets, 1), -1, np.int32)
        places[kept[:, 0]] = kept[:, 1]
    table = table_of(file.data, starts, stops, hashes, 1 << max(int(2 * size).bit_length(), 4))
    names = [
        file.data[start:stop].tobytes().decode("utf-8", "replace")
        for start, stop in zip(starts[words:], stops[words:], strict=True)
    ]
    made = Dictionary(
        file.data, starts, stops, hashes, table, words, arguments.shortest, arguments.longest,
        arguments.ngrams, max(buckets, 1), places,
    )  # fmt: skip
    return made, [name.removeprefix(_PREFIX) for name in names], counts[words:]


class _Rows(NamedTuple):
    """A matrix in a file, as it is or quantized by products (Jegou et al. 2011).

    Attributes:
        dense: Its numbers; those of a quantized one are made when they are asked for.
        codes: Of each row the centroid of each part (uint8).
        centroids: Of each part its 256, one after the other.
        width: Numbers of a row.
        part: Numbers of a part; of the last what is left.
        norms: What each row is multiplied by (float32).
    """

    dense: NDArray[np.float32] | None
    codes: NDArray[np.uint8]
    centroids: NDArray[np.float32]
    width: int
    part: int
    norms: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.codes if self.dense is None else self.dense)

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Some of its rows."""
        if self.dense is not None:
            return self.dense[start:stop]
        made = np.empty((min(stop, len(self)) - start, self.width), np.float32)
        for number in range(self.codes.shape[1]):
            first = number * self.part
            wide = min(self.part, self.width - first)
            begin = first * _CENTROIDS
            known = self.centroids[begin : begin + _CENTROIDS * wide].reshape(_CENTROIDS, wide)
            made[:, first : first + wide] = known[self.codes[start:stop, number]]
        return made if self.norms is None else made * self.norms[start:stop, None]


def _matrix(file: _File, *, dimensions: int, quantized: bool | None = None) -> tuple[_Rows, bool]:
    """The next matrix, and whether it is quantized, which stands before it unless it is known."""
    if quantized is None:
        (quantized,) = file.numbers("?")
    nothing, no_codes = np.zeros(0, np.float32), np.zeros((0, 0), np.uint8)
    if not quantized:
        count, width = file.numbers("2q")
        _fits(file, count, width, dimensions)
        dense = file.array("<f4", count * width).reshape(count, width)
        return _Rows(dense, no_codes, nothing, width, width, None), False
    with_norms, count, width, size = file.numbers("?2qi")
    _fits(file, count, width, dimensions)
    codes = file.array("u1", size)
    centroids, part, parts = _centroids(file, width)
    if size != count * parts:
        raise file.damaged(f"{size} codes of {count} rows of {parts} parts")
    norms = None
    if with_norms:
        places = file.array("u1", count)
        norms = _centroids(file, 1)[0][places]
    return _Rows(None, codes.reshape(count, parts), centroids, width, part, norms), True


def _fits(file: _File, count: int, width: int, dimensions: int) -> None:
    if count < 0 or width != dimensions or width <= 0 or count > len(file.data):
        raise file.damaged(f"a matrix of {count} rows of {width} numbers, and {dimensions} dimensions")


def _centroids(file: _File, width: int) -> tuple[NDArray[np.float32], int, int]:
    """All centroids, the numbers of a part, and how many parts there are."""
    of, parts, part, last = file.numbers("4i")
    if of != width or not 0 < part <= width or parts != -(-width // part) or last != width - (parts - 1) * part:
        raise file.damaged(f"{parts} parts of {part} numbers, the last of {last}, of {width}")
    return np.array(file.array("<f4", width * _CENTROIDS)), part, parts


def _whole(matrix: _Rows) -> Numbers:
    return matrix.rows(0, len(matrix)).astype(np.float64)


def _ready(
    file: _File, dictionary: Dictionary, labels: list[str], matrix: _Rows, outputs: Numbers,
    how: tuple[int, NDArray[np.int64]], *, few: bool,
) -> FastText:  # fmt: skip
    """Multiply rows by outputs where that makes them fewer, and add up those of each word."""
    words, reads = dictionary.words, dictionary.ngrams > 1 or dictionary.longest > 0
    last = int(dictionary.kept.max(initial=-1)) + 1 if len(dictionary.kept) else dictionary.buckets
    if len(matrix) < words + (last if reads else 0):
        raise file.damaged(f"{len(matrix)} rows for {words} words and {last} buckets")
    made = np.empty((len(matrix), len(outputs) if few else matrix.width), np.float32)
    for start in range(0, len(matrix), _PART):
        some = matrix.rows(start, start + _PART)
        made[start : start + _PART] = some @ outputs.T if few else some
    if not np.isfinite(made).all():
        raise file.damaged("it has numbers that are not finite")
    sizes = np.zeros(words, np.int32)
    rows, grams = made[:words], made[words:]
    sum_words(dictionary, rows, grams, sizes)
    loss, tree = how
    return FastText(labels, dictionary, rows, grams, sizes, None if few else outputs, loss, tree)


def _huffman(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The children of the inner nodes of the tree over labels, which are sorted by their counts, the greatest first."""
    labels = len(counts)
    weight = [int(count) for count in counts] + [10**15] * (labels - 1)
    children = np.zeros((labels - 1, 2), np.int64)
    leaf, inner = labels - 1, labels
    for number in range(labels - 1):
        for side in range(2):
            if leaf >= 0 and weight[leaf] < weight[inner]:
                children[number, side], leaf = leaf, leaf - 1
            else:
                children[number, side], inner = inner, inner + 1
        weight[labels + number] = sum(weight[child] for child in children[number])
    return children


def _by_table(outputs: Numbers) -> Numbers:
    """The logistic function as fastText looks it up: at 513 places from -8 to 8, 0 and 1 beyond."""
    places = np.floor((np.clip(outputs, -8, 8) + 8) * 32)
    return np.where(outputs > 8, 1.0, np.where(outputs < -8, 0.0, expit(places / 32 - 8)))


def _down_the_tree(outputs: Numbers, tree: NDArray[np.int64]) -> Numbers:
    """The probability of each label: the product of those on its way down."""
    labels = len(tree) + 1
    found = np.ones((len(outputs), 2 * labels - 1))
    right = expit(outputs[:, : labels - 1])
    for number in range(labels - 2, -1, -1):
        left_child, right_child = tree[number]
        found[:, left_child] = found[:, labels + number] * (1 - right[:, number] + _ADDED)
        found[:, right_child] = found[:, labels + number] * (right[:, number] + _ADDED)
    return np.minimum(found[:, :labels], 1) + 0 * outputs[:, :1]  # what is not known stays so
