"""Tokens as the flat files that trainers read: of Megatron-LM (`.bin` and `.idx`) and of nanoGPT (`.bin`).

    nanogpt    train.bin, val.bin       tokens as uint16, one document after the other, each with its end-of-text token
    megatron   train.bin, train.idx     tokens as uint16, or int32 for a vocabulary of 65,500 or more; and where documents are

An index begins with `MMIDIDX` and two zero bytes, version 1 (uint64), a code of the type of tokens (8 is uint16, 4 int32), the
number of sequences, and that of document ends with the first 0; then the tokens of each sequence (int32), its first byte
(int64), and the ends of documents as numbers of sequences (int64): a document is one sequence. All is little-endian
(NVIDIA/Megatron-LM, megatron/core/datasets/indexed_dataset.py).

The tokens are those of the pack that training makes (pack.py), made now or found; `tokenizer.json` goes along. nanoGPT's files
have 16 bits a token: a larger vocabulary is refused. Memory: 20 bytes a document for an index, else one block.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.dataset.export import ExportResult, export_folder
from curate.dataset.export.files import Job, refuse_folder, telling
from curate.errors import CurateError, did_you_mean
from curate.files import replacing_folder
from curate.tokenize.fields import Fields
from curate.tokenize.pack import Pack, pack_dataset
from curate.tokenize.tokenizer import TokenizerSettings

if TYPE_CHECKING:
    import numpy as np

    from curate.dataset.reader import Dataset
    from curate.tokenize.rows import Stream

__all__ = ["TOKEN_FORMATS", "check_token_options", "export_tokens"]

TOKEN_FORMATS = ("megatron", "nanogpt")
MAGIC, CODES = b"MMIDIDX\0\0", {"<u2": 8, "<i4": 4}
SMALL = 65_500
"""Megatron's bound for tokens of 16 bits (`DType.optimal_dtype`)."""
BLOCK = 1 << 22
"""Tokens that are copied at once."""


def export_tokens(
    dataset: Dataset, format: str, out: Path, tokenizer: str, *, split: str | None = None, column: str = "text",
    overwrite: bool = False,
) -> ExportResult:  # fmt: skip
    """Write a version's tokens into a folder.

    Args:
        dataset: The version.
        format: One of `TOKEN_FORMATS`.
        out: The folder.
        tokenizer: A tokenizer.json, or a folder that has one.
        split: Only this split.
        column: The column of texts.
        overwrite: Replace an earlier export of the kind.

    Raises:
        CurateError: No such column, split or tokenizer; the vocabulary does not fit; the folder is not to be replaced.
    """
    if column not in dataset.columns:
        hint = did_you_mean(column, dataset.columns) or f"there are: {', '.join(dataset.columns)}"
        raise CurateError(f"`{dataset.name}` has no column `{column}`", hint=hint)

    def write(job: Job) -> ExportResult:
        refuse_folder(job, format, lambda folder: (folder / "tokenizer.json").is_file())
        pack = pack_dataset(dataset, TokenizerSettings(path=tokenizer), Fields(texts={"text": column}))
        if format == "nanogpt" and pack.vocabulary > 1 << 16:
            problem = f"a vocabulary of {pack.vocabulary:,} tokens does not fit into the 16 bits that nanoGPT reads"
            raise CurateError(problem, tokenizer, "use `--format megatron`, or a smaller tokenizer")
        return _write(job, pack, format)

    asked = {"tokenizer": str(Path(tokenizer).expanduser().resolve())}
    return export_folder(dataset, format, out, write, split=split, columns=[column], overwrite=overwrite, asked=asked)


def check_token_options(format: str, tokenizer: str | None, others: list[str]) -> None:
    """Refuse options of the command that do not go together: `others` are those given that tokens have no use for."""
    if format not in TOKEN_FORMATS:
        problem, hint = f"`{format}` is not made of tokens", f"--tokenizer is for {' and '.join(TOKEN_FORMATS)}"
        raise CurateError(problem, hint=hint)
    if tokenizer is None:
        raise CurateError(f"`{format}` is made of tokens, and no tokenizer is named", hint="--tokenizer tokenizer.json")
    if others:
        raise CurateError(
            f"{', '.join(others)} has no meaning for `{format}`", hint="leave it out; one --column at most"
        )


def _write(job: Job, pack: Pack, format: str) -> ExportResult:
    result = ExportResult()
    with telling(job.out), replacing_folder(job.out.absolute()) as aside:
        for split in job.splits:
            if not pack.manifest["splits"][split]["documents"]:
                result.notes.append(f"the split `{split}` has no documents, and no file")
                continue
            name = "val" if format == "nanogpt" and split == "validation" else split
            stream = pack.rows(split).stream("text")
            kind = "<u2" if format == "nanogpt" or pack.vocabulary < SMALL else "<i4"
            _write_tokens(stream, kind, aside / f"{name}.bin")
            if format == "megatron":
                _write_index(stream, kind, aside / f"{name}.idx")
            result.documents += len(stream.ends)
            for path in sorted(aside.glob(f"{name}.*")):
                result.splits[job.out / path.name] = split
        shutil.copyfile(pack.tokenizer_path, aside / "tokenizer.json")
        result.splits[job.out / "tokenizer.json"] = None
        result.bytes = sum((aside / path.name).stat().st_size for path in result.splits)
        for path, content in job.own.items():
            (aside / path.name).write_bytes(content)
    return result


def _write_tokens(stream: Stream, kind: str, path: Path) -> None:
    with path.open("wb") as file:
        for block in _blocks(stream):
            file.write(block.astype(kind).tobytes())


def _blocks(stream: Stream) -> Iterator[np.ndarray]:
    for tokens in stream.files:
        for start in range(0, len(tokens), BLOCK):
            yield tokens[start : start + BLOCK]


def _write_index(stream: Stream, kind: str, path: Path) -> None:
    import numpy as np

    lengths: Any = stream.lengths
    count = len(lengths)
    with path.open("wb") as file:
        file.write(MAGIC + struct.pack("<QBQQ", 1, CODES[kind], count, count + 1))
        file.write(lengths.astype("<i4").tobytes())
        file.write(((stream.ends - lengths) * np.dtype(kind).itemsize).astype("<i8").tobytes())
        file.write(np.arange(count + 1, dtype="<i8").tobytes())
