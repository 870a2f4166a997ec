"""What can be put right in one way only is, and is recorded."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.chat.measure import counts
from curate.chat.repair import repaired

U, A, S = ({"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "r"), ("system", "s")))
EMPTY = {"role": "assistant", "content": " "}


@pytest.mark.parametrize(
    ("before", "after", "done"),
    [
        ([U, A], [U, A], {}),
        ([{**U, "role": "Human"}, {**A, "role": "gpt"}], [U, A], {"role": 2}),
        ([{**U, "content": [{"type": "text", "text": "q"}]}, A], [U, A], {"parts": 1}),
        ([{**S, "content": ""}, U, A], [U, A], {"empty_turn": 1}),
        ([U, A, {**U, "content": ""}], [U, A], {"empty_turn": 1}),
        ([U, U, A, A], [U, A], {"repeated_turn": 2}),
        ([S, {**S, "content": "t"}, U, A], [{**S, "content": "s\n\nt"}, U, A], {"joined_turns": 1}),
        ([U, {**U, "content": "p"}, A], [{**U, "content": "q\n\np"}, A], {"joined_turns": 1}),
        ([U, A, {**U, "content": "p"}], [U, A], {"unanswered_turn": 1}),
        ([U, A, U, EMPTY], [U, A], {"empty_turn": 1, "unanswered_turn": 1}),
        ([U, A, {**A, "content": "x"}], [U, A, {**A, "content": "x"}], {}),
        ([U], [U], {}),
        ([EMPTY], [EMPTY], {}),
        ([U, EMPTY, U, A], [U, EMPTY, U, A], {}),
        *(
            ([U, A, U, {**EMPTY, name: value}], [U, A, U, {**EMPTY, name: value}], {})
            for name, value in (("refusal", "no"), ("function_call", {"name": "f"}), ("reasoning_content", "it is"))
        ),
        ([U, A, {**EMPTY, "refusal": None, "tool_calls": []}], [U, A], {"empty_turn": 1}),
        ([U, {"role": "Function_Call", "content": "{}"}], [U, {"role": "Function_Call", "content": "{}"}], {}),
    ],
)  # fmt: skip
def test_only_what_has_one_remedy_is_repaired(before, after, done):
    found, counted = repaired(before)
    assert (found, dict(counted)) == (after, done)


def test_arguments_that_are_the_text_of_an_object_become_it_and_others_stay():
    def turn(arguments):
        return {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "f", "arguments": arguments}}],
        }

    for given_, wanted in (
        ('{"x": 1}', {"x": 1}),
        ("", {}),
        (None, {}),
        ("{x", "{x"),
        ("[1]", "[1]"),
        ({"x": 1}, {"x": 1}),
    ):
        found, done = repaired([U, turn(given_)])
        assert found[1] == turn(wanted)
        assert dict(done) == ({"arguments": 1} if given_ != wanted else {})


TURNS = st.lists(
    st.fixed_dictionaries({
        "role": st.sampled_from(["system", "user", "assistant", "tool", "human", "GPT", "narrator"]),
        "content": st.sampled_from(["", " ", "q", "r", None]),
    }),
    min_size=1, max_size=7,
)  # fmt: skip


@given(TURNS)
def test_what_was_repaired_is_not_repaired_again_and_is_never_worse(messages):
    before = json.dumps(messages)
    found, done = repaired(messages)
    assert json.dumps(messages) == before
    assert repaired(found) == (found, {})
    assert bool(done) == (found != messages)
    worse = {name for name in ("unknown_roles", "empty_turns") if counts(found)[name] > counts(messages)[name]}
    assert not worse


def test_a_run_records_repairs_as_edits_and_judges_what_they_left(rows):
    from curate.dataset.why import why

    rows.write([
        {"id": "good", "messages": [U, A]},
        {"id": "mended", "messages": [{**U, "role": "human"}, A, {**U, "content": "and?"}]},
        {"id": "lost", "messages": [U, EMPTY, U, A]},
    ])  # fmt: skip
    result = rows.run("chat_repair", "chat", "split")
    assert result.documents == {"in": 3, "kept": 2, "dropped": 1, "quarantined": 0}
    assert rows.rows()["mended"]["messages"] == [U, A]
    (edit,) = why(rows.open(), "mended")["edits"]
    assert (edit["stage"], edit["reason"], edit["value"], edit["path"]) == (
        "chat_repair",
        "role+unanswered_turn",
        2,
        "messages",
    )
    told = why(rows.open(), "lost")
    assert (told["stage"], told["reason"], told["value"], told["threshold"]) == ("chat", "empty_turn", 1, 0)


def test_another_threshold_measures_nothing_again_and_is_told_without_a_run(rows):
    from curate.config.pipeline import load_pipeline
    from curate.pipeline.what_if import what_if

    rows.write([{"id": f"d{n}", "messages": [U, A] * n} for n in range(1, 5)])
    assert rows.run("chat, max_turns: 6").documents["kept"] == 3
    told = what_if(rows.open(), load_pipeline(rows.root / "p.yaml", ["chat.max_turns=2"]))
    assert told["documents"]["now"]["documents"] == 1
    assert told["examples"][0]["text"].startswith("user q assistant r")
    changed = rows.run("chat, max_turns: 2")
    assert changed.documents["kept"] == 1
    (chat,) = [row for row in changed.stages if row["id"] == "chat"]
    assert chat["seconds"] == 0
