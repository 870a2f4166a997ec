"""Which texts of a document a stage is given, and how edits find back to their places."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.stages.contract import Effect, Mapper, Verdicts
from curate.stages.selectors import edit_columns, framed, joined, mapped, select

JSON = {b"curate.json": b"1"}


def table(*rows, plain=("id", "text", "prompt"), nested=("messages", "meta")):
    fields = [pa.field(name, pa.string()) for name in plain]
    fields += [pa.field(name, pa.string(), metadata=JSON) for name in nested]
    values = [
        {
            **{name: row.get(name) for name in plain},
            **{name: row.get(name) and json.dumps(row[name]) for name in nested},
        }
        for row in rows
    ]
    return pa.Table.from_pylist(values, schema=pa.schema(fields))


CHAT = {
    "id": "a",
    "prompt": "the prompt",
    "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello", "meta": {"x.y": ["deep"]}},
    ],
}


@pytest.mark.parametrize(
    ("on", "found"),
    [
        (["prompt"], [("prompt", "the prompt")]),
        (["messages[].content"], [("messages[0].content", "hi"), ("messages[1].content", "hello")]),
        (["messages[].role"], [("messages[0].role", "user"), ("messages[1].role", "assistant")]),
        (
            ["prompt", "messages[].content"],
            [("prompt", "the prompt"), ("messages[0].content", "hi"), ("messages[1].content", "hello")],
        ),
        (["text"], []),
        (["messages[].nothing"], []),
        (
            ["messages"],
            [("messages[0].role", "user"), ("messages[0].content", "hi"), ("messages[1].role", "assistant"),
             ("messages[1].content", "hello"), ('messages[1].meta["x.y"][0]', "deep")],
        ),
    ],
)  # fmt: skip
def test_a_selector_finds_the_strings_in_their_order(on, found):
    selected = select(table(CHAT), on)
    assert list(zip(selected.paths.to_pylist(), selected.texts.to_pylist(), strict=True)) == found


def test_a_star_is_every_string_but_the_id():
    paths = select(table(CHAT), ["*"]).paths.to_pylist()
    assert paths[0] == "prompt"
    assert 'messages[1].meta["x.y"][0]' in paths
    assert "id" not in paths


def test_a_column_that_is_not_there_is_an_error_with_the_nearest_name():
    with pytest.raises(CurateError, match="`on: promt`: column `promt` is not there") as caught:
        select(table(CHAT), ["promt"])
    assert caught.value.hint == "did you mean `prompt`?"


def test_a_selector_into_a_column_of_plain_strings_is_an_error():
    with pytest.raises(CurateError, match=r"`on: prompt\[\]\.content`: column `prompt` holds plain strings"):
        select(table(CHAT), ["prompt[].content"])


def test_what_measures_sees_all_that_is_selected_as_one_text():
    assert joined(table(CHAT, {"id": "b"}), ["prompt", "messages[].content"]).to_pylist() == [
        "the prompt\n\nhi\n\nhello",
        "",
    ]


WORDS = st.none() | st.text(alphabet="a\n\x01\x02\u2870 ", max_size=5)
PAIRS = st.fixed_dictionaries({"prompt": WORDS, "text": WORDS})


def places(row):
    """The strings of a document in the order in which they are asked for, with their places."""
    return [(name, row[name]) for name in ("text", "prompt") if row[name] is not None]


@settings(derandomize=True)
@given(PAIRS, PAIRS)
def test_documents_compare_equal_only_where_the_same_strings_stand_at_the_same_places(left, right):
    one, other = framed(table(left, right), ["text", "prompt"]).to_pylist()
    assert (one is None) == (not places(left))
    assert (one == other) == (places(left) == places(right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (["a", "b\n\nc"], ["a\n\nb", "c"]),
        (["a"], [None, "a"]),
        (["a", "b"], ["a \x01 \u286d\x01 b"]),
    ],
)
def test_borders_between_the_items_of_a_list_are_compared(left, right):
    rows = [{"messages": [{"content": text} for text in side]} for side in (left, right)]
    one, other = framed(table(*rows), ["messages[].content"]).to_pylist()
    assert one != other


def upper(batch):
    verdicts = Verdicts()
    for row, text in enumerate(batch.column("text").to_pylist()):
        if "drop" in text:
            verdicts.drop(row, "asked")
        elif text != text.upper():
            verdicts.edit(row, text.upper(), "shouted")
    return Effect(verdicts.table())


def applied(rows, on):
    """The documents after a mapper that writes in capitals, and what it said."""
    given_rows = table(*rows)
    effect = mapped(upper, on)(given_rows)
    edits = effect.verdicts.filter(pa.compute.equal(effect.verdicts["verdict"], "edited"))
    after = {name: column.to_pylist() for name, column in zip(given_rows.column_names, given_rows.columns, strict=True)}
    for name, (changed, values) in edit_columns(given_rows, edits).items():
        for row, value in zip(changed, values, strict=True):
            after[name][row] = value
    return after, effect.verdicts.to_pylist()


def test_a_mapper_edits_each_string_where_it_stands_and_nothing_else():
    after, said = applied([CHAT, {"id": "b", "prompt": "x"}], ["messages[].content", "prompt"])
    assert after["prompt"] == ["THE PROMPT", "X"]
    first = json.loads(after["messages"][0])
    assert [message["content"] for message in first] == ["HI", "HELLO"]
    assert (first[0]["role"], first[1]["meta"]) == ("user", {"x.y": ["deep"]})
    assert [(verdict["row"], verdict["path"]) for verdict in said] == [
        (0, "messages[0].content"), (0, "messages[1].content"), (0, "prompt"), (1, "prompt"),
    ]  # fmt: skip


def test_a_key_with_a_dot_is_edited_in_its_place():
    after, _ = applied([CHAT], ["messages"])
    assert json.loads(after["messages"][0])[1]["meta"] == {"x.y": ["DEEP"]}


def test_a_document_that_loses_one_of_its_strings_leaves_whole():
    rows = [
        {"id": "a", "messages": [{"content": "fine"}, {"content": "drop me"}]},
        {"id": "b", "messages": [{"content": "ok"}]},
    ]
    _, said = applied(rows, ["messages[].content"])
    assert [(verdict["row"], verdict["verdict"]) for verdict in said] == [(0, "dropped"), (1, "edited")]


def test_a_stage_that_attaches_columns_is_given_one_text():
    def attach(batch):
        return Effect(Verdicts().table(), {"n": pa.array(range(batch.num_rows))})

    assert mapped(attach, ["prompt"])(table(CHAT, {"id": "b"})).columns["n"].to_pylist() == [0, None]
    with pytest.raises(CurateError, match="attaches n, one value for each string"):
        mapped(attach, ["messages[].content"])(table(CHAT))


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=4), inside, max_size=3),
    max_leaves=8,
)


@settings(derandomize=True)
@given(JSONS)
def test_every_string_of_any_json_can_be_edited_in_its_place(value):
    def expected(one):
        if isinstance(one, str):
            return f"<{one}>"
        if isinstance(one, list):
            return [expected(item) for item in one]
        return {key: expected(item) for key, item in one.items()} if isinstance(one, dict) else one

    rows = table({"id": "a", "meta": {"it": value}})
    found = select(rows, ["meta"])
    edits = pa.table({
        "row": pa.array([0] * len(found.texts), pa.int64()),
        "path": found.paths,
        "text": pa.array([f"<{text}>" for text in found.texts.to_pylist()], pa.string()),
    })  # fmt: skip
    changed = edit_columns(rows, edits)
    after = json.loads(changed["meta"][1][0]) if changed else {"it": value}
    assert after == {"it": expected(value)}


def test_stages_take_a_selector_or_a_list_of_them():
    class Own(Mapper):
        pass

    assert Own(on="prompt").on == ("prompt",)
    assert Own(on=["prompt", "*"]).on == ("prompt", "*")
