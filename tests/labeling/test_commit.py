"""A version with labels: columns beside the documents, where each comes from, and nothing else changed."""

import json
from datetime import UTC, datetime

import pytest

from curate.dataset.care import verify
from curate.labeling.log import Answer, append, items
from curate.labeling.task import load_task
from tests.labeling.conftest import TURNS


def labelled(messages, typed, *, kind="classification", documents=4, **settings):
    messages.task(kind, **settings)
    messages.json("next", "-n", documents)
    messages.json("annotate", "--as", "ann", typed=typed)
    return messages.json("commit")


def test_labels_are_columns_and_the_version_stays_what_it_is(messages):
    before = messages.project.open("sms")
    told = labelled(messages, "1\n2\n-\n1\n")
    assert (told["labels"], told["sources"], told["tag"]) == (3, {"human": 3}, "v2")
    rows = messages.rows_of()
    given = {name: row for name, row in rows.items() if row["label"] is not None}
    assert sorted(row["label"] for row in given.values()) == ["ham", "ham", "spam"]
    assert {(row["label_source"], row["label_annotators"], row["label_round"]) for row in given.values()} == {
        ("human", "ann", 1)
    }
    assert [row["text"] for row in rows.values()] == before.arrow().column("text").to_pylist()
    assert verify(messages.project.open("sms"))["problems"] == []
    assert messages.json("commit")["version"] == told["version"]  # once more is the same version


def test_more_labels_are_another_version_of_the_same_one(messages):
    first = labelled(messages, "1\n2\n.\n")
    messages.json("annotate", "--as", "ann", typed="1\n1\n")
    second = messages.json("commit")
    assert (first["labels"], second["labels"]) == (2, 4)
    lineage = [messages.project.store.manifest(one["version"])["lineage"] for one in (first, second)]
    assert lineage[0]["parents"] == lineage[1]["parents"]


def test_several_people_decide_together_and_a_tie_has_no_label(messages):
    messages.task()
    messages.json("next", "-n", 3, "--annotators", 3, "--overlap", 1)
    for who, typed in (("ann", "1\n1\n1\n"), ("bob", "1\n2\n2\n"), ("cleo", "1\n2\n-\n")):
        messages.json("annotate", "--as", who, typed=typed)
    told = messages.json("commit")
    assert (told["labels"], told["ties"], told["sources"]) == (2, 1, {"aggregated": 2})
    given = sorted((row["label"], row["label_probability"]) for row in messages.rows_of().values() if row["label"])
    assert given == [("ham", 1.0), ("spam", pytest.approx(2 / 3))]


def test_labels_of_another_text_are_counted_and_left_out(messages):
    labelled(messages, "1\n2\n1\n1\n")
    (first, *_), version = sorted(name for name, row in messages.rows_of().items() if row["label"]), None
    messages.rows = [{**row, "text": "another text"} if row["id"] == first else row for row in messages.rows]
    messages.write()
    messages.project.run()
    told = messages.json("commit")
    assert (told["labels"], told["changed"]) == (3, 1), version
    assert messages.rows_of()[first]["label"] is None


@pytest.mark.parametrize(
    ("kind", "settings", "typed", "column", "values"),
    [
        ("multilabel", {}, "12\n\n", "label", [["ham", "spam"], []]),
        ("rating", {}, "4\n2\n", "label", [4, 2]),
        ("answer", {"prompt": "question", "column": "reply"}, "because\nwhy not\n", "reply", ["because", "why not"]),
        ("rewrite", {}, "Not yet.\nYes.\n", "label_messages", None),
        ("preference", {"prompt": "question"}, "t\nt\n", "label", ["tie", "tie"]),
        ("spans", {}, "\n\n", "label", ["[]", "[]"]),
    ],
)
def test_each_kind_has_its_columns(messages, kind, settings, typed, column, values):
    labelled(messages, typed, kind=kind, documents=2, **settings)
    given = [row[column] for row in messages.rows_of().values() if row[column] is not None]
    if values is None:
        turns = sorted(json.loads(one)[-1]["content"] for one in given)
        assert turns == ["Not yet.", "Yes."]
        assert {row["label_rejected"] for row in messages.rows_of().values()} == {None, "No."}
    else:
        assert sorted(given, key=str) == sorted(values, key=str)


def test_a_preference_is_a_chosen_and_a_rejected_answer(messages):
    labelled(messages, "1\n1\n1\n2\n2\n2\n", kind="preference", documents=6, prompt="question")
    given = [row for row in messages.rows_of().values() if row["label"]]
    assert len(given) == 6
    for row in given:
        better, worse = (row["chosen"], row["rejected"])[:: 1 if row["label"] == "first" else -1]
        assert (row["label_chosen"], row["label_rejected"]) == (better, worse)


def test_without_a_label_there_is_no_version(messages):
    messages.task()
    messages.json("next", "-n", 2)
    outcome = messages.cli("commit")
    assert outcome.code == 2
    assert "nobody has labelled anything for `spam`" in outcome.err


def test_why_tells_the_history_of_a_label(messages):
    labelled(messages, "1\n2\n1\n1\n")
    name = next(name for name, row in messages.rows_of().items() if row["label"] == "spam")
    told = json.loads(messages.project.cli("why", name, "--json").out)
    said = {one["project"]: one.get("value") for one in told["labels"]}
    assert said == {"spam": '"spam"', "spam.rounds": None}
    assert 'spam: value "spam", annotator ann' in messages.project.cli("why", name).out


def test_an_erasure_takes_labels_and_rounds_too(messages):
    labelled(messages, "1\n2\n1\n1\n")
    name = next(name for name, row in messages.rows_of().items() if row["label"] == "spam")
    subject = messages.project.write("subject.yaml", f"documents: [{name}]")
    outcome = messages.project.cli("data", "erase", "--subject-file", subject, "--json")
    assert outcome.code == 0, outcome.err
    assert name not in messages.rows_of()
    assert verify(messages.project.open("sms"))["problems"] == []
    assert messages.json("status")["answers"] == 3
    assert messages.json("commit")["labels"] == 3


def test_a_version_of_labelled_documents_alone_accounts_for_the_others(messages):
    messages.task("preference", prompt="question")
    messages.json("next", "-n", 6)
    messages.json("annotate", "--as", "ann", typed="1\n1\nt\n2\n")
    told = messages.json("commit", "--only", "--as", "pairs")
    made = messages.project.open("pairs")
    assert (len(made), made.manifest["documents"]["in"]) == (3, 60)
    assert verify(made)["problems"] == []
    table = made.arrow()
    assert None not in table.column("label_chosen").to_pylist()
    assert made.splits == {"train": 3}
    assert made.manifest["text_bytes"] == sum(len(text.encode()) for text in table.column("text").to_pylist())
    left = next(name for name in messages.rows_of() if name not in table.column("id").to_pylist())
    story = json.loads(messages.project.cli("why", left, "--version", "pairs", "--json").out)
    assert (story["verdict"], story["reason"]) == ("dropped", "unlabelled")
    assert messages.json("commit", "--only", "--as", "pairs")["version"] == told["version"]
    assert messages.project.cli("report", "pairs").code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "settings", "typed", "objective", "data"),
    [
        ("preference", {"prompt": "question"}, "1\n2\n" * 4, "{kind: preference}",
         "{prompt: question, chosen: label_chosen, rejected: label_rejected}"),
        ("rewrite", {}, "Not yet.\nYes.\n" * 4, "{kind: sft}", "{messages: label_messages}"),
        ("classification", {}, "1\n2\n" * 4, "{kind: classification}", "{label: label}"),
    ],
)  # fmt: skip
def test_labels_are_trained_on_without_a_script_between(messages, kind, settings, typed, objective, data):
    messages.task(kind, **settings)
    messages.json("next", "-n", 8)
    messages.json("annotate", "--as", "ann", typed=typed)
    messages.json("commit", "--only", "--as", "labelled")
    messages.project.write(
        "train.yaml", "dataset: labelled", "run: small", "steps: 2", "seed: 1",
        "model: {width: 16, layers: 1, heads: 2, key_value_heads: 2}", "batch: {sequences: 2, length: 128}",
        "tokenizer: {vocabulary: 300}",
        f"objective: {objective}", f"data: {data}",
    )  # fmt: skip
    outcome = messages.project.cli("train", "train.yaml", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["steps"] == 2


def files(messages, count=4):
    """The messages in several files, so that a version has several fragments."""
    folder = messages.project.root / "in"
    (folder / "sms.jsonl").unlink()
    for number in range(count):
        rows = messages.rows[number::count]
        (folder / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    messages.project.run()


def test_labels_that_became_ties_are_gone_from_every_fragment(messages):
    files(messages)
    messages.task()
    messages.task("rating", name="mood", column="mood", messages="messages")
    messages.json("next", "-n", 12, "--task", "labeling/spam")
    messages.json("annotate", "--as", "ann", "--task", "labeling/spam", typed="1\n" * 12)
    assert messages.json("commit", "--task", "labeling/spam")["labels"] == 12
    messages.json("next", "-n", 2, "--task", "labeling/mood")
    messages.json("annotate", "--as", "ann", "--task", "labeling/mood", typed="1\n5\n")
    assert messages.json("commit", "--task", "labeling/mood")["labels"] == 2
    task, store = load_task(messages.project.root / "labeling/spam/task.yaml"), messages.project.store
    asked = items(store, task)[:6]
    append(store, task, "answers", [
        Answer(one.id, one.hash, '"spam"', "bob", "manual", None, None, 1.0, datetime.now(UTC), one.id) for one in asked
    ])  # fmt: skip
    told = messages.json("commit", "--task", "labeling/spam")
    assert (told["labels"], told["ties"]) == (6, 6)
    rows = messages.rows_of().values()
    assert sum(row["label"] is not None for row in rows) == 6
    assert sum(row["mood"] is not None for row in rows) == 2
    assert verify(messages.project.open("sms"))["problems"] == []


def test_a_column_of_the_documents_or_of_another_task_is_not_overwritten(messages):
    messages.task("classification", name="half-task", column="half")
    messages.json("next", "-n", 2)
    messages.json("annotate", "--as", "ann", typed="1\n2\n")
    outcome = messages.cli("commit")
    assert (outcome.code, "has a column `half` already" in outcome.err) == (2, True), outcome.err
    messages.task("classification", name="half-task")
    messages.json("commit")
    messages.task("classification", name="other")
    messages.json("next", "-n", 2, "--task", "labeling/other")
    messages.json("annotate", "--as", "ann", "--task", "labeling/other", typed="1\n2\n")
    outcome = messages.cli("commit", "--task", "labeling/other")
    assert (outcome.code, "has a column `label` already" in outcome.err) == (2, True), outcome.err


def test_a_version_without_documents_is_refused(messages):
    labelled(messages, "1\n2\n1\n1\n")
    messages.rows = [{**row, "text": f"other {number}"} for number, row in enumerate(messages.rows)]
    messages.write()
    messages.project.run()
    outcome = messages.cli("commit", "--only", "--as", "labelled")
    assert (outcome.code, "nothing would be left" in outcome.err) == (2, True), outcome.err


def test_a_skip_goes_before_no_answer_and_leaves_the_document_to_others(messages):
    messages.task()
    messages.json("next", "-n", 2)
    assert messages.json("annotate", "--as", "ann", typed="-\n-\n")["skipped"] == 2
    assert messages.json("status")["left"] == 2
    messages.json("annotate", "--as", "bob", typed="1\n2\n")
    assert messages.json("commit")["labels"] == 2
    task, store = load_task(messages.project.root / "labeling/spam/task.yaml"), messages.project.store
    append(store, task, "answers", [
        Answer(one.id, one.hash, None, "bob", "manual", None, None, 1.0, datetime.now(UTC), one.id)
        for one in items(store, task)
    ])  # fmt: skip
    assert messages.json("commit")["labels"] == 2


def test_answers_that_are_none_any_more_are_counted_and_left_out(messages):
    labelled(messages, "1\n2\n1\n2\n")
    messages.task(labels=["ham", "junk"])
    state = messages.json("status")
    assert (state["answers"], state["outdated"]) == (2, 2)
    assert messages.json("commit")["labels"] == 2
    for command in (("agree",), ("aggregate",), ("status",)):
        assert messages.cli(*command).code == 0
    messages.task("multilabel", labels=["ham", "am"])
    assert messages.json("status")["outdated"] == 4


def test_the_turn_that_is_judged_may_be_chosen_and_is_the_last_that_is_shown(messages):
    long = [*TURNS, {"role": "user", "content": "Why not?"}, {"role": "assistant", "content": "It is noon."}]
    for number, row in enumerate(messages.rows):
        row["messages"] = long if number < 2 else TURNS
    messages.write()
    messages.project.run()
    messages.task("rewrite", turn=2)
    told = messages.json("next", "-n", 50)
    assert (told["documents"], told["pool"]) == (2, 2)  # others have no second turn
    messages.json("annotate", "--as", "ann", typed="It is twelve.\n" * 2)
    messages.task("rewrite", turn=1)
    refused = messages.cli("next", "-n", 1)
    assert (refused.code, "what was said for `spam` is about turn 2" in refused.err) == (2, True)
    messages.task("rewrite", name="first", turn=1, column="better")
    messages.json("next", "-n", 1, "--task", "labeling/first")
    seen = messages.cli("annotate", "--as", "ann", "--task", "labeling/first", typed="Not yet.\n")
    assert "Why not?" not in seen.err
    messages.json("commit", "--task", "labeling/first")
    row = next(row for row in messages.rows_of().values() if row["better"])
    assert json.loads(row["better_messages"]) == [TURNS[0], {**TURNS[1], "content": "Not yet."}]
    assert row["better_rejected"] == "No."


def test_a_rewrite_keeps_what_else_a_conversation_holds(messages):
    turns = [{"role": "user", "content": None, "name": "u"}, {"role": "tool", "content": "1", "tool_call_id": "c"},
             {"role": "assistant", "content": "No.", "mood": "grim"}]  # fmt: skip
    messages.rows = [{**row, "messages": turns} for row in messages.rows]
    messages.write()
    messages.project.run()
    labelled(messages, "Yes.\n", kind="rewrite", documents=1)
    (given,) = [json.loads(row["label_messages"]) for row in messages.rows_of().values() if row["label_messages"]]
    assert given == [*turns[:2], {**turns[2], "content": "Yes."}]
