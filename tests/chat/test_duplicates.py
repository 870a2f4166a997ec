"""Conversations and pairs that ask the same, whatever is answered."""

import pytest

from curate.dataset.why import why


def chat(identity, prompt, answer, score):
    turns = [{"role": "system", "content": identity}, {"role": "user", "content": prompt}]
    return {"id": identity, "messages": [*turns, {"role": "assistant", "content": answer}], "score": score}


LONG = "please tell me in a few plain words how the tide is made by the moon and why there are two of them in a day"
ROWS = [
    chat("a", LONG, "one", 1),
    chat("b", LONG, "two", 3),
    chat("c", LONG + " then", "three", 2),
    chat("d", "Another?", "x", 0),
]


@pytest.mark.parametrize(
    ("stage", "kept", "gone"),
    [
        ("exact_duplicates", {"b", "c", "d"}, {"a": "b"}),
        ("near_duplicates, similarity: 0.8", {"b", "d"}, {"a": "b", "c": "b"}),
    ],
)
def test_of_conversations_with_one_prompt_the_best_by_a_column_stays(rows, stage, kept, gone):
    rows.write(ROWS)
    rows.run("chat_format, form: openai, first_prompt: asked", f"{stage}, on: asked, keep: best, by: score")
    assert set(rows.rows()) == kept
    assert {one: why(rows.open(), one)["duplicate_of"] for one in gone} == gone


def test_pairs_are_compared_by_the_turns_of_their_prompt(rows):
    rows.write([
        {"id": "a", "prompt": "Why?", "chosen": "b", "rejected": "c", "score": 1},
        {"id": "b", "prompt": [{"role": "user", "content": "Why?"}], "chosen": "d", "rejected": "e", "score": 2},
        {"id": "c", "prompt": "Who?", "chosen": "b", "rejected": "c", "score": 3},
    ])  # fmt: skip
    rows.run("chat_format, form: preference", "exact_duplicates, on: prompt, keep: best, by: score")
    assert set(rows.rows()) == {"b", "c"}
