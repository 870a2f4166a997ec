"""Nothing personal is shown unless it is asked for, whatever changed a text before; a long text costs what a short one does."""

from __future__ import annotations

import random

import pytest

from curate.browse.columns import Columns
from curate.browse.document import Texts
from curate.browse.masks import across, blocked, hidden, masked_facts
from curate.browse.query import Query, Selection
from curate.reports.text import BLOCK, mask
from tests.browse.conftest import client, opened, version_of
from tests.reports.conftest import stage

MANY = " many words that make a text which no filter drops at all"
TOKEN = "ghp_" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"


@pytest.fixture(scope="module")
def private(make):
    rows = [
        {"text": f"Zebu\u00adlon and Zebulon{MANY}", "source": "Zebulon Pike", "number": 5, "names.count": 7},
        {"text": f"a token {TOKEN} in it{MANY}", "source": "web", "number": 6, "names.count": 8},
        {"text": "word " * 6000 + "ann@example.org end", "source": "web", "number": 7, "names.count": 9},
    ]
    stages = [
        "{stage: unicode, id: clean}",
        stage("Hide", "names", ', on: [text, source], pattern: "Zebulon( Pike)?", type: PERSON'),
        "{stage: secrets, id: leaks}",
    ]
    return make("private", {"web/a.jsonl": rows}, stages)


@pytest.fixture(scope="module")
def shown(private):
    return client(private.store, read_only=True), version_of(private.store)


def told(shown, path):
    pages, version = shown
    answer = pages.get(f"/v/{version}{path}")
    assert answer.status_code == 200, answer.text
    return answer


def test_a_token_in_a_document_that_the_filter_of_secrets_dropped_is_blocked_out(shown):
    assert told(shown, "/documents.json?is.stage=leaks").json()["documents"] == 1
    for path in ("/documents", "/documents.json", "/d/0-1", "/d/0-1.json", "/search?q=token", "/search.json?q=token"):
        assert TOKEN[4:20] not in told(shown, path).text, path


def test_a_text_as_read_is_hidden_where_an_earlier_stage_changed_what_a_later_one_replaced(shown):
    for path in ("/documents", "/documents.json", "/d/0-0", "/d/0-0.json"):
        page = told(shown, path).text
        assert "Zebu" not in page.replace("\u00ad", "") and "stands there in another form" in page
    assert "<PERSON>" in told(shown, "/d/0-0.json").json()["texts"]["final"]


def test_a_column_that_a_stage_edited_is_not_counted_whatever_it_is_called(shown, private):
    facts = told(shown, "/documents.json").json()
    assert "column.source" in facts["not_counted"]
    assert "column.source" not in [one["column"] for one in facts["facets"]]
    assert "Zebulon" not in told(shown, "/documents").text


def test_a_column_that_is_called_like_a_measurement_is_kept_apart_from_it(private):
    _, columns = opened(private)
    assert columns.feature("column.names.count").tolist() == [7, 8, 9]
    assert isinstance(columns, Columns) and "names.count" not in columns.features


def test_as_many_filters_as_one_likes_still_filter(private):
    _, columns = opened(private)
    columns._numbers |= {f"n{n}": columns._numbers["number"] for n in range(300)}
    assert len(Selection(columns, Query(least={f"n{n}": 99.0 for n in range(256)}))) == 0


def test_what_is_unmasked_is_the_passage_that_is_shown(private):
    pages, version = client(private.store), version_of(private.store)
    masked = pages.get(f"/v/{version}/d/0-2.json?at=20000").json()["texts"]
    assert (masked["start"], masked["hidden"], masked["previous"], masked["next"]) == (20_000, 1, 0, None)
    headers = {"x-curate": "1", "origin": f"http://127.0.0.1:{pages.base_url.port}"}
    bare = pages.post(f"/v/{version}/d/0-2/reveal?at=20000", headers=headers).json()["texts"]
    assert bare["start"] == 20_000 and "ann@example.org" in bare["raw"]


def test_a_piece_is_masked_as_the_whole_is():
    draw = random.Random(1)
    pieces = ["plain ", "ann@example.org ", "+49 171 555 0199 ", "secret ", "2001 2002 ", "\u6d77 "]
    for _ in range(50):
        text = "".join(draw.choices(pieces, k=60))
        start = draw.randrange(len(text))
        whole = [one for one in hidden(text, 0, len(text), {"secret"}) if one[1] > start]
        cut = hidden(text, start, len(text), {"secret"})
        assert cut == [(max(low, start), high) for low, high in whole]
        if "secret" not in text:
            assert blocked(text, 0, len(text), hidden(text, 0, len(text))).count(BLOCK) <= mask(text).count(BLOCK)


def test_a_page_of_a_very_long_text_looks_at_that_page_alone(monkeypatch):
    from curate.browse import masks

    looked = []
    monkeypatch.setattr(masks, "personal", lambda piece: looked.append(len(piece)) or [])
    text = "word ann@example.org " * 500_000
    secrets = {f"person{n}" for n in range(20_000)}
    Texts("a", None, text, text, secrets).shown(text, 5_000_000, 5_020_000)
    assert looked == [53_000]


def test_the_same_passage_of_both_texts_is_shown():
    draw = random.Random(2)
    lines = [
        " ".join(draw.choices(["alpha", "beta", "gamma", "delta", "epsilon", "zeta"], k=9)) + f" {n}"
        for n in range(4000)
    ]
    raw, final = "\r\n".join(lines), "\n".join(line for n, line in enumerate(lines) if n % 50)
    for at in range(0, len(raw), 20_000):
        there = across(raw, final, at)
        begin = raw.find("\r\n", at) + 102
        passage = raw[begin : begin + 40]
        if "\r" not in passage and passage in final:
            assert abs(final.find(passage) - there - (begin - at)) < 300
    assert across(raw, final, len(raw)) == len(final) and across(raw, raw, 77) == 77


def test_facts_are_masked_through_and_through():
    facts = {"a": [{"b": "call ann@example.org", "n": 3}, None], "ann@example.org": "Zoe"}
    assert masked_facts(facts, {"Zoe"}) == {"a": [{"b": f"call {BLOCK}", "n": 3}, None], "ann@example.org": BLOCK}
