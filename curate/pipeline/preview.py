"""Whether stages get what they need: the first documents of every source are looked at, and the columns followed through.

So a glob that matches nothing, a text column that is not there and a mistyped `on:` or `by:` are found before a run. What a
stage attaches may show only when it runs; behind such a stage columns are not checked any more. A run checks the same with
the columns of all documents. Cost: one block (16 MB at most) of each source's first file; of up to 16 where one is missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.config.pipeline import ConfiguredStage, Pipeline
from curate.config.resources import Resources, most_of
from curate.dataset.schema import JSON_FIELD
from curate.dataset.store import Store
from curate.errors import ConfigurationErrors, CurateError, MachineError, did_you_mean
from curate.pipeline.agree import whole_schema
from curate.pipeline.fetch import known_snapshots
from curate.pipeline.lock import fetched_sources
from curate.stages.contract import Audit, Expander, Filter, Mapper, Part, Passed, Rejected, Source, SourceContext
from curate.stages.extractor import CONTENT, MEDIA_TYPE
from curate.stages.fetched import Fetched, Snapshot
from curate.stages.selectors import EVERYTHING, is_json, roots, string_columns

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Preview", "check_columns", "not_here", "preview"]

PAYLOAD_COLUMNS = {CONTENT, MEDIA_TYPE}
MOST_FILES = 16
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


def preview(pipeline: Pipeline, store: Store | None = None) -> Preview:
    """Look at the first documents of every source, and follow the columns through the stages.

    A column that is not there is looked for in further files; where there are more than these, it is told as a note.

    Args:
        pipeline: The pipeline.
        store: Has what was fetched; nothing is fetched here.
    """
    refused, lacking = _facts(pipeline.stages)
    lacking += not_here(pipeline)
    try:
        fetched = known_snapshots(pipeline, store)
    except CurateError as error:
        return Preview([*refused, error], lacking, [])
    lacking += [
        f"`{entry.id}` is not fetched yet, so its columns are not known: `curate collect {pipeline.path}` fetches"
        for entry in fetched_sources(pipeline) if entry.id not in fetched
    ]  # fmt: skip
    looked = _look(pipeline, store, fetched, files=1)
    if looked.errors or not looked.schemas:
        return Preview([*refused, *looked.errors], lacking, [])
    errors, notes, columns = check_columns(pipeline.stages, looked.schemas, own_ids=looked.own_ids)
    if errors:
        looked = _look(pipeline, store, fetched, files=MOST_FILES)
        errors, notes, columns = check_columns(pipeline.stages, looked.schemas, own_ids=looked.own_ids)
    if errors and not looked.complete:
        notes += [f"{error.problem} in the documents that were looked at" for error in errors]
        errors = []
    return Preview([*refused, *errors], [*notes, *lacking], columns)


def _facts(stages: Sequence[ConfiguredStage]) -> tuple[list[CurateError], list[str]]:
    """What a run refuses wherever it runs, and what it would only stop at here: a key or a package that is elsewhere."""
    refused: list[CurateError] = []
    lacking: list[str] = []
    for entry in stages:
        try:
            entry.stage.facts()
            lacking += _language(entry)
        except MachineError as error:
            hint = f" ({error.hint})" if error.hint else ""
            lacking.append(f"on this machine a run would stop at `{entry.id}`: {error.problem}{hint}")
        except ConfigurationErrors as several:
            refused += [entry.placed(one) for one in several.errors]
        except CurateError as error:
            refused.append(entry.placed(error))
    return refused, lacking


def _language(entry: ConfiguredStage) -> list[str]:
    """What is to be known of the language that a filter cuts words of, where it is not English.

    Raises:
        MachineError: A package for it is missing here.
    """
    code = getattr(entry.stage, "language", None)
    if not isinstance(entry.stage, Filter) or not isinstance(code, str) or code in ("en", "eng"):
        return []
    from curate.stages.languages import find_language, stop_words
    from curate.stages.words import word_tokenizer

    if (found := find_language(code)) is None:
        return []
    word_tokenizer(code)
    if stop_words(code):
        return []
    return [
        f"`{entry.id}` reads {found.name} (`{code}`), for which there is no list of stop words: a rule on them is not asked, "
        "and the other thresholds were found for English"
    ]


def not_here(pipeline: Pipeline) -> list[str]:
    """Which stages ask for more than this machine has: backend `local` runs them all the same, which is said."""
    import psutil

    cpus, gpus = len(os.sched_getaffinity(0)), len(list(Path("/dev").glob("nvidia[0-9]*")))
    memory, notes = psutil.virtual_memory().total / 1e9, list[str]()
    for entry in (*pipeline.sources, *pipeline.stages):
        needs = most_of([entry.resources])
        if needs.cpus > cpus or needs.gpus > gpus or (needs.memory or 0) > memory:
            has = Resources(cpus=cpus, gpus=gpus, memory=round(memory, 1)).in_words()
            notes.append(
                f"`{entry.id}` asks for {needs.in_words()}, and this machine has {has}: `--backend local` runs it all the "
                "same, Ray and Slurm look for a machine that has them"
            )
    return notes


def check_columns(
    stages: Sequence[ConfiguredStage], schemas: Sequence[pa.Schema], *, own_ids: bool
) -> tuple[list[CurateError], list[str], list[str]]:
    """What stages lack of the columns that documents have, what may not be meant, and these columns.

    Args:
        stages: The stages, in their order.
        schemas: What the sources give.
        own_ids: Whether ids come from the data: they are published as they are.
    """
    columns, _ = whole_schema(schemas)
    follower = _Follower(columns, own_ids=own_ids)
    for entry in stages:
        follower.follow(entry)
    return follower.errors, follower.notes, columns.names


class _Looked(NamedTuple):
    """The columns of some documents of every source; whether these are all, ids are theirs, and what cannot be read."""

    schemas: list[pa.Schema]
    complete: bool
    own_ids: bool
    errors: list[CurateError]


def _look(pipeline: Pipeline, store: Store | None, fetched: Mapping[str, Snapshot], *, files: int) -> _Looked:
    import pyarrow as pa

    schemas: list[pa.Schema] = []
    errors: list[CurateError] = []
    complete = True
    for entry in pipeline.sources:
        source = entry.stage
        assert isinstance(source, Source)
        snapshot = fetched.get(entry.id)
        if isinstance(source, Fetched) and snapshot is None:
            complete = False
            continue
        try:
            shard_bytes = int(pipeline.settings.shard_megabytes * 1_000_000)
            parts = source.plan(
                SourceContext(pipeline.root, shard_bytes, str, glance=True, snapshot=snapshot, store=store)
            )
            complete = complete and len(parts) <= files
            for part in parts[:files]:
                schemas += _first_schema(store, source, part)
        except ConfigurationErrors as several:
            errors += [entry.placed(one) for one in several.errors]
        except CurateError as error:
            errors.append(entry.placed(error))
    own_ids = any("id" in schema.names for schema in schemas)
    schemas = [one if "id" in one.names else one.append(pa.field("id", pa.string())) for one in schemas]
    return _Looked(schemas, complete, own_ids, errors)


def _first_schema(store: Store | None, source: Source, part: Part) -> list[pa.Schema]:
    """The columns of a part's first documents; none where it has none to read."""
    items: Iterable[Any] = source.read_from(store, part) if store and isinstance(source, Fetched) else source.read(part)
    for number, item in enumerate(items):
        if not isinstance(item, Rejected | Passed) and item.num_rows:
            made = item.column("id").null_count == item.num_rows if "id" in item.column_names else False
            return [item.schema.remove(item.schema.get_field_index("id")) if made else item.schema]
        if number > MOST_ITEMS:
            break
    return []


class _Follower:
    """The columns as they are before each stage."""

    def __init__(self, columns: pa.Schema, *, own_ids: bool) -> None:
        self.columns, self.complete, self.own_ids = columns, True, own_ids
        self.read, self.as_read = columns.names, set(columns.names)
        self.errors: list[CurateError] = []
        self.notes: list[str] = []

    def follow(self, entry: ConfiguredStage) -> None:
        """Check one stage against what is there, and go behind it."""
        stage: Any = entry.stage
        if stage.reads_text and self.complete:
            self._check_texts(entry, stage)
        for name in (*stage.requires(), *entry.documents) if self.complete else ():
            if name not in self.columns.names:
                listed = f"the documents have {', '.join(self.columns.names)}"
                hint = did_you_mean(name, self.columns.names) or listed
                self.errors.append(CurateError(f"stage `{entry.id}` needs the column `{name}`", entry.where, hint))
        self._check_types(entry, stage)
        self._check_split(entry, stage)
        self._behind(stage)

    def _check_types(self, entry: ConfiguredStage, stage: Any) -> None:
        """Columns that hold no numbers, or no lists of them, as far as types tell: strings may be JSON, or of a CSV file."""
        import pyarrow.types as types

        there = [field for field in self.columns if self.complete and field.name in self.as_read]
        for field in there:
            kind, strings = field.type, (types.is_string(field.type) or types.is_large_string(field.type))
            text = field.name in ("id", "text", "source_uri")
            number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
            open_to = types.is_null(kind) or (strings and not text)
            wrong = []
            if field.name in stage.numeric() and not (number or open_to):
                wrong.append(("numbers", "name a column of numbers"))
            if field.name in stage.embeddings() and not (types.is_nested(kind) or open_to):
                wrong.append(("embeddings", "an embedding is a list of numbers"))
            for what, hint in wrong:
                held = "texts" if text else kind
                problem = f"stage `{entry.id}`: column `{field.name}` holds {held}, no {what}"
                self.errors.append(CurateError(problem, entry.where, hint))

    def _check_split(self, entry: ConfiguredStage, stage: Any) -> None:
        if entry.name == "split" and stage.by is stage.column is None and "parent" in self.columns.names:
            self.notes.append(
                f"`{entry.id}` draws for each document by itself, and those that were made of one may come into several "
                "splits: `by: parent` keeps them together"
            )

    def _check_texts(self, entry: ConfiguredStage, stage: Any) -> None:
        import pyarrow as pa

        try:
            seen = roots(stage.on, self.columns)
        except CurateError as error:
            hint = error.hint
            if tuple(stage.on) == ("text",):
                hint = f"name what it is to read with `on:`; {error.hint}"
                if set(self.columns.names) >= PAYLOAD_COLUMNS:
                    hint = "put a stage before it that makes text of `content`: `{stage: extract}`, or an extractor of your own"
            self.errors.append(CurateError(f"stage `{entry.id}`: {error.problem}", entry.where, hint))
            return
        if isinstance(stage, Mapper) and stage.protects:
            there = pa.schema([field for field in self.columns if field.name in self.read])  # what stages add is theirs
            self.notes += unscanned(entry.id, there, [name for name in seen if name in self.read], stage.on)
            if entry.documents:
                self.notes.append(
                    f"`{entry.id}` looks at the documents of its `where` alone: what stands in the others is published"
                )
            if self.own_ids and "id" not in seen:
                self.notes.append(
                    f"`{entry.id}` never changes ids: those of the data are published as they are; `make_ids: true` at a "
                    "source makes others"
                )

        if isinstance(stage, Audit) and stage.surveys:
            others = _listed(name for name in string_columns(self.columns) if name not in (*seen, "id", "source_uri"))
            self.notes += [f"`{entry.id}` does not look at the columns {others}"] if others else []

    def _behind(self, stage: Any) -> None:
        import pyarrow as pa

        added = stage.adds()
        if added is None:
            self.complete = False
            return
        if isinstance(stage, Mapper):
            consumed = stage.consumes(self.columns)
            self.columns = pa.schema([field for field in self.columns if field.name not in consumed])
            added = [*added, "text"] if stage.makes_text() else added
        self.as_read -= set(added)
        for name in added:
            place = self.columns.get_field_index(name)
            if name in stage.json_columns:
                field = pa.field(name, pa.string(), metadata={JSON_FIELD: b"1"})
                self.columns = self.columns.append(field) if place < 0 else self.columns.set(place, field)
            elif place < 0:
                kind = pa.string() if not isinstance(stage, Expander) or name in ("parent", "text") else pa.int64()
                self.columns = self.columns.append(pa.field(name, kind))


def unscanned(stage_id: str, columns: pa.Schema, seen: Sequence[str], on: Sequence[str]) -> list[str]:
    """What a stage that protects people is not given, in words: strings, names inside of JSON, bytes."""
    import pyarrow as pa

    left = _listed(name for name in string_columns(columns) if name not in (*seen, "id", "source_uri"))
    keys = _listed(name for name in seen if is_json(columns.field(name)))
    raw = _listed(
        field.name for field in columns if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
    )
    notes = []
    if left:
        notes.append(
            f"`{stage_id}` does not look at the columns {left}: what stands there is published; "
            '`on: ["*"]` is every string of a document'
        )
    inside = [one for one in on if one != EVERYTHING and one not in seen]
    if inside and EVERYTHING not in on:
        notes.append(
            f"`{stage_id}` looks at {_listed(inside)} alone where a column has several strings; the others are published "
            '(all of them, where a name is misspelt); `on: ["*"]` is every string of a document'
        )
    parts = [f"the names of members in {keys}"] if keys else []
    parts += [f"the bytes of {raw}"] if raw else []
    if parts:
        notes.append(
            f"`{stage_id}` does not look at {' and '.join(parts)}, with any `on`: what stands there is published"
        )
    return notes


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
