"""What is blocked out: what stages found, in whatever form it was read, and what looks personal or like a secret; in time."""

from __future__ import annotations

import time

import pytest

from curate.browse.document import Texts
from curate.browse.masks import hidden, masked_facts
from curate.reports.text import BLOCK
from tests.browse.conftest import client, opened, version_of
from tests.reports.conftest import LONG, stage

TOKEN = "ghp_aB3dE6gH9jK2mN5pQ8sT1vW4yZ7cF0xL3rU6"
HEADERS = {"x-curate": "1"}


@pytest.fixture(scope="module")
def private(make):
    """A token that a filter drops a document for; a name that stands in another form as read; an address far behind."""
    rows = [
        {"id": "token", "text": f"token {TOKEN} {LONG}"},
        {"id": "broken", "text": f"It\u00e2\u20ac\u2122s Zebu\x00lon and It\u00e2\u20ac\u2122s Zebulon {LONG}"},
        {"id": "far", "text": "word " * 6000 + "ann@example.org and the end"},
        {"id": "plain", "text": LONG},
    ]
    stages = [
        stage("Fix", "unicode"),
        "{stage: secrets, id: sec}",
        stage("Hide", "pii", ", pattern: 'Zebulon|\\S+@\\S+', type: NAME"),
    ]
    return make("private", {"texts/a.jsonl": rows}, stages)


def test_a_secret_for_which_a_document_was_dropped_is_hidden(private):
    pages, version = client(private.store, read_only=True), version_of(private.store)
    for path in ("/documents", "/documents.json?is.stage=sec", "/d/0-0", "/d/0-0.json"):
        answer = pages.get(f"/v/{version}{path}")
        assert answer.status_code == 200 and TOKEN[:12] not in answer.text


def test_what_an_earlier_stage_put_together_is_hidden_in_the_text_as_read_too(private):
    pages, version = client(private.store, read_only=True), version_of(private.store)
    for path in ("/documents", "/d/0-1", "/d/0-1.json"):
        text = pages.get(f"/v/{version}{path}").text
        assert "Zebulon" not in text and "lon and" not in text


def test_labels_and_what_is_told_of_a_document_are_masked(private):
    import pyarrow as pa

    from curate.dataset import refs
    from curate.dataset.annotations import annotate, annotated, hashes
    from curate.dataset.reader import open_dataset

    dataset = open_dataset("books", private.store)
    table = dataset.arrow()
    note = ["mail bob@example.org or Zebulon"] * table.num_rows
    said = {"id": table.column("id"), "hash": hashes(table), "note": note, "annotator": ["eve@example.org"] * len(note)}
    annotate(private.store, "project", pa.table(said))
    version = refs.commit(private.store, "books", annotated(dataset, "project").version) and version_of(private.store)
    for kind in ("", ".json"):
        text = client(private.store, read_only=True).get(f"/v/{version}/d/0-1{kind}").text
        assert BLOCK in text and not any(one in text for one in ("bob@", "eve@", "Zebulon"))


def test_the_window_that_one_looks_at_is_shown_unmasked(private):
    pages, version = client(private.store), version_of(private.store)
    origin = f"http://127.0.0.1:{pages.base_url.port}"
    shown = pages.get(f"/v/{version}/d/0-2.json?at=20000").json()["texts"]
    assert shown["hidden"] == 1 and "ann@" not in shown["raw"]
    told = pages.post(f"/v/{version}/d/0-2/reveal?at=20000", headers={**HEADERS, "origin": origin}).json()
    assert told["texts"]["start"] == 20_000
    assert [told["texts"]["raw"][start:end] for start, end, _ in told["spans"]] == ["ann@example.org"]


def test_a_window_costs_what_it_is_long_whatever_the_text_and_its_secrets():
    names = [f"Person-{number:05} of-town" for number in range(20_000)]
    text = Texts("a", "b", " said, and then ".join(names) * 40, "", set(names))
    began = time.process_time()
    shown = text.shown(text.raw, 10_000_000, 10_020_000)
    assert "Person-" not in shown and len(shown) < 20_000
    assert time.process_time() - began < 2


def test_facts_with_many_spans_are_masked_in_time():
    names = {f"Person-{number:05}" for number in range(20_000)}
    spans = [{"start": number, "end": number + 3, "type": "PERSON"} for number in range(20_000)]
    began = time.process_time()
    told = masked_facts({"spans": spans, "detail": "of Person-00007"}, names)
    assert told == {"spans": spans, "detail": f"of {BLOCK}"}
    assert time.process_time() - began < 2


def test_a_key_that_begins_long_before_a_window_is_hidden_in_it():
    line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n"
    key = f"-----BEGIN RSA PRIVATE KEY-----\n{line * 60}-----END RSA PRIVATE KEY-----\n"
    text = "word " * 3900 + key + "the end of it"
    start = text.index(key) + 3000
    ((low, high),) = hidden(text, start, start + 5000)
    assert low == start and high == text.index("\nthe end")


def test_every_document_is_counted_whatever_is_hidden(private):
    assert opened(private)[1].rows == 4
