"""The pages in a real browser: what a click shows, a slider counts, and nothing else happens."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from curate.browse.whatif import WhatIf
from curate.dataset.reader import open_dataset
from curate.dataset.why import why
from tests.browse.conftest import opened, serving, version_of

pytestmark = pytest.mark.slow
PHONE, SMALL_PHONE, DESK = (390, 844), (320, 640), (1280, 900)
WITHOUT_SCRIPT = "Emulation.setScriptExecutionDisabled"


@pytest.fixture(scope="module")
def server(books_once):
    with serving(books_once.store) as running:
        yield running


@pytest.fixture(scope="module")
def here(server, browser):
    """The address of the server, of which the browser has the cookie."""
    browser.open(server.url, width=DESK[0], height=DESK[1])
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def page_of(books_once, here):
    return f"{here}/v/{quote(version_of(books_once.store))}"


def at(browser, url, size=DESK, **more):
    return browser.open(url, width=size[0], height=size[1], **more)


def click(tab, selector):
    """Click on a link, and wait for the page behind it."""
    tab.browser.events.clear()
    box = tab.evaluate(
        f"(() => {{ const one = document.querySelector({json.dumps(selector)}); one.scrollIntoView();"
        " const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2] })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        where = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
        tab.browser.call("Input.dispatchMouseEvent", tab.session, type=kind, **where)
    tab.browser.wait_for("Page.loadEventFired", tab.session)


def text(tab, selector):
    return tab.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")


def test_a_bar_leads_to_the_dropped_documents_and_those_to_value_and_threshold(browser, page_of, books_once):
    tab = at(browser, page_of)
    click(tab, 'svg a[href*="is.verdict=dropped"][href*="quality"] rect')
    assert "is.stage quality" in tab.evaluate("document.body.innerText").replace("\u00d7", "")
    click(tab, ".documents .origin a")
    told = why(open_dataset("books", books_once.store), text(tab, "h1"))
    assert (told["stage"], told["verdict"]) == ("quality", "dropped")
    assert (float(text(tab, "#value")), float(text(tab, "#threshold"))) == (told["value"], told["threshold"])


def test_a_slider_counts_as_it_is_drawn_and_a_permalink_shows_the_same(browser, here, page_of, books_once):
    _, columns = opened(books_once)
    expected, _, _ = WhatIf(columns).tell({"quality": {"min_words": 8}})
    tab = at(browser, f"{page_of}/what-if")
    assert text(tab, "#now") == str(expected["documents"]["before"])
    move = """(() => { const one = document.querySelector("input[type=range]"); window.scrollTo(0, 60); one.focus();
      one.value = JSON.parse(one.dataset.steps).indexOf(8); one.dispatchEvent(new Event("input"));
      one.dispatchEvent(new Event("change")) })()"""
    tab.evaluate(move)
    tab.when("location.search && document.getElementById('what-if').dataset.counted")
    assert tab.evaluate("location.search") == "?set.quality.min_words=8"
    assert tab.evaluate("[Math.abs(window.scrollY - 60) < 3, document.activeElement.type]") == [True, "range"]
    shown = {name: int(text(tab, f"#{name}")) for name in ("before", "now", "unknown")}
    assert shown.items() <= expected["documents"].items() and shown["now"] < shown["before"]
    assert text(tab, "#command code") == "curate run pipeline.yaml --set quality.min_words=8"
    other = at(browser, f"{page_of}/what-if?set.quality.min_words=8")
    assert {name: int(text(other, f"#{name}")) for name in shown} == shown
    assert tab.complaints() == other.complaints() == []


def test_a_masked_text_is_shown_where_one_asks(browser, page_of):
    tab = at(browser, f"{page_of}/search?q=contact")
    click(tab, ".documents .origin a")
    assert "ann@example.org" not in tab.evaluate("document.documentElement.outerHTML")
    tab.evaluate("document.querySelector('form.reveal button').click()")
    assert tab.when("document.querySelector('mark.personal') && document.querySelector('mark.personal').innerText") == (
        "ann@example.org"
    )


def all_pages(page_of, here):
    ends = (
        "",
        "/documents?range=length",
        "/search?q=words",
        "/search?q=w.rds&mode=regex",
        "/what-if",
        "/d/0-0",
        "/d/0-2",
    )
    return [f"{here}/", f"{here}/runs", f"{here}/nothing", *(page_of + end for end in ends)]


@pytest.mark.parametrize(
    ("size", "dark"), [(DESK, False), (SMALL_PHONE, True)], ids=["desk", "small phone in the dark"]
)
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_screen(browser, here, page_of, size, dark):
    for url in all_pages(page_of, here):
        tab = at(browser, url, size, dark=dark)
        assert tab.serious() == [], url
        assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), url


def test_hostile_text_runs_nothing_and_asks_nobody(browser, hostile):
    _, columns = opened(hostile)
    with serving(hostile.store) as server:
        at(browser, server.url)
        here = f"http://127.0.0.1:{server.port}"
        page_of = f"{here}/v/{quote(version_of(hostile.store))}"
        urls = [
            page_of,
            f"{page_of}/documents",
            f"{page_of}/search?q=text",
            f"{page_of}/search?q=.&mode=regex",
            f"{here}/runs",
            f"{here}/",
        ]
        urls += [f"{page_of}/d/{columns.place(row)}" for row in range(columns.rows)]
        for url in urls:
            tab = at(browser, url)
            hover = "document.querySelectorAll('*').forEach(one => one.dispatchEvent(new MouseEvent('mouseover')))"
            tab.evaluate(hover)
            assert (tab.dialogs(), tab.complaints()) == ([], []), url
            assert all(one.startswith((f"{here}/", "data:")) for one in tab.requests()), url
            assert tab.evaluate("document.scripts.length") == 1


def test_without_scripts_the_same_is_reached(browser, here, page_of):
    tab = at(browser, page_of)
    browser.call(WITHOUT_SCRIPT, tab.session, value=True)
    tab.go(f"{page_of}/what-if?set.quality.min_words=8")
    assert tab.evaluate("document.querySelectorAll('input[type=range]:not([hidden])').length") == 0
    assert int(text(tab, "#now")) < int(text(tab, "#before"))
    tab.go(page_of)
    click(tab, 'td a[href*="is.stage"]')
    click(tab, ".documents .origin a")
    assert text(tab, "#history tbody tr")


def test_keys_go_through_documents_and_to_the_search(browser, page_of):
    tab = at(browser, f"{page_of}/d/0-0")

    def press(key):
        browser.call("Input.dispatchKeyEvent", tab.session, type="keyDown", key=key, text=key)

    browser.events.clear()
    press("j")
    browser.wait_for("Page.loadEventFired", tab.session)
    assert tab.evaluate("location.pathname").endswith("/d/0-1")
    tab.go(f"{page_of}/documents")
    press("/")
    assert tab.evaluate("document.activeElement.id") == "q"
