"""Manifests: a version is a small JSON file that names everything else by hash.

    {"schema": 2, "dataset": ..., "columns": [...], "schema_object": ..., "documents": {in, kept, dropped, quarantined, ...},
     "bytes": ..., "text_bytes": ..., "splits": {...}, "stages": [...], "provisional": 0,
     "fragments": <object>, "ledger": {"shards": <object>, "steps": <object>}, "indexes": [[<object>, ...]],
     "lineage": {"pipeline": ..., "inputs": <object>, "parents": [...], "tools": {...}, ...}}

Its id is the hash of its bytes. It holds no time and no path of a machine, so an id never depends on when, where or after
what it was made. A version can be derived from another one without a pipeline: its lineage then names the parent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from curate.dataset.fragments import Fragment, Sidecar, read_fragments, read_ledger, write_fragments, write_ledger
from curate.dataset.ledger import Shard
from curate.dataset.schema import conform, plain_schema, unify
from curate.dataset.store import Store
from curate.errors import CurateError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Lineage",
    "attach",
    "check_values",
    "make_manifest",
    "objects_of",
    "splits_of",
    "version_schema",
    "write_inputs",
]

MANIFEST_SCHEMA = 2


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a version comes from.

    Attributes:
        pipeline: The pipeline as it was written; empty where there was none.
        inputs: Object of what was read: `source`, `name`, `content` (a hash), `bytes`.
        parents: Versions that it was made of.
        made_by: What was done to the parents, for versions without a pipeline: a kind, and its facts.
        sample: How many documents of each source were read at most; None is all.
        tools: Versions of what wrote it.
    """

    pipeline: dict[str, Any] = field(default_factory=dict)
    inputs: str | None = None
    parents: tuple[str, ...] = ()
    made_by: dict[str, Any] = field(default_factory=dict)
    sample: int | None = None
    tools: dict[str, str] = field(default_factory=dict)


def write_inputs(store: Store, inputs: Sequence[dict[str, Any]]) -> str:
    """Store what was read: `source`, `name`, `content` (a hash) and `bytes` of each."""
    import pyarrow as pa

    text = [(name, pa.string()) for name in ("source", "name", "content")]
    return store.write_table(pa.Table.from_pylist(list(inputs), schema=pa.schema([*text, ("bytes", pa.int64())])))


def version_schema(store: Store, fragments: Sequence[Fragment] | Sequence[Shard]) -> pa.Schema:
    """The columns of a version: those of its fragments, or of what was read where nothing is left, brought together."""
    return unify([store.read_schema(name).remove_metadata() for name in dict.fromkeys(one.schema for one in fragments)])


def check_values(store: Store, fragments: Sequence[Fragment], schema: pa.Schema) -> None:
    """Raise a `CurateError` if a version of these columns could not be read: a value is not held by its column's type.

    Only columns of integers that are to be floats are read: nothing else fails to be brought to a common type.
    """
    import pyarrow as pa

    floats = [field.name for field in schema if pa.types.is_floating(field.type)]
    for one in fragments if floats else ():
        mine = store.read_schema(one.schema)
        beside = {name: sidecar.object for sidecar in one.sidecars for name in sidecar.columns}
        for name in floats:
            if name in mine.names and pa.types.is_integer(mine.field(name).type):
                column = store.read_table(beside.get(name, one.object), [name])
                conform(column, pa.schema([schema.field(name)]))


def splits_of(fragments: Sequence[Fragment]) -> dict[str, dict[str, int]]:
    """Documents and bytes of text by split."""
    splits: dict[str, dict[str, int]] = {}
    for fragment in fragments:
        for split, counts in fragment.splits.items():
            facts = splits.setdefault(split, {"documents": 0, "text_bytes": 0})
            facts["documents"] += counts["documents"]
            facts["text_bytes"] += counts["text_bytes"]
    return splits


def make_manifest(
    store: Store,
    *,
    dataset: str,
    schema: pa.Schema,
    fragments: Sequence[Fragment],
    shards: Sequence[Shard],
    stages: list[dict[str, Any]],
    indexes: Sequence[Sequence[str]],
    lineage: Lineage,
) -> dict[str, Any]:
    """The manifest: everything that is true of the version, and nothing that differs between equal runs."""
    splits = splits_of(fragments)
    counts = {
        "in": sum(shard.documents + sum(shard.rejects.values()) for shard in shards if not shard.parent),
        "kept": sum(fragment.documents for fragment in fragments),
        "dropped": sum(row["dropped"] for row in stages),
        "quarantined": sum(row["quarantined"] for row in stages),
    }
    if any(row["made"] or row["expanded"] for row in stages):
        counts |= {key: sum(row[key] for row in stages) for key in ("made", "expanded")}
    return {
        "schema": MANIFEST_SCHEMA,
        "dataset": dataset,
        "columns": [{"name": column.name, "type": str(column.type)} for column in schema],
        "schema_object": store.write_table(schema.empty_table()),
        "documents": counts,
        "provisional": sum(step.provisional for shard in shards for step in shard.steps),
        "bytes": sum(fragment.bytes for fragment in fragments),
        "text_bytes": sum(fragment.text_bytes for fragment in fragments),
        "splits": splits,
        "stages": stages,
        "fragments": write_fragments(store, fragments),
        "ledger": write_ledger(store, shards),
        "indexes": [list(buckets) for buckets in indexes],
        "lineage": asdict(lineage),
    }


def _without(store: Store, fragment: Fragment, columns: Sequence[str]) -> Fragment:
    """A fragment without some of the columns that lie beside it."""
    beside = {name for one in fragment.sidecars for name in one.columns} & set(columns)
    if not beside:
        return fragment
    left = [Sidecar(one.object, tuple(name for name in one.columns if name not in beside)) for one in fragment.sidecars]
    schema = store.read_schema(fragment.schema)
    kept = [name for name in schema.names if name not in beside]
    own = store.write_table(schema.empty_table().select(kept))
    return replace(fragment, sidecars=tuple(one for one in left if one.columns), schema=own)


def attach(
    store: Store,
    parent: str,
    columns: Sequence[tuple[int, str, Sequence[str]]],
    made_by: dict[str, Any],
    *,
    replacing: Sequence[str] = (),
) -> str:
    """A version derived from another one: columns beside its documents; no text is read or written.

    Args:
        store: The store.
        parent: Id of the version.
        columns: For fragments, by number: an object with `row` and the columns, and which of them.
        made_by: What was done: a kind, and its facts.
        replacing: Columns that lay beside the documents before and are taken away first, from all of them.

    Returns:
        The id of the new version; committing it is the caller's.

    Raises:
        CurateError: A column has a name that means something else, or types that do not go together.
    """
    before = store.manifest(parent)
    fragments = [_without(store, one, replacing) for one in read_fragments(store, before["fragments"])]
    for number, name, names in columns:
        taken = [one for one in names if one in (*plain_schema().names, "row", "split")]
        if taken:
            hint = "documents use that name themselves" if taken[0] != "split" else "the stage `split` makes it"
            raise CurateError(f"a column cannot be called `{taken[0]}`", hint=hint)
        schema, held = store.read_schema(fragments[number].schema), store.read_schema(name)
        for one in names:
            where = schema.get_field_index(one)
            schema = schema.append(held.field(one)) if where < 0 else schema.set(where, held.field(one))
        sidecars = (*fragments[number].sidecars, Sidecar(name, tuple(names)))
        own = store.write_table(schema.empty_table())
        fragments[number] = replace(fragments[number], sidecars=sidecars, schema=own)
    schema = version_schema(store, fragments)
    manifest = {
        **before,
        "columns": [{"name": column.name, "type": str(column.type)} for column in schema],
        "schema_object": store.write_table(schema.empty_table()),
        "fragments": write_fragments(store, fragments),
        "lineage": {**before["lineage"], "parents": [parent], "made_by": made_by},
    }
    return store.write_manifest(manifest)


def objects_of(store: Store, manifest: dict[str, Any]) -> Iterator[tuple[str, int | None]]:
    """Every object that a version needs, with the number of its rows where the manifest tells."""
    yield manifest["schema_object"], 0
    yield manifest["fragments"], None
    if manifest["lineage"]["inputs"]:
        yield manifest["lineage"]["inputs"], None
    for name in manifest["ledger"].values():
        yield name, None
    for name in (name for buckets in manifest["indexes"] for name in buckets):
        yield name, None
    for fragment in read_fragments(store, manifest["fragments"]):
        yield from (
            (name, fragment.rows if name in (fragment.object, fragment.kept) else None) for name in fragment.objects
        )
    for shard in read_ledger(store, manifest["ledger"]):
        yield shard.object, shard.documents
        yield shard.schema, 0
        if shard.rejected:
            yield shard.rejected, sum(shard.rejects.values())
        for step in shard.steps:
            yield from ((name, None) for name in step.objects)
    for stage in manifest["stages"]:
        for artifact in stage["artifacts"].values():
            yield from ((name, None) for name in artifact["objects"])
