"""`curate privacy evaluate`: what is measured of gold texts, and gold files that are wrong."""

from __future__ import annotations

import json

import pytest

GOLD = [
    {"full_text": "mail ann@example.co.uk", "spans": [
        {"entity_type": "EMAIL_ADDRESS", "start_position": 5, "end_position": 22}]},
    {"full_text": "id 12-34 of Ann", "spans": [
        {"entity_type": "US_SSN", "start_position": 3, "end_position": 8},
        {"entity_type": "PERSON", "start_position": 12, "end_position": 15}]},
    {"full_text": "at 93.184.216.34", "spans": []},
    {"full_text": "from 8.8.8.8", "spans": [{"entity_type": "IP", "start_position": 0, "end_position": 12}]},
]  # fmt: skip


@pytest.fixture
def evaluate(project):
    def call(gold, *options):
        (project.root / "gold.json").write_text(gold if isinstance(gold, str) else json.dumps(gold))
        return project.cli("privacy", "evaluate", "gold.json", *options)

    return call


def test_what_is_found_missed_and_leaked_is_counted_by_entity(evaluate):
    told = json.loads(evaluate(GOLD, "--json").out)
    email, ssn, ip = (told["entities"][kind] for kind in ("EMAIL_ADDRESS", "US_SSN", "IP_ADDRESS"))
    assert (email["n"], email["precision"], email["recall"], email["f2"], email["leaked"]) == (1, 1, 1, 1, 0)
    assert (ssn["n"], ssn["found"], ssn["precision"], ssn["recall"], ssn["f1"], ssn["leaked"]) == (1, 0, None, 0, 0, 5)
    assert (ip["n"], ip["found"], ip["precision"], ip["recall"], ip["leaked"]) == (1, 2, 0.5, 1, 5)
    assert (ip["strict"]["recall"]["value"], ip["overlap"]["recall"]["value"]) == (0, 1)
    assert told["others"] == {"PERSON": {"n": 1, "characters": 3, "leaked": 3}}
    assert told["entities"]["all"]["n"] == 3
    assert email["overlap"]["recall"]["low"] < 0.5, "one of one proves little"


def test_a_table_for_people_says_what_is_not_looked_for(evaluate):
    done = evaluate(GOLD)
    assert "EMAIL_ADDRESS  1       1" in done.out
    assert "not looked for: 1 PERSON, 3 of 3 characters stay" in done.out


def test_the_stage_of_a_pipeline_is_evaluated_with_its_settings(evaluate, project):
    project.pipeline(
        "{dataset: toy, sources: [{stage: files, paths: in.txt}], "
        "stages: [{stage: pii, entities: [ip]}, {stage: pii, id: other}]}"
    )
    told = json.loads(evaluate(GOLD, "--pipeline", "pipeline.yaml", "--stage", "pii", "--json").out)
    assert set(told["entities"]) == {"IP_ADDRESS", "all"}
    done = evaluate(GOLD, "--pipeline", "pipeline.yaml")
    assert (done.code, "which `pii` stage?" in done.err, "`pii`, `other`" in done.err) == (2, True, True)
    assert evaluate(GOLD, "--stage", "pii").code == 2


def spans(*places, kind="PERSON"):
    return [{"full_text": "Ann and Bob", "spans": [
        {"entity_type": kind, "start_position": start, "end_position": end} for start, end in places]}]  # fmt: skip


@pytest.mark.parametrize(
    ("gold", "problem"),
    [
        (spans((0, 5), (4, 7)), "the spans 0-5 and 4-7 overlap"),
        (spans((8, 12)), "lies outside of the text, which has 11 characters"),
        (spans((3, 3)), "lies outside"),
        (spans((0, 3), kind="PERSN"), "no entity is called `PERSN`"),
        ([{"full_text": "Ann", "spans": [{"entity_type": "PERSON"}]}], "a gold span needs"),
        ([{"text": "Ann"}], "a gold text needs `full_text`"),
        (spans((0, float("inf"))), "a gold span needs"),
        (spans((0.7, 3)), "a gold span needs"),
        (spans((True, 3)), "a gold span needs"),
        ([{"full_text": "Ann \ud800"}], "half of a surrogate pair"),
        ("[" * 100_000, "gold texts are no JSON"),
        ([], "none or empty"),
        ("{not json", "gold texts are no JSON"),
    ],
)
def test_a_gold_file_that_is_wrong_is_told_with_its_place(evaluate, gold, problem):
    done = evaluate(gold)
    assert done.code == 2
    assert problem in done.err
    assert "gold.json" in done.err


def test_a_wrong_span_is_told_with_its_text_and_number(evaluate):
    assert "gold.json, text 4, span 0" in evaluate([*GOLD, *spans((8, 12))]).err
    assert "gold.json, text 5" in evaluate([*GOLD, GOLD[0], *spans((0, 5), (4, 7))]).err


def test_a_gold_file_that_is_not_there_is_told(project):
    done = project.cli("privacy", "evaluate", "nowhere.json")
    assert (done.code, "cannot be read" in done.err) == (2, True)
