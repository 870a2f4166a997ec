"""The suffix array of a shard of tokens, kept beside it: where each suffix begins, in the order of the suffixes.

    tokens/<key>/train-00000.ds.suffixes
      512 bytes    JSON: the format, sha256 of the tokens and of the ends of documents, the hash of all that follows
      8 a token of the vocabulary    how often it stands in the shard (int64)
      4 a token of the shard         where suffixes begin (uint32)

It is a cache, made when it is asked for, and depends on the shard alone; whoever removes the pack (garbage collection, an
erasure) removes it with the folder. It is written aside, fsynced and renamed, by one process at a time; one that is damaged
is made anew.

Tokens are sorted by libdivsufsort (pydivsufsort) as big-endian numbers of as few bytes as the vocabulary needs: of suffixes
that begin at a token, the order of the bytes is that of the tokens. Where documents do not end in the end-of-text token, one
is put in between, for the sorting alone. Cost: 5 bytes of memory for each byte that is sorted, so 10 a token (15 for more than
65,536 tokens) beside 6 to 8 where tokens were put in between; benchmarks/trace.py has the time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.errors import MachineError, ResumableError
from curate.files import alone, replacing, sweep
from curate.tokenize.pack import Pack
from curate.tokenize.rows import Stream

__all__ = ["Suffixes", "suffixes_of"]

FORMAT = 1
HEADER = 512
NOWHERE = np.uint32(0xFFFFFFFF)
BLOCK = 1 << 22
"""Places that are sifted, read or written at once."""


class Suffixes(NamedTuple):
    """A shard that can be searched; all of it is mapped into memory.

    Attributes:
        starts: (tokens,) uint32: where suffixes begin, in their order.
        tokens: (tokens,).
        ends: (documents,) int64: where documents end.
        separator: The token that stands for an end.
        counts: (vocabulary,) int64: how often each token stands here.
    """

    starts: NDArray[np.uint32]
    tokens: NDArray[Any]
    ends: NDArray[np.int64]
    separator: int
    counts: NDArray[np.int64]


def suffixes_of(pack: Pack, stream: Stream, number: int, say: Callable[[str], None]) -> Suffixes:
    """The suffix array of a stream's shard, found or made.

    Args:
        pack: The pack.
        stream: One of its streams.
        number: The shard's in it.
        say: Told when one is made.

    Raises:
        MachineError: It has to be made, and pydivsufsort is not installed.
        ResumableError: It cannot be written.
    """
    shard = stream.shards[number]
    path = pack.folder / f"{shard['file']}.suffixes"
    first, last = np.searchsorted(stream.ends, stream.starts[number : number + 2], side="right")
    ends = stream.ends[first:last] - stream.starts[number]
    tokens = stream.files[number]
    head = {
        "format": FORMAT, "tokens": shard["sha256"][shard["file"]], "ends": shard["sha256"][f"{shard['file']}.index"],
        "vocabulary": pack.vocabulary,
    }  # fmt: skip
    found = _opened(path, head, len(tokens))
    if found is None:
        with _telling(path), alone(pack.folder.with_name(f"{pack.folder.name}.lock")):
            found = _opened(path, head, len(tokens))
            if found is None:  # nobody has made it meanwhile
                say(f"sorting {len(tokens):,} tokens of {shard['file']}, once")
                _make(path, head, tokens, ends, pack)
                found = _opened(path, head, len(tokens))
                assert found is not None
    return Suffixes(found[1], tokens, ends, pack.end_of_text, found[0])


def _opened(path: Path, head: dict[str, Any], count: int) -> tuple[NDArray[np.int64], NDArray[np.uint32]] | None:
    """Counts and starts; None where there is no file, or it is not what was written, or of other tokens."""
    try:
        with path.open("rb") as stream:
            told = json.loads(stream.read(HEADER))
            if told != {**head, "hash": _hash(stream)}:
                return None
    except (OSError, ValueError):
        return None
    middle = HEADER + 8 * head["vocabulary"]
    counts = np.asarray(np.memmap(path, "<i8", "r", HEADER, (head["vocabulary"],)))
    return counts, np.asarray(np.memmap(path, "<u4", "r", middle, (count,))) if count else np.empty(0, np.uint32)


def _hash(stream: IO[bytes]) -> str:
    """Of all that follows the header, at several GB/s."""
    from xxhash import xxh3_128

    digest = xxh3_128()
    stream.seek(HEADER)
    while block := stream.read(4 * BLOCK):
        digest.update(block)
    return digest.hexdigest()


# ---- making it


def _make(path: Path, head: dict[str, Any], tokens: NDArray[Any], ends: NDArray[np.int64], pack: Pack) -> None:
    if find_spec("pydivsufsort") is None:
        raise MachineError("tracing needs pydivsufsort, which is not installed", hint="pip install 'curate-lm[trace]'")
    aside = pack.folder.parent  # where what a dead process has left is looked for, whatever becomes of the pack
    sweep(aside)
    with replacing(path, aside=aside) as stream:
        stream.write(bytes(HEADER))
        stream.write(_counts(tokens, head["vocabulary"]).tobytes())
        for block in _sorted(tokens, ends, pack):
            stream.write(block.astype("<u4").tobytes())
        stream.flush()
        with Path(stream.name).open("rb") as written:
            told = json.dumps({**head, "hash": _hash(written)}).encode()
        stream.seek(0)
        stream.write(told.ljust(HEADER))


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResumableError(
            f"the index of the tokens cannot be written: {error.strerror or error}", str(path),
            "make room for 4 bytes a token, and run the same command again",
        ) from error  # fmt: skip


def _counts(tokens: NDArray[Any], vocabulary: int) -> NDArray[np.int64]:
    counts = np.zeros(vocabulary, np.int64)
    for start in range(0, len(tokens), BLOCK):
        counts += np.bincount(tokens[start : start + BLOCK], minlength=vocabulary)
    return counts


def _sorted(tokens: NDArray[Any], ends: NDArray[np.int64], pack: Pack) -> Iterator[NDArray[Any]]:
    """Where suffixes begin, in their order, some at a time."""
    if not len(tokens):
        return
    from pydivsufsort import divsufsort

    places = None
    if not (tokens[ends[ends > 0] - 1] == pack.end_of_text).all():
        places = np.insert(np.arange(len(tokens), dtype=np.uint32), ends, NOWHERE)
        tokens = np.insert(tokens, ends, pack.end_of_text)
    width = max(1, -(-(pack.vocabulary - 1).bit_length() // 8))
    order = divsufsort(_big_endian(tokens, width))
    for start in range(0, len(order), BLOCK):
        block = order[start : start + BLOCK]
        block = block[block % width == 0] // width
        if places is not None:
            block = places[block]
            block = block[block != NOWHERE]
        yield block


def _big_endian(tokens: NDArray[Any], width: int) -> NDArray[np.uint8]:
    """(tokens * width,): each token as `width` bytes, the highest first."""
    found = np.empty((len(tokens), width), np.uint8)
    for place in range(width):
        np.right_shift(tokens, 8 * (width - 1 - place), out=found[:, place], casting="unsafe")
    return found.reshape(-1)
