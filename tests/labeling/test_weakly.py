"""Rules label what nobody has; reviews ask once more, and their answer decides."""

import json

import pytest

from curate.labeling.log import decisions
from curate.labeling.task import load_task
from tests.labeling.conftest import answered_truly
from tests.labeling.test_functions import functions

RULES = [
    {"name": "free", "label": "spam", "words": ["free", "prize", "winner", "claim"]},
    {"name": "number", "label": "spam", "regex": "[0-9]{5,}"},
    {"name": "short", "label": "ham", "regex": "^.{1,60}$"},
]


def test_rules_are_judged_by_what_people_said_and_write_only_when_told(messages):
    file = messages.task()
    functions(messages, *RULES)
    told = messages.json("weak")
    assert (told["documents"], told["accuracy"], told["written"]) == (60, None, False)
    assert decisions(messages.project.store, load_task(file)) == []
    messages.json("next", "-n", 30)
    answered_truly(messages)
    told = messages.json("weak", "--write")
    assert told["functions"][1]["accuracy"]["value"] > 0.5
    assert told["labelled"] == sum(told["labels"].values())
    written = decisions(messages.project.store, load_task(file))
    assert len(written) == told["labelled"]
    committed = messages.json("commit")
    assert committed["sources"]["human"] == 30
    assert committed["sources"]["weak"] == committed["labels"] - 30
    assert "together (majority)" in messages.cli("weak").out


def test_a_label_model_needs_no_gold_and_a_floor_leaves_the_unsure_out(messages):
    messages.task()
    functions(messages, *RULES)
    every = messages.json("weak", "--method", "label-model")
    fewer = messages.json("weak", "--method", "label-model", "--least", 0.99)
    assert fewer["labelled"] <= every["labelled"] == every["covered"]


@pytest.mark.parametrize(
    ("arguments", "message"), [(("--method", "vote"), "there is no method `vote`"), ((), "has no labeling functions")]
)
def test_what_is_missing_is_said(messages, arguments, message):
    messages.task()
    outcome = messages.cli("weak", *arguments)
    assert (outcome.code, message in outcome.err) == (2, True), outcome.err


def test_a_tie_is_asked_once_more_and_the_answer_decides(messages):
    messages.task()
    messages.json("next", "-n", 3, "--annotators", 2, "--overlap", 1)
    messages.json("annotate", "--as", "ann", typed="1\n1\n1\n")
    messages.json("annotate", "--as", "bob", typed="2\n1\n1\n")
    assert messages.json("commit")["ties"] == 1
    told = messages.json("review", "--ties")
    assert (told["documents"], told["ties"]) == (1, 1)
    messages.json("annotate", "--as", "ann", typed="2\n")  # who answered before may decide now
    committed = messages.json("commit")
    assert (committed["ties"], committed["sources"]) == (0, {"adjudicated": 1, "aggregated": 2})
    outcome = messages.cli("review", "--ties")
    assert (outcome.code, "nothing to review" in outcome.err) == (2, True)


def test_labels_that_the_model_doubts_are_asked_about(messages):
    kinds = ["good nice fine lovely", "bad awful poor horrid"]
    messages.rows = [{"id": f"sms-{number}", "text": f"{kinds[number % 2]} thing {number}"} for number in range(80)]
    messages.truth = {f"sms-{number}": ["ham", "spam"][(number % 2) ^ (number in (10, 33))] for number in range(80)}
    messages.write()
    messages.project.run()
    file = messages.task()
    messages.json("next", "-n", 80)
    answered_truly(messages)
    told = messages.json("review")
    assert told["suspects"] >= 2
    asked = messages.cli("annotate", "--as", "ann", typed="").err
    assert "sms-10" in asked or "sms-33" in asked  # the worst first
    story = [
        json.loads(path.read_text())["facts"].get("fit") for path in (file.parents[2] / ".curate/runs").glob("*.json")
    ]
    assert any(story)
