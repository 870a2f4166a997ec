"""Agreement and aggregation over the answers of a log: the arrays are those answers, and what cannot be said is not."""

import json

import pytest

from curate.labeling.crowd import crowd, tokens_of
from curate.labeling.log import Answer
from curate.labeling.task import Task
from tests.labeling.test_rounds import TIME


def task(kind, **more):
    labels = {"labels": ["a", "b"]} if kind in ("classification", "multilabel", "spans") else {}
    return Task.model_validate({"task": "t1", "dataset": "d", "kind": kind, **labels, **more})


def said(name, who, value):
    held = None if value is None else json.dumps(value)
    return Answer(name, "h", held, who, "manual", None, None, 1.0, TIME, f"{name}{who}")


def test_answers_are_numbered_and_skipped_ones_left_out():
    given = crowd(task("classification"), [said("x", "bob", "b"), said("y", "ann", None), said("x", "ann", "a")])
    assert (given.keys, given.people) == ([("x", "h")], ["ann", "bob"])
    assert (given.items.tolist(), given.workers.tolist(), given.labels.tolist()) == ([0, 0], [1, 0], [1, 0])
    sets = crowd(task("multilabel"), [said("x", "bob", ["b"]), said("x", "ann", [])]).sets
    assert sets.tolist() == [[False, True], [False, False]]
    spans = crowd(task("spans"), [said("x", "bob", []), said("x", "ann", [{"start": 1, "end": 3, "label": "b"}])]).spans
    assert spans.tolist() == [[1, 1, 3, 1]]
    assert crowd(task("classification"), []).items.tolist() == []


def test_tokens_are_words_and_signs():
    tokens = tokens_of([("x", "h"), ("y", "h")], {("x", "h"): "Caf\u00e9, no!"})
    assert list(zip(tokens.starts.tolist(), tokens.ends.tolist(), strict=True)) == [(0, 4), (4, 5), (6, 8), (8, 9)]


def several(messages, kind, *typed, documents=3, **settings):
    messages.task(kind, **settings)
    messages.json("next", "-n", documents, "--annotators", len(typed), "--overlap", 1)
    for number, lines in enumerate(typed):
        messages.json("annotate", "--as", f"person-{number}", typed=lines)
    return messages.json("agree")


@pytest.mark.parametrize(
    ("kind", "settings", "typed", "measures"),
    [
        ("classification", {}, ["1\n2\n1\n", "1\n2\n2\n"], {"observed", "krippendorff_alpha", "fleiss_kappa"}),
        ("multilabel", {}, ["1\n2\n1\n", "1\n2\n2\n"], {"masi_alpha"}),
        ("rating", {}, ["1\n2\n1\n", "1\n2\n3\n"], {"observed", "krippendorff_alpha", "fleiss_kappa"}),
        ("preference", {"prompt": "question"}, ["1\n2\n1\n", "1\n2\n2\n"], {"observed", "krippendorff_alpha", "fleiss_kappa"}),
        ("answer", {"prompt": "question"}, ["x\ny\nz\n", "x\nx\nx\n"], set()),
    ],
)  # fmt: skip
def test_each_kind_has_its_measures(messages, kind, settings, typed, measures):
    told = several(messages, kind, *typed, **settings)
    assert told["several"] == 3
    assert set(told["measures"]) == measures
    for one in told["measures"].values():
        assert one["low"] <= one["value"] <= one["high"]
    outcome = messages.cli("agree")
    assert outcome.code == 0, outcome.err
    assert "3 by several people" in outcome.out


def test_spans_have_theirs_by_span_and_by_token(messages):
    word = messages.rows[0]["text"].split()[0]
    messages.rows = [{**row, "text": f"{word} and more"} for row in messages.rows]
    messages.write()
    messages.project.run()
    told = several(messages, "spans", f"ham: {word}\n\n" * 3, f"ham: {word}\n\n" * 2 + "\n")
    assert told["measures"]["span_f1_strict"]["value"] == pytest.approx(4 / 5)
    assert set(told["measures"]) == {"span_f1_strict", "span_f1_overlapping", "token_alpha"}
    made = messages.json("aggregate", "--method", "majority")
    assert (len(made["labels"]), len(made["ties"])) == (2, 1)
    assert made["labels"][0]["value"] == [{"start": 0, "end": len(word), "label": "ham"}]


def test_what_cannot_be_said_is_called_insufficient(messages):
    messages.task()
    messages.json("next", "-n", 3)
    assert messages.json("agree")["measures"]["krippendorff_alpha"] is None
    messages.json("annotate", "--as", "ann", typed="1\n1\n1\n")
    told = messages.json("agree")
    assert (told["several"], told["pairs"]) == (0, [])
    assert told["measures"] == {"observed": None, "krippendorff_alpha": None, "fleiss_kappa": None}
    assert "insufficient" in messages.cli("agree").out


def test_gold_tells_how_good_each_person_is_and_the_worst_items_are_named(messages):
    gold = messages.project.write("gold.jsonl", *(json.dumps({"id": f"sms-{n}", "label": "ham"}) for n in range(4)))
    messages.task()
    messages.json("next", "-n", 1, "--annotators", 2, "--gold", gold)
    messages.json("annotate", "--as", "ann", typed="1\n" * 5)
    messages.json("annotate", "--as", "bob", typed="2\n" * 5)
    told = messages.json("agree")
    assert [one["on_gold"]["value"] for one in told["annotators"]] == [1.0, 0.0]
    assert told["gold"] == {"labels": ["ham", "spam"], "answered_as": [[4, 4], [0, 0]]}
    assert "answers on gold; rows are what is right:" in messages.cli("agree").out
    assert len(told["worst"]) == 4
    assert told["worst"][0]["answers"] == {"ann": "ham", "bob": "spam"}
    assert told["confused"] == [{"labels": ["ham", "spam"], "pairs": 4}]


def test_dawid_skene_believes_who_is_right_elsewhere(messages):
    right = "1\n2\n" * 4
    told = several(messages, "classification", right, right, "2\n1\n" * 4, documents=8)
    assert told["several"] == 8
    made = messages.json("aggregate", "--method", "dawid-skene")
    assert not made["ties"]
    assert min(one["probability"] for one in made["labels"]) > 0.9
    assert messages.cli("aggregate", "--method", "dawid").code == 2
