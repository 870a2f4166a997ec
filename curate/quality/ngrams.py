"""n-gram models of words: ARPA text, read here; KenLM's binaries, where its package is installed.

A word costs what its longest known n-gram says, and the back-off weights of the longer contexts (Katz 1987); a line begins with
`<s>` and ends with `</s>`, which costs, too. All n-grams are in one table by a hash of 64 bits of their words, the last first,
as KenLM's probing model has them (Heafield 2011). Numbers are KenLM's, to 6e-7.

Reading: some 10 CPU seconds for a million n-grams, 16 bytes of memory each and as much free. Cost of scoring:
benchmarks/quality.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from curate.errors import CurateError, MachineError
from curate.stages.buffers import text_buffer
from curate.stages.kernels import mix

__all__ = ["Ngrams", "ngram_kind", "open_ngrams", "read_arpa"]

Costs = Callable[[pa.ChunkedArray], tuple[NDArray[np.float64], NDArray[np.float64]]]
LN_10 = float(np.log(10))
UNKNOWN = -100.0
"""What a word costs that is not known, where the model does not say (log10; KenLM's)."""
_BINARY = b"mmap lm http://kheafield.com/code"
_START, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_BASE = np.uint64(0x9E3779B97F4A7C15)


class Ngrams(NamedTuple):
    """A model.

    Attributes:
        keys: Of n-grams, by hash; 0 where there is none (uint64, a power of two of them).
        logs: log10 of probabilities (float32).
        backoffs: log10 (float32).
        order: Words of the longest.
    """

    keys: NDArray[np.uint64]
    logs: NDArray[np.float32]
    backoffs: NDArray[np.float32]
    order: int

    def costs(
        self, data: NDArray[np.uint8], offsets: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """log10 of the probability of each text, and how many words and ends of lines it has.

        Args:
            data: UTF-8 bytes.
            offsets: Where each text begins, and where the last ends.
        """
        begin, end, unknown = (_key(word) for word in (b"<s>", b"</s>", b"<unk>"))
        return _costs(data, offsets, self.keys, self.logs, self.backoffs, self.order, begin, end, unknown)


def ngram_kind(path: Path) -> str:
    """`arpa` or `kenlm`.

    Raises:
        CurateError: The file is no n-gram model.
        MachineError: It is KenLM's, and its package is not installed.
    """
    with path.open("rb") as file:
        begin = file.read(4096)
    if begin.startswith(_BINARY):
        from importlib.util import find_spec

        if find_spec("kenlm") is None:
            raise MachineError(
                f"`{path}` is a binary of KenLM, whose package is not installed",
                hint="pip install kenlm, or name the ARPA text that it was built from",
            )
        return "kenlm"
    if begin.lstrip().startswith(b"\\data\\"):
        return "arpa"
    raise CurateError(
        "the file is no n-gram model", str(path), "ARPA text begins with `\\data\\`, a binary of KenLM with `mmap lm`"
    )


def open_ngrams(path: Path) -> Costs:
    """The function that gives nats of texts, and how many words and ends of lines they have.

    Raises:
        CurateError: It is no n-gram model, or damaged.
    """
    if ngram_kind(path) == "arpa":
        model = read_arpa(path)

        def read(texts: pa.ChunkedArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            logs, words = model.costs(*text_buffer(texts))
            return -LN_10 * logs, words.astype(np.float64)

        return read
    return _by_package(path)


def _by_package(path: Path) -> Costs:
    from importlib import import_module

    model: Any = import_module("kenlm").Model(str(path))

    def read(texts: pa.ChunkedArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        lines = [[line for line in text.encode().split(b"\n") if line.split()] for text in texts.to_pylist()]
        logs = [sum(model.score(line.decode()) for line in some) for some in lines]
        words = [sum(len(line.split()) + 1 for line in some) for some in lines]
        return -LN_10 * np.array(logs, np.float64), np.array(words, np.float64)

    return read


def read_arpa(path: Path) -> Ngrams:
    """The model in an ARPA file.

    Raises:
        CurateError: It is none, or damaged; the line is named.
    """
    with path.open("rb") as file:
        lines = enumerate(file, 1)
        counts = _counts(lines, path)
        size = 1 << max(int(2 * sum(counts)).bit_length(), 4)
        keys, logs, backoffs = np.zeros(size, np.uint64), np.zeros(size, np.float32), np.zeros(size, np.float32)
        for order, count in enumerate(counts, 1):
            some = _section(lines, path, order, count)
            if not _put(*some, keys, logs, backoffs):
                raise CurateError(f"one {order}-gram stands twice in the n-gram model", str(path))
    unknown = np.array([_key(b"<unk>")], np.uint64)
    _put(unknown, np.array([UNKNOWN], np.float32), np.zeros(1, np.float32), keys, logs, backoffs)
    return Ngrams(keys, logs, backoffs, len(counts))


Lines = Iterator[tuple[int, bytes]]


def _damaged(path: Path, number: int, what: str) -> CurateError:
    return CurateError(f"the n-gram model is damaged: {what}", f"{path}:{number}", "build it anew, or copy it again")


def _counts(lines: Lines, path: Path) -> list[int]:
    """How many n-grams of each order the head names; the lines go on behind that of the first section."""
    counts: list[int] = []
    number = 0
    for number, line in lines:
        words = line.split()
        if words == [b"\\1-grams:"] and counts:
            return counts
        if words and words[0] == b"ngram":
            order, _, count = b"".join(words[1:]).partition(b"=")
            if order != str(len(counts) + 1).encode() or not count.isdigit():
                raise _damaged(path, number, "`ngram ORDER=COUNT` is expected, the orders from 1 up")
            counts.append(int(count))
        elif words and words != [b"\\data\\"]:
            break
    raise _damaged(path, number, "`\\1-grams:` is expected behind the counts")


def _section(
    lines: Lines, path: Path, order: int, count: int
) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.float32]]:
    """The n-grams of one order."""
    keys: list[int] = []
    logs: list[float] = []
    backoffs: list[float] = []
    known: dict[bytes, int] = {}
    number = 0
    for number, line in lines:
        words = line.split()
        if not words:
            continue
        if words[0].startswith(b"\\") and len(words) == 1:
            if len(keys) != count:
                raise _damaged(path, number, f"{len(keys):,} of {count:,} {order}-grams are there")
            return np.array(keys, np.uint64), np.array(logs, np.float32), np.array(backoffs, np.float32)
        if len(words) not in (order + 1, order + 2):
            raise _damaged(path, number, f"a line of {order}-grams has {len(words)} words")
        state = 0
        for word in reversed(words[1 : order + 1]):
            one = known.get(word)
            if one is None:
                one = known[word] = _key(word)
            state = one if state == 0 else _joined(state, one)
        try:
            logs.append(float(words[0]))
            backoffs.append(float(words[order + 1]) if len(words) == order + 2 else 0.0)
        except ValueError:
            raise _damaged(path, number, "a probability is no number") from None
        keys.append(state)
    raise _damaged(path, number, f"it ends among the {order}-grams")


_LOW = (1 << 64) - 1


def _key(word: bytes) -> int:
    return int(_hash(np.frombuffer(word, np.uint8), 0, len(word)))


def _joined(state: int, word: int) -> int:
    return int(_join(np.uint64(state), np.uint64(word)))


@njit(cache=True, nogil=True)
def _join(state, word):  # noqa: ANN001, ANN202
    return mix(state * _BASE + word) | np.uint64(1)  # 0 is no key


@njit(cache=True, nogil=True)
def _hash(data, start: int, stop: int):  # noqa: ANN001, ANN202
    state = _START
    for place in range(start, stop):
        state = (state ^ np.uint64(data[place])) * _PRIME
    return mix(state) | np.uint64(1)


@njit(cache=True, nogil=True, inline="always")
def _find(key, keys) -> np.int64:  # noqa: ANN001
    """Where a key is, or the free place where it would be, as -1 - place."""
    mask = np.uint64(len(keys) - 1)
    slot = (key >> np.uint64(1)) & mask
    while keys[np.int64(slot)] != 0:
        if keys[np.int64(slot)] == key:
            return np.int64(slot)
        slot = (slot + np.uint64(1)) & mask
    return np.int64(-1) - np.int64(slot)


@njit(cache=True, nogil=True)
def _put(new, new_logs, new_backoffs, keys, logs, backoffs) -> bool:  # noqa: ANN001
    """Put n-grams into the table; whether none of them was there."""
    fresh = True
    for number in range(len(new)):
        place = _find(new[number], keys)
        if place >= 0:
            fresh = False
            continue
        place = -1 - place
        keys[place], logs[place], backoffs[place] = new[number], new_logs[number], new_backoffs[number]
    return fresh


@njit(cache=True, nogil=True)
def _word(word, unknown, keys, logs, backoffs, order: int, words, weights, fresh, count: int):  # noqa: ANN001, ANN202
    """log10 of a word behind `count` others, which it joins.

    `words` are their hashes, the last first; `weights` the back-off weights of the contexts of 1, 2, ... words before it;
    `fresh` is room for as many.
    """
    if _find(word, keys) < 0:
        word = unknown
    found, state, length = 0.0, word, 0
    for size in range(1, min(count + 1, order) + 1):
        if size > 1:
            state = _join(state, words[size - 2])
        place = _find(state, keys)
        if place < 0:
            break
        found, length, fresh[size - 1] = np.float64(logs[place]), size, np.float64(backoffs[place])
    for size in range(max(length, 1), min(count, order - 1) + 1):
        found += weights[size - 1]
    for place in range(order - 1, 0, -1):
        words[place] = words[place - 1]
    words[0] = word
    for place in range(order):
        weights[place] = fresh[place] if place < length else 0.0
    return found


@njit(cache=True, nogil=True)
def _costs(data, offsets, keys, logs, backoffs, order, begin, end, unknown):  # noqa: ANN001, ANN202
    texts = len(offsets) - 1
    found, counts = np.zeros(texts, np.float64), np.zeros(texts, np.int64)
    words, weights, fresh = np.zeros(order + 1, np.uint64), np.zeros(order, np.float64), np.zeros(order, np.float64)
    for text in range(texts):
        position, stop, count = offsets[text], offsets[text + 1], 0
        while position <= stop:
            byte = np.uint8(10) if position == stop else data[position]
            if byte == 10 and count > 0:
                found[text] += _word(end, unknown, keys, logs, backoffs, order, words, weights, fresh, count)
                counts[text] += 1
                count = 0
            if byte == 32 or 9 <= byte <= 13:
                position += 1
                continue
            start = position
            while position < stop and not (data[position] == 32 or 9 <= data[position] <= 13):
                position += 1
            if count == 0:
                weights[:] = 0
                _word(begin, unknown, keys, logs, backoffs, order, words, weights, fresh, 0)
                count = 1
            word = _hash(data, start, position)
            found[text] += _word(word, unknown, keys, logs, backoffs, order, words, weights, fresh, count)
            count, counts[text] = count + 1, counts[text] + 1
    return found, counts
