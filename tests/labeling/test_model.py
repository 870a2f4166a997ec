"""The model of a task learns what people said, and suggests it where it may be seen."""

import json

import pytest

from curate.labeling.log import items, suggestions
from curate.labeling.task import load_task
from tests.labeling.conftest import answered_truly


def fitted(messages, documents=40):
    file = messages.task()
    messages.json("next", "-n", documents)
    answered_truly(messages)
    return file, messages.json("fit")


def test_a_model_is_fitted_written_and_recorded(messages):
    file, told = fitted(messages)
    assert told["documents"] == 40
    assert 0 < told["accuracy"] <= 1
    assert told["calibration_error"].keys() == {"before", "after"}
    written = json.loads((file.parent / "model.json").read_text())
    assert written["sha256"] == told["sha256"]
    kinds = [json.loads(blob.read_text()) for blob in (messages.project.root / ".curate" / "runs").glob("*.json")]
    assert [one["outputs"][0]["id"] for one in kinds if one["kind"] == "labeling"] == [told["sha256"]]
    assert messages.json("fit")["sha256"] == told["sha256"]
    assert "labelled documents" in messages.cli("fit").out


def test_suggestions_are_for_what_is_open_and_not_blind_and_come_once(messages):
    file, told = fitted(messages)
    messages.json("next", "-n", 5)
    messages.json("next", "-n", 5, "--blind", "--seed", 1)
    found = messages.json("preannotate")
    assert (found["suggested"], found["blind"], found["again"]) == (5, 5, 0)
    assert messages.json("preannotate")["again"] == 5
    task, store = load_task(file), messages.project.store
    said = suggestions(store, task)
    assert {one.model for one in said} == {told["name"]}
    assert all(0.5 <= one.probability <= 1 for one in said)
    assert not {one.id for one in said} & {one.id for one in items(store, task) if one.blind}
    seen = messages.cli("annotate", "--as", "ann", typed="\n")
    assert seen.err.count("suggested:") == 2  # of the first, which Enter takes, and of the second
    state = messages.json("status")
    assert [one["accepted"] for one in state["annotators"]] == [1, 0]


def test_documents_that_were_chosen_are_not_in_the_estimate_for_the_rest(messages):
    _, told = fitted(messages, 20)
    assert told["random"]["documents"] == 20
    assert told["random"]["accuracy"]["value"] == told["accuracy"]
    messages.json("next", "-n", 10)  # by the model, two of them at random
    answered_truly(messages)
    told = messages.json("fit")
    assert (told["documents"], told["random"]["documents"]) == (30, 22)
    estimate = told["random"]["accuracy"]
    assert estimate["low"] < estimate["value"] <= estimate["high"]
    assert "on the 22 of them that were drawn at random: accuracy" in messages.cli("fit").out
    messages.json("report", "--out", "page.html")
    assert "22 that were drawn at random" in (messages.project.root / "page.html").read_text()


def test_without_labels_of_two_kinds_there_is_nothing_to_learn(messages):
    messages.task()
    messages.json("next", "-n", 3)
    assert messages.cli("fit").code == 2
    messages.json("annotate", "--as", "ann", typed="1\n1\n1\n")
    outcome = messages.cli("fit")
    assert outcome.code == 2
    assert "nothing to learn" in outcome.err


def test_a_model_of_other_labels_or_other_bytes_is_refused(messages):
    file, _ = fitted(messages)
    messages.json("next", "-n", 2)
    messages.task(labels=["ham", "spam", "eggs"])
    assert "has other labels: ham, spam" in messages.cli("preannotate").err
    messages.task()
    with (file.parent / "model.safetensors").open("ab") as stream:
        stream.write(b"x")
    outcome = messages.cli("preannotate")
    assert outcome.code == 2
    assert "model.json is of another model" in outcome.err
    (file.parent / "model.json").unlink()
    assert "has no model yet" in messages.cli("preannotate").err


@pytest.mark.parametrize("kind", ["spans", "rating"])
def test_kinds_without_a_model_say_so(messages, kind):
    messages.task(kind)
    messages.json("next", "-n", 2)
    outcome = messages.cli("fit")
    assert outcome.code == 2
    assert f"there is no model for {kind}" in outcome.err


def test_sets_of_labels_are_learned_too(messages):
    messages.task("multilabel")
    messages.json("next", "-n", 30)
    messages.json("annotate", "--as", "ann", typed="1\n2\n12\n\n1\n" * 6)
    assert messages.json("fit")["documents"] == 30
    messages.json("next", "-n", 3)
    assert messages.json("preannotate")["suggested"] == 3
