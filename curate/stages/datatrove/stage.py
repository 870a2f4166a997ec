"""datatrove's blocks as stages, and stages as datatrove blocks.

In: `{use: datatrove.pipeline.filters.GopherRepetitionFilter, dup_line_frac: 0.2}` in a pipeline file becomes a
`DatatroveBlock`. The block keeps its own code, reasons and parameters; curate keeps the control: datatrove's executors
hang on a killed worker and skip work whose settings have changed, so they are never used.

Out: `as_datatrove(stage)` gives a datatrove filter that runs in any of datatrove's executors.

Limits: a block sees 100 documents at a time and must say the same of a document whatever stands beside it; blocks that
need all documents or that write files are refused (`curate.stages.datatrove.block` has the list). Extractors run in the
worker itself, under the engine's time limit, not in datatrove's sandbox process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from curate.errors import CurateError
from curate.plain import python_rows
from curate.stages.contract import Effect, Filter, Mapper, Stage, Verdicts

if TYPE_CHECKING:
    import pyarrow as pa
    from datatrove.data import Document
    from datatrove.pipeline.filters.base_filter import BaseFilter

__all__ = ["DatatroveBlock", "as_datatrove", "block_stage"]

LONGEST_PATH = 1024


class DatatroveBlock(Mapper):
    """Runs a block of datatrove: a filter, a formatter, an extractor.

    A dropped document carries the block's own reason, or the name of its class where it gives none; so does an
    edited one. What a filter counts while it looks at a document (C4: lines removed, by kind) stands in the
    verdict's detail. Documents come to the block with all other columns as metadata (nulls left out). Metadata that
    the block sets becomes columns of fixed types: `language` and `language_score` of LanguageFilter, `token_count`
    of TokensCounter; of blocks that are not datatrove's own, one text column `<class>_metadata` with the changed
    keys as JSON, null where none changed.
    """

    libraries = ("datatrove", "spacy")
    batch = 100

    use: str = Field(
        description="Import path of the block's class, such as `datatrove.pipeline.filters.GopherRepetitionFilter`."
    )
    parameters: dict[str, Any] = Field({}, description="Parameters of the block's constructor, by name.")

    def code_modules(self) -> Sequence[str]:
        """The block's."""
        return (self.use.rpartition(".")[0],)

    def model_files(self) -> Sequence[Path]:
        """Files that the parameters name: models, lists of words."""
        return [path for path in map(Path, _strings(self.parameters)) if path.is_file()]

    def open(self) -> Callable[[pa.Table], Effect]:
        """Build the block once; the function runs it on the documents of a batch."""
        from curate.stages.datatrove.block import attached_columns, build_block, runner, try_block

        block = build_block(self.use, self.parameters)
        try_block(block, self.use)
        run, columns = runner(block), attached_columns(block)
        name = type(block).__name__

        def apply(batch: pa.Table) -> Effect:
            texts, documents = batch.column("text").to_pylist(), _documents(batch)
            before = [dict(document.metadata) for document in documents]
            verdicts = Verdicts()
            for row, outcome in enumerate(run(documents)):
                if not outcome.kept:
                    verdicts.drop(row, outcome.reason or name, detail=outcome.detail)
                elif documents[row].text != texts[row]:
                    verdicts.edit(row, documents[row].text, name, detail=outcome.detail)
            return Effect(verdicts.table(), _attached(columns, before, documents))

        return apply


def _strings(value: Any) -> Iterator[str]:
    """Every string in a block's parameters that could be the name of a file."""
    if isinstance(value, str):
        if value and len(value) < LONGEST_PATH and "\0" not in value:
            yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(item)


def block_stage(use: str, parameters: Mapping[str, Any]) -> Stage:
    """The stage that a `use:` item of a pipeline file stands for, after its import path and parameters are checked.

    Raises: CurateError: The path leads to no block, the block cannot run as a stage, a parameter is unknown, of a
    wrong type or refused by the block, or a package is missing that the block needs.
    """
    from curate.stages.datatrove.block import build_block

    build_block(use, parameters, cached_words=False)
    return DatatroveBlock.model_validate({"use": use, "parameters": dict(parameters)})


def as_datatrove(stage: Stage, exclusion_writer: Any = None) -> BaseFilter:
    """A datatrove filter that decides, and edits, as this stage does; for datatrove's pipelines and executors.

    Args:
        stage: A mapper or a filter.
        exclusion_writer: A datatrove writer for the dropped documents.

    Raises:
        CurateError: The stage is of another kind.
    """
    from curate.stages.datatrove.filter import StageFilter

    if not isinstance(stage, Mapper | Filter):
        raise CurateError(
            f"a stage of kind `{stage.kind}` cannot be a datatrove block",
            hint="mappers and filters can: they decide about each document by itself",
        )
    return StageFilter(stage, exclusion_writer)


def _documents(batch: pa.Table) -> list[Document]:
    """The rows as datatrove's documents, every other column as metadata."""
    from datatrove.data import Document

    rows = python_rows(batch)
    return [
        Document(
            row.pop("text"), row.pop("id"), metadata={key: value for key, value in row.items() if value is not None}
        )
        for row in rows
    ]


def _attached(
    columns: Mapping[str, pa.DataType | None], before: list[dict[str, Any]], documents: list[Document]
) -> dict[str, pa.Array]:
    """The columns that a block adds; the one of type None holds all changed metadata as JSON."""
    import pyarrow as pa

    attached: dict[str, pa.Array] = {}
    for name, kind in columns.items():
        if kind is not None:
            attached[name] = pa.array([document.metadata.get(name) for document in documents], kind)
            continue
        attached[name] = pa.array(
            [_changes(old, new.metadata) for old, new in zip(before, documents, strict=True)], pa.string()
        )
    return attached


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    missing = object()
    changed = {key: value for key, value in new.items() if old.get(key, missing) != value}
    return json.dumps(changed, sort_keys=True) if changed else None
