"""What a version is in tokens: by a tokenizer that is named, or that the store has, else in words, which are named so.

A store's tokenizer is that of the token shards that were made of one of its versions (`tokens/KEY`): of those of the versions
that are counted, else of all, the first by hash. Cost: about 1 s for 5 MB of text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as compute

from curate.dataset.reader import Dataset
from curate.stages.selectors import is_plain, joined, roots

__all__ = ["count_tokens", "tokens_of"]

BATCH = 256


def count_tokens(versions: Sequence[Dataset], on: tuple[str, ...], path: Path | None = None) -> tuple[str, list[float]]:
    """The name of what was counted, and how many of them each version has in the strings that are looked at.

    Raises:
        CurateError: The tokenizer that was named cannot be read.
    """
    from curate.tokenize.tokenizer import load_tokenizer, tokenizer_file, tokenizer_hash

    found = tokenizer_file(path) if path else _of_store(versions)
    if found is None:
        return "words", [float(sum(map(_words, _texts(one, on)))) for one in versions]
    tokenizer, name = load_tokenizer(found), f"tokens of tokenizer {tokenizer_hash(found)[:12]}"
    counts = []
    for one in versions:
        count = 0
        for texts in _texts(one, on):
            some = texts.drop_null().to_pylist()
            for start in range(0, len(some), BATCH):
                encoded = tokenizer.encode_batch_fast(some[start : start + BATCH], add_special_tokens=False)
                count += sum(len(each) for each in encoded)
        counts.append(float(count))
    return name, counts


def tokens_of(version: Dataset) -> tuple[str, Callable[[list[str]], list[int]]]:
    """What texts of a version are counted in, `tokens of tokenizer ...` or `words`, and the function that counts each."""
    from curate.tokenize.tokenizer import load_tokenizer, tokenizer_hash

    found = _of_store([version])
    if found is None:
        return "words", lambda texts: [len(text.split()) for text in texts]
    tokenizer = load_tokenizer(found)

    def count(texts: list[str]) -> list[int]:
        return [len(one) for one in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    return f"tokens of tokenizer {tokenizer_hash(found)[:12]}", count


def _words(texts: pa.Array | pa.ChunkedArray) -> int:
    """Runs of anything but white space."""
    return compute.sum(compute.count_substring_regex(texts, r"\S+")).as_py() or 0


def _texts(version: Dataset, on: tuple[str, ...]) -> Iterator[pa.Array | pa.ChunkedArray]:
    columns = roots(on, version.schema)
    for batch in version.batches(columns=columns):
        yield batch.column("text") if is_plain(on) else joined(pa.Table.from_batches([batch]), on)


def _of_store(versions: Sequence[Dataset]) -> Path | None:
    """A tokenizer of the store, or None."""
    from curate.tokenize.place import packs_folder

    names = {one.version for one in versions}
    found: list[tuple[bool, str, Path]] = []
    for manifest in packs_folder(versions[0].store).glob("*/manifest.json"):
        try:
            told = json.loads(manifest.read_bytes())
            found.append(
                (told["version"] not in names, told["tokenizer"]["sha256"], manifest.parent / "tokenizer.json")
            )
        except (OSError, ValueError, KeyError, TypeError):  # of another format, or being removed: it counts nothing
            continue
    there = [one for one in found if one[2].is_file()]
    return min(there)[2] if there else None
