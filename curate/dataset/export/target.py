"""Where an export goes, and the table of formats.

`out` is a folder, with one file for each split, unless it ends in one of the format's endings: then it is one file,
with all documents in the version's order, or those of the one split asked for. The format `hf` always makes a folder.
Every export is a run record of the store (curate.dataset.runs): which version, which files with which hashes. Beside its
files stand a dataset card and Croissant metadata (beside.py).

Memory stays at one batch of documents. Speeds on one core, text only: csv 680, jsonl 270, jsonl.zst 94, tfrecord 90
million bytes of text a CPU second, and all are read back by their own readers in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from curate.dataset.export.beside import card_paths, own_files, write_cards
from curate.dataset.facts import Facts, facts_of
from curate.dataset.nested import nested, nested_schema
from curate.dataset.runs import now, record, run_id
from curate.errors import CurateError, DamagedError, did_you_mean
from curate.files import file_hash, replacing

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.reader import Dataset

__all__ = ["FORMATS", "ExportResult", "Format", "export", "telling"]

BATCH = 1000


@dataclass(frozen=True, slots=True)
class Format:
    """A format: the module that writes it, and the endings of its files; the first is the one used in a folder.

    One that `nests` has lists and structures, and columns of JSON text become these where their values have one type.
    """

    module: str
    endings: tuple[str, ...] = ()
    nests: bool = False


FORMATS: dict[str, Format] = {
    "jsonl": Format("curate.dataset.export.jsonl", (".jsonl", ".jsonl.zst", ".jsonl.gz")),
    "csv": Format("curate.dataset.export.csv", (".csv",)),
    "parquet": Format("curate.dataset.export.parquet", (".parquet",), nests=True),
    "tfrecord": Format("curate.dataset.export.tfrecord", (".tfrecord", ".tfrecords")),
    "hf": Format("curate.dataset.export.huggingface", nests=True),
}


@dataclass(slots=True)
class ExportResult:
    """What was written: the files in order, their documents and their bytes on disk.

    Attributes:
        splits: The files in order, each with the split that it is of; None is all of them.
        cards: The dataset card and the metadata beside them, which are not counted.
        notes: Which columns have values that the format does not hold as they are, how many, and what became of them.
    """

    splits: dict[Path, str | None] = field(default_factory=dict)
    cards: list[Path] = field(default_factory=list)
    documents: int = 0
    bytes: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        """The files in order."""
        return list(self.splits)


def export(
    dataset: Dataset,
    format: str,
    out: Path,
    *,
    split: str | None = None,
    columns: Sequence[str] | None = None,
    escape_formulas: bool = False,
    overwrite: bool = False,
) -> ExportResult:
    """Write the documents of a version in another format.

    Args:
        dataset: The version.
        format: One of `FORMATS`.
        out: A folder, or a file where it ends in one of the format's endings.
        split: Only this split.
        columns: Only these columns, in this order.
        escape_formulas: Put an apostrophe before CSV cells that a spreadsheet would run (they begin with `=`, `+`, `-`,
            `@`, a tab or a line end).
        overwrite: Replace files that are there. Files of the same format that would not be replaced (another split, of
            another version) are refused.

    Raises:
        CurateError: No such format, split or column; the target is there already; a column does not fit the format.
    """
    chosen = _format(format)
    if escape_formulas and format != "csv":
        raise CurateError(f"formulas are escaped in csv only, not in {format}", hint="leave --escape-formulas out")
    dataset.check_split(split)
    splits = [split] if split is not None else list(dataset.splits)
    schema = dataset.schema if columns is None else _part_of(dataset, columns)
    if chosen.nests:
        schema = nested_schema(schema, lambda names: dataset.batches(None, names, BATCH))
    began, writer = now(), import_module(chosen.module)
    single = bool(chosen.endings) and not out.is_dir() and out.name.endswith(chosen.endings)
    facts, paths = _facts(dataset), card_paths(out, single=single)
    own = own_files(dataset.store, paths)
    if chosen.endings:
        write = partial(writer.write, escape_formulas=True) if escape_formulas else writer.write
        seen = _Changes(getattr(writer, "changes", None))
        targets = {out: split} if single else _targets(chosen, out, splits)
        result = _write_files(
            dataset, targets, schema, write, seen, overwrite=overwrite, folder=None if single else out
        )
        result.notes = seen.notes()
    else:
        result = writer.write_folder(
            dataset, out, schema=schema, splits=splits, single=split is not None, overwrite=overwrite, own=own
        )
    hashes = {path: file_hash(path) for path in result.files}
    if isinstance(facts, Facts):
        files = {path: (of, hashes[path]) for path, of in result.splits.items()}
        result.cards = write_cards(facts, schema, format, paths, files, own)
    result.notes += [f"`{path.name}` was not written by an export, or was changed since: it stays" for path in own]
    result.notes += [f"no dataset card was written: {facts.problem}"] if isinstance(facts, DamagedError) else []
    asked = {"format": format, "split": split, "columns": schema.names, "escape_formulas": escape_formulas}
    _record(dataset, out, result, hashes, began, asked)
    return result


def _facts(dataset: Dataset) -> Facts | DamagedError:
    """What the card tells; documents whose ledger is damaged can still be taken out."""
    try:
        return facts_of(dataset)
    except DamagedError as error:
        return error


def _record(
    dataset: Dataset, out: Path, result: ExportResult, hashes: dict[Path, str], began: str, asked: dict[str, Any]
) -> None:
    name, place = f"{dataset.name}@{dataset.tag or dataset.version[:12]}", out.resolve()
    record(
        dataset.store, "export", run_id(), name=name, state="done",
        began=began, inputs=[{"kind": "version", "id": dataset.version, "name": name}],
        outputs=[{"kind": "file", "id": hash, "name": str(path.resolve())} for path, hash in hashes.items()],
        facts={"folder": str(place), **asked, "documents": result.documents, "bytes": result.bytes,
               "notes": result.notes, "cards": {str(path.resolve()): file_hash(path) for path in result.cards}},
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


def _targets(chosen: Format, out: Path, splits: list[str]) -> dict[Path, str | None]:
    """The files to write into a folder, and the split that goes into each."""
    if not out.is_dir() and (other := _format_of(out)):
        raise CurateError(
            f"`{out.name}` is a name for {other}, not one that ends in {', '.join(chosen.endings)}",
            hint=f"use `--format {other}`, or name a folder",
        )
    return {out / f"{name}{chosen.endings[0]}": name for name in splits}


def _format_of(out: Path) -> str | None:
    return next((name for name, known in FORMATS.items() if known.endings and out.name.endswith(known.endings)), None)


class _Changes:
    """Values that a format does not hold as they are, counted by column while they pass by.

    Args:
        changes: What the format does to the values of a column: how many, by what becomes of them; None is nothing.
    """

    def __init__(self, changes: Callable[[pa.Array], dict[str, int]] | None) -> None:
        self._changes = changes
        self._counts: dict[tuple[str, str], int] = {}

    def watch(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The batches, counted."""
        for batch in batches:
            for name, column in zip(batch.schema.names, batch.columns, strict=True) if self._changes else ():
                for how, count in self._changes(column).items() if self._changes else ():
                    self._counts[name, how] = self._counts.get((name, how), 0) + count
            yield batch

    def notes(self) -> list[str]:
        """A sentence for each column and change."""
        return [f"column `{name}`: {how} ({count:,} values)" for (name, how), count in self._counts.items() if count]


def _write_files(
    dataset: Dataset,
    targets: dict[Path, str | None],
    schema: pa.Schema,
    write: Any,
    seen: _Changes,
    *,
    overwrite: bool,
    folder: Path | None,
) -> ExportResult:
    """Write every file aside, then rename them all: a failure leaves what was there untouched."""
    for target in targets:
        _refuse_existing(target, overwrite)
    if overwrite and folder:
        _refuse_others(folder, targets)
    result = ExportResult(dict(targets))
    with telling(next(iter(targets)).parent), ExitStack() as written:
        for target, split in targets.items():
            with telling(target):
                stream: IO[bytes] = written.enter_context(replacing(target))
                batches = seen.watch(nested(dataset.batches(split, schema.names, BATCH), schema))
                result.documents += write(batches, schema, stream, target.name)
                stream.flush()
                result.bytes += stream.tell()
    return result


def _refuse_existing(target: Path, overwrite: bool) -> None:
    if target.is_dir():
        raise CurateError(f"`{target}` is a folder", hint="name another place")
    if target.exists() and not overwrite:
        raise CurateError(f"`{target}` is there already", hint="name another place, or give --overwrite")


def _refuse_others(folder: Path, targets: Iterable[Path]) -> None:
    """Beside what replaces an export may stand no file of it that is not replaced: another split, of another version."""
    endings = {target.name.partition(".")[2] for target in targets}
    others = sorted(
        path.name
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path not in targets and path.name.partition(".")[2] in endings
    )
    if others:
        raise CurateError(
            f"`{folder}` holds {', '.join(f'`{name}`' for name in others)} too, which this export would not replace",
            hint="remove what is of an earlier export, or name another folder",
        )


@contextmanager
def telling(target: Path) -> Iterator[None]:
    """What goes wrong while a file or folder is written, said in the user's words."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise CurateError(
            f"a column does not fit the format: {error}", str(target), "choose the other columns with --column"
        ) from error
    except OSError as error:
        raise CurateError(
            f"cannot write `{target}`: {error.strerror or error}", hint="check the path and the space left"
        ) from error
