"""`where`: a stage that looks at some of the documents, and lets the others go on."""

from __future__ import annotations

import json

import pytest

from curate.config.pipeline import load_pipeline
from curate.errors import ConfigurationErrors, CurateError
from curate.pipeline.what_if import what_if

CHOOSES = "Infers", "Long, id: long, minimum: 3, where: {value: [1, 333]}"


@pytest.fixture
def numbers(project):
    project.write("one.txt", "1", "22", "333")
    project.write("two.txt", "1", "55555")
    return project


def test_the_others_go_on_as_if_the_stage_were_not_there(numbers):
    numbers.stages(*CHOOSES)
    done = numbers.run()
    assert done.documents == {"in": 5, "kept": 3, "dropped": 2, "quarantined": 0}
    assert numbers.texts() == ["22", "333", "55555"]
    assert numbers.open().arrow().column("length").to_pylist() == [None, 3, None]
    assert numbers.calls()["Long"] == 3
    row = numbers.open().manifest["stages"][-1]
    assert (row["in"], row["dropped"], row["settings"]["where"]) == (5, 2, {"value": [1, 333]})
    assert numbers.cli("data", "verify", "toy").code == 0
    passed, kept, *_ = numbers.open().arrow().column("id").to_pylist()
    why = json.loads(numbers.cli("why", passed, "--json").out)
    assert why["verdict"] == "kept"
    assert why["measured"][-1] == {"stage": "long", "features": {}, "settings": {}, "passed_by": {"value": [1, 333]}}
    assert "  long did not look at it (where: value [1, 333])\n" in numbers.cli("why", passed).out
    assert json.loads(numbers.cli("why", kept, "--json").out)["measured"][-1]["features"] == {"length": 3}


def test_an_edit_changes_the_documents_that_are_chosen_alone(project):
    project.write("one.txt", '"a"', '"ba"', "null")
    project.stages("Infers", "Shout, where: {value: [a, null]}")
    project.run()
    assert project.texts() == ['"A"', '"ba"', "null"]


def test_documents_must_have_a_value_of_each_column(project):
    project.write("one.txt", "1", "22")
    project.stages("Infers", "Long, id: one, minimum: 9, where: {value: [1, 22], source_uri: 'one.txt#0'}")
    project.run()
    assert project.texts() == ["22"]


def test_other_documents_and_thresholds_measure_only_what_nobody_measured(numbers):
    numbers.stages(*CHOOSES)
    numbers.run()
    numbers.calls()
    numbers.stages("Infers", "Long, id: long, minimum: 3, where: {value: [1, 22, 333]}")
    first = numbers.run()
    assert numbers.calls().get("Long") == 1
    numbers.run("long.minimum=2")
    assert "Long" not in numbers.calls()
    assert numbers.run(store=str(numbers.root / "fresh"), workers=2).version == first.version
    assert numbers.run().version == first.version


def test_what_if_is_what_a_run_does(numbers):
    numbers.stages(*CHOOSES)
    numbers.run()
    told = what_if(numbers.open(), load_pipeline(numbers.file, ["long.minimum=1"]))
    assert told["documents"]["now"]["documents"] == numbers.run("long.minimum=1").documents["kept"] == 5
    with pytest.raises(ConfigurationErrors, match="where"):
        numbers.stages("Infers", "Long, id: long, minimum: 3, where: {value: 1}")
        what_if(numbers.open(), load_pipeline(numbers.file))


def test_a_column_that_others_have_is_not_taken_from_them(numbers):
    numbers.stages("Infers", "Infers, id: again, where: {value: 1}")
    with pytest.raises(CurateError, match="gives some documents the column `value`, and the others"):
        numbers.run()


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("Long, where: {valu: 1}", "stage `Long` needs the column `valu`"),
        ("Long, where: 1", "`where` is a map of columns to values"),
        ("Long, where: {}", "`where` is a map of columns to values"),
        ("Long, where: {value: []}", "`where` is a map of columns to texts, numbers"),
        ("Copies, where: {value: 1}", "this is a global stage"),
    ],
)
def test_what_cannot_choose_is_told_before_a_run(numbers, stage, words):
    numbers.stages(stage)
    done = numbers.cli("validate", "pipeline.yaml")
    assert done.code == 2
    assert words in done.err


def test_a_stage_that_protects_says_that_others_are_published(numbers):
    numbers.pipeline(
        'dataset: toy\nsources: [{stage: "toy_stages:Lines"}]\nstages: [{stage: pii, where: {source_uri: "one.txt#0"}}]\n'
    )
    done = numbers.cli("validate", "pipeline.yaml")
    assert "`pii` looks at the documents of its `where` alone: what stands in the others is published" in done.err


def test_a_stage_that_looked_at_no_document_says_so(numbers):
    numbers.stages("Infers", "Long, id: long, minimum: 3, where: {value: 7}")
    done = numbers.cli("run", "pipeline.yaml")
    assert done.code == 0
    assert (
        '`long` looked at none of 5 documents: no document is as its `where` says, {"value":[7]}'
        in done.err.replace(" [", "[")
    )


def test_values_may_be_set_for_a_run(numbers):
    numbers.stages(*CHOOSES)
    numbers.run('long.where={"value": [22]}')
    assert numbers.texts() == ["1", "333", "1", "55555"]


def test_values_of_another_type_end_the_run(numbers):
    numbers.stages("Infers", "Long, where: {value: de}")
    with pytest.raises(CurateError, match=r"column `value` holds int64, and its `where` asks for \['de'\]"):
        numbers.run()
