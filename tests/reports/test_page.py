"""The page of a report: in order for readers of screens and keyboards, whole on a phone."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from curate.reports import html
from tests.reports.page import Page, report


def test_the_same_version_gives_the_same_bytes(books, tmp_path):
    assert report(books, tmp_path, "one.html") == report(books, tmp_path, "two.html")


def test_headings_are_in_order_and_every_link_has_its_place(books, tmp_path):
    page = Page(report(books, tmp_path))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.of("a")} <= set(ids)
    labels = [name for _, attributes in page.elements for name in attributes.get("aria-labelledby", "").split()]
    assert set(labels) <= set(ids)


def test_every_table_has_a_caption_and_headers_with_a_scope(books, tmp_path):
    page = Page(report(books, tmp_path))
    assert len(page.of("caption")) == len(page.of("table")) > 5
    assert all(header.get("scope") in ("col", "row") for header in page.of("th"))


def test_what_scrolls_can_be_reached_by_keyboard_and_has_a_name(books, tmp_path):
    style = (Path(html.__file__).parent / "templates/style.css").read_text()
    scrolled = set(re.findall(r"^\.([\w-]+)[^{}]*\{[^{}]*overflow(?:-[xy])?: (?:auto|scroll)", style, re.MULTILINE))
    assert scrolled == {"contents", "scroll"}, "the contents hold links; all else that scrolls is a `.scroll`"
    regions = [one for _, one in Page(report(books, tmp_path)).elements if "scroll" in one.get("class", "").split()]
    assert len(regions) > 5
    assert all(one["tabindex"] == "0" and one["role"] == "region" and one["aria-label"] for one in regions)
    assert len({one["aria-label"] for one in regions}) == len(regions)


def test_every_table_that_may_be_wide_stands_in_a_region_that_scrolls(books, tmp_path):
    tables = re.findall(r"(<div class=\"scroll[^>]*>\s*)?<table([^>]*)>", report(books, tmp_path))
    alone = [attributes for region, attributes in tables if not region]
    assert all("settings" in attributes or "largest" in attributes for attributes in alone)


def test_every_drawing_scales_and_is_there_for_wide_pages_and_for_phones(books, tmp_path):
    drawings = [svg for svg in Page(report(books, tmp_path)).of("svg") if svg.get("role") == "img"]
    assert all(svg["viewbox"] and svg["width"] == "100%" for svg in drawings)
    kinds = [svg["class"] for svg in drawings]
    assert kinds == ["wide", "narrow"] * (len(kinds) // 2) and len(kinds) >= 6


def test_nothing_is_wider_than_a_phone_by_decree():
    style = (Path(html.__file__).parent / "templates/style.css").read_text()
    phone = re.sub(r"@media print \{.*", "", style, flags=re.DOTALL)
    for name, value, unit in re.findall(r"(?<![\w-])(min-width|width): ([\d.]+)(px|rem)", phone):
        assert float(value) * (16 if unit == "rem" else 1) <= 390, (name, value, unit)


def test_names_may_break_after_their_underscores_and_slashes_only(books, tmp_path):
    page = report(books, tmp_path)
    assert "near_<wbr>duplicate" in page


def test_the_contents_are_folded_where_they_stand_above_the_text(books, tmp_path):
    page = report(books, tmp_path)
    assert '<nav class="contents above" aria-label="Contents">\n<details><summary>Contents</summary>' in page


@pytest.mark.parametrize(("lines", "folded"), [(16, False), (40, True)])
def test_examples_of_many_lines_are_cut_at_a_line_and_unfold(make, tmp_path, lines, folded):
    text = "\n".join(f"line {index}" for index in range(lines))
    page = report(make(f"lines{lines}", {"in/a.jsonl": [text]}, ["{stage: gopher_quality, min_words: 1000}"]), tmp_path)
    assert ('line 13<details class="more"><summary>' in page) == folded
    assert folded or f"line {lines - 1}</blockquote>" in page
