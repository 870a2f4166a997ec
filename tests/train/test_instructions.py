"""Instructions that a program can check."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, strategies

from curate.errors import CurateError
from curate.train.rewards.completion import Completion
from curate.train.rewards.instructions import INSTRUCTIONS, instructions
from curate.train.settings.rewards import InstructionsReward


def share(completion, told, **settings):
    columns = {"instructions": told if isinstance(told, str) else json.dumps(told)}
    return instructions(Completion("", completion, "", columns, 0, True), InstructionsReward(**settings))


@pytest.mark.parametrize(
    ("told", "good", "bad"),
    [
        ({"words": {"most": 3}}, "one two three", "one two three four"),
        ({"words": 2}, "one two", "one"),
        ({"sentences": {"least": 2}}, 'It is. "Is it?"', "It is 3.5 metres"),
        ({"paragraphs": 2}, "one\n\n\ntwo\nlines", "one\ntwo"),
        ({"characters": {"least": 4}}, "four", "two"),
        ({"bullets": {"least": 2, "most": 2}}, "- a\n* b", "- a\n-b"),
        ({"keywords": ["Sea", "blue"]}, "a BLUE sea", "a bluish sea"),
        ({"keywords": {"sea": 2}}, "sea, sea", "seas sea"),
        ({"forbidden": ["red sea"]}, "a reddish sea", "the Red Sea"),
        ({"starts": "Dear"}, " Dear you", "dear you"),
        ({"ends": "Bye."}, "so. Bye.\n", "Bye. so"),
        ({"case": "lower"}, "all small 1", "All small"),
        ({"case": "upper"}, "ALL GREAT", "ALL GREAt"),
        ({"json": True}, '```json\n{"a": [1]}\n```', "{a: 1}"),
        ({"json": True}, "[1, 2]", "[1, 2"),
        ({"commas": False}, "no such sign", "one, two"),
    ],
)
def test_an_instruction_is_followed_or_not(told, good, bad):
    assert share(good, told) == 1
    assert share(bad, told) == 0


def test_the_reward_is_the_share_of_what_is_followed_or_all_of_it():
    told = {"words": 2, "case": "lower", "commas": False, "json": None}
    assert share("Two words", told) == pytest.approx(2 / 3)
    assert share("Two words", told, all=True) == 0
    assert share("two words", told, all=True) == 1


@pytest.mark.parametrize("told", ["", "not json", "[]", "{}", '{"words": null}'])
def test_a_prompt_without_instructions_is_refused(told):
    with pytest.raises(CurateError, match="there are no instructions for this prompt"):
        share("", told)


def test_an_unknown_instruction_is_refused_with_the_nearest():
    with pytest.raises(CurateError, match="there is no instruction `sentence`") as error:
        share("", {"sentence": 3})
    assert error.value.hint == "did you mean `sentences`?"


@pytest.mark.parametrize(
    "told", [{"words": "three"}, {"words": {"max": 3}}, {"keywords": "sea"}, {"forbidden": "sea"}, {"case": "Title"}]
)
def test_an_instruction_with_something_else_is_refused(told):
    with pytest.raises(CurateError, match=f"the instruction `{next(iter(told))}` is not what it should be"):
        share("", told)


@given(strategies.text())
def test_every_instruction_takes_any_text(text):
    wanted = {
        **dict.fromkeys(("words", "sentences", "paragraphs", "characters", "bullets"), 1),
        "keywords": ["a"], "forbidden": ["b"], "starts": "", "ends": "", "case": "lower", "json": True, "commas": True,
    }  # fmt: skip
    assert wanted.keys() == INSTRUCTIONS.keys()
    assert 0 <= share(text, wanted) <= 1


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_what_only_python_calls_json_is_none(text):
    assert (share(text, {"json": True}), share(text, {"json": False})) == (0, 1)


@pytest.mark.parametrize("text", ["[" + "1" * 5000 + "]", "1e999", "```json\n\n[1]\n\n```", "```\n[1]```"])
def test_json_has_numbers_of_any_length_and_space_around(text):
    assert share(text, {"json": True}) == 1


@pytest.mark.parametrize("told", [{"words": 2.0}, {"words": {"least": 2.0, "most": None}}, {"keywords": {"one": 1.0}}])
def test_whole_numbers_may_be_written_as_floats(told):
    assert share("one two", told) == 1


@pytest.mark.parametrize(
    "told",
    [{"words": True}, {"words": 2.5}, {"words": {"least": "2"}}, {"words": {"most": False}}, {"keywords": {"a": "b"}},
     {"keywords": [1]}, {"forbidden": [1]}, {"json": "false"}, {"commas": 0}],
)  # fmt: skip
def test_settings_of_another_kind_are_refused_by_name(told):
    (name,) = told
    with pytest.raises(CurateError, match=f"the instruction `{name}` is not what it should be"):
        share("one two", told)


@given(strategies.text(alphabet=".!\"') \n-*a\t", max_size=12))
def test_sentences_and_bullets_are_those_that_plain_patterns_count(text):
    sentences = len(re.findall(r"[.!?]+[\"')\]]*(?=\s|$)", text))
    bullets = len(re.findall(r"^\s*[-*+]\s", text, re.MULTILINE))
    assert share(text, {"sentences": sentences, "bullets": bullets}) == 1
