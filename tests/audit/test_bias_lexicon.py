"""Lexicons: what stands in them, what is wrong with a bad one, and where their terms are found."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.audit.bias.lexicon import load_lexicon
from curate.audit.bias.scan import scanner
from curate.errors import ConfigurationErrors, CurateError

HEAD = "language: en\nsource: a test\nlicence: CC0\n"


@pytest.fixture
def lexicon(tmp_path):
    def load(body: str, head: str = HEAD):
        path = tmp_path / "mine.yaml"
        path.write_text(head + body, encoding="utf-8")
        return load_lexicon([path])

    return load


@pytest.fixture
def found(lexicon):
    """What is found of a lexicon's terms in a text: the words and the group."""

    def find(body: str, text: str):
        read = lexicon(body)
        hits = scanner(read.terms)(pa.array([text]))
        content = text.encode()
        return [
            (content[start:end].decode(), read.terms[term].group)
            for term, start, end in zip(hits.term, hits.start, hits.end, strict=True)
        ]

    return find


def test_the_default_lexicon_has_seven_axes_and_says_where_it_is_from():
    read = load_lexicon()
    assert list(read.axes) == ["gender", "orientation", "religion", "race", "nationality", "age", "disability"]
    assert {"language", "source", "licence", "terms", "file"} == set(read.files[0])
    assert ("gender", "women") in read.groups() and ("topics", "crime") in read.groups("attributes")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She met WOMEN; the woman\u2019s \u201cwomen\u201d\u2014women", ["WOMEN", "woman", "women", "women"]),
        ("womanly superwoman woman_x wom\u00e4n", ["woman"]),
        ("woman", ["woman"]),
        ("", []),
        ("\u00e9woman womane\u0301 \u3000woman\u3001", ["woman"]),
    ],
)
def test_words_are_found_whole_whatever_their_case_and_whatever_stands_beside_them(found, text, expected):
    assert [word for word, _ in found("groups: {gender: {women: [woman, women]}}", text)] == expected


def test_a_phrase_is_found_over_white_space_and_hyphens_and_not_over_a_full_stop(found):
    body = "groups: {race: {black: [african american, african]}}"
    assert found(body, "African-American, african \n american. African. American") == [
        ("African-American", "black"), ("african \n american", "black"), ("African", "black"),
    ]  # fmt: skip


def test_a_term_with_a_capital_needs_one_in_the_text(found):
    assert found("groups: {nation: {poles: [Polish]}}", "polish the Polish POLISH") == [
        ("Polish", "poles"), ("POLISH", "poles"),
    ]  # fmt: skip


def test_an_ambiguous_word_counts_only_before_a_noun_for_people(found):
    body = "people: [people, man]\ngroups: {race: {white: {terms: [caucasian], before_people: [white]}}}"
    assert found(body, "a white wall, white people, the White Man, caucasian") == [
        ("white people", "white"), ("White Man", "white"), ("caucasian", "white"),
    ]  # fmt: skip


def test_letters_beyond_ascii_are_found_in_either_case(found):
    body = "groups: {beruf: {aerzte: [\u00e4rztin]}}"
    assert [word for word, _ in found(body, "\u00e4rztin \u00c4rztin \u00c4RZTIN Arztin")] == [
        "\u00e4rztin", "\u00c4rztin", "\u00c4RZTIN",
    ]  # fmt: skip


def test_sentences_are_counted(lexicon):
    scan = scanner(lexicon("groups: {gender: {women: [she]}}").terms)
    hits = scan(pa.array(["She ran. Then she 3.5 fell!\n\nShe", None, "", "..."]))
    assert (hits.sentence.tolist(), hits.sentences.tolist()) == ([0, 1, 2], [3, 0, 0, 0])


@given(st.lists(st.text(alphabet="sheSHE ._-\n\u00e9\u2019\u4e2d\U0001f600", max_size=30), max_size=6))
def test_what_is_found_is_what_a_regular_expression_finds(texts):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.yaml"
        path.write_text(HEAD + "groups: {gender: {women: [she]}}", encoding="utf-8")
        hits = scanner(load_lexicon([path]).terms)(pa.array(texts, pa.string()))
    theirs = [
        (row, len(text[: match.start()].encode()))
        for row, text in enumerate(texts)
        for match in re.finditer(r"(?<![^\W_])she(?![^\W_])", text.replace("\U0001f600", "x"), re.IGNORECASE)
    ]
    if "\U0001f600" not in "".join(texts):
        assert list(zip(hits.row.tolist(), hits.start.tolist(), strict=True)) == theirs


def test_many_hits_do_not_run_out_of_room(found):
    assert len(found("groups: {gender: {men: [he]}}", "he " * 10_000)) == 10_000


# ---- bad lexicons


@pytest.mark.parametrize(
    ("body", "where", "problem"),
    [
        ("groups:\n  gender:\n    women: [she, 7]\n", "5:19", "a term is text, and `7` is none"),
        ("groups:\n  gender:\n    women: [she, 'a@b']\n", "6:18", "`a@b` is no term"),
        ("groups:\n  gender:\n    women: []\n", "6:5", "`women` has no terms"),
        ("groups:\n  gender: [she]\n", "5:3", "`gender` is a map"),
        ("groups:\n  gender:\n    women: {term: [she]}\n", "6:5", "`women` is a list of terms, or a map of"),
        ("groups:\n  race:\n    white: {before_people: [white]}\n", "6:29", "`before_people` needs the list `people`"),
        ("groups:\n  gender:\n    women: [\u5973\u4eba]\n", "6:13", "`\u5973\u4eba` is in a script without spaces"),
        ("groops: {}\ngroups: {a: {b: [c]}}\n", "4:1", "a lexicon has no key `groops`"),
        ("groups: {a: {b: [c]}}\nreference: {a: {b: 0.3}}\n", "5:13", "the shares of `a` are one for each group, and add up"),
        ("groups: {a: {b: [c]}}\ncomparisons:\n  - {axis: a, groups: [b, x], attributes: [y.z, y.z]}\n", "6:5",
         "there is no group `x` of `a`"),
        ("groups: {a: {b: [c]}}\ntemplates: [no place]\n", "5:13", "a template has `{term}` in it, once"),
        ("groups: {a: {b: [one two three four five six seven]}}\n", "4:18", "`one two three four five six seven` has more"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_with_its_place(lexicon, body, where, problem):
    with pytest.raises(CurateError) as caught:
        lexicon(body)
    first = caught.value.errors[0] if isinstance(caught.value, ConfigurationErrors) else caught.value
    assert first.problem.startswith(problem)
    assert first.where is not None
    if not problem.startswith("a term is text"):
        assert first.where.endswith(f"mine.yaml:{where}")


def test_all_bad_lines_are_named_at_once_and_a_lexicon_says_where_its_words_are_from(lexicon):
    with pytest.raises(ConfigurationErrors) as caught:
        lexicon("groups: {a: {b: [1, 2]}}\n", head="language: en\n")
    assert [error.problem.partition(",")[0] for error in caught.value.errors] == [
        "a lexicon needs `source`", "a lexicon needs `licence`", "a term is text", "a term is text",
    ]  # fmt: skip


def test_a_lexicon_that_is_not_there_or_no_yaml_is_told(tmp_path):
    with pytest.raises(CurateError, match=r"there is no file"):
        load_lexicon([tmp_path / "none.yaml"])
    (tmp_path / "bad.yaml").write_text("groups: [", encoding="utf-8")
    with pytest.raises(CurateError, match="this is not YAML"):
        load_lexicon([tmp_path / "bad.yaml"])


def test_an_axis_that_is_not_there_is_told():
    with pytest.raises(CurateError) as caught:
        load_lexicon().of_axis(["gendr"])
    assert caught.value.hint == "did you mean `gender`?"
