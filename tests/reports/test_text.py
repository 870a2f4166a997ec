"""Corpus text in reports: nothing hidden, nothing that looks personal."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.reports.compare import compare, compare_lines
from curate.reports.text import BLOCK, excerpt, first_difference, mask, visible, without


@pytest.mark.parametrize(
    "personal",
    [
        "jane.doe@example.org",
        "jane+tag@localhost",
        "123456",
        "4111 1111 1111 1111",
        "+1 (212) 555-0199",
        "078-05-1120",
        "DE89 3704 0044 0532 0130 00",
        "192.168.10.12",
        "2001:db8:85a3::8a2e:370:7334",
    ],
)
def test_what_looks_personal_is_blocked_out(personal):
    masked = mask(f"before {personal} after")
    assert BLOCK in masked and not any(part in masked for part in ("doe", "555", "1111", "0199", "8a2e", "192", "1120"))


@pytest.mark.parametrize(
    "harmless",
    [
        "a < b @ c",
        "in 2024 there",
        "12,345 words",
        "see 3.1.2",
        "<EMAIL> and <PHONE>",
        "10:45",
        "2007-2010",
        "2001, 2002, 2005",
    ],
)
def test_what_does_not_look_personal_is_left(harmless):
    assert mask(harmless) == harmless


@pytest.mark.parametrize(
    "text", ["x" * 900_000, "1-" * 450_000, "ab:" * 300_000, "a@" * 450_000, "1" * 900_000, "1 a" * 300_000]
)
def test_masking_takes_no_longer_than_reading(text):
    """In proportion it takes a quarter of a second; by the square of the length it would run into the suite's limit."""
    assert len(mask(text)) <= len(text)


def test_secrets_are_blocked_out_longest_first():
    assert without("Ann Smith met Ann", ["Ann", "Ann Smith", ""]) == f"{BLOCK} met {BLOCK}"


@pytest.mark.parametrize(
    ("hidden", "named"),
    [
        ("\x00", "\u2400"),
        ("\r", "\u240d"),
        ("\x7f", "\u2421"),
        ("\u202e", "[U+202E]"),
        ("\u200b", "[U+200B]"),
        ("\ud800", "[U+D800]"),
    ],
)
def test_hidden_characters_are_named(hidden, named):
    assert visible(f"a{hidden}b") == f"a{named}b"


def test_line_feeds_tabs_and_joiners_stay():
    assert visible("a\n\tb\u200dc") == "a\n\tb\u200dc"


@settings(derandomize=True, deadline=None)
@given(st.text())
def test_visible_text_can_be_written_and_holds_no_control_characters(text):
    shown = visible(text)
    shown.encode()
    assert not any(ord(character) < 32 and character not in "\n\t" for character in shown)


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_the_first_difference_is_where_the_common_beginning_ends(left, right):
    place = first_difference(left, right)
    assert left[:place] == right[:place]
    assert place in (len(left), len(right)) or left[place] != right[place]


@settings(derandomize=True, deadline=None)
@given(st.text(), st.integers(0, 1000), st.integers(1, 300))
def test_an_excerpt_is_at_most_a_little_longer_than_asked(text, around, length):
    assert len(excerpt(text, around=around, length=length)) <= length + 2


def test_an_excerpt_shows_its_place():
    assert "needle" in excerpt("x" * 5000 + "needle" + "y" * 5000, around=5000)


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=50), st.text(max_size=50))
def test_compared_texts_are_whole(left, right):
    assert ["".join(text for text, _ in side) for side in compare(left, right)] == [left, right]


def test_only_the_words_that_differ_are_marked():
    assert compare("a small cat", "a big cat")[1] == [("a ", False), ("big", True), (" cat", False)]


def test_where_a_text_was_cut_is_no_difference():
    assert compare("one two thr\u2026", "one two\u2026") == (
        [("one two", False), (" thr\u2026", False)],
        [("one two", False), ("\u2026", False)],
    )


def test_lines_that_differ_are_compared_word_by_word_and_nothing_is_lost():
    left = "same\n" * 300 + "one word here\r\n" + "only left\n" + "last"
    right = "same\n" * 300 + "one other here\n" + "last"
    before, after = compare_lines(left, right)
    assert ("".join(text for text, _ in before), "".join(text for text, _ in after)) == (left, right)
    assert "".join(text for text, differs in before if differs).split() == ["word", "only", "left"]
    same = compare_lines("a b\nc\n", "a x\nc\n")
    assert same == ([("a ", False), ("b", True), ("\n", False), ("c\n", False)], [
        ("a ", False), ("x", True), ("\n", False), ("c\n", False)
    ])  # fmt: skip
    assert compare_lines("a\n" * 3000, "b") == ([("a\n" * 3000, True)], [("b", True)])
