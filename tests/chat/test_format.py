"""Conversations of any form become one form, and what does not fit is named."""

import json

import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.chat.format import ChatFormat


def converted(*rows, **settings):
    """What becomes of rows: the columns (parsed) by name, and (reason, detail) by row."""
    names = dict.fromkeys(name for row in rows for name in row)
    given = {name: pa.array([_cell(row.get(name)) for row in rows], pa.string()) for name in names}
    table = pa.table({"id": [f"r{n}" for n in range(len(rows))], "source_uri": ["x"] * len(rows), **given})
    effect = ChatFormat(**settings).open()(table)
    columns = {
        name: [value and json.loads(value) for value in column.to_pylist()] for name, column in effect.columns.items()
    }
    return columns, {one["row"]: (one["reason"], one["detail"]) for one in effect.verdicts.to_pylist()}


def _cell(value):
    return value if value is None or isinstance(value, str) else json.dumps(value)


def one(row, **settings):
    columns, misfits = converted(row, **settings)
    assert misfits == {}
    return columns["messages"][0]


USER, ASSISTANT = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, ASSISTANT]},
        {"messages": [{**USER, "tool_calls": None, "name": None}, ASSISTANT]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "2 + "}, {"type": "text", "text": "2?"}]},
                ASSISTANT,
            ]
        },
        {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]},
        {"conversations": [USER, ASSISTANT]},
        {"instruction": "2 + 2?", "input": "", "output": "4"},
        {"prompt": "2 + 2?", "completion": "4"},
        {"prompt": [USER], "completion": [ASSISTANT]},
    ],
    ids=["openai", "nulls", "parts", "sharegpt", "sharegpt_roles", "alpaca", "prompt_completion", "turns"],
)
def test_every_form_of_a_conversation_gives_the_same_messages(row):
    assert one(row) == [USER, ASSISTANT]


def test_the_input_of_alpaca_stands_below_its_instruction_and_history_before_it():
    row = {"instruction": "Add.", "input": "1 2", "output": "3", "system": "Be short.", "history": [["Hi", "Hello"]]}
    roles = [(turn["role"], turn["content"]) for turn in one(row)]
    assert roles == [
        ("system", "Be short."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Add.\n\n1 2"), ("assistant", "3"),
    ]  # fmt: skip


def test_a_column_system_begins_the_conversation_unless_it_has_a_system_turn():
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    assert one({"conversations": turns, "system": "S"})[0] == {"role": "system", "content": "S"}
    own = [{"from": "system", "value": "T"}, *turns]
    assert [turn["content"] for turn in one({"conversations": own, "system": "S"})] == ["T", "a", "b"]


CALL = {"type": "function", "function": {"name": "add", "arguments": {"x": 1, "y": None}}}


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "add", "arguments": '{"x":1,"y":null}'}}],
        },
        {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": '{"x": 1, "y": null}'}},
        {"from": "function_call", "value": '{"name": "add", "arguments": {"x": 1, "y": null}}'},
        {"from": "Function_Call", "value": '{"name": "add", "arguments": {"x": 1, "y": null}}'},
    ],
    ids=["objects", "texts", "function_call", "sharegpt", "sharegpt_in_capitals"],
)
def test_calls_of_every_form_have_their_arguments_as_objects_and_keep_nulls_that_were_written(turn):
    found = one({"messages": [USER, turn]})
    assert found[1] == {"role": "assistant", "content": None, "tool_calls": [CALL]}


def test_arguments_that_are_no_json_stay_as_they_are_for_the_stage_that_judges():
    turn = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add", "arguments": "{x: 1"}}]}
    assert one({"messages": [USER, turn]})[1]["tool_calls"][0]["function"]["arguments"] == "{x: 1"


def test_numbers_in_arguments_are_written_as_they_were():
    call = '{"function":{"name":"f","arguments":{"n":3.10}}}'
    text = '[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[' + call + "]}]"
    table = pa.table({"id": ["a"], "source_uri": ["x"], "messages": [text]})
    assert '{"n":3.10}' in ChatFormat().open()(table).columns["messages"][0].as_py()


def test_tools_are_functions_whether_they_were_wrapped_or_not():
    function = {"name": "add", "parameters": {"type": "object"}}
    for given in (
        {"tools": [{"type": "function", "function": function}]},
        {"tools": [function]},
        {"functions": [function]},
    ):
        columns, _ = converted({"messages": [USER, ASSISTANT], **given})
        assert columns["tools"] == [[{"type": "function", "function": function}]]


def test_further_members_of_a_turn_stay():
    turn = {**ASSISTANT, "reasoning_content": "easy", "weight": 0}
    assert one({"messages": [USER, turn]})[1] == turn


PAIR = {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [{"role": "assistant", "content": "5"}]}


@pytest.mark.parametrize(
    "row",
    [
        PAIR,
        {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"},
        {"chosen": [USER, ASSISTANT], "rejected": [USER, *PAIR["rejected"]]},
        {"prompt": "2 + 2?", "chosen": [USER, ASSISTANT], "rejected": [USER, *PAIR["rejected"]]},
        {"chosen": "\n\nHuman: 2 + 2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2 + 2?\n\nAssistant: 5"},
        {"input": {"messages": [USER]}, "preferred_output": [ASSISTANT], "non_preferred_output": PAIR["rejected"]},
    ],
    ids=["turns", "texts", "conversations", "ultrafeedback", "transcripts", "openai"],
)
def test_every_form_of_a_pair_gives_the_same_prompt_and_answers(row):
    columns, misfits = converted(row, form="preference")
    assert misfits == {}
    assert {name: values[0] for name, values in columns.items()} == {**PAIR, "tools": None}


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ({"x": "y"}, "unknown_form", None),
        ({"messages": "Hello"}, "not_messages", None),
        ({"messages": [USER, "Hello"]}, "not_messages", "turn 2 is no object"),
        ({"messages": []}, "no_turns", None),
        ({"messages": [{"role": "narrator", "content": "a"}]}, "unknown_role", "turn 1 has the role `narrator`"),
        ({"messages": [{"role": "my name is Jane Doe", "content": "a"}]}, "unknown_role", "turn 1 has the role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "content_not_text", "turn 1"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {}}]}]}, "bad_tool_call", "turn 2"),
        ({"messages": [USER, ASSISTANT], "tools": "none"}, "bad_tools", None),
        ({"instruction": " ", "input": "", "output": "x"}, "no_prompt", None),
        ({"prompt": "a", "completion": ""}, "no_answer", None),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "is_a_pair", None),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_quarantined_by_reason_without_a_word_of_its_text(row, reason, detail):
    columns, misfits = converted(row)
    assert misfits == {0: (reason, detail)}
    assert columns["messages"] == [None]
    assert reason in ChatFormat.reasons


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": [USER, ASSISTANT], "rejected": [{**USER, "content": "3 + 3?"}, ASSISTANT]}, "pairs_differ"),
        ({"chosen": "4", "rejected": "5"}, "no_prompt"),
        ({"prompt": "a", "chosen": "4"}, "no_answer"),
        ({"prompt": "a", "chosen": [USER], "rejected": [ASSISTANT]}, "no_answer"),
    ],
)
def test_a_pair_needs_one_prompt_and_two_answers(row, reason):
    assert converted(row, form="preference")[1][0][0] == reason


def test_columns_and_roles_of_other_names_can_be_named():
    row = {"chat": [{"role": "Kunde", "content": "2 + 2?"}, {"role": "Agent", "content": "4"}]}
    found = one(row, form="openai", names={"messages": "chat"}, roles={"Kunde": "user", "Agent": "assistant"})
    assert found == [USER, ASSISTANT]
    with pytest.raises(ValidationError, match="no form has a column `question`"):
        ChatFormat(names={"question": "prompt"})


def test_a_run_counts_what_did_not_fit_and_keeps_its_id(rows):
    rows.write(
        [{"id": "good", "messages": [USER, ASSISTANT]}, {"id": "bad", "messages": [{"role": "x", "content": "a"}]}]
    )
    result = rows.run("chat_format", 'unicode, on: "messages[].content"')
    assert result.documents == {"in": 2, "kept": 1, "dropped": 0, "quarantined": 1}
    assert rows.rows()["good"]["messages"] == [USER, ASSISTANT]
    from curate.dataset.why import why

    told = why(rows.open(), "bad")
    assert (told["verdict"], told["stage"], told["reason"]) == ("quarantined", "chat_format", "unknown_role")


def test_behind_a_named_form_its_columns_are_gone_and_selectors_reach_into_messages(rows):
    rows.write([{"id": "a", "instruction": "Add\u200b", "output": "3", "topic": "sums"}])
    rows.run("chat_format, form: alpaca", 'unicode, on: "messages[].content"')
    (row,) = rows.rows().values()
    assert {*row} == {"id", "source_uri", "messages", "tools", "topic"}
    assert row["messages"][0]["content"] == "Add"
    rows.run("chat_format, form: alpaca, keep: true")
    assert rows.rows()["a"]["instruction"] == "Add\u200b"


def test_a_shard_whose_rows_all_failed_has_columns_of_json_still(rows):
    rows.write([{"id": "a", "messages": "x"}, {"id": "b", "messages": [USER, ASSISTANT]}])
    rows.run("chat_format")
    assert rows.rows()["b"]["messages"] == [USER, ASSISTANT]


def test_supervised_fine_tuning_reads_what_every_form_became(rows):
    from tokenizers import Tokenizer, models, pre_tokenizers

    from curate.tokenize.chat import ChatTemplate
    from curate.tokenize.fields import parsed_list

    rows.write([{"id": "a", "conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]}])
    rows.run("chat_format, form: sharegpt")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<|user|>", "<|assistant|>", "<|end|>"])
    template = ChatTemplate(tokenizer, {})
    stored = rows.open().arrow().column("messages")[0].as_py()
    assert template.rendered(parsed_list(stored)).text == "<|user|>2 + 2?<|end|><|assistant|>4<|end|>"
