"""Nulls that only fill the structs of a column are no data."""

from __future__ import annotations

import pyarrow as pa
import pytest

from curate.collect.columns import Selection
from curate.collect.rows import documents_of_rows
from curate.dataset.fillers import without_fillers

CALLS = [{"name": "weather", "arguments": {"city": "Rome"}}, {"name": "add", "arguments": {"n": 3}}]


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ({"a": None, "b": 1}, {"b": 1}),
        ([{"a": [{"b": None}]}], [{"a": [{}]}]),
        (
            {"a": [None, 1], "b": [], "c": "", "d": 0, "e": False},
            {"a": [None, 1], "b": [], "c": "", "d": 0, "e": False},
        ),
        (None, None),
        ("null", "null"),
    ],
)
def test_fields_that_are_null_go_and_all_else_stays(value, left):
    assert without_fillers(value) == left


def test_what_arrow_filled_is_what_was_given():
    assert without_fillers(pa.array(CALLS).to_pylist()) == CALLS


def test_a_parquet_files_objects_are_carried_as_they_were_written():
    table = pa.table({"text": ["a", "b"], "calls": CALLS})
    selection = Selection(text="text", id=None, columns=None, limit=1000, where="x")
    (documents,) = documents_of_rows(0, table, selection, name="x")
    assert documents.column("calls").to_pylist() == [
        '{"name":"weather","arguments":{"city":"Rome"}}',
        '{"name":"add","arguments":{"n":3}}',
    ]
