"""YAML from untrusted hands: plain values with their places, and everything else refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.config.yamlfile import MOST_BYTES, load_yaml
from curate.errors import CurateError


def load(text):
    return load_yaml(Path("p.yaml"), text=text)


def problem(text):
    with pytest.raises(CurateError) as caught:
        load(text)
    return caught.value.problem, caught.value.where


def test_values_are_plain():
    assert load("a: 1\nb: [x, 2.5, true, null, ~]\nc: {d: 'no'}").value == {
        "a": 1,
        "b": ["x", 2.5, True, None, None],
        "c": {"d": "no"},
    }


def test_norway_is_a_string_and_so_is_a_date():
    assert load("[no, yes, off, 2024-01-31, 012]").value == ["no", "yes", "off", "2024-01-31", 12]


def test_an_empty_file_is_nothing():
    assert load("").value is None


def test_every_value_has_its_place():
    located = load("a:\n  - x: 1\n    y: 2\n")
    assert located.where("a") == "p.yaml:1:1"
    assert located.where("a", 0, "y") == "p.yaml:3:5"


def test_what_is_not_there_has_the_place_of_what_is_around_it():
    assert load("a:\n  - x: 1\n").where("a", 0, "z", "w") == "p.yaml:2:5"


def test_an_alias_is_unfolded_into_a_value_of_its_own():
    located = load("a: &x {k: 1}\nb: *x\n")
    located.value["a"]["k"] = 2
    assert located.value["b"] == {"k": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1, 2\nb: 3", ("this is not YAML: expected ',' or ']', but got ':'", "p.yaml:2:2")),
        ("a: b: c", ("this is not YAML: mapping values are not allowed here", "p.yaml:1:5")),
        ("a: 1\na: 2", ("`a` is given twice", "p.yaml:2:1")),
        (
            "a: !!python/object/apply:os.system [ls]",
            ("the tag `!!python/object/apply:os.system` is refused", "p.yaml:1:4"),
        ),
        ("a: !secret x", ("the tag `!secret` is refused", "p.yaml:1:4")),
        ("a: !!binary aGVsbG8=", ("the tag `!!binary` is refused", "p.yaml:1:4")),
        ("<<: {a: 1}", ("only plain keys are allowed in a map", "p.yaml:1:1")),
        ("[1, 2]: x", ("only plain keys are allowed in a map", "p.yaml:1:1")),
        ("a: !!int word", ("`word` is not a int", "p.yaml:1:4")),
        ("a: 1\n---\nb: 2", ("this is not YAML: but found another document", "p.yaml:2:1")),
        ("a: \x00", ("this is not YAML: unacceptable character #x0000: special characters are not allowed", "p.yaml")),
    ],
)
def test_what_is_refused_is_named_with_its_place(text, expected):
    assert problem(text) == expected


def test_aliases_that_unfold_without_end_are_refused():
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    found, where = problem("\n".join(levels))
    assert found == "the file unfolds into more than 100000 values or 64 levels"
    assert where.startswith("p.yaml:")


def test_an_alias_to_itself_is_refused():
    assert "unfolds into more than" in problem("a: &a [*a]")[0]


def test_nesting_without_end_is_refused():
    assert problem("[" * 100 + "]" * 100)[0] == "the file unfolds into more than 100000 values or 64 levels"
    assert problem("[" * 100_000)[0].startswith("this is not YAML")


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(CurateError, match=r"there is no file `.*none.yaml`") as caught:
        load_yaml(tmp_path / "none.yaml")
    assert caught.value.hint == "`curate init DIR` makes a working project"


def test_a_folder_is_an_error_that_names_the_file_in_it(tmp_path):
    with pytest.raises(CurateError, match="is a folder") as caught:
        load_yaml(tmp_path)
    assert caught.value.hint == f"did you mean `{tmp_path}/pipeline.yaml`?"


def test_a_file_of_other_bytes_than_utf8_is_an_error(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(CurateError, match="cannot be read: 'utf-8' codec"):
        load_yaml(path)


def test_a_file_that_is_too_large_is_an_error(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(CurateError, match="has more than 8 MiB"):
        load_yaml(path)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"# \n\t1.%@`,?\x00\ud7ff", max_size=60))
def test_any_text_is_read_or_refused_in_the_users_words(text):
    try:
        load(text)
    except CurateError as error:
        assert "\n" not in error.problem
