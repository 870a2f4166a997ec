"""JSON text that is read and written again stays what it was."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.jsontext import Written, dumps, holds, loads, loads_as_written


def members(parts):
    return "{" + ",".join(f'"k{number}":{part}' for number, part in enumerate(parts)) + "}"


NUMBERS = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][-+]?[0-9]{1,3})?", fullmatch=True),
).map(str)
VALUES = st.recursive(
    NUMBERS | st.text(st.characters(codec="utf-8"), max_size=9).map(lambda text: json.dumps(text, ensure_ascii=False)),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda parts: f"[{','.join(parts)}]") | st.lists(inner, max_size=4).map(members)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(text=VALUES)
def test_compact_json_comes_back_as_it_was(text):
    assert dumps(loads(text)) == dumps(loads(text.encode())) == dumps(loads_as_written(text))
    assert json.loads(dumps(loads(text)), parse_int=str, parse_float=str) == json.loads(
        text, parse_int=str, parse_float=str
    )


@pytest.mark.parametrize("number", ["3.10", "-0", "1e5", "123456789012345678901", "1e999", "1" * 5000, "-1.0E+2"])
def test_a_number_is_written_as_it_was_read(number):
    text = f'{{"edit":"me","n":[{number}]}}'
    value = loads(text)
    value["edit"] = "done"
    assert dumps(value) == text.replace("me", "done")


def test_white_space_is_all_that_goes():
    assert dumps(loads('{ "a" : [ 1.50 , -0 , 0 ] }')) == '{"a":[1.50,-0,0]}'


def test_a_written_float_is_a_float():
    assert loads("[3.10]")[0] + 1 == 4.1


@pytest.mark.parametrize("text", ["{oops", "", "[1,]", "[" * 300 + "]" * 300, "[" * 99999])
def test_what_is_not_json_or_too_deep_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        loads(text)


@pytest.mark.parametrize(
    ("literal", "expected"),
    [("0.1", True), ("0.10000000000000001", True), ("3.10", True), ("0.12345678901234567891", False), ("1e999", False)],
)
def test_a_double_holds_what_it_gives_back_with_as_many_digits(literal, expected):
    assert holds(Written(literal)) is expected
