"""The page of a labeling task, of what people typed: everything that attacks it is told and does nothing."""

from __future__ import annotations

import io
import json
import sys

import pytest

from curate.cli import main
from tests.reports.page import Page

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"
TASK = {"task": "spam", "dataset": "books", "labels": ["ham", f"<b>spam</b>{HOSTILE[:8]}"], "kind": "classification",
        "instructions": f"Say it. {HOSTILE}"}  # fmt: skip


@pytest.fixture(scope="module")
def labelled(make):
    """A version that two people have labelled, with a model."""
    texts = [
        {"id": f"{HOSTILE}{at}", "text": f"{['good nice', 'bad awful'][at % 2]} number {at} {HOSTILE}"}
        for at in range(60)
    ]
    made = make("labels", {"texts/a.jsonl": texts}, [])
    folder = made.root / "labeling" / "spam"
    folder.mkdir(parents=True)
    (folder / "task.yaml").write_text(json.dumps(TASK))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made.root)

        def call(*words, typed=""):
            patch.setattr(sys, "argv", ["curate", "label", *words])
            patch.setattr(sys, "stdin", io.StringIO(typed))
            with pytest.raises(SystemExit) as ended:
                main()
            assert not ended.value.code

        call("next", "-n", "40", "--annotators", "2", "--overlap", "0.5")
        call("annotate", "--as", f"ann{HOSTILE}", typed="1\n2\n1\n" * 14)
        call("annotate", "--as", "bob", typed="1\n2\n2\n" * 7)
        call("fit")
        call("report", "--out", "page.html")
    return made.root / "page.html"


def test_the_page_tells_what_was_asked_said_agreed_and_learned(labelled):
    told = Page(labelled.read_text())
    for words in ("40", "Krippendorff", "right on", "None was tried", "Most disputed", "bob"):
        assert words in told.text, words
    assert not told.of("script") and "<b>spam</b>" in told.text


@pytest.mark.slow
def test_the_page_is_whole_on_a_phone_and_asks_for_nothing(labelled, browser):
    tab = browser.open(labelled, width=390, height=844)
    tab.evaluate('document.querySelectorAll("details").forEach(one => one.open = true)')
    assert tab.evaluate("document.documentElement.scrollWidth == document.documentElement.clientWidth")
    assert (tab.requests(), tab.complaints(), tab.dialogs(), tab.serious()) == ([labelled.as_uri()], [], [], [])
