"""Writing an export's files: which they are, what they would replace, and all of them aside before any is renamed.

A split is one file, or several of about so many bytes (`train-00000.jsonl`, `train-00001.jsonl`, ...): a file ends behind the
batch with which it has reached the size; those of Parquet hold whole row groups. Memory stays at one batch of documents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any

from curate.dataset.nested import nested
from curate.errors import CurateError
from curate.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.reader import Dataset

__all__ = ["BATCH", "ExportResult", "Job", "refuse_folder", "telling", "write_files"]

BATCH = 1000
BATCH_OF_SHARDS = 100
"""Documents a batch: where files have a size, they end closer to it."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be written.

    Attributes:
        dataset: The version.
        out: The folder, or the one file.
        schema: The columns.
        split: The one split asked for, or None.
        splits: The splits to write.
        overwrite: Whether what is there is replaced.
        shard_bytes: About how large a file becomes; None is one file for each split.
        options: Settings of the format's writer.
        own: Files in the folder that are somebody's own, and stay (beside.py).
    """

    dataset: Dataset
    out: Path
    schema: pa.Schema
    split: str | None
    splits: list[str]
    overwrite: bool
    shard_bytes: int | None
    options: Mapping[str, Any]
    own: Mapping[Path, bytes]

    def batches(self, split: str | None) -> Iterator[pa.RecordBatch]:
        """The documents of a split (None: all), in the types that are written."""
        size = BATCH if self.shard_bytes is None else BATCH_OF_SHARDS
        return nested(self.dataset.batches(split, self.schema.names, size), self.schema)


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


def write_files(job: Job, endings: tuple[str, ...], writer: ModuleType, *, single: bool) -> ExportResult:
    """Write every file aside, then rename them all: a failure leaves what was there untouched."""
    seen, result = _Changes(getattr(writer, "changes", None)), ExportResult()
    write = partial(writer.write, **job.options)
    targets = _targets(job, endings, single=single)
    stale = [] if single else _replaced(job, targets, endings[0])
    with telling(job.out.parent if single else job.out), ExitStack() as written:
        for name, split in targets.items():
            remaining = iter(seen.watch(job.batches(split)))
            batch, number = next(remaining, None), 0
            while batch is not None or not number:
                target = name if job.shard_bytes is None else _numbered(name, number)
                with telling(target):
                    stream: IO[bytes] = written.enter_context(replacing(target))
                    some = _until(batch, remaining, stream, job.shard_bytes)
                    result.documents += write(some, job.schema, stream, target.name)
                    stream.flush()
                    result.bytes += stream.tell()
                result.splits[target] = split
                batch, number = next(remaining, None), number + 1
    for path in stale:
        if path not in result.splits:
            path.unlink()
    result.notes = seen.notes()
    return result


def _until(
    batch: pa.RecordBatch | None, remaining: Iterator[pa.RecordBatch], stream: IO[bytes], size: int | None
) -> Iterator[pa.RecordBatch]:
    """Batches until the stream has reached the size."""
    while batch is not None:
        yield batch
        if size is not None and stream.tell() >= size:
            return
        batch = next(remaining, None)


def _targets(job: Job, endings: tuple[str, ...], *, single: bool) -> dict[Path, str | None]:
    """The files to write (before they are numbered), and the split that goes into each (None: all)."""
    targets: dict[Path, str | None] = {job.out: job.split}
    if not single:
        targets = {job.out / f"{name}{endings[0]}": name for name in job.splits}
    for target in targets if job.shard_bytes is None else ():
        _refuse_existing(target, job.overwrite)
    return targets


def _numbered(name: Path, number: int) -> Path:
    stem, _, ending = name.name.partition(".")
    return name.with_name(f"{stem}-{number:05d}.{ending}")


def _replaced(job: Job, targets: Iterable[Path], ending: str) -> list[Path]:
    """The numbered files that are there; whatever else this would stand beside is refused."""
    there = sorted(job.out.iterdir()) if job.out.is_dir() else []
    splits = "|".join(map(re.escape, job.splits))
    numbered = [path for path in there if re.fullmatch(rf"(?:{splits})-\d{{5}}{re.escape(ending)}", path.name)]
    if job.shard_bytes is None:
        numbered = []
    for path in numbered:
        _refuse_existing(path, job.overwrite)
    if job.overwrite:
        _refuse_others(job.out, [*targets, *numbered] if job.shard_bytes is None else numbered, ending)
    return numbered


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


def _refuse_existing(target: Path, overwrite: bool) -> None:
    if target.is_dir():
        raise CurateError(f"`{target}` is a folder", hint="name another place")
    if target.exists() and not overwrite:
        raise CurateError(f"`{target}` is there already", hint="name another place, or give --overwrite")


def refuse_folder(job: Job, format: str, is_export: Callable[[Path], bool]) -> None:
    """Refuse a folder that a format which makes one may not replace: only an earlier export of it is, and when asked to."""
    out = job.out
    if out.is_file():
        raise CurateError(f"`{out}` is a file; `{format}` makes a folder", hint="name another place")
    if not (out.is_dir() and any(out.iterdir())):
        return
    if not job.overwrite:
        raise CurateError(f"`{out}` is there already", hint="name another place, or give --overwrite")
    if not is_export(out):
        raise CurateError(
            f"`{out}` holds something else than such an export",
            hint=f"only an earlier `{format}` export is overwritten",
        )


def _refuse_others(folder: Path, targets: Iterable[Path], ending: str) -> None:
    """Beside what replaces an export may stand no file of it that is not replaced: another split, of another version."""
    others = sorted(
        path.name
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path not in targets and path.name.endswith(ending)
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
