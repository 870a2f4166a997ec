"""Charts: well-formed drawings that say what they show."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.reports.charts import Bar, Small, bars, histogram, lines, multiples, stacked
from curate.reports.features import feature_histogram
from curate.reports.measures import log_histogram
from curate.reports.numbers import compact, measure, nice_ticks, share, size

HOSTILE = '</svg><script>alert(1)</script>"\x00\u202e'
LEGEND = (("ghost", "read"), ("kept", "kept"))


def drawn(figure) -> ElementTree.Element:
    """The drawing for wide pages, parsed as XML; numbers in it and in the one for phones are numbers, and all text fits."""
    for svg in (figure.narrow, figure.wide):
        assert not re.search(r"nan|inf", re.sub(r"<(title|desc|text).*?</", "", str(svg)))
        root = ElementTree.fromstring(str(svg))
        width = float(root.get("viewBox").split()[2])
        assert root.get("width") == "100%" and width <= 760
        for text in root.iter("text"):
            left, right = span_of(text)
            assert left >= -0.5 and right <= width + 0.5, text.text
    return root


def span_of(text) -> tuple[float, float]:
    """Where a text begins and ends, with letters as wide as they usually are at most."""
    x, width = float(text.get("x")), len(text.text or "") * 7.6
    return {"start": (x, x + width), "middle": (x - width / 2, x + width / 2), "end": (x - width, x)}[
        text.get("text-anchor")
    ]


def test_bars_have_a_title_and_a_description():
    root = drawn(bars("key", "Title", "Says it.", {"en": 3.0}, header=("language", "documents")))
    assert [child.text for child in root[:2]] == ["Title", "Says it."]
    assert root.get("aria-labelledby") == "key-title key-description" and root.get("role") == "img"


def test_hostile_names_do_not_leave_their_place():
    root = drawn(bars("key", HOSTILE, HOSTILE, {HOSTILE: 1.0}, header=("a", "b")))
    assert {element.tag for element in root.iter()} == {"svg", "title", "desc", "text", "rect"}


def test_long_names_and_large_numbers_fit_wide_pages_and_phones():
    items = [Bar("a_name_that_is_as_long_as_nobody_would_choose", (("kept", 9e8),), "900,000,000  \u2212123,456,789")]
    figure = stacked("k", "t", "d", items, whole=1e9, header=(), rows=(), legend=())
    texts = [text.text for text in drawn(figure).iter("text")]
    assert texts == ["a_name_that_is_as_l\u2026", "900,000,000  \u2212123,456,789"]


def test_on_a_phone_names_stand_above_their_bars():
    figure = bars("key", "Title", "Says it.", {"a_long_name_of_a_stage": 3.0}, header=("stage", "documents"))
    root = ElementTree.fromstring(str(figure.narrow))
    assert [text.text for text in root.iter("text")] == ["a_long_name_of_a_stage", "3"]
    assert root.find("rect").get("width") == "340" and root.find("text").get("x") == "0"


def test_small_parts_can_be_seen():
    figure = stacked(
        "k", "t", "d", [Bar("a", (("kept", 1e6), ("dropped", 1)))], whole=1e6, header=(), rows=(), legend=()
    )
    widths = {rect.get("class"): float(rect.get("width")) for rect in drawn(figure).iter("rect")}
    assert widths["dropped"] == 1.5


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 10**7), max_size=20), st.lists(st.integers(0, 10**7), max_size=20))
def test_any_lengths_are_counted_and_drawn(read, kept):
    found = log_histogram({"read": np.array(read, dtype=np.int64), "kept": np.array(kept, dtype=np.int64)})
    assert sum(found.counts["read"]) == len(read) and sum(found.counts["kept"]) == len(kept)
    assert list(found.edges) == sorted(set(found.edges))
    figure = histogram("k", "t", "d", found.edges, found.counts, unit="characters", legend=LEGEND)
    drawn(figure)
    assert len(figure.rows) == len(found.edges) - 1


finite = st.floats(-1e9, 1e9)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.dictionaries(st.text(max_size=5), st.lists(st.tuples(st.integers(0, 10**6), finite), max_size=8), max_size=8))
def test_any_curves_are_drawn(series):
    drawn(lines("k", "t", "d", series, x_name="step", y_name="loss"))


values = st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=30)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(values, st.lists(st.floats(-1e6, 1e6), max_size=2))
def test_any_features_are_counted_and_drawn(found, limits):
    bins = feature_histogram(np.array(found), limits)
    counts = bins.counts["documents"]
    assert sum(counts) == len(found)
    small = Small("words", bins.edges, counts, limits, bins.logarithmic)
    drawn(multiples("k", "t", "d", [small] * 4, header=(), rows=(), legend=()))


def test_long_curves_are_thinned_and_end_where_they_end():
    points = [(step, 1.0 / (step + 1)) for step in range(100_000)]
    figure = lines("k", "t", "d", {"run": points}, x_name="step", y_name="loss")
    assert len(str(figure.wide)) < 10_000 and figure.rows[-1][0] == "99,999" and len(figure.rows) <= 31


@settings(derandomize=True, deadline=None)
@given(finite, finite)
def test_ticks_cover_the_range(low, high):
    low, high = sorted((low, high))
    ticks = nice_ticks(low, high)
    tolerance = 1e-6 * max(abs(low), abs(high), 1e-300)
    assert ticks[0] <= low + tolerance and ticks[-1] >= high - tolerance and 2 <= len(ticks) <= 12


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (share(1, 3), "33.3%"), (share(0, 3), "0%"), (share(3, 3), "100%"), (share(9999, 10000), ">99.9%"),
        (share(1, 10**6), "<0.1%"), (share(0, 0), "\u2013"), (size(999), "999 bytes"), (size(1_234_567), "1.2 MB"),
        (measure(None), "\u2013"), (measure(float("nan")), "\u2013"), (measure(0.12345), "0.1235"),
        (measure(12), "12"), (measure(5186.4), "5,186"), (measure(3e-5), "3.000e-05"), (compact(12_500), "12.5k"),
    ],
)  # fmt: skip
def test_numbers_read_well(shown, expected):
    assert shown == expected
