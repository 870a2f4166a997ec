"""A task in Label Studio's words, and answers both ways."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

import pytest

from curate.errors import CurateError
from curate.labeling.studio.interface import configuration, from_result, instructions, studio_task, to_result
from curate.labeling.task import KINDS
from curate.labeling.values import shown, swapped

SWAPPED, STRAIGHT = "01" + "0" * 62, "00" + "0" * 62
TURNS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
DOCUMENT = {
    "text": "Ann <b>went</b> to \U0001f600 \u5317\u4eac,\r\nthen home", "prompt": "Why?", "chosen": "because",
    "rejected": "so", "messages": TURNS,
}  # fmt: skip
ANSWERS = {
    "classification": "spam",
    "multilabel": ["ham", "rude"],
    "spans": [{"start": 0, "end": 3, "label": "name"}, {"start": 21, "end": 23, "label": "place"}],
    "preference": "first",
    "answer": "Because <it> is & \u5317",
    "rating": 4,
    "rewrite": "hello there",
}


def test_every_kind_has_answers_here():
    assert set(ANSWERS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("digest", [SWAPPED, STRAIGHT])
def test_an_answer_comes_back_as_it_went(make_task, kind, digest):
    task = make_task(kind)
    data = shown(task, DOCUMENT)
    result = to_result(task, ANSWERS[kind], digest, data)
    assert from_result(task, result, digest, studio_task(task, "d", digest, 1, data)["data"]) == (ANSWERS[kind], 0)


def test_no_labels_are_an_answer_where_several_may_be_given(make_task):
    task = make_task("multilabel")
    assert to_result(task, [], STRAIGHT, {"text": ""}) == []
    assert from_result(task, [], STRAIGHT, {"text": ""}) == ([], 0)


def test_sides_change_in_what_is_shown_and_in_the_answer_alike(make_task):
    task = make_task("preference", prompt="prompt")
    data = shown(task, DOCUMENT)
    assert swapped(SWAPPED) and not swapped(STRAIGHT)
    assert studio_task(task, "d", SWAPPED, 1, data)["data"]["left"] == "so"
    assert studio_task(task, "d", STRAIGHT, 1, data)["data"]["left"] == "because"
    for digest, side in ((SWAPPED, "right"), (STRAIGHT, "left")):
        assert to_result(task, "first", digest, data)[0]["value"] == {"choices": [side]}
        assert to_result(task, "tie", digest, data)[0]["value"] == {"choices": ["tie"]}


@pytest.mark.parametrize("role", ["label", "audit", "gold"])
def test_a_task_does_not_say_why_it_is_asked(make_task, role):
    task = make_task()
    assert role not in str(studio_task(task, "d", STRAIGHT, 1, {"text": "x"}))


def test_names_and_texts_are_escaped_in_the_configuration(make_task):
    names = ['<b>&"', "$5", "a, b"]
    task = make_task(labels=[{"name": name, "description": f"<i>{name}"} for name in names], context=["$col <x>"])
    tree = fromstring(configuration(task))
    found = tree.findall(".//Choice")
    assert [one.get("alias") or one.get("value") for one in found] == names
    assert found[0].get("hint") == '<i><b>&"'
    assert "$5" not in found[1].get("value")
    assert tree.find("Header").get("value") == "$\u200bcol <x>"


def test_instructions_are_text_and_no_markup(make_task):
    assert instructions(make_task(instructions="a <b>\nc & d\n")) == "a &lt;b&gt;<br>c &amp; d"


def test_keys_are_the_given_ones_and_free_digits(make_task):
    task = make_task(labels=[{"name": "a"}, {"name": "b", "key": "1"}, {"name": "c", "key": "x"}, {"name": "d"}])
    assert [one.get("hotkey") for one in fromstring(configuration(task)).iter("Choice")] == ["2", "1", "x", "3"]


def test_a_label_that_cannot_be_shown_is_refused(make_task):
    with pytest.raises(CurateError, match="signs that Label Studio cannot show"):
        configuration(make_task(labels=["a\x00b", "c"]))


def test_spans_of_a_conversation_are_refused(make_task):
    with pytest.raises(ValueError, match="`spans` are of a text, and `messages` is a conversation"):
        make_task("spans", text="messages")


TEXT = "a \U0001f600 b\r\nline2 \u4f60\u597d END"


@pytest.mark.parametrize(
    ("start", "end", "text", "found"),
    [
        (4, 5, "b", (4, 5)),  # code points, as Label Studio 1.23 counts
        (5, 6, "b", (4, 5)),  # UTF-16 units
        (13, 15, "\u4f60\u597d", (13, 15)),
        (14, 16, "\u4f60\u597d", (13, 15)),
        (4, 12, "b\\nline2", (4, 12)),
        (4, 12, "b\n\nline2", (4, 12)),
    ],
)
def test_offsets_are_checked_by_the_text_of_a_span(make_task, start, end, text, found):
    value = {"start": start, "end": end, "text": text, "labels": ["name"]}
    result = [{"from_name": "answer", "to_name": "text", "type": "labels", "value": value}]
    spans, _ = from_result(make_task("spans"), result, STRAIGHT, {"text": TEXT})
    assert [(one["start"], one["end"]) for one in spans] == [found]


SPAN = {"from_name": "answer", "to_name": "text", "type": "labels"}


@pytest.mark.parametrize(
    ("kind", "result", "problem"),
    [
        ("classification", [], "0 answers where one is wanted"),
        ("classification", None, "no `choices`"),
        ("classification", "text", "no `choices`"),
        ("classification", [None, 3], "no `choices`"),
        ("classification", [{"from_name": "answer", "type": "choices", "value": {"choices": ["x"]}}], "is no label"),
        ("classification", [{"from_name": "answer", "type": "choices", "value": {"choices": ["ham", "spam"]}}], "2 answers"),
        ("classification", [{"from_name": "answer", "type": "choices", "value": None}], "is no label"),
        ("classification", [{"from_name": "other", "type": "choices", "value": {"choices": ["ham"]}}], "no `choices`"),
        ("multilabel", [{"from_name": "answer", "type": "choices", "value": {"choices": "ham"}}], "is no answer"),
        ("rating", [{"from_name": "answer", "type": "rating", "value": {"rating": 9}}], "is no answer"),
        ("answer", [{"from_name": "answer", "type": "textarea", "value": {"text": [" "]}}], "is no answer"),
        ("spans", [{**SPAN, "value": {"start": 1, "end": 3, "text": "other", "labels": ["name"]}}], "other text than"),
        ("spans", [{**SPAN, "value": {"start": 1, "end": 99, "labels": ["name"]}}], "is no answer"),
        ("spans", [{**SPAN, "value": {"start": "1", "end": None, "labels": ["name"]}}], "is no answer"),
        ("spans", [{**SPAN, "value": {"start": 1, "end": 3}}], "without text or labels"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_refused(make_task, kind, result, problem):
    with pytest.raises(CurateError, match=problem):
        from_result(make_task(kind), result, STRAIGHT, {"text": "short text"})


def test_entries_about_something_else_are_counted(make_task):
    given = [
        {"from_name": "answer", "to_name": "text", "type": "choices", "value": {"choices": ["ham"], "new": 1}},
        {"type": "relation", "from_id": "a"},
        {"from_name": "note", "type": "textarea", "value": {"text": ["hm"]}},
    ]
    assert from_result(make_task(), given, STRAIGHT, {"text": ""}) == ("ham", 2)
