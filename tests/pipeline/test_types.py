"""The types of columns that a stage leaves to Arrow depend on the documents alone, not on what was measured before."""

from __future__ import annotations

import pytest

CASES = {
    "integers": (["10", "200"], "0.5", "int64"),
    "nulls beside numbers": (["null", "null"], "0.5", "null"),
    "nulls beside strings": (["null"], '"a"', "null"),
    "strings": (["null", '"b"'], '"a"', "string"),
    "floats": (["1", "0.5"], "2", "double"),
    "large integers": (["9007199254740993"], "1", "int64"),
    "lists": (["[10]", "[]"], "[0.5]", "list<item: int64>"),
    "empty lists": (["[]", "[null]"], "[0.5]", "list<item: null>"),
    "members": (['{"a":10}'], '{"a":0.5, "b":1}', "struct<a: int64>"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_version_is_the_same_whatever_was_measured_before(project, case):
    stay, more, kind = CASES[case]
    project.stages("Long, id: long, maximum: 99", "Infers, id: infers")
    project.write("one.txt", *(text.ljust(5) for text in stay), more.ljust(20))
    project.run()
    again = project.run("long.maximum=16")
    types = {one["name"]: one["type"] for one in project.open().manifest["columns"]}
    fresh = project.run("long.maximum=16", store=str(project.root / "fresh"))
    assert types["value"] == kind
    assert again.version == fresh.version
    assert not project.open().schema.field("value").metadata


def test_a_type_that_is_declared_stays_whatever_the_values_are(project):
    project.stages("Infers, declare: double")
    project.write("one.txt", "1", "2", "null")
    project.run()
    assert project.open().arrow().column("value").type == "double"


def test_what_is_told_of_a_column_that_is_text_for_some_documents_and_a_number_for_others(project):
    project.stages("Infers, id: infers")
    project.write("one.txt", *["1"] * 25, *['"a"'] * 25)
    done = project.cli("run", "pipeline.yaml")
    assert done.code == 2
    assert "`infers` gives the column `value` as int64 for some documents and as string for others" in done.err
