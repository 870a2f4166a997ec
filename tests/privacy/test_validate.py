"""`curate validate` refuses what every run refuses, and tells what only this machine lacks."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def validate(project):
    project.write("in.txt", "Ann")

    def check(*stages, json_too=()):
        listed = "".join(f"  - {stage}\n" for stage in stages)
        project.pipeline(f"dataset: toy\nsources:\n  - {{stage: files, paths: in.txt}}\nstages:\n{listed}")
        return project.cli("validate", "pipeline.yaml", *json_too)

    return check


def test_what_a_run_refuses_because_of_the_file_is_wrong_input_all_at_once_with_places(validate, project):
    done = validate(
        "{stage: pii, phone_regions: [XX]}",
        "{stage: toxicity, lexicon: nowhere.tsv}",
        "{stage: pii, id: names, names: true, names_model: ./nowhere}",
        json_too=["--json"],
    )
    assert done.code == 2
    told = [(one["problem"], one["where"]) for one in json.loads(done.out)["errors"]]
    assert [problem for problem, _ in told] == [
        "`XX` in `phone_regions` is no country with phone numbers",
        f"the lexicon `{project.root}/nowhere.tsv` cannot be read: No such file or directory",
        f"`names_model` is `{project.root}/nowhere`, and there is no such folder",
    ]
    assert all("pipeline.yaml:" in where for _, where in told)


def test_what_this_machine_alone_lacks_is_a_note_and_the_file_is_valid(validate, monkeypatch):
    monkeypatch.delenv("PII_KEY", raising=False)
    done = validate(
        "{stage: pii, operators: {email: pseudonym}, key: 'env:PII_KEY'}",
        "{stage: pii, id: names, names: true, names_model: no_such_model}",
        json_too=["--json"],
    )
    assert done.code == 0
    key, model = json.loads(done.out)["notes"]
    assert key.startswith("on this machine a run would stop at `pii`: the stage `pii` needs the key in the variable")
    assert model.endswith("(python -m spacy download no_such_model)")
