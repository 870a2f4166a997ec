"""A person at Label Studio, from end to end: log in, change what a model suggested by a click, submit, and pull it."""

from __future__ import annotations

import json

import pytest

from curate.labeling.log import value_of
from tests.reports.conftest import browser  # noqa: F401

pytestmark = pytest.mark.slow

LOGIN = """
(() => {
  document.querySelector('input[name=email]').value = %s;
  document.querySelector('input[name=password]').value = %s;
  document.querySelector('button[type=submit]').click();
})()"""
CHOSEN = "document.querySelector('input[type=radio]:checked, .ant-radio-checked')"
BUTTON = "[...document.querySelectorAll('button')].find(one => /^%s/.test(one.textContent.trim()) && !one.disabled)"
DONE = "/No More Tasks/.test(document.body.innerText)"
CHOICE = "[...document.querySelectorAll('label')].find(one => one.textContent.trim().startsWith(%s))"


@pytest.fixture(scope="module")
def tab(browser, studio):  # noqa: F811
    """A tab where the first person is logged in."""
    opened = browser.open(f"{studio.url}/user/login/", width=1280, height=900)
    opened.browser.events.clear()
    opened.evaluate(LOGIN % (json.dumps(studio.email), json.dumps(studio.password)))
    opened.browser.wait_for("Page.loadEventFired", opened.session)
    return opened


def test_a_suggestion_that_is_changed_by_a_click_comes_back_with_its_origin(world, tab):
    odd = '$5 <off> & "x"'
    one = world(labels=["ham", odd], documents={"d0": {"text": "a\r\n<b>text</b> $text"}})
    one.push(one.suggest({"d0": "ham"}))
    tab.go(f"{one.client.url}/projects/{one.number}/data?labeling=1")
    assert tab.when(f"!!{CHOSEN} && document.body.textContent.includes('<b>text</b> $text')")
    tab.evaluate(f"{CHOICE % json.dumps('$')}.click()")
    tab.when(f"!!{BUTTON % 'Submit'}")
    tab.evaluate(f"{BUTTON % 'Submit'}.click()")
    tab.when(DONE)
    [answer] = one.pull().answers
    assert value_of(answer) == odd
    assert (answer.origin, answer.suggested, answer.model) == ("prediction-changed", '"ham"', "model-1")
    assert answer.annotator == "admin@curate.local" and answer.seconds > 0


TEXT = (
    "a \U0001f600 b\r\nline2 <b>bold</b> \u4f60\u597d\r\n\r\n  two spaces \U0001f468\u200d\U0001f469 END\rTARGET rest"
)


def test_spans_stand_where_they_were_suggested(world, tab):
    words = ["b", "line2", "<b>bold</b>", "\u4f60\u597d", "spaces \U0001f468\u200d\U0001f469 END", "TARGET"]
    starts = [TEXT.index(word, 2) for word in words]
    spans = [
        {"start": start, "end": start + len(word), "label": "name"} for start, word in zip(starts, words, strict=True)
    ]
    one = world("spans", documents={"d0": {"text": TEXT}})
    one.push(one.suggest({"d0": spans}))
    tab.go(f"{one.client.url}/projects/{one.number}/data?labeling=1")
    marked = "[...document.querySelectorAll('.htx-highlight')].map(one => one.textContent)"
    found = tab.when(f"{marked}.length >= {len(words)} && {marked}")
    assert found == words
    tab.when(f"!!{BUTTON % 'Submit'}")
    tab.evaluate(f"{BUTTON % 'Submit'}.click()")
    tab.when(DONE)
    [answer] = one.pull().answers
    assert value_of(answer) == spans and answer.origin == "prediction"
