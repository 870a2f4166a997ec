"""Documents from Hugging Face data sets: saved by `save_to_disk`, a folder that `load_dataset` reads, or a name on the hub.

Code that comes with a data set is never run (datasets 4 and later cannot). A folder of files and a hub data set are
first copied to the cache of `datasets`, as Arrow; for folders of JSON lines or Parquet the source `files` needs no such
copy.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from curate.collect.columns import Selection
from curate.errors import CurateError, did_you_mean
from curate.stages.contract import Part, Rejected, Source, SourceContext

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

__all__ = ["HuggingFace"]

BATCH_BYTES = 8 << 20
BATCH_ROWS = 20000


class HuggingFace(Source):
    """Reads documents from a Hugging Face data set: a folder, or a name on the hub."""

    version: ClassVar[int] = 3
    libraries: ClassVar[tuple[str, ...]] = ("datasets", "pyarrow")

    path: str = Field(
        description="A folder that `save_to_disk` wrote or that `load_dataset` reads, relative to the pipeline file; or "
        "the name of a data set on the hub (`owner/name`), which needs the network or its cache."
    )
    name: str | None = Field(None, description="Name of the configuration, where the data set has several.")
    split: str | None = Field(
        None, description="Split to read; by default all, and the column `hf_split` tells which one."
    )
    text: str = Field("text", description="Column that holds the text.")
    id_column: str | None = Field(
        None, description="Column that holds the id, which becomes a string; by default, `id` where there is one."
    )
    make_ids: bool = Field(
        False,
        description="Ids are made from the place of each document (its `source_uri`), for ids that repeat across splits; "
        "the column of ids is carried on as `original_id`.",
    )
    columns: list[str] | None = Field(
        None,
        description="Other columns to keep; all of them by default, none with `[]`. A column `source_uri` is carried on "
        "as `original_uri`.",
    )
    max_document_bytes: int = Field(
        64 << 20, ge=1, description="Longer documents, in bytes, are quarantined as `too_long`."
    )

    def plan(self, context: SourceContext) -> Sequence[Part]:
        """Ranges of rows of about `shard_bytes`, split by split."""
        folder = context.root / self.path
        location = str(folder.absolute()) if folder.is_dir() else self.path
        splits = _load(location, self.name)
        wanted = sorted(splits) if self.split is None else [self.split]
        parts: list[Part] = []
        for split in wanted:
            if split not in splits:
                listed = ", ".join(f"`{known}`" for known in sorted(splits))
                raise CurateError(
                    f"`{self.path}` has no split `{split}`; the splits are {listed}", hint=did_you_mean(split, splits)
                )
            rows = splits[split]
            name = "/".join(filter(None, [self.path.rstrip("/"), self.name, split]))
            files = tuple(dict.fromkeys(file["filename"] for file in rows.cache_files))
            content = _content(files, context)
            step = max(1, len(rows) * context.shard_bytes // max(rows.data.nbytes, 1))
            for start in range(0, len(rows), step):
                stop = min(start + step, len(rows))
                parts.append(Part(name, location, content, start, stop, {"split": split}, files))
        return parts

    def read(self, part: Part) -> Iterator[pa.Table | Rejected]:
        """The documents of a range of rows; offsets are row numbers in the split.

        Raises:
            CurateError: The text column is missing, or a column has a reserved name.
        """
        import pyarrow as pa

        from curate.collect.rows import documents_of_rows, needed_columns

        split = part.extra["split"]
        rows = _load(part.location, self.name)[split].with_format("arrow")
        columns = None if self.columns is None else tuple(self.columns)
        selection = Selection(self.text, self.id_column, columns, self.max_document_bytes, part.name, self.make_ids)
        needed = needed_columns(rows.features.arrow_schema, selection)
        if self.split is None and "hf_split" in selection.carried(needed, complete=True):
            problem = "column `hf_split` has the name of the column that tells the split"
            raise CurateError(problem, part.name, "read one split with `split:`, or leave the column out of `columns:`")
        step = max(1, min(BATCH_ROWS, len(rows) * BATCH_BYTES // max(rows.data.nbytes, 1)))
        for start in range(part.start, part.stop or 0, step):
            table = rows[start : min(start + step, part.stop or 0)].select(needed)
            for piece in documents_of_rows(start, table, selection, name=part.name):
                if isinstance(piece, Rejected) or self.split is not None:
                    yield piece
                else:
                    yield piece.append_column("hf_split", pa.array([split] * len(piece), pa.string()))


def _load(location: str, name: str | None) -> dict[str, datasets.Dataset]:
    """The splits of a data set; one that was saved without splits is all `train`.

    Raises:
        CurateError: There is none, or it cannot be had without the network.
    """
    import datasets

    datasets.disable_progress_bars()
    folder = Path(location)
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            loaded: Any = datasets.load_from_disk(location)
        else:
            with _without_retries_told():
                loaded = datasets.load_dataset(location, name=name)
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        hint = "is it a folder relative to the pipeline file, or an `owner/name` on the hub, with the network there?"
        problem = str(error).strip().split("\n")[0][:300]
        raise CurateError(f"the data set `{location}` cannot be loaded: {problem}", hint=hint) from error
    return (
        {str(split): rows for split, rows in loaded.items()}
        if isinstance(loaded, datasets.DatasetDict)
        else {str(loaded.split or "train"): loaded}
    )


@contextmanager
def _without_retries_told() -> Iterator[None]:
    """No line of huggingface_hub for each of its six attempts: the error that follows says what is wrong."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _content(files: Sequence[str], context: SourceContext) -> str:
    """Identity of a split: the hashes of the Arrow files that hold it."""
    paths = [Path(file) for file in files]
    context.prepare(paths)
    return hashlib.sha256("".join(f"{context.content_hash(path)}\n" for path in paths).encode()).hexdigest()
