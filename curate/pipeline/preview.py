"""Whether stages get what they need: the first documents of every source are looked at, and the columns followed through.

So a glob that matches nothing, a text column that is not there and a mistyped `on:` or `by:` are found before a run. What a
stage attaches may show only when it runs; behind such a stage columns are not checked any more. Cost: one block of each
source's first file (16 MB at most).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.config.pipeline import ConfiguredStage, Pipeline
from curate.config.validation import masked
from curate.errors import ConfigurationErrors, CurateError, did_you_mean
from curate.stages.contract import Expander, Mapper, Passed, Rejected, Source, SourceContext
from curate.stages.selectors import roots, string_columns

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Preview", "preview"]

MOST_ITEMS = 1000
"""Rejects and the like that are passed over in search of the first documents."""


class Preview(NamedTuple):
    """What was found.

    Attributes:
        errors: What cannot work, each with its place.
        notes: What would work, and may not be meant.
        columns: The columns of the sources' documents.
    """

    errors: list[CurateError]
    notes: list[str]
    columns: list[str]


def preview(pipeline: Pipeline) -> Preview:
    """Look at the first documents of every source, and follow the columns through the stages."""
    import pyarrow as pa

    errors: list[CurateError] = []
    schemas: list[pa.Schema] = []
    for entry in pipeline.sources:
        try:
            schemas += _first_schema(entry, pipeline)
        except ConfigurationErrors as several:
            errors += [_placed(one, entry) for one in several.errors]
        except CurateError as error:
            errors.append(_placed(error, entry))
    if errors or not schemas:
        return Preview(errors, [], [])
    fields: dict[str, Any] = {}
    for schema in schemas:
        fields = {**{field.name: field for field in schema}, **fields}
    columns = pa.schema(list(fields.values()))
    follower = _Follower(columns)
    for entry in pipeline.stages:
        follower.follow(entry)
    return Preview(follower.errors, follower.notes, columns.names)


def _first_schema(entry: ConfiguredStage, pipeline: Pipeline) -> list[pa.Schema]:
    """The columns of a source's first documents; none where its first file has none to read."""
    import pyarrow as pa

    source = entry.stage
    assert isinstance(source, Source)
    shard_bytes = int(pipeline.settings.shard_megabytes * 1_000_000)
    parts = source.plan(SourceContext(pipeline.root, shard_bytes, str))
    if not parts:
        return []
    items: Iterable[Any] = source.read(parts[0])
    for number, item in enumerate(items):
        if not isinstance(item, Rejected | Passed) and item.num_rows:
            schema = item.schema
            return [schema if "id" in schema.names else schema.append(pa.field("id", pa.string()))]
        if number > MOST_ITEMS:
            break
    return []


def _placed(error: CurateError, entry: ConfiguredStage) -> CurateError:
    return masked(CurateError(error.problem, error.where or entry.where, error.hint), entry.written)


class _Follower:
    """The columns as they are before each stage."""

    def __init__(self, columns: pa.Schema) -> None:
        self.columns, self.complete = columns, True
        self.errors: list[CurateError] = []
        self.notes: list[str] = []

    def follow(self, entry: ConfiguredStage) -> None:
        """Check one stage against what is there, and go behind it."""
        stage: Any = entry.stage
        if stage.reads_text and self.complete:
            self._check_texts(entry, stage)
        for name in stage.requires() if self.complete else ():
            if name not in self.columns.names:
                listed = f"the documents have {', '.join(self.columns.names)}"
                hint = did_you_mean(name, self.columns.names) or listed
                self.errors.append(CurateError(f"stage `{entry.id}` needs the column `{name}`", entry.where, hint))
        self._behind(stage)

    def _check_texts(self, entry: ConfiguredStage, stage: Any) -> None:
        consumed = stage.consumes if isinstance(stage, Mapper) else ()
        if consumed and all(name in self.columns.names for name in consumed):
            return  # it makes the text
        try:
            seen = roots(stage.on, self.columns)
        except CurateError as error:
            hint = error.hint
            if tuple(stage.on) == ("text",):
                hint = f"name what it is to read with `on:`; {error.hint}"
            self.errors.append(CurateError(f"stage `{entry.id}`: {error.problem}", entry.where, hint))
            return
        if isinstance(stage, Mapper) and stage.protects:
            left = [name for name in string_columns(self.columns) if name not in (*seen, "source_uri")]
            if left:
                listed = ", ".join(f"`{name}`" for name in left)
                self.notes.append(
                    f"`{entry.id}` does not look at the columns {listed}: what stands there is published; "
                    '`on: ["*"]` is every string of a document'
                )

    def _behind(self, stage: Any) -> None:
        import pyarrow as pa

        added = stage.adds()
        if added is None:
            self.complete = False
            return
        if isinstance(stage, Mapper) and stage.consumes:
            added = [*added, "text"]
            kept = [field for field in self.columns if field.name not in stage.consumes]
            self.columns = pa.schema(kept)
        for name in added:
            if name not in self.columns.names:
                kind = pa.string() if not isinstance(stage, Expander) or name in ("parent", "text") else pa.int64()
                self.columns = self.columns.append(pa.field(name, kind))
