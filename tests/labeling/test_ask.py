"""Labeling in the terminal: what is shown, what may be typed, and that nothing is lost."""

import os
import signal
import subprocess
from collections import Counter

import pytest

from curate.labeling.ask import Question, ask, keys
from curate.labeling.log import Answer, answers, items, value_of
from curate.labeling.session import Session, collect
from curate.labeling.task import Task, load_task
from tests.labeling.conftest import TIME

LABELS = {"labels": ["ham", {"name": "spam", "key": "s"}]}


def task(kind="classification", **settings):
    given = LABELS if kind in ("classification", "multilabel", "spans") else {}
    return Task.model_validate({"task": "t1", "dataset": "sms", "kind": kind, **given, **settings})


def asked(one, questions, *typed):
    """Answers that were kept, and what was shown."""
    lines, kept, seen = iter(typed), [], []

    def read(prompt):
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    ask(one, questions, read, seen.append, kept.append)
    return [(given.question.id, None if given.skipped else given.value) for given in kept], "\n".join(seen)


def question(name="a", digest="00", suggested=None, **data):
    return Question(name, digest, data or {"text": "some words and some more"}, suggested, "m" if suggested else None)


def test_labels_have_keys_those_of_the_task_first():
    assert keys(task()) == {"1": "ham", "s": "spam"}


def test_more_labels_than_keys_are_for_label_studio():
    many = task(labels=[f"label {number}" for number in range(40)])
    with pytest.raises(Exception, match="has 40 labels, more than keys"):
        keys(many)


def test_a_key_or_a_name_answers_skipping_and_going_back_work():
    kept, seen = asked(task(), [question("a"), question("b"), question("c")], "1", "-", "<", "spam", "?", "x", "s", "s")
    assert kept == [("a", "ham"), ("b", None), ("b", "spam"), ("c", "spam")]
    assert "`x` is no label" in seen
    assert "[1] ham  [s] spam" in seen


def test_the_end_may_be_typed_or_come():
    assert asked(task(), [question("a"), question("b")], "1", ".", "s")[0] == [("a", "ham")]
    assert asked(task(), [question("a"), question("b")], "1")[0] == [("a", "ham")]


def test_a_suggestion_is_taken_with_enter():
    kept, seen = asked(task(), [question(suggested="spam")], "")
    assert kept == [("a", "spam")]
    assert "suggested: spam" in seen
    assert asked(task(), [question()], "", "1")[0] == [("a", "ham")]  # without one Enter is no answer


@pytest.mark.parametrize(
    ("kind", "settings", "data", "typed", "value"),
    [
        ("multilabel", {}, {"text": "x"}, ["1s"], ["ham", "spam"]),
        ("multilabel", {}, {"text": "x"}, ["spam, ham"], ["ham", "spam"]),
        ("multilabel", {}, {"text": "x"}, [""], []),
        ("spans", {}, {"text": "some words and some more"}, ["ham: some #2", "spam: words", ""],
         [{"start": 5, "end": 10, "label": "spam"}, {"start": 15, "end": 19, "label": "ham"}]),
        ("spans", {}, {"text": "x"}, [""], []),
        ("rating", {}, {"messages": [{"role": "user", "content": "hi"}]}, ["4"], 4),
        ("answer", {"prompt": "question"}, {"prompt": "why?"}, ["because"], "because"),
        ("rewrite", {}, {"messages": [{"role": "user", "content": "hi"}]}, ["hello"], "hello"),
    ],
)  # fmt: skip
def test_each_kind_is_answered(kind, settings, data, typed, value):
    assert asked(task(kind, **settings), [question(**data)], *typed)[0] == [("a", value)]


@pytest.mark.parametrize("typed", [["eggs: some", ""], ["some", ""], ["ham: nowhere", ""], ["ham: some #3", ""]])
def test_what_is_no_span_is_said_and_asked_again(typed):
    kept, _ = asked(task("spans"), [question()], *typed, "ham: some", "")
    assert kept == [("a", [{"start": 0, "end": 4, "label": "ham"}])]


def test_the_label_of_a_span_may_have_a_colon():
    one = task("spans", labels=["name", "name:first", "name: last"])
    kept, _ = asked(one, [question(text="ann: lee")], "name:first: ann", "name: last: lee", "name: ann: lee", "")
    assert [(span["label"], span["start"], span["end"]) for span in kept[0][1]] == [
        ("name:first", 0, 3), ("name", 0, 8), ("name: last", 5, 8),
    ]  # fmt: skip


@pytest.mark.parametrize(("digest", "value", "left"), [("00", "first", "A"), ("01", "second", "B")])
def test_the_sides_of_a_preference_change_and_the_answer_means_what_stood_there(digest, value, left):
    data = {"prompt": "p", "first": "A", "second": "B"}
    kept, seen = asked(task("preference", prompt="question"), [question(digest=digest, **data)], "1")
    assert kept == [("a", value)]
    assert f"[1] {left}" in seen


def test_a_session_is_asked_kept_and_counted(messages):
    file = messages.task()
    messages.json("next", "-n", 5)
    told = messages.json("annotate", "--as", "ann", typed="1\n2\n-\n")
    assert (told["asked"], told["answered"], told["skipped"]) == (5, 2, 1)
    said = answers(messages.project.store, load_task(file))
    assert sorted(map(str, map(value_of, said))) == ["None", "ham", "spam"]
    assert {one.origin for one in said} == {"manual"}
    assert not list(file.parent.glob(".answers-*"))
    state = messages.json("status")
    assert (state["items"], state["done"], state["left"]) == (5, 2, 3)
    assert state["annotators"][0]["skipped"] == 1
    assert messages.json("annotate", "--as", "ann", typed="")["asked"] == 2


def test_two_people_at_it_at_once_share_what_needs_one_answer_and_both_see_what_needs_two(messages):
    file = messages.task()
    messages.json("next", "-n", 4)
    messages.json("next", "-n", 2, "--annotators", 2, "--overlap", 1)
    ann, bob = (
        messages.project.start("label", "annotate", "--as", who, stdin=subprocess.PIPE) for who in ("ann", "bob")
    )

    for process in (ann, bob, ann, bob):  # each is asked something before anybody answers
        while process.stderr.readline()[:4] != "[1] ":
            pass
        process.stdin.write("1\n")
        process.stdin.flush()
    ann.communicate("1\n" * 9)
    bob.communicate("1\n" * 9)
    said = answers(messages.project.store, load_task(file))
    drawn = items(messages.project.store, load_task(file))
    assert Counter(one.id for one in said) == {one.id: one.annotators for one in drawn}
    by = {who: {one.id for one in said if one.annotator == who} for who in ("ann", "bob")}
    assert by["ann"] & by["bob"] == {one.id for one in drawn if one.annotators == 2}
    assert messages.json("status")["left"] == 0


def test_what_somebody_left_open_when_their_session_ended_is_asked_of_another_who_is_at_it(messages):
    file = messages.task()
    messages.json("next", "-n", 3)
    task, data = load_task(file), messages.project.open("sms")
    first, second, third = [(one.id, one.hash) for one in items(data.store, task)]
    with Session(file.parent, data.store, task, "bob") as bob:
        with Session(file.parent, data.store, task, "ann") as ann:
            assert ann.claim(first, 1)
            assert not bob.claim(first, 1)
            assert bob.claim(first, 2)
            ann.add(Answer(*first, '"ham"', "ann", "manual", None, None, 1.0, TIME, ""))
            assert ann.claim(second, 1)
            assert not bob.claim(second, 1)
        assert not bob.claim(first, 1)  # answered, if not yet in the log
        assert bob.claim(second, 1)  # only asked
        assert not bob.others_ended()
        assert collect(data.store, task, file.parent) == 1
        assert bob.others_ended()
        assert bob.claim(third, 1)
        assert not bob.others_ended()


def test_nothing_is_asked_where_nothing_was_drawn(messages):
    messages.task()
    outcome = messages.cli("annotate", typed="")
    assert outcome.code == 2
    assert "curate label next" in outcome.err


@pytest.mark.slow
def test_a_killed_session_loses_nothing_and_counts_once(messages):
    file = messages.task()
    messages.json("next", "-n", 5)
    process = messages.project.start("label", "annotate", "--as", "ann", stdin=-1)
    process.stdin.write("1\n2\n")
    process.stdin.flush()
    for line in iter(process.stderr.readline, ""):
        if line.startswith("> --- 3"):
            break
    live = messages.json("status")
    assert live["done"] == 0  # the session is still open
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    (journal,) = file.parent.glob(".answers-*")
    whole = journal.read_bytes()
    with journal.open("ab") as stream:
        stream.write(b'{"id": "cut')
    assert messages.json("status")["done"] == 2
    assert not journal.exists()
    journal.write_bytes(whole)  # as if killed between the log and the removal
    assert messages.json("status")["answers"] == 2


def test_a_suggestion_of_labels_or_spans_may_be_refused_with_none():
    for kind, suggested in (("multilabel", ["ham"]), ("spans", [{"start": 0, "end": 4, "label": "ham"}])):
        assert asked(task(kind), [question(suggested=suggested)], "!")[0] == [("a", [])]


def test_a_label_of_one_sign_is_its_own_key():
    one = task(labels=["0", "1", "other"])
    assert keys(one) == {"0": "0", "1": "1", "2": "other"}
    assert asked(one, [question()], "1")[0] == [("a", "1")]


def test_long_texts_are_cut_and_empty_ones_named():
    _, seen = asked(task(), [question(text="word " * 2000), question(text="")], "1", "1")
    assert "(6,000 more characters)" in seen
    assert "(an empty text)" in seen


@pytest.mark.slow
def test_a_second_session_of_the_same_person_is_refused(messages):
    messages.task()
    messages.json("next", "-n", 5)
    process = messages.project.start("label", "annotate", "--as", "ann", stdin=-1)
    for line in iter(process.stderr.readline, ""):
        if line.startswith("--- 1"):
            break
    outcome = messages.cli("annotate", "--as", "ann", typed="1\n")
    assert (outcome.code, "another session of `ann` is open" in outcome.err) == (2, True), outcome.err
    assert messages.json("annotate", "--as", "bob", typed="1\n")["answered"] == 1
    process.communicate(".\n")


def test_answers_go_to_the_store_and_task_that_they_are_about_and_not_back_in_after_an_erasure(messages):
    file = messages.task()
    messages.json("next", "-n", 2)
    store, said = messages.project.store, load_task(file)
    first, second = items(store, said)
    with Session(file.parent, store, said, "ann") as session:
        for one in (first, second):
            session.add(Answer(one.id, one.hash, '"ham"', "ann", "manual", None, None, 1.0, TIME, ""))
    other = load_task(messages.task(name="other"))
    assert collect(store, other, file.parent) == 0
    subject = messages.project.write("subject.yaml", f"documents: [{first.id}]")
    assert messages.project.cli("data", "erase", "--subject-file", subject).code == 0
    assert collect(store, said, file.parent) == 1
    assert [one.id for one in answers(store, said)] == [second.id]


def test_a_failed_init_leaves_nothing_and_a_good_one_says_what_is_missing(messages):
    assert messages.cli("init", "bad", "--dataset", "sms", "--label", "ham").code == 2
    assert not (messages.project.root / "labeling").exists()
    outcome = messages.cli("init", "good", "--dataset", "sms", "--text", "nothing")
    assert outcome.code == 0
    assert "are examples" in outcome.err
    assert "has no column `nothing`" in outcome.err
    assert "`nope`" in messages.cli("init", "none", "--dataset", "nope", "--label", "a,b").err
