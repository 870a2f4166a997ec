"""One schema for shards whose columns differ."""

from __future__ import annotations

import datetime
import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dataset.schema import (
    AS_WRITTEN,
    JSON_FIELD,
    conform,
    pack_schema,
    plain_schema,
    unify,
    unify_tables,
    unpack_schema,
)
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


WRITTEN, MARKED = {AS_WRITTEN: b"1"}, {JSON_FIELD: b"1"}
INTEGERS = [getattr(pa, f"{sign}int{width}")() for sign in ("", "u") for width in (8, 16, 32, 64)]
FIELDS = [
    *(pa.field("x", kind) for kind in (pa.null(), pa.bool_(), *INTEGERS, pa.float32(), pa.float64())),
    *(pa.field("x", kind) for kind in (pa.string(), pa.large_string(), pa.binary(), pa.list_(pa.int64()))),
    *(pa.field("x", kind) for kind in (pa.date32(), pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("us", "UTC"))),
    *(pa.field("x", kind) for kind in (pa.time64("us"), pa.duration("s"), pa.decimal128(9, 2))),
    *(pa.field("x", kind, metadata=WRITTEN) for kind in (pa.int64(), pa.float64())),
    pa.field("x", pa.string(), metadata=MARKED),
]


def join(*fields):
    """The common field, or None where there is none."""
    try:
        return unify([pa.schema([field]) for field in fields]).field("x")
    except CurateError:
        return None


def equal(one, other):
    return one is other is None or (one is not None and other is not None and one.equals(other, check_metadata=True))


@pytest.mark.parametrize("left", FIELDS, ids=str)
def test_in_which_order_types_meet_is_no_matter(left):
    for right in FIELDS:
        both = join(left, right)
        assert equal(both, join(right, left))
        for third in FIELDS:
            grouped = None if both is None else join(both, third)
            rest = join(right, third)
            assert equal(grouped, None if rest is None else join(left, rest)), (left, right, third)


def value_of(field):
    kind, time = field.type, st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2100, 1, 1))
    if pa.types.is_integer(kind):
        top = 2 ** (kind.bit_width - (not pa.types.is_unsigned_integer(kind)))
        return st.integers(0 if pa.types.is_unsigned_integer(kind) else -top, top - 1)
    if pa.types.is_floating(kind):
        return st.floats(allow_nan=False, allow_infinity=False, width=kind.bit_width)
    if JSON_FIELD in (field.metadata or {}):
        return st.lists(st.integers(), max_size=2).map(json.dumps)
    return {
        pa.null(): st.none(),
        pa.bool_(): st.booleans(),
        pa.string(): st.text(),
        pa.large_string(): st.text(),
        pa.binary(): st.binary(),
        pa.date32(): st.dates(datetime.date(1970, 1, 1)),
        pa.timestamp("s"): time.map(lambda one: one.replace(microsecond=0)),
        pa.timestamp("us"): time,
        pa.timestamp("us", "UTC"): time.map(lambda one: one.replace(tzinfo=datetime.UTC)),
        pa.time64("us"): st.times(),
        pa.duration("s"): st.integers(0, 2**40),
        pa.decimal128(9, 2): st.decimals(0, 9_000_000, places=2),
    }.get(kind, st.lists(st.integers(-9, 9), max_size=2))


COLUMNS = st.sampled_from(FIELDS).flatmap(
    lambda field: st.lists(st.none() | value_of(field), max_size=3).map(
        lambda values: pa.table([pa.array(values, field.type)], schema=pa.schema([field]))
    )
)


def back(value, was):
    """A value of a column that is text now, as the type that it was read as."""
    if value is None or pa.types.is_string(was) or pa.types.is_large_string(was):
        return value
    if pa.types.is_floating(was):
        return float(value)
    if pa.types.is_boolean(was):
        return {"true": True, "false": False}[value]
    if pa.types.is_duration(was):
        return datetime.timedelta(seconds=float(value.removeprefix("PT").removesuffix("S")))
    if pa.types.is_time(was):
        return datetime.time.fromisoformat(value)
    return pa.array([value]).cast(was)[0].as_py()


@settings(derandomize=True, max_examples=400)
@given(COLUMNS, COLUMNS)
def test_every_value_comes_back_or_is_refused_with_the_columns_name(left, right):
    try:
        schema = unify_tables([left, right])
        made = [conform(table, schema) for table in (left, right)]
    except CurateError as error:
        assert "column `x`" in error.problem
        return
    for table, after in zip((left, right), made, strict=True):
        before, was = table.column("x").to_pylist(), table.schema.field("x").type
        values = after.column("x").to_pylist()
        if pa.types.is_string(schema.field("x").type):
            values = [back(value, was) for value in values]
        assert values == before


def test_large_integers_beside_floats_are_json_text():
    tables = [pa.table({"n": [2**53 + 1]}), pa.table({"n": [0.5, 1.0]})]
    schema = unify_tables(tables)
    assert schema.field("n").metadata == MARKED
    assert [conform(table, schema).column("n").to_pylist() for table in tables] == [[str(2**53 + 1)], ["0.5", "1.0"]]
