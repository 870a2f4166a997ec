"""Automatic labels are written with a certificate, or not at all."""

import json

import pytest

from curate.labeling.log import Answer, answers, append, decisions, items, suggestions, text_of
from curate.labeling.task import load_task
from tests.labeling.conftest import TIME, answered_truly

EASY = ["good nice fine lovely", "bad awful poor horrid"]


@pytest.fixture
def easy(messages):
    """Messages that a model tells apart without an error: 400, of two kinds."""
    messages.rows = [{"id": f"sms-{number}", "text": f"{EASY[number % 2]} thing {number}"} for number in range(400)]
    messages.truth = {f"sms-{number}": ["ham", "spam"][number % 2] for number in range(400)}
    messages.write()
    messages.project.run()
    messages.file = messages.task()
    messages.json("next", "-n", 60)
    answered_truly(messages)
    return messages


def audited(messages):
    return [one for one in items(messages.project.store, load_task(messages.file)) if one.role == "audit"]


def test_an_audit_that_is_right_labels_everything_above_the_threshold(easy):
    told = easy.json("auto", "--audit", 100)
    assert (told["pool"], told["audited"], told["attempt"]) == (340, 100, 1)
    assert all(one.blind for one in audited(easy))
    waiting = easy.cli("auto", "--certify")
    assert waiting.code == 2
    assert "100 of 100 documents of the audit (round 2) have no answer" in waiting.err
    assert "is not judged yet" in easy.cli("auto").err
    answered_truly(easy)
    done = easy.json("auto", "--certify")
    assert done["certified"]
    assert done["bound"] >= 0.95
    assert done["labelled"] == told["above"]
    task, store = load_task(easy.file), easy.project.store
    written = decisions(store, task)
    assert {one.source for one in written} == {"automatic"}
    assert all(easy.truth[one.id] == json.loads(one.value) for one in written)
    committed = easy.json("commit")
    assert committed["sources"] == {"automatic": told["above"] - 100, "human": 160}
    row = easy.rows_of()[next(one.id for one in written if one.id not in {item.id for item in audited(easy)})]
    assert (row["label_source"], row["label_model"]) == ("automatic", told["model"])
    assert "has no audit to judge" in easy.cli("auto", "--certify").err
    assert easy.json("fit")["documents"] == 160
    assert easy.json("fit", "--automatic")["documents"] == 60 + told["above"]


def test_an_audit_that_is_wrong_labels_nothing_and_the_next_is_stricter(easy):
    first = easy.json("auto", "--audit", 60, "--target-precision", 0.9)
    task, store = load_task(easy.file), easy.project.store
    wrong = {"ham": "spam", "spam": "ham"}
    said = [
        Answer(one.id, one.hash, text_of(wrong[easy.truth[one.id]]), "ann", "manual", None, None, 1.0, TIME, one.id)
        for one in audited(easy)
    ]
    append(store, task, "answers", said)
    outcome = easy.cli("auto", "--certify")
    assert outcome.code == 3
    assert "0 of 60 audited documents are right" in outcome.err
    assert "nothing was labelled" in outcome.err
    assert decisions(store, task) == []
    second = easy.cli("auto", "--audit", 60, "--target-precision", 0.9, "--json")
    if second.code == 0:
        assert json.loads(second.out)["attempt"] == first["attempt"] + 1
    else:
        assert second.code == 3
        assert "has a chance to be certified" in second.err


def test_a_skipped_document_of_the_audit_counts_as_wrong(easy):
    easy.json("auto", "--audit", 60, "--target-precision", 0.9)
    easy.json("annotate", "--as", "ann", typed="-\n" * 60)
    assert "0 of 60 audited documents are right" in easy.cli("auto", "--certify").err


def test_other_suggestions_of_the_same_model_are_not_labelled(easy):
    told = easy.json("auto", "--audit", 100)
    easy.json("next", "-n", 5, "--seed", 9)
    easy.json("preannotate")
    task, store = load_task(easy.file), easy.project.store
    assert len(suggestions(store, task, model=told["model"])) == 5
    said = {(one.id, one.hash) for one in answers(store, task)}
    for one in audited(easy):
        if (one.id, one.hash) not in said:
            append(store, task, "answers", [
                Answer(one.id, one.hash, text_of(easy.truth[one.id]), "ann", "manual", None, None, 1.0, TIME, one.id)
            ])  # fmt: skip
    assert easy.json("auto", "--certify")["labelled"] == told["above"]


def test_where_the_model_is_bad_nothing_is_proposed(messages):
    messages.task()
    messages.json("next", "-n", 30)
    messages.json("annotate", "--as", "ann", typed="1\n2\n2\n" * 10)
    outcome = messages.cli("auto", "--audit", 20)
    assert outcome.code == 3
    assert "no threshold of the model of `spam` has a chance" in outcome.err
