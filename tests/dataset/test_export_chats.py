"""Conversations in the forms of ShareGPT and Alpaca; what a form does not hold is refused with its number."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from curate.dataset.export import export
from curate.errors import CurateError
from tests.dataset.exported import make_dataset, read_lines

SCHEMA = pa.schema([("id", pa.string()), pa.field("messages", pa.string(), metadata={b"curate.json": b"1"})])
ONE = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello \U0001f600"}]
WITH_SYSTEM = [{"role": "system", "content": "Be kind"}, *ONE]
LONG = [*ONE, *ONE]
TOOL = [{"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}]


def version(root, *chats):
    rows = [{"id": f"d{number}", "messages": json.dumps(chat)} for number, chat in enumerate(chats)]
    return make_dataset(root, {"train": rows}, SCHEMA)


def test_sharegpt_names_the_speakers_and_keeps_other_columns(tmp_path):
    export(version(tmp_path, WITH_SYSTEM, LONG), "sharegpt", tmp_path / "out")
    said = [("human", "Hi"), ("gpt", "Hello \U0001f600")]
    assert read_lines((tmp_path / "out/train.jsonl").read_bytes()) == [
        {"conversations": [{"from": who, "value": value} for who, value in turns], "id": f"d{number}"}
        for number, turns in enumerate([[("system", "Be kind"), *said], [*said, *said]])
    ]


def test_alpaca_is_a_question_and_its_answer(tmp_path):
    export(version(tmp_path, ONE, WITH_SYSTEM), "alpaca", tmp_path / "out.jsonl")
    plain = {"instruction": "Hi", "input": "", "output": "Hello \U0001f600"}
    assert read_lines((tmp_path / "out.jsonl").read_bytes()) == [
        {**plain, "id": "d0"}, {**plain, "system": "Be kind", "id": "d1"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "chats", "problem"),
    [
        ("alpaca", [ONE, LONG, LONG], "2 of 3 conversations do not fit `alpaca`, the first of them `d1`"),
        ("alpaca", [[]], "1 of 1 conversations do not fit `alpaca`"),
        ("sharegpt", [TOOL, ONE], "1 of 2 conversations do not fit `sharegpt`, the first of them `d0`"),
        ("sharegpt", [[{"role": "narrator", "content": "x"}]], "1 of 1 conversations do not fit `sharegpt`"),
    ],
)
def test_what_a_form_does_not_hold_is_refused_and_nothing_is_written(tmp_path, form, chats, problem):
    with pytest.raises(CurateError, match=problem):
        export(version(tmp_path, *chats), form, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_version_without_conversations_is_told(tmp_path):
    with pytest.raises(CurateError, match="`alpaca` is made of the column `messages`"):
        export(version(tmp_path, ONE), "alpaca", tmp_path / "out", columns=["id"])


@pytest.mark.parametrize(("form", "own"), [("sharegpt", "conversations"), ("alpaca", "output"), ("alpaca", "system")])
def test_what_a_conversation_was_made_of_is_not_published_in_its_place(tmp_path, form, own):
    schema = SCHEMA.append(pa.field(own, pa.string()))
    row = {"id": "a", "messages": json.dumps(ONE), own: "before the edit"}
    export(make_dataset(tmp_path, {"train": [row]}, schema), form, tmp_path / "out.jsonl")
    said = (tmp_path / "out.jsonl").read_text()
    assert "before the edit" not in said and "Hello" in said


def test_a_turn_that_is_not_to_be_learnt_from_is_refused(tmp_path):
    chat = [ONE[0], {**ONE[1], "weight": 0}]
    with pytest.raises(CurateError, match="1 of 1 conversations do not fit `sharegpt`"):
        export(version(tmp_path, chat), "sharegpt", tmp_path / "out")
