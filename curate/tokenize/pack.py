"""Token shards: a dataset's splits as flat files of tokens, and a manifest that says where they come from.

    <store>/tokens/<key>/
      tokenizer.json
      train-00000.ds          the tokens, raw little-endian uint16 or uint32, an end-of-text token after each document
      train-00000.ds.index    the documents' ends in this shard, in tokens, raw little-endian uint64
      validation-00000.ds ...
      manifest.json           written last: hashes, counts, the dataset's version

The format is datatrove's (`DatatroveFileDataset` reads it). The key is the hash of the dataset's version and the
tokenizer's settings: packing again finds the folder. It is written aside, fsynced and renamed as a whole, under a lock.
Documents are encoded about a million characters at a time, so memory does not grow with the corpus; about 2 MB of
text a CPU second.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from curate.errors import CurateError, ResumableError
from curate.tokenize.tokenizer import (
    TokenizerSettings,
    load_tokenizer,
    tokenizer_hash,
    train_tokenizer,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from curate.dataset.reader import Dataset

__all__ = ["Pack", "open_pack", "pack_dataset"]

SCHEMA = 1
CHARACTERS = 1_000_000
TOKENS_PER_SHARD = 100_000_000
_CUT = re.compile(r"(?<=[A-Za-z]) (?=[A-Za-z])")


@dataclass(frozen=True, slots=True)
class Pack:
    """A folder of token shards.

    Attributes:
        folder: Where they are.
        manifest: What they are.
        hash: sha256 of the manifest's bytes: equal packs have equal hashes.
    """

    folder: Path
    manifest: dict[str, Any]
    hash: str

    @property
    def tokenizer(self) -> str:
        """The tokenizer's hash."""
        return self.manifest["tokenizer"]["sha256"]

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer's file."""
        return self.folder / "tokenizer.json"

    @property
    def vocabulary(self) -> int:
        """Number of tokens in the vocabulary."""
        return self.manifest["tokenizer"]["vocabulary"]

    @property
    def end_of_text(self) -> int:
        """The token that ends every document."""
        return self.manifest["tokenizer"]["end_of_text"]

    def verify(self) -> None:
        """Compare every file with the manifest; reads them all, at about 1 GB/s.

        Raises:
            CurateError: A shard or the tokenizer is missing or was changed.
        """
        if not self.tokenizer_path.is_file() or tokenizer_hash(self.tokenizer_path) != self.tokenizer:
            self._refuse("tokenizer.json")
        for split in self.manifest["splits"].values():
            for shard in split["shards"]:
                for name, wanted in shard["sha256"].items():
                    path = self.folder / name
                    if not path.is_file() or _sha256(path) != wanted:
                        self._refuse(name)

    def _refuse(self, name: str) -> None:
        raise CurateError(
            f"`{name}` is not the file that was packed",
            str(self.folder),
            "remove this folder; it is packed again from the dataset",
        )


def open_pack(folder: Path) -> Pack:
    """The pack in a folder.

    Raises:
        CurateError: There is none, or its manifest cannot be read.
    """
    path = folder / "manifest.json"
    try:
        content = path.read_bytes()
        manifest = json.loads(content)
        if manifest["schema"] > SCHEMA:
            raise CurateError("the tokens were packed by a newer curate", str(path), "upgrade curate-lm")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CurateError(f"the packed tokens cannot be read: {error}", str(path), "remove this folder") from None
    return Pack(folder, manifest, hashlib.sha256(content).hexdigest())


def pack_dataset(dataset: Dataset, settings: TokenizerSettings) -> Pack:
    """The token shards of a dataset's version, made now or found.

    Raises:
        CurateError: The dataset has no train split, or what was found is not what was packed.
        ResumableError: The disk is full.
    """
    root = dataset.store.root / "tokens"
    wanted = {"version": dataset.version, "tokenizer": settings.model_dump(mode="json"), "schema": SCHEMA}
    key = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    folder = root / key
    root.mkdir(parents=True, exist_ok=True)
    with _alone(root / f"{key}.lock"):
        if not folder.exists():
            aside = root / f"{key}.writing"
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            try:
                _write_pack(dataset, settings, aside)
            except OSError as error:
                shutil.rmtree(aside, ignore_errors=True)
                raise ResumableError(
                    f"the tokens cannot be written: {error.strerror or error}",
                    str(root),
                    "the dataset is intact; make room, and run the same command again",
                ) from error
            aside.rename(folder)
            _sync_folder(root)
    pack = open_pack(folder)
    pack.verify()
    return pack


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock: whoever comes second waits, and then finds the work done."""
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _write_pack(dataset: Dataset, settings: TokenizerSettings, folder: Path) -> None:
    from importlib.metadata import version

    path = folder / "tokenizer.json"
    _write(path, train_tokenizer(dataset, settings).encode())
    tokenizer = load_tokenizer(path)
    dtype = "uint16" if tokenizer.get_vocab_size() <= 1 << 16 else "uint32"
    end_of_text = tokenizer.token_to_id(settings.special_tokens[0])
    assert end_of_text is not None
    splits = {
        split: _pack_split(dataset, split, tokenizer, end_of_text, dtype, folder) for split in sorted(dataset.splits)
    }
    manifest = {
        "schema": SCHEMA,
        "dataset": dataset.name,
        "version": dataset.version,
        "dtype": dtype,
        "tokenizer": {
            "sha256": tokenizer_hash(path),
            "vocabulary": tokenizer.get_vocab_size(),
            "end_of_text": end_of_text,
            "settings": settings.model_dump(mode="json"),
        },
        "splits": splits,
        "tools": {"tokenizers": version("tokenizers")},
    }
    _write(folder / "manifest.json", json.dumps(manifest, sort_keys=True, indent=1).encode())
    _sync_folder(folder)


# ---- one split


def _pack_split(
    dataset: Dataset, split: str, tokenizer: Tokenizer, end_of_text: int, dtype: str, folder: Path
) -> dict[str, Any]:
    shards: list[dict[str, Any]] = []
    text_bytes = 0
    encoded = _encoded(dataset, split, tokenizer, end_of_text)
    for first in encoded:
        with _Shard(folder / f"{split}-{len(shards):05}.ds", dtype) as shard:
            for tokens, size, ends in chain([first], encoded):
                shard.add(tokens, ends_document=ends)
                text_bytes += size
                if ends and shard.tokens >= TOKENS_PER_SHARD:
                    break
            shards.append(shard.finish())
    return {
        "documents": sum(shard["documents"] for shard in shards),
        "tokens": sum(shard["tokens"] for shard in shards),
        "text_bytes": text_bytes,
        "shards": shards,
    }


def _encoded(
    dataset: Dataset, split: str, tokenizer: Tokenizer, end_of_text: int
) -> Iterator[tuple[list[int], int, bool]]:
    """Tokens, their bytes of text, and whether a document ends here, a piece at a time."""
    for group in _groups(_pieces(dataset, split)):
        encodings = tokenizer.encode_batch_fast([text for text, _ in group], add_special_tokens=False)
        for (text, ends), encoding in zip(group, encodings, strict=True):
            yield encoding.ids + [end_of_text] * ends, len(text.encode()), ends


def _pieces(dataset: Dataset, split: str) -> Iterator[tuple[str, bool]]:
    """The documents, long ones cut where the tokenizer cuts anyway: before the space between two Latin letters."""
    for batch in dataset.batches(split, ["text"], batch_size=1000):
        for text in batch.column("text").to_pylist():
            start = 0
            while cut := _CUT.search(text, start + CHARACTERS):
                yield text[start : cut.start()], False
                start = cut.start()
            yield text[start:], True


def _groups(pieces: Iterator[tuple[str, bool]]) -> Iterator[list[tuple[str, bool]]]:
    group: list[tuple[str, bool]] = []
    characters = 0
    for piece in pieces:
        group.append(piece)
        characters += len(piece[0])
        if characters >= CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


class _Shard:
    """A pair of files being written: the tokens, and the ends of the documents."""

    def __init__(self, path: Path, dtype: str) -> None:
        self.path, self.dtype = path, dtype
        self.stream = path.open("wb")
        self.digest = hashlib.sha256()
        self.tokens = 0
        self.ends: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def add(self, tokens: list[int], *, ends_document: bool) -> None:
        import numpy as np

        content = np.asarray(tokens, dtype=np.dtype(self.dtype).newbyteorder("<")).tobytes()
        self.stream.write(content)
        self.digest.update(content)
        self.tokens += len(tokens)
        if ends_document:
            self.ends.append(self.tokens)

    def finish(self) -> dict[str, Any]:
        import numpy as np

        self.stream.flush()
        os.fsync(self.stream.fileno())
        index = self.path.with_name(self.path.name + ".index")
        content = np.asarray(self.ends, dtype="<u8").tobytes()
        _write(index, content)
        return {
            "file": self.path.name,
            "tokens": self.tokens,
            "documents": len(self.ends),
            "sha256": {
                self.path.name: self.digest.hexdigest(),
                index.name: hashlib.sha256(content).hexdigest(),
            },
        }


# ---- files


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
