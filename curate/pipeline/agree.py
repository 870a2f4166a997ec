"""One rule for columns in which shards differ: however the input is cut, a stage sees the columns that one file would have.

A source types columns shard by shard, so a column may be missing from one, and of another type in the next. Behind the
reading, the columns that a stage is given by name are brought to what all shards have together: where a shard has none, its
documents have nulls; where the types differ, the shard is written again in the common one (curate/dataset/schema.py). Other
columns stay as they are, and are brought together where the version is read; but for integers beyond 2^53 beside floats,
which make the column JSON text in all shards. A column that is in no shard is an error, before any stage runs.

Cost: nothing where shards agree; for a missing column an object without rows; else a pass over the shard.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from curate.config.pipeline import ConfiguredStage
from curate.dataset.ledger import Shard
from curate.dataset.schema import EXACT, as_json, conform, pack_schema, unify, unpack_schema
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.pipeline.task import engine_key
from curate.stages.selectors import roots

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["agree_key", "run_agree", "targets", "whole_schema"]


def whole_schema(schemas: Sequence[pa.Schema]) -> tuple[pa.Schema, dict[str, CurateError]]:
    """All columns of some shards, in the types that hold all of each; and the errors of those that have none."""
    import pyarrow as pa

    fields, errors = [], {}
    for name in dict.fromkeys(name for schema in schemas for name in schema.names):
        holding = [schema.field(name) for schema in schemas if name in schema.names]
        try:
            fields.append(unify([pa.schema([field]) for field in holding]).field(name))
        except CurateError as error:
            fields.append(holding[0])
            errors[name] = error
    return pa.schema(fields), errors


def targets(store: Store, shards: Sequence[Shard], stages: Sequence[ConfiguredStage]) -> list[str | None]:
    """For each shard the columns that it is to be given (`pack_schema`); None where it is as it should be.

    Raises:
        CurateError: The types of a column that a stage is given have nothing in common.
    """
    import pyarrow as pa

    filled = [one for one in shards if one.documents]
    read = {name: store.read_schema(name).remove_metadata() for name in dict.fromkeys(one.schema for one in filled)}
    if len(read) < 2:
        return [None] * len(shards)
    whole, errors = whole_schema(list(read.values()))
    inexact = [name for name in whole.names if _is_inexact(store, filled, read, whole.field(name))]
    for name in inexact:
        whole = as_json(whole, name)
    given = [name for name in dict.fromkeys(_given(stages, whole)) if name in whole.names]
    if failing := next((errors[name] for name in given if name in errors), None):
        raise failing
    found: list[str | None] = []
    for one in shards:
        mine = read.get(one.schema, whole)
        wanted = dict.fromkeys([*given, *(name for name in inexact if name in mine.names)])
        changed = [
            whole.field(name)
            for name in wanted
            if name not in mine.names or not mine.field(name).equals(whole.field(name), check_metadata=True)
        ]
        found.append(pack_schema(pa.schema(changed)) if changed and one.documents else None)
    return found


def _given(stages: Sequence[ConfiguredStage], whole: pa.Schema) -> Iterator[str]:
    """The columns that stages are given by name."""
    for entry in stages:
        stage: Any = entry.stage
        yield from (*entry.documents, *stage.requires(), *(stage.columns() or ()))
        for selector in stage.on if stage.reads_text else ():
            try:
                yield from roots([selector], whole)
            except CurateError:
                continue  # a stage ahead may make it; else this is told by who follows the columns


def _is_inexact(store: Store, shards: Sequence[Shard], read: dict[str, pa.Schema], field: pa.Field) -> bool:
    """Whether a column that is to be floats has integers that these do not hold: told by the statistics of its objects."""
    import pyarrow as pa

    if not pa.types.is_floating(field.type):
        return False
    for one in shards:
        mine = read[one.schema]
        if field.name not in mine.names or not pa.types.is_integer(mine.field(field.name).type):
            continue
        with store.parquet(one.object) as file:
            place = file.schema_arrow.get_field_index(field.name)
            groups = [file.metadata.row_group(number).column(place) for number in range(file.metadata.num_row_groups)]
            known = [group.statistics for group in groups if group.statistics and group.statistics.has_min_max]
            if any(one.min < -EXACT or one.max > EXACT for one in known):
                return True
    return False


def agree_key(shard: Shard, packed: str) -> str:
    """The key of the receipt of `run_agree`."""
    return engine_key("agree", shard.object, shard.schema, packed)


def run_agree(store: Store, shard: Shard, packed: str, key: str | None) -> dict[str, Any]:
    """The `shard` with these columns in these types; its documents are written again only where values change."""
    import pyarrow as pa

    began = time.perf_counter()
    before, wanted = store.read_schema(shard.schema), unpack_schema(packed)
    fields = {field.name: field for field in [*before, *wanted]}
    name = shard.object
    if any(one in before.names and not pa.types.is_null(before.field(one).type) for one in wanted.names):
        table = store.read_table(name)
        own = [fields.get(field.name, field) for field in table.schema]
        name = store.write_table(conform(table, pa.schema(own)))
    made = replace(shard, object=name, schema=store.write_table(pa.schema(list(fields.values())).empty_table()))
    result = {"shard": made.to_json(), "objects": made.objects}
    if key:
        store.write_receipt(key, result, made.objects)
    return {**result, "seconds": time.perf_counter() - began}
