"""Long texts are cut at the end of a line, and nothing of them is lost."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from curate.reports.fold import fold


def test_a_text_of_many_lines_is_cut_at_the_end_of_one():
    text = "\n".join(f"line {index}" for index in range(40))
    shown, rest = fold([(text, False)], 14)
    assert shown == [("\n".join(f"line {index}" for index in range(14)), False)]
    assert rest == [("\n".join(f"line {index}" for index in range(14, 40)), False)]


def test_a_line_that_would_fill_the_box_is_cut_between_words():
    ((shown, _),), ((rest, _),) = fold([("word " * 400, False)], 14)
    assert shown.endswith("word ") and rest.startswith("word ") and len(shown) < 44 * 14


def test_a_text_that_is_a_little_longer_is_shown_whole():
    text = "\n".join("line" for _ in range(17))
    assert fold([(text, False)], 14) == ([(text, False)], [])


def test_marks_keep_their_places():
    text = [("a\n" * 10, False), ("b\n" * 10, True), ("c\n" * 10, False)]
    shown, rest = fold(text, 14)
    assert shown == [("a\n" * 10, False), ("b\nb\nb\nb", True)]
    assert rest == [("b\n" * 6, True), ("c\n" * 10, False)]


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.text(alphabet="ab \n"), st.booleans()), max_size=8), st.integers(2, 20))
def test_nothing_is_lost_but_the_line_feed_where_it_is_cut(segments, lines):
    shown, rest = fold(segments, lines)
    whole, first, second = ("".join(text for text, _ in part) for part in (segments, shown, rest))
    assert whole in (first + second, f"{first}\n{second}")


def test_one_very_long_word_is_folded_too():
    shown, rest = fold([("x" * 5000, False)], 14)
    assert len(shown[0][0]) == 44 * 14 and len(rest[0][0]) == 5000 - 44 * 14
