"""MDS, the shards that MosaicML's `streaming` reads: a folder with `shard.00000.mds`, ... and `index.json` for each split.

A shard is: the number of samples, and where each begins, and the last ends (uint32); the configuration as JSON; the samples. A
sample is the sizes (uint32) of those columns that have no fixed one, and then its values, columns in the order of their names.
All is little-endian (streaming/base/format/mds/writer.py and encodings.py, format version 2).

    text, what has no other form   str         null is an empty string
    integers                       int64       null is 0
    floats                         float64     null is NaN
    booleans                       uint8       null is 0
    binary                         bytes       null is empty
    columns of JSON, lists, ...    json        null is null

MDS has no nulls: what they become is counted and told. `StreamingDataset(local="out", split="train")` reads a split. Memory is
one shard.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.dataset.export.files import ExportResult, Job, refuse_folder, telling
from curate.dataset.export.values import is_json, json_bytes
from curate.errors import CurateError
from curate.files import replacing_folder
from curate.plain import plain_values

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["write_folder"]

SHARD_BYTES = 1 << 26
"""The size of a shard that `streaming` has for a default."""


class _Column(NamedTuple):
    name: str
    encoding: str
    size: int | None
    encode: Callable[[Any], bytes]
    null: str | None


def write_folder(job: Job) -> ExportResult:
    """Write all splits, a folder for each.

    Raises:
        CurateError: The folder has something in it that is not to be overwritten, or cannot be written.
    """
    refuse_folder(job, "mds", _is_export)
    result, nulls = ExportResult(), dict[str, int]()
    columns = sorted(map(_column, job.schema), key=lambda one: one.name)
    with telling(job.out), replacing_folder(job.out.absolute()) as aside:
        for split in job.splits:
            folder = aside / split
            folder.mkdir()
            result.documents += _write_split(job, split, columns, folder, nulls)
            for path in sorted(folder.iterdir()):
                result.splits[job.out / split / path.name] = split
                result.bytes += path.stat().st_size
        for path, content in job.own.items():
            (aside / path.name).write_bytes(content)
    result.notes = [
        f"column `{one.name}`: nulls, which MDS has not, are {one.null} ({nulls[one.name]:,} values)"
        for one in columns if one.null and nulls.get(one.name)
    ]  # fmt: skip
    return result


def _is_export(folder: Path) -> bool:
    return any((path / "index.json").is_file() for path in folder.iterdir())


def _write_split(job: Job, split: str, columns: list[_Column], folder: Path, nulls: dict[str, int]) -> int:
    config = {
        "version": 2, "format": "mds", "compression": None, "hashes": [], "size_limit": SHARD_BYTES,
        "column_names": [one.name for one in columns], "column_encodings": [one.encoding for one in columns],
        "column_sizes": [one.size for one in columns],
    }  # fmt: skip
    head = json.dumps(config, sort_keys=True).encode()
    shards: list[dict[str, Any]] = []
    samples: list[bytes] = []
    size = documents = 0

    def flush() -> None:
        name = f"shard.{len(shards):05d}.mds"
        content = _shard(head, samples)
        (folder / name).write_bytes(content)
        raw = {"basename": name, "bytes": len(content), "hashes": {}}
        shards.append({**config, "raw_data": raw, "samples": len(samples), "zip_data": None})
        samples.clear()

    for sample in _samples(job, split, columns, nulls):
        if samples and size + len(sample) + 4 > SHARD_BYTES - len(head) - 8:
            flush()
            size = 0
        samples.append(sample)
        size, documents = size + len(sample) + 4, documents + 1
    if samples:
        flush()
    (folder / "index.json").write_text(json.dumps({"shards": shards, "version": 2}, sort_keys=True))
    return documents


def _shard(head: bytes, samples: list[bytes]) -> bytes:
    begin = 4 * (len(samples) + 2) + len(head)
    offsets = [begin]
    for sample in samples:
        offsets.append(offsets[-1] + len(sample))
    if offsets[-1] >= 1 << 32:
        raise CurateError("a document is larger than the 4 GB that a shard of MDS may have", hint="leave it out")
    return struct.pack(f"<I{len(offsets)}I", len(samples), *offsets) + head + b"".join(samples)


def _samples(job: Job, split: str, columns: list[_Column], nulls: dict[str, int]) -> Iterator[bytes]:
    for batch in job.batches(split):
        encoded: list[list[bytes]] = []
        for one in columns:
            column = batch.column(batch.schema.get_field_index(one.name))
            nulls[one.name] = nulls.get(one.name, 0) + column.null_count
            values = column.to_pylist() if one.encoding == "bytes" else plain_values(column)
            encoded.append([one.encode(value) for value in values])
        for row in zip(*encoded, strict=True):
            sizes = [len(value) for value, one in zip(row, columns, strict=True) if one.size is None]
            yield struct.pack(f"<{len(sizes)}I", *sizes) + b"".join(row)


def _column(field: pa.Field) -> _Column:
    """How a column is written; an unsigned integer beyond 63 bits does not fit, and is told as such."""
    import pyarrow as pa

    types, kind = pa.types, field.type
    if is_json(field):
        return _Column(field.name, "json", None, lambda value: b"null" if value is None else value.encode(), None)
    if types.is_boolean(kind):
        return _Column(field.name, "uint8", 1, lambda value: bytes((bool(value),)), "0")
    if types.is_integer(kind):
        return _Column(field.name, "int64", 8, lambda value: _integer(field.name, value or 0), "0")
    if types.is_floating(kind):
        return _Column(field.name, "float64", 8, _float, "NaN")
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return _Column(field.name, "bytes", None, lambda value: value or b"", "empty")
    if types.is_nested(kind):
        return _Column(field.name, "json", None, json_bytes, None)
    return _Column(field.name, "str", None, _text, "empty")


def _integer(name: str, value: int) -> bytes:
    if value >= 1 << 63:
        problem = f"column `{name}` has an integer beyond 63 bits, which MDS cannot hold"
        raise CurateError(problem, hint="leave the column out: name the others with --column")
    return struct.pack("<q", value)


def _float(value: float | None) -> bytes:
    return struct.pack("<d", float("nan") if value is None else value)


def _text(value: Any) -> bytes:
    return b"" if value is None else (value if isinstance(value, str) else json_bytes(value).decode()).encode()
