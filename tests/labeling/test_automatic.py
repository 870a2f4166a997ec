"""Automatic labels are written with a certificate, or not at all."""

import json
from datetime import UTC, datetime

import pytest

from curate.labeling.log import Answer, append, decisions, items, suggestions, text_of
from curate.labeling.task import load_task
from tests.labeling.conftest import answered_truly

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


def say(messages, documents, *, wrong=False, who="ann", suggested=False):
    """Answer about documents, truly or not."""
    task, other = load_task(messages.file), {"ham": "spam", "spam": "ham"}
    said = []
    for one in documents:
        value = messages.truth[one.id]
        text = text_of(other[value] if wrong else value)
        seen = text if suggested else None
        said.append(Answer(one.id, one.hash, text, who, "manual", seen, None, 1.0, datetime.now(UTC), f"{who}{one.id}"))
    append(messages.project.store, task, "answers", said)


def test_an_audit_that_is_too_small_to_prove_anything_is_refused_with_the_size_that_is_needed(easy):
    refused = easy.cli("auto", "--audit", 50)
    assert refused.code == 2
    assert "an audit of 50 documents cannot prove 0.95, even without an error" in refused.err
    assert "attempt 1 needs 72 at least, and 110 where one may be wrong" in refused.err


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
    assert done["labelled"] == told["above"] - 100
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
    easy.json("auto", "--audit", 60, "--target-precision", 0.9)
    task, store = load_task(easy.file), easy.project.store
    say(easy, audited(easy), wrong=True)
    outcome = easy.cli("auto", "--certify")
    assert outcome.code == 3
    assert "0 of 60 audited documents are right" in outcome.err
    assert "nothing was labelled" in outcome.err
    assert decisions(store, task) == []
    second = easy.cli("auto", "--audit", 60, "--target-precision", 0.9)
    assert second.code == 3  # it has learned that it knows nothing
    assert "has a chance to be certified" in second.err


def test_another_attempt_has_half_the_error_that_is_left_and_new_documents(easy):
    first = easy.json("auto", "--audit", 100)
    say(easy, audited(easy))
    easy.json("auto", "--certify")
    before = {one.id for one in audited(easy)}
    more = [{"id": f"sms-{number}", "text": f"{EASY[number % 2]} thing {number}"} for number in range(400, 800)]
    easy.rows += more
    easy.truth |= {row["id"]: ["ham", "spam"][number % 2] for number, row in enumerate(more)}
    easy.write()
    easy.project.run()
    second = easy.json("auto", "--audit", 150)
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert second["allowed_errors"] < 3
    new = [one for one in audited(easy) if one.round == second["round"]]
    assert {one.id for one in new} <= {row["id"] for row in more}
    assert not before & {one.id for one in new}
    say(easy, new)
    told = easy.json("auto", "--certify")
    assert told["bound"] >= 0.95
    assert told["labelled"] == second["above"] - 150


def test_who_answers_last_does_not_decide_an_audit(easy):
    easy.json("auto", "--audit", 60, "--target-precision", 0.9)
    say(easy, audited(easy), wrong=True, who="expert")
    say(easy, audited(easy), who="zoe")
    assert "0 of 60 audited documents are right" in easy.cli("auto", "--certify").err


def test_an_answer_with_a_suggestion_in_sight_is_none_to_an_audit(easy):
    easy.json("auto", "--audit", 60, "--target-precision", 0.9)
    say(easy, audited(easy), suggested=True)
    assert "0 of 60 audited documents are right" in easy.cli("auto", "--certify").err


def test_a_document_that_changed_since_counts_as_wrong_and_blocks_nothing(easy):
    easy.json("auto", "--audit", 60, "--target-precision", 0.9)
    changed = audited(easy)[0].id
    say(easy, audited(easy)[1:])
    easy.rows = [{**row, "text": "something else"} if row["id"] == changed else row for row in easy.rows]
    easy.write()
    easy.project.run()
    told = easy.json("auto", "--certify")
    assert (told["correct"], told["audited"]) == (59, 60)


def test_what_is_certified_is_not_asked_or_labelled_again(easy):
    told = easy.json("auto", "--audit", 100)
    say(easy, audited(easy))
    easy.json("auto", "--certify")
    outcome = easy.cli("auto", "--audit", 100)
    assert outcome.code == 3, told


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
    say(easy, audited(easy))
    assert easy.json("auto", "--certify")["labelled"] == told["above"] - 100


def test_where_the_model_is_bad_nothing_is_proposed(messages):
    messages.task()
    messages.json("next", "-n", 30)
    messages.json("annotate", "--as", "ann", typed="1\n2\n2\n" * 10)
    outcome = messages.cli("auto", "--audit", 80)
    assert outcome.code == 3
    assert "no threshold of the model of `spam` has a chance" in outcome.err
