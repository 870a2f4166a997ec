"""The folder that `datasets.load_from_disk` reads, memory-mapped: what `save_to_disk` writes, without a copy in memory.

    out/dataset_dict.json                         the splits (left out where one split was asked for)
    out/<split>/data-00000-of-00002.arrow         Arrow streams of about 500 MB
    out/<split>/dataset_info.json, state.json     features, sizes, the list of the files

For a folder that `load_dataset` reads and the Hub shows, export `parquet`: its files are named after the splits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.dataset.export.files import ExportResult, Job, refuse_folder, telling
from curate.errors import CurateError
from curate.files import replacing_folder

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

__all__ = ["write_folder"]

BYTES_PER_FILE = 500_000_000


def write_folder(job: Job) -> ExportResult:
    """Write all splits as a `DatasetDict`, or the one split that was asked for as a `Dataset`.

    Raises:
        CurateError: The folder has something in it that is not to be overwritten, or cannot be written.
    """
    out, alone = job.out, job.split is not None
    refuse_folder(job, "hf", _is_export)
    result = ExportResult()
    with telling(out), replacing_folder(out.absolute()) as aside:
        for split in job.splits:
            folder = aside if alone else aside / split
            folder.mkdir(exist_ok=True)
            fingerprint = f"{job.dataset.version[:16]}-{split}"
            result.documents += _write_split(job.batches(split), job.schema, folder, split, fingerprint)
        if not alone:
            _write_json(aside / "dataset_dict.json", {"splits": job.splits})
        written = [path.relative_to(aside) for path in sorted(aside.rglob("*")) if path.is_file()]
        result.bytes = sum((aside / path).stat().st_size for path in written)
        result.splits = {out / path: job.split if alone else _split_of(path) for path in written}
        for path, content in job.own.items():
            (aside / path.name).write_bytes(content)
    return result


def _split_of(path: Path) -> str | None:
    return path.parts[0] if len(path.parts) > 1 else None


def _is_export(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _write_split(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, folder: Path, split: str, fingerprint: str
) -> int:
    import datasets

    features = _features(schema.remove_metadata())
    documents, sizes = _write_arrow(batches, features.arrow_schema, folder)
    count = len(sizes)
    names = [f"data-{index:05d}-of-{count:05d}.arrow" for index in range(count)]
    for index, name in enumerate(names):
        (folder / f"{index:05d}").rename(folder / name)
    info = datasets.SplitInfo(name=split, num_bytes=sum(sizes), num_examples=documents)
    datasets.DatasetInfo(features=features, splits=datasets.SplitDict({split: info})).write_to_directory(str(folder))
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": split,
    }
    _write_json(folder / "state.json", state)
    return documents


def _features(schema: pa.Schema) -> datasets.Features:
    import datasets
    import pyarrow as pa

    for field in schema:
        try:
            datasets.Features.from_arrow_schema(pa.schema([field]))
        except ValueError as error:
            raise CurateError(
                f"column `{field.name}` holds {field.type}, for which `datasets` has no type",
                hint="leave the column out: name the others with --column",
            ) from error
    return datasets.Features.from_arrow_schema(schema)


def _write_arrow(batches: Iterable[pa.RecordBatch], schema: pa.Schema, folder: Path) -> tuple[int, list[int]]:
    """Arrow streams named by their number, as their count is not known yet: the documents, the bytes of each file."""
    import pyarrow as pa

    documents, sizes, remaining = 0, [], iter(batches)
    batch = next(remaining, None)
    while batch is not None or not sizes:
        with (folder / f"{len(sizes):05d}").open("wb") as stream:
            with pa.ipc.new_stream(stream, schema) as writer:
                while batch is not None:
                    writer.write_batch(batch.cast(schema))
                    documents += batch.num_rows
                    batch = next(remaining, None)
                    if stream.tell() >= BYTES_PER_FILE:
                        break
            sizes.append(stream.tell())
    return documents, sizes


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True), encoding="utf-8")
