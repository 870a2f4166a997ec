"""Where an export goes, and the table of formats.

`out` is a folder, with one file for each split, unless it ends in one of the format's endings: then it is one file,
with all documents in the version's order, or those of the one split asked for. The format `hf` always makes a folder.
Every export is a run record of the store (curate.dataset.runs): which version, which files with which hashes. Beside its
files stand a dataset card and Croissant metadata (beside.py).

Memory stays at one batch of documents. Speeds on one core, text only: csv 680, jsonl 270, jsonl.zst 94, tfrecord 90
million bytes of text a CPU second, and all are read back by their own readers in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.dataset.export.beside import card_paths, own_files, write_cards
from curate.dataset.export.files import BATCH, ExportResult, Job, telling, write_files
from curate.dataset.export.parquet import BYTES_PER_GROUP
from curate.dataset.facts import Facts, facts_of
from curate.dataset.nested import nested_schema
from curate.dataset.runs import now, record, run_id
from curate.errors import CurateError, DamagedError, did_you_mean
from curate.files import file_hash

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.reader import Dataset

__all__ = ["FORMATS", "ExportResult", "Format", "export", "export_folder"]


@dataclass(frozen=True, slots=True)
class Format:
    """A format: the module that writes it, and the endings of its files; the first is the one used in a folder.

    One that `nests` has lists and structures, and columns of JSON text become these where their values have one type.
    """

    module: str
    endings: tuple[str, ...] = ()
    nests: bool = False
    form: str | None = None
    """Which form of several a module writes."""


FORMATS: dict[str, Format] = {
    "jsonl": Format("curate.dataset.export.jsonl", (".jsonl", ".jsonl.zst", ".jsonl.gz")),
    "sharegpt": Format("curate.dataset.export.chats", (".jsonl", ".jsonl.zst", ".jsonl.gz"), form="sharegpt"),
    "alpaca": Format("curate.dataset.export.chats", (".jsonl", ".jsonl.zst", ".jsonl.gz"), form="alpaca"),
    "csv": Format("curate.dataset.export.csv", (".csv",)),
    "parquet": Format("curate.dataset.export.parquet", (".parquet",), nests=True),
    "tfrecord": Format("curate.dataset.export.tfrecord", (".tfrecord", ".tfrecords")),
    "arrow": Format("curate.dataset.export.arrow", (".arrow", ".feather"), nests=True),
    "webdataset": Format("curate.dataset.export.webdataset", (".tar",)),
    "mds": Format("curate.dataset.export.mds"),
    "hf": Format("curate.dataset.export.huggingface", nests=True),
}


def export(
    dataset: Dataset,
    format: str,
    out: Path,
    *,
    split: str | None = None,
    columns: Sequence[str] | None = None,
    escape_formulas: bool = False,
    shard_bytes: int | None = None,
    overwrite: bool = False,
) -> ExportResult:
    """Write the documents of a version in another format.

    Args:
        dataset: The version.
        format: One of `FORMATS`.
        out: A folder, or a file where it ends in one of the format's endings.
        split: Only this split.
        columns: Only these columns, in this order.
        escape_formulas: Put an apostrophe before CSV cells that a spreadsheet would run.
        shard_bytes: Cut splits into files of about so many bytes.
        overwrite: Replace files that are there. Files of the same format that would not be replaced (another split, of
            another version) are refused.

    Raises:
        CurateError: No such format, split or column; the target is there already; a column does not fit the format.
    """
    chosen, began = _format(format), now()
    dataset.check_split(split)
    schema = dataset.schema if columns is None else _part_of(dataset, columns)
    if chosen.nests:
        schema = nested_schema(schema, lambda names: dataset.batches(None, names, BATCH))
    single = _is_file(chosen, out)
    _check_asked(format, chosen, single=single, escape_formulas=escape_formulas, shard_bytes=shard_bytes)
    facts, paths = _facts(dataset), card_paths(out, single=single)
    splits = [split] if split is not None else list(dataset.splits)
    options = _options(chosen, format, escape_formulas=escape_formulas, shard_bytes=shard_bytes)
    own = own_files(dataset.store, paths)
    job = Job(dataset, out, schema, split, splits, overwrite, shard_bytes, options, own)
    writer = import_module(chosen.module)
    result = write_files(job, chosen.endings, writer, single=single) if chosen.endings else writer.write_folder(job)
    asked = {"format": format, "escape_formulas": escape_formulas, "shard_bytes": shard_bytes}
    _finish(job, result, lambda: facts, paths, began, asked)
    return result


def export_folder(
    dataset: Dataset, format: str, out: Path, write: Callable[[Job], ExportResult], *, split: str | None,
    columns: Sequence[str], overwrite: bool, asked: dict[str, Any],
) -> ExportResult:  # fmt: skip
    """An export to a folder by a writer that is not in the table: with cards and a record, as all have them.

    Args:
        dataset: The version.
        format: What the format is called.
        out: The folder.
        write: Writes it.
        split: Only this split.
        columns: The columns that it reads.
        overwrite: Whether what is there may be replaced.
        asked: What else was asked for, for the record.
    """
    began = now()
    dataset.check_split(split)
    paths = card_paths(out, single=False)
    splits = [split] if split is not None else list(dataset.splits)
    own = own_files(dataset.store, paths)
    job = Job(dataset, out, _part_of(dataset, columns), split, splits, overwrite, None, {}, own)
    result = write(job)
    told = {"format": format, "escape_formulas": False, "shard_bytes": None, **asked}
    _finish(job, result, lambda: _facts(dataset), paths, began, told)  # only now: the writer may have counted tokens
    return result


def _check_asked(format: str, chosen: Format, *, single: bool, escape_formulas: bool, shard_bytes: int | None) -> None:
    if escape_formulas and format != "csv":
        raise CurateError(f"formulas are escaped in csv only, not in {format}", hint="leave --escape-formulas out")
    if shard_bytes is not None and (single or not chosen.endings):
        problem = "one file is not cut into several" if single else f"`{format}` cuts its files by itself"
        raise CurateError(problem, hint="name a folder" if single else "leave the size out")


def _options(chosen: Format, format: str, *, escape_formulas: bool, shard_bytes: int | None) -> dict[str, Any]:
    """Settings of the format's writer."""
    options: dict[str, Any] = {"form": chosen.form} if chosen.form else {}
    if escape_formulas:
        options["escape_formulas"] = True
    if format == "parquet" and shard_bytes is not None:  # a file ends with a row group
        options["group_bytes"] = min(shard_bytes, BYTES_PER_GROUP)
    return options


def _is_file(chosen: Format, out: Path) -> bool:
    """Whether `out` is one file, not a folder."""
    if not chosen.endings or out.is_dir():
        return False
    if not out.name.endswith(chosen.endings) and (other := _format_of(out)):
        raise CurateError(
            f"`{out.name}` is a name for {other}, not one that ends in {', '.join(chosen.endings)}",
            hint=f"use `--format {other}`, or name a folder",
        )
    return out.name.endswith(chosen.endings)


def _facts(dataset: Dataset) -> Facts | DamagedError:
    """What the card tells; documents whose ledger is damaged can still be taken out."""
    try:
        return facts_of(dataset)
    except DamagedError as error:
        return error


def _finish(
    job: Job,
    result: ExportResult,
    facts: Callable[[], Facts | DamagedError],
    paths: tuple[Path, Path],
    began: str,
    asked: dict[str, Any],
) -> None:
    """Write the cards, and record the export."""
    hashes = {path: file_hash(path) for path in result.files}
    try:
        found = facts()
        if isinstance(found, DamagedError):
            raise found
        files = {path: (of, hashes[path]) for path, of in result.splits.items()}
        with telling(paths[0]):
            result.cards = write_cards(found, job.schema, asked["format"], paths, files, job.own)
    except CurateError as error:
        result.notes.append(f"no dataset card was written: {error.problem}")
    finally:  # whatever becomes of the card: the files are there, and an erasure finds them by the record
        _record(job, result, hashes, began, asked)


def _record(job: Job, result: ExportResult, hashes: dict[Path, str], began: str, asked: dict[str, Any]) -> None:
    dataset = job.dataset
    result.notes += [f"`{path.name}` was not written by an export, or was changed since: it stays" for path in job.own]
    name = f"{dataset.name}@{dataset.tag or dataset.version[:12]}"
    record(
        dataset.store, "export", run_id(), name=name, state="done",
        began=began, inputs=[{"kind": "version", "id": dataset.version, "name": name}],
        outputs=[{"kind": "file", "id": hash, "name": str(path.resolve())} for path, hash in hashes.items()],
        facts={"folder": str(job.out.resolve()), **asked, "split": job.split, "columns": job.schema.names,
               "documents": result.documents, "bytes": result.bytes, "notes": result.notes,
               "cards": {str(path.resolve()): file_hash(path) for path in result.cards}},
    )  # fmt: skip


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise CurateError(
            f"there is no export format `{name}`",
            hint=did_you_mean(name, FORMATS) or f"there are: {', '.join(FORMATS)}",
        )
    return FORMATS[name]


def _part_of(dataset: Dataset, columns: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    there = ", ".join(dataset.columns)
    if not columns:
        raise CurateError("no column is asked for", hint=f"there are: {there}")
    for name in columns:
        if name not in dataset.columns:
            hint = did_you_mean(name, dataset.columns) or f"there are: {there}"
            raise CurateError(f"`{dataset.name}` has no column `{name}`", hint=hint)
    return pa.schema([dataset.schema.field(name) for name in dict.fromkeys(columns)])


def _format_of(out: Path) -> str | None:
    return next((name for name, known in FORMATS.items() if known.endings and out.name.endswith(known.endings)), None)
