"""One schema for shards whose columns differ."""

from __future__ import annotations

import pyarrow as pa
import pytest

from curate.dataset.schema import AS_WRITTEN, JSON_FIELD, conform, pack_schema, plain_schema, unify, unpack_schema
from curate.errors import CurateError


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (pa.int64(), pa.int64(), pa.int64()),
        (pa.null(), pa.list_(pa.int64()), pa.list_(pa.int64())),
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.int64(), pa.float32(), pa.float64()),
        (pa.bool_(), pa.string(), pa.string()),
        (pa.large_string(), pa.string(), pa.string()),
        (pa.timestamp("s"), pa.string(), pa.string()),
        (pa.bool_(), pa.int64(), pa.string()),
    ],
)
def test_two_types_become_the_narrowest_that_holds_both(left, right, expected):
    for first, second in ((left, right), (right, left)):
        assert unify([pa.schema([("x", first)]), pa.schema([("x", second)])]).field("x").type == expected


def test_columns_stand_in_the_order_of_their_first_appearance():
    schemas = [pa.schema([("b", pa.int64()), ("a", pa.int64())]), pa.schema([("a", pa.int64()), ("c", pa.int64())])]
    assert unify(schemas).names == ["b", "a", "c"]


def test_types_without_a_common_one_are_an_error():
    with pytest.raises(CurateError, match=r"column `x` is list<.*> in one shard and int64 in another") as caught:
        unify([pa.schema([("x", pa.list_(pa.int64()))]), pa.schema([("x", pa.int64())])])
    assert "`columns:`" in caught.value.hint


def test_a_table_is_brought_to_a_schema():
    table = pa.table({"x": [1, 2], "more": ["a", "b"]})
    schema = pa.schema([("y", pa.string()), ("x", pa.float64())])
    assert conform(table, schema).to_pydict() == {"y": [None, None], "x": [1.0, 2.0]}
    assert conform(table, schema).schema == schema


def test_a_schema_survives_as_text_with_its_metadata():
    schema = plain_schema().append(pa.field("meta", pa.string(), metadata={b"curate.json": b"1"}))
    assert unpack_schema(pack_schema(schema)).equals(schema, check_metadata=True)


def test_a_value_that_the_common_type_does_not_hold_is_an_error_without_the_value():
    table = pa.table({"x": [2**60 + 1]})
    with pytest.raises(CurateError, match="column `x` has a value that no double holds") as caught:
        conform(table, pa.schema([("x", pa.float64())]))
    assert str(2**60 + 1) not in str(caught.value)


def test_numbers_beside_json_text_are_json_text():
    marked = pa.field("x", pa.string(), metadata={JSON_FIELD: b"1"})
    for kind in (pa.int64(), pa.float64()):
        joined = unify([pa.schema([("x", kind)]), pa.schema([marked])])
        assert joined.field("x").equals(marked, check_metadata=True)
    assert conform(pa.table({"x": [1.0, None, float("nan")]}), joined).column("x").to_pylist() == ["1.0", None, None]


def test_numbers_read_from_text_are_that_text_again_beside_other_text():
    integers, floats = (pa.field("x", kind, metadata={AS_WRITTEN: b"1"}) for kind in (pa.int64(), pa.float64()))
    both = unify([pa.schema([integers]), pa.schema([floats])])
    assert both.field("x").type == pa.string()
    assert conform(pa.table({"x": [1.0, 0.5]}), both).column("x").to_pylist() == ["1.0", "0.5"]
