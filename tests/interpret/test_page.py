"""The page of an inspection, and the command that writes it."""

from __future__ import annotations

import json

import pytest

from curate.cli import app
from curate.errors import CurateError
from curate.interpret.inside import inspect
from curate.interpret.page import render_inspection
from tests.evaluation.language_model import llama_folder, small_model

HOSTILE = "<script>{{ 1 }}\u202e\x00"


def test_the_page_shows_every_token_and_runs_nothing():
    page = render_inspection(inspect(small_model(), HOSTILE, steps=2))
    assert "<script" not in page
    assert "&lt;" in page and "script-src" not in page and "default-src &#39;none&#39;" not in page
    assert page.count('<th scope="row">') >= 3 * len(HOSTILE.encode())
    for title in ("What each token cost", "after each layer", "Why it expected one of them", "cannot tell"):
        assert title in page


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious_on_desk_and_phone_and_nothing_runs_or_is_asked_for(browser, tmp_path, dark):
    file = tmp_path / "page.html"
    file.write_text(render_inspection(inspect(small_model(), HOSTILE, steps=2)))
    for width in (1280, 390):
        tab = browser.open(file, width=width, height=800, dark=dark)
        assert (tab.serious(), tab.complaints(), tab.dialogs(), len(tab.requests())) == ([], [], [], 1)
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_of_a_model_without_layers_the_page_says_so():
    page = render_inspection(inspect(small_model(kind="lstm"), "some words"))
    assert "Please note: layers, attention and attributions are told of our decoders only" in page
    assert 'id="lens"' not in page


def test_the_command_prints_writes_a_page_and_json(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    llama_folder(tmp_path / "llama")
    asked = ["inspect", "It rains.", "--model", "llama", "--steps", "4", "--top", "2"]
    app([*asked, "--out", "page.html"], standalone_mode=False)
    told = capsys.readouterr().out
    assert "bits, " in told and "token 8, '.': probability after each layer" in told and "page: page.html" in told
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    app([*asked, "--json", "--target", "3"], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert (len(found["places"]), found["target"]["place"], len(found["target"]["read"]), found["page"]) == (
        9,
        3,
        4,
        None,
    )


def test_a_server_is_refused():
    with pytest.raises(CurateError, match="is a server: what it computes is not seen from here"):
        app(["inspect", "a", "--model", "http://127.0.0.1:1/v1"], standalone_mode=False)
