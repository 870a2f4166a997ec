"""Columns of JSON text as lists and structures, for readers who want Arrow's types: `messages` as a trainer reads it.

The store keeps nested data as JSON text, since its values need not have one type. Where those of a whole version do have
one, the exports `parquet` and `hf` give it to them: members that some lack are null there, integers beside floats are
floats. All else stays text: values of several types, single values, over `MOST` different members (keys that are data),
integers that no double holds beside floats, objects without members. Cost: a pass over such columns, 1 CPU second for 100 MB.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from curate.dataset.schema import JSON_FIELD

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["nested", "nested_schema"]

MOST = 100
"""Members and elements that a type may have."""
_LARGE = re.compile("[0-9]{19}")
Read = Callable[[list[str]], Iterable["pa.RecordBatch"]]


def nested_schema(schema: pa.Schema, read: Read) -> pa.Schema:
    """The schema with types for columns of JSON text whose values have one.

    Args:
        schema: The columns.
        read: Gives all documents of the version, of some columns, as often as it is called.
    """
    import pyarrow as pa

    kinds: dict[str, pa.DataType] = {
        field.name: pa.null()
        for field in schema
        if JSON_FIELD in (field.metadata or {}) and pa.types.is_string(field.type)
    }
    _every(kinds, read, lambda name, values: _joined(kinds[name], pa.array(values).type))
    for name, kind in list(kinds.items()):
        leaves = list(_leaves(kind))
        if not pa.types.is_nested(kind) or None in leaves or len(leaves) > MOST:
            del kinds[name]
    floating = {name: kind for name, kind in kinds.items() if any(map(pa.types.is_floating, _leaves(kind)))}
    sound = dict(floating)
    _every(sound, read, lambda name, values: pa.array(values, sound[name]).type)
    kinds = {name: kind for name, kind in kinds.items() if name not in floating or name in sound}
    return pa.schema([pa.field(one.name, kinds[one.name]) if one.name in kinds else one for one in schema])


def nested(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The batches with the columns in the types that `nested_schema` found."""
    import pyarrow as pa

    if not any(pa.types.is_nested(field.type) for field in schema):
        yield from batches
        return
    for batch in batches:
        columns = [
            pa.array(_values(column), field.type) if field.type != column.type else column
            for field, column in zip(schema, batch.columns, strict=True)
        ]
        yield pa.record_batch(columns, schema=schema)


def _every(kinds: dict[str, pa.DataType], read: Read, kind_of: Callable[[str, list[Any]], pa.DataType]) -> None:
    """Find the kinds of columns, batch by batch; those that have none are taken out."""
    import pyarrow as pa

    for batch in read(list(kinds)) if kinds else ():
        for name in list(kinds):
            try:
                kinds[name] = kind_of(name, _values(batch.column(name)))
            except (pa.ArrowException, ValueError, OverflowError):
                del kinds[name]


def _values(column: pa.Array) -> list[Any]:
    import orjson

    texts = column.to_pylist()
    # orjson makes floats of integers beyond 64 bits
    return [None if one is None else json.loads(one) if _LARGE.search(one) else orjson.loads(one) for one in texts]


def _joined(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    schemas = [pa.schema([pa.field("one", kind)]) for kind in (left, right)]
    return pa.unify_schemas(schemas, promote_options="permissive").field("one").type


def _leaves(kind: pa.DataType) -> Iterator[pa.DataType | None]:
    """The types of all single values in one; None stands for an object without members."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        fields = [kind.field(place) for place in range(kind.num_fields)]
        if not fields:
            yield None
        for field in fields:
            yield from _leaves(field.type)
    elif pa.types.is_list(kind):
        yield from _leaves(kind.value_type)
    else:
        yield kind
