"""What is wrong with conversations, one thing at a time."""

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.chat.check import Chat
from curate.chat.measure import COUNTS, REFUSALS, counts, refuses

ROLES = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}


def turns(pattern):
    """`ua`: a user's turn and an answer; `A`: one that calls."""
    found = []
    for number, letter in enumerate(pattern):
        turn = {"role": ROLES.get(letter.lower(), letter), "content": f"turn {number}"}
        found.append({**turn, "content": None, "tool_calls": [call("f", {})]} if letter == "A" else turn)
    return found


def call(name, arguments, **more):
    return {**more, "type": "function", "function": {"name": name, "arguments": arguments}}


def judged(*conversations, tools=None, **settings):
    """(reason, value, threshold) of each conversation, None where it stays; and the features."""
    stage = Chat(**settings)
    table = pa.table({
        "messages": pa.array(list(map(_cell, conversations)), pa.string()),
        "tools": pa.array([tools and json.dumps(tools)] * len(conversations), pa.string()),
    })  # fmt: skip
    features = stage.open()(table)
    said = {one["row"]: (one["reason"], one["value"], one["threshold"]) for one in stage.decide(features).to_pylist()}
    return [said.get(row) for row in range(len(conversations))], features


def _cell(one):
    return one if one is None or isinstance(one, str) else json.dumps(one)


def reason(conversation, **more):
    found = judged(conversation, **more)[0][0]
    return found and found[0]


@pytest.mark.parametrize("pattern", ["ua", "sua", "uaua", "uAta", "uAtAta", "uAtta", "suA"])
def test_conversations_in_order_stay(pattern):
    found = turns(pattern)
    if pattern == "uAtta":
        found[1]["tool_calls"] *= 2
    assert reason(found) is None


@pytest.mark.parametrize(
    ("pattern", "wrong"),
    [
        ("au", 2),
        ("uua", 1),
        ("uaa", 1),
        ("usa", 2),
        ("uau", 1),
        ("uAua", 1),
        ("sa", 1),
        ("ssua", 1),
        ("uat", 2),
        ("uAt", 1),
    ],
)
def test_turns_out_of_order_are_counted(pattern, wrong):
    assert counts(turns(pattern))["misplaced_turns"] == wrong
    assert judged(turns(pattern))[0] == [("misplaced_turn", wrong, 0)]
    assert judged(turns(pattern), max_misplaced_turns=wrong, max_unmatched_calls=None)[0] == [None]


@pytest.mark.parametrize("value", [None, "Hello", "[]", "[1]", "{}"])
def test_what_is_no_list_of_turns_is_no_conversation(value):
    assert judged(value)[0] == [("not_a_conversation", 0, 1)]


def test_unknown_roles_empty_turns_and_missing_answers_are_reasons():
    assert reason([{"role": "narrator", "content": "x"}, *turns("ua")]) == "unknown_role"
    assert reason([{"role": "user", "content": " "}, *turns("a")]) == "empty_turn"
    assert reason(turns("u")) == "no_answer"
    assert judged(turns("ua"), min_turns=3)[0] == [("too_few_turns", 2, 3)]
    assert judged(turns("ua"), max_turns=1)[0] == [("too_many_turns", 2, 1)]


def called(arguments, name="f", result="t"):
    found = turns("uAta" if result else "uA")
    found[1]["tool_calls"] = [call(name, arguments)]
    return found


TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {
    "type": "object", "properties": {"x": {}, "y": {}}, "required": ["x"]}}}]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({"x": 1}, None), ('{"x": 1, "y": 2}', None), ("x=1", "bad_arguments"), ([1], "bad_arguments"), (None, "bad_arguments"),
        ({}, "wrong_arguments"), ({"x": 1, "z": 2}, "wrong_arguments"),
    ],
)  # fmt: skip
def test_arguments_are_objects_that_fit_the_schema_of_their_tool(arguments, wrong):
    assert reason(called(arguments), tools=TOOLS) == wrong


def test_calls_of_tools_that_are_not_listed_are_a_reason_only_where_tools_are_listed():
    assert reason(called({}, name="g"), tools=TOOLS) == "unknown_tool"
    assert reason(called({}, name="g")) is None


def test_results_are_matched_by_id_or_else_by_number():
    found = turns("uAtta")
    found[1]["tool_calls"] = [call("f", {}, id="1"), call("f", {}, id="2")]
    assert reason(found) is None
    found[2]["tool_call_id"], found[3]["tool_call_id"] = "2", "1"
    assert reason(found) is None
    found[3]["tool_call_id"] = "2"
    assert judged(found)[0] == [("unmatched_call", 2, 0)]
    assert counts(turns("uAa"))["unmatched_calls"] == 1
    assert counts(turns("uA"))["unmatched_calls"] == 0
    assert counts(turns("uata"))["unmatched_calls"] == 1


@given(
    st.sets(st.sampled_from("xyzw"), max_size=3),
    st.sets(st.sampled_from("xyzw"), max_size=3),
    st.sets(st.sampled_from("xyzw")),
)
def test_arguments_are_judged_as_json_schema_judges_them(required, more, arguments):
    from jsonschema import Draft202012Validator

    named = {name: {} for name in required | more}
    schema = {"type": "object", "properties": named, "required": sorted(required), "additionalProperties": False}
    tools = [{"function": {"name": "f", "parameters": schema}}]
    found = counts(called(dict.fromkeys(arguments, 1)), tools)["wrong_arguments"]
    assert found == (not Draft202012Validator(schema).is_valid(dict.fromkeys(arguments, 1)))


def test_an_answer_that_does_not_end_its_thinking_is_a_reason():
    said = "<think>hm</think> 4", "hm</think> 4", "<think>hm, well"
    found, features = judged(*([*turns("u"), {"role": "assistant", "content": one}] for one in said))
    assert found == [None, None, ("open_reasoning", 1, 0)]
    assert features.column("reasoning").to_pylist() == [1, 1, 1]


REFUSED = "I\u2019m sorry, but I can\u2019t help with that."


def test_refusals_are_counted_and_dropped_only_where_that_is_asked_for():
    refusing = [*turns("u"), {"role": "assistant", "content": REFUSED}]
    quoted = [*turns("u"), {"role": "assistant", "content": "Sure. " * 50 + REFUSED}]
    asked = [{"role": "user", "content": REFUSED}, *turns("a")]
    found, features = judged(refusing, quoted, asked)
    assert found == [None] * 3
    assert features.column("refusals").to_pylist() == [1, 0, 0]
    assert judged(refusing, max_refusals=0)[0] == [("refusal", 1, 0)]
    german = [*turns("u"), {"role": "assistant", "content": "Leider geht das nicht."}]
    assert judged(german, refusals=["leider"], max_refusals=0)[0] == [("refusal", 1, 0)]


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("Unfortunately, it rained all day.", False), ("She was an aide to the senator.", False),
        ("As an aide, she knew.", False), ("We are sorry, but in 1912 the ship sank.", False),
        ("Here is the code. It won't fail, and I will not change it.", False), ("The A380 was an aircraft.", False),
        ("Unfortunately, I cannot do that.", True), ("Hello! I won't.", True), ("Sorry, I can\u2019t help.", True),
        ("I'm very sorry, I cannot.", True), ("**As an AI** I have no body.", True), ("\u6211\u4e0d\u80fd\u5e2e\u4f60", True),
    ],
)  # fmt: skip
def test_a_refusal_begins_a_sentence_and_ends_a_word(said, refused):
    assert refuses({"role": "assistant", "content": said}, [*REFUSALS, "\u6211\u4e0d\u80fd"]) is refused


@pytest.mark.parametrize("calls", [5, "f", {"name": "f"}, [5], [{"function": {"name": ["f"]}}], [{"function": {}}]])
@pytest.mark.parametrize("tools", [None, [{"name": "f"}], [{"name": ["f"]}]])
def test_calls_that_are_none_are_a_reason_of_their_own(calls, tools):
    counted = counts([*turns("u"), {"role": "assistant", "content": "", "tool_calls": calls}], tools)
    assert counted["bad_calls"] == 1
    messages = [*turns("u"), {"role": "assistant", "content": "", "tool_calls": calls}]
    assert judged(messages)[0] == [("bad_call", 1, 0)]


def test_answers_in_another_language_than_the_question_are_a_share():
    english = "Could you please tell me how I get from the station to the old town on foot?"
    german = "Gehen Sie bitte aus dem Bahnhof heraus und dann immer geradeaus bis zur gro\u00dfen Kirche."
    code = "```python\nfor number in range(10): print(number)\n```"
    said = [
        [english, german],
        [english, english],
        [german, german + code],
        ["Why?", german],
        [english, english, english, german],
    ]
    found, features = judged(
        *([{"role": ROLES["ua"[n % 2]], "content": text} for n, text in enumerate(one)] for one in said),
        languages=True, max_other_language=0.4,
    )  # fmt: skip
    assert features.column("other_language").to_pylist() == [1.0, 0.0, 0.0, 0.0, 0.5]
    assert found == [("mixed_languages", 1.0, 0.4), None, None, None, ("mixed_languages", 0.5, 0.4)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"])
    folder = tmp_path_factory.mktemp("tokenizer")
    made.save(str(folder / "tokenizer.json"))
    return folder


def test_tokens_are_those_of_the_template(tokenizer):
    found, features = judged(turns("ua"), turns("uaua"), tokenizer=str(tokenizer), max_tokens=8)
    assert features.column("tokens").to_pylist() == [8, 16]  # a role, two words, an end
    assert found == [None, ("too_long", 16, 8)]


def test_a_template_beside_the_tokenizer_is_used_and_may_refuse(tokenizer, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes((tokenizer / "tokenizer.json").read_bytes())
    source = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ messages[0].content }}"
    (tmp_path / "chat_template.jinja").write_text(source)
    found, features = judged(turns("sua"), turns("ua"), tokenizer=str(tmp_path))
    assert found == [("template_refuses", 0, 1), None]
    assert features.column("tokens").to_pylist() == [None, 2]
    assert tmp_path / "chat_template.jinja" in Chat(tokenizer=str(tmp_path)).model_files()


@pytest.mark.parametrize("settings", [{"max_tokens": 5}, {"chat_template": "t.jinja"}, {"max_other_language": 0.5}])
def test_settings_that_need_others_are_refused_without_them(settings):
    with pytest.raises(ValidationError, match="need"):
        Chat(**settings)


def test_what_is_said_does_not_depend_on_batches():
    some = [turns(pattern) for pattern in ("ua", "au", "uAta", "u")] + [None]
    whole = judged(*some)[1]
    parts = pa.concat_tables([judged(one)[1] for one in some])
    assert whole.equals(parts)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "tool_calls", "function", "name", "arguments", "id"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["role", "content", "tool_calls", "tool_call_id"]), JSON),
        min_size=1,
        max_size=4,
    ),
    JSON,
)
def test_nothing_that_json_can_be_breaks_the_counting(messages, tools):
    found = counts(messages, tools)
    assert tuple(found) == COUNTS
    assert all(isinstance(value, int) and value >= 0 for value in found.values())
