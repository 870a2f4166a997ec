"""Texts that look the same become the same."""

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.clean.unicode import Unicode


@pytest.mark.parametrize(
    ("text", "cleaned", "reason", "value"),
    [
        ("sch\u00c3\u00b6n\nsch\u00f6n", "sch\u00f6n\nsch\u00f6n", "mojibake", 1),
        ("\u00e2\u20ac\u0153quoted\u00e2\u20ac\u009d", "\u201cquoted\u201d", "mojibake", 1),
        (
            "\u0420\u045f\u0421\u0402\u0420\u0451\u0420\u0406\u0420\u00b5\u0421\u201a",
            "\u041f\u0440\u0438\u0432\u0435\u0442",
            "mojibake",
            1,
        ),
        ("a\r\nb\rc\u2028d\x0ce", "a\nb\nc\nd\ne", "line_ends", 4),
        ("a\x00b\x1b[31mc\x7f\td", "abc\td", "control_characters", 3),
        ("\ufeffa\u200bb\u00adc", "abc", "invisible_characters", 3),
        ("e\u0301t\u00e9", "\u00e9t\u00e9", "normal_form", 1),
        ("\u1112\u1161\u11ab", "\ud55c", "normal_form", 2),
        ("\u2126", "\u03a9", "normal_form", 1),
        ("e\u0301\r\n\u200b", "\u00e9\n", "line_ends+invisible_characters+normal_form", 3),
    ],
)
def test_an_edit_says_what_was_done_and_in_how_many_places(apply_stage, text, cleaned, reason, value):
    verdicts, _ = apply_stage(Unicode(), [text])
    assert (verdicts[0]["text"], verdicts[0]["reason"], verdicts[0]["value"]) == (cleaned, reason, value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain ASCII\n\twith a tab",
        "\u201cCurly\u201d quotes \u2013 dashes \u2026 and \u2019",
        "\u00ab\u00a0\u00c0 la plage, d\u00e9j\u00e0 vu\u00a0\u00bb",
        "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
        "\u4f60\u597d\uff0c\u4e16\u754c \uff21",
        "\ufb01ligature",
        "&amp; stays &lt;b&gt;",
    ],
)
def test_text_that_is_right_is_left_alone(apply_stage, text):
    assert apply_stage(Unicode(), [text]) == ({}, {})


def test_only_documents_with_something_to_do_are_named(apply_stage):
    verdicts, _ = apply_stage(Unicode(), ["a", "b\r\n", "c", "d\u200b"])
    assert {row: verdict["text"] for row, verdict in verdicts.items()} == {1: "b\n", 3: "d"}


@pytest.mark.parametrize("text", ["sch\u00c3\u00b6n", "a\r\nb", "a\x00b", "a\u200bb", "e\u0301"])
def test_every_edit_may_be_turned_off(apply_stage, text):
    off = Unicode(
        mojibake=False,
        line_ends=False,
        control_characters=False,
        invisible_characters=False,
        normal_form=None,
    )
    assert apply_stage(off, [text]) == ({}, {})


def test_quotes_are_straightened_when_asked(apply_stage):
    verdicts, _ = apply_stage(Unicode(straight_quotes=True), ["\u201cit\u2019s\u201d"])
    assert (verdicts[0]["text"], verdicts[0]["reason"]) == ('"it\'s"', "straight_quotes")


def test_nfkc_replaces_compatibility_characters_when_asked(apply_stage):
    verdicts, _ = apply_stage(Unicode(normal_form="NFKC"), ["\ufb01ne \uff21"])
    assert verdicts[0]["text"] == "fine A"


def test_in_real_sentences_only_those_that_were_mis_decoded_are_repaired(shared_data, apply_stage):
    files = sorted((shared_data / "lid_sentences").glob("??.txt"))
    lines = {path.stem: path.read_text("utf-8").split("\n")[:200] for path in files}
    repaired = {}
    for language, sentences in lines.items():
        verdicts, _ = apply_stage(Unicode(), sentences)
        repaired[language] = sum("mojibake" in verdict["reason"] for verdict in verdicts.values())
    assert {language: count for language, count in repaired.items() if count} == {
        "cs": 3, "fi": 3, "fr": 39, "ro": 14, "sv": 1
    }  # fmt: skip


HARD = st.text(
    st.one_of(
        st.sampled_from("\u00c3\u00c2\u00e2\u20ac\u2122\u00a9\u0153\u009d\u00a0\u00b6\u0420\u0421\u0406\u0432\u0402 aZ"),
        st.sampled_from("\r\n\x00\x1b[m\x85\u2028\u200b\ufeff\u00ad\u0301\u0327\u1161\u11a8\uac00\u1112\ufb01\u212b\u0958"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=30,
)  # fmt: skip


def cleaned(stage, texts):
    verdicts = stage.open()(pa.table({"text": pa.array(texts, pa.string())})).verdicts.to_pylist()
    return [*{**dict(enumerate(texts)), **{verdict["row"]: verdict["text"] for verdict in verdicts}}.values()]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(texts=st.lists(HARD, max_size=40), form=st.sampled_from(["NFC", "NFKC", None]))
def test_cleaning_twice_is_cleaning_once(texts, form):
    stage = Unicode(normal_form=form)
    once = cleaned(stage, texts)
    assert cleaned(stage, once) == once


@settings(max_examples=40, deadline=None, derandomize=True)
@given(texts=st.lists(HARD, max_size=40))
def test_cleaned_text_is_normal_and_free_of_what_was_removed(texts):
    for text in cleaned(Unicode(), texts):
        assert unicodedata.is_normalized("NFC", text)
        assert not set(text) & set("\r\x0b\x0c\x85\u2028\u2029\x00\x1b\x7f\u200b\ufeff\u00ad\u2060")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(texts=st.lists(HARD, max_size=40))
def test_the_fast_search_finds_all_that_ftfy_finds(texts):
    import pyarrow.compute as compute

    from curate.clean.mojibake import mojibake_pattern, mojibake_repair

    repair = mojibake_repair()
    found = compute.match_substring_regex(pa.array(texts, pa.string()), mojibake_pattern()).to_pylist()
    assert [text for text, seen in zip(texts, found, strict=True) if not seen and repair(text)[1]] == []


def test_a_document_is_edited_the_same_in_any_batch():
    texts = ["a", "e\u0301", "x\r", "sch\u00c3\u00b6n", "plain"] * 3
    stage = Unicode()
    assert cleaned(stage, texts) == [cleaned(stage, [text])[0] for text in texts]
