"""Reports in a real browser, on a phone and on a desk: all of it is seen, all of it is reached, nothing runs.

Needs Chromium (`make services`); without it these tests are skipped, and fail where CI is `true`.
"""

from __future__ import annotations

import pytest

from curate.dataset.runs import records
from curate.reports.report import build_report, build_run_report, find_target
from tests.reports.page import LONG

pytestmark = pytest.mark.slow

PHONE, SMALL_PHONE, DESK = (390, 844), (320, 640), (1280, 900)
REGION = '[role="region"][tabindex="0"][aria-label]'
PREPARE = """
document.querySelectorAll("details").forEach(one => one.open = true);
var seen = [...document.querySelectorAll("body, body *")].filter(one => one.getClientRects().length
  && !one.matches(".skip, caption"));
var told = one => (one.className.baseVal ?? one.className) + " " + one.tagName + " " + one.textContent.slice(0, 40);
"""
BEYOND_THE_SCREEN = """
seen.filter(one => !one.parentElement.closest(REGION)).filter(one => {
  const box = one.getBoundingClientRect();
  return box.right > document.documentElement.clientWidth + 0.5 || box.left < -0.5;
}).map(told)
"""
CUT = """
seen.filter(one => getComputedStyle(one).overflow != "visible" && !(one instanceof SVGElement) && !one.matches(REGION))
  .filter(one => one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 1).map(told)
"""
TEXT_OUTSIDE_ITS_DRAWING = """
seen.filter(one => one.matches("svg text")).filter(one => {
  const [text, drawing] = [one, one.ownerSVGElement].map(part => part.getBoundingClientRect());
  return text.left < drawing.left - 0.5 || text.right > drawing.right + 0.5 || text.bottom > drawing.bottom + 0.5;
}).map(told)
"""
SMALL_TEXT = """
seen.filter(one => one.matches("svg text")).filter(one => {
  const drawing = one.ownerSVGElement;
  const scale = drawing.getBoundingClientRect().width / drawing.viewBox.baseVal.width;
  return parseFloat(getComputedStyle(one).fontSize) * scale < 9;
}).map(told)
"""
UNREACHABLE = """
seen.filter(one => one.matches(REGION)).filter(one => { one.focus(); return document.activeElement !== one; }).map(told)
"""


@pytest.fixture(scope="module")
def pages(make, tmp_path_factory):
    """A version with long names, long words and long settings; and a run that was trained on it."""
    word, folder = "antidisestablishmentarianism" * 6, tmp_path_factory.mktemp("pages")
    texts = [{"id": "id" * 40 + str(index), "text": f"{LONG} {index}\n" * (index % 30 + 1)} for index in range(60)]
    stages = [
        "{stage: gopher_quality, id: a_stage_of_many_words_that_has_no_end, min_words: 20, min_stop_words: 0}",
        "language", "text_statistics", "{stage: near_duplicates, similarity: 0.6}", "pii",
    ]  # fmt: skip
    files = {"a_source_of_many_words_that_has_no_end/a.jsonl": [*texts, word, f"{LONG} {word}", b'{"text": "half']}
    project = make("pages", files, stages)
    records = [{"step": step * 1000, "loss": 7e-5 / step, "tokens": step * 10**8} for step in range(1, 300)]
    project.train("a_run_of_many_words_that_has_no_end", records)
    run = find_target(project.store, "a_run_of_many_words_that_has_no_end")
    report = build_report(project.store, project.version, folder / "report.html")
    return [report, build_run_report(run, folder / "run.html")]


@pytest.mark.parametrize("screen", [PHONE, SMALL_PHONE, DESK], ids=["phone", "small phone", "desk"])
def test_everything_is_seen_whole_or_in_a_region_that_scrolls_and_can_be_reached(browser, pages, screen):
    for file in pages:
        tab = browser.open(file, width=screen[0], height=screen[1])
        tab.evaluate(PREPARE)
        for question in (BEYOND_THE_SCREEN, CUT, TEXT_OUTSIDE_ITS_DRAWING, SMALL_TEXT, UNREACHABLE):
            if question != SMALL_TEXT or screen != DESK:
                assert tab.evaluate(question.replace("REGION", repr(REGION))) == [], question
        assert tab.evaluate("document.documentElement.scrollWidth == document.documentElement.clientWidth")


@pytest.fixture(scope="module")
def hostile_pages(hostile, tmp_path_factory):
    """Pages of a corpus that attacks them."""
    folder = tmp_path_factory.mktemp("hostile")
    (trained,) = (one["name"] for one in records(hostile.store, "training"))
    run = find_target(hostile.store, trained)
    report = build_report(hostile.store, hostile.version, folder / "report.html")
    return [report, build_run_report(run, folder / "run.html")]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_is_asked_for_nothing_complains_and_no_dialog_opens(browser, pages, hostile_pages, dark):
    for file in (*pages, *hostile_pages):
        tab = browser.open(file, width=PHONE[0], height=PHONE[1], dark=dark)
        tab.evaluate("document.querySelectorAll('*').forEach(one => one.dispatchEvent(new MouseEvent('mouseover')))")
        assert (tab.requests(), tab.complaints(), tab.dialogs()) == ([file.as_uri()], [], [])


def test_a_page_that_does_any_of_this_is_seen(browser, tmp_path):
    file = tmp_path / "bad.html"
    file.write_text("<title>x</title><img src=x onerror=alert(2)><p style='color:#aaa'>pale</p><script>oh()</script>")
    tab = browser.open(file, width=DESK[0], height=DESK[1])
    assert tab.dialogs() == ["2"]
    assert len(tab.requests()) == 2 and any("oh is not defined" in one for one in tab.complaints())
    assert {one.partition(":")[0] for one in tab.serious()} >= {"image-alt", "color-contrast"}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious(browser, pages, hostile_pages, dark):
    """Of the rules of WCAG 2.1 A and AA, by axe-core."""
    for file in (*pages, *hostile_pages):
        tab = browser.open(file, width=DESK[0], height=DESK[1], dark=dark)
        tab.evaluate(PREPARE)
        assert tab.serious() == []


def test_the_contents_are_folded_on_a_phone_and_open_on_a_desk(browser, pages):
    shown = """[...document.querySelectorAll(".contents a")].filter(one => one.checkVisibility()).length"""
    narrow, wide = (browser.open(pages[0], width=width, height=height) for width, height in (PHONE, DESK))
    assert narrow.evaluate(shown) == 0 and wide.evaluate(shown) > 8
