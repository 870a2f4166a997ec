"""Documents from interfaces that answer in JSON: five kinds of paging, and servers that do not keep to their own word."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from urllib.parse import quote_plus

import pytest
from pydantic import ValidationError

from curate.collect.fetch.api import Api
from curate.dataset.snapshots import Fetch
from curate.dataset.store import Store
from curate.errors import CurateError, ResumableError
from curate.stages.parts import Rejected, SourceContext
from tests.collect.web_server import serving

RECORDS = [{"id": number, "text": f"record {number}", "more": {"deep": number}} for number in range(25)]


@pytest.fixture
def web():
    with serving() as server:
        yield server


class Fetching:
    """A store, and what is fetched into it."""

    def __init__(self, root, web):
        self.root, self.web, self.said = root, web, []
        self.store = Store.open(root / "store", create=True)

    def source(self, **settings):
        return Api(**{"url": f"{self.web.url}/items", "allow": [self.web.host], "rate": 1e6, "retries": 0, **settings})

    def fetch(self, **settings):
        """The documents of a fetch."""
        source = self.source(**settings)
        desk = Fetch(self.store, "k" * 64, self.root, None, self.said.append)
        facts = source.fetch(desk)
        self.snapshot = desk.finish("api", {}, facts)
        desk.forget()
        return self.documents(source)

    def documents(self, source):
        return [row for one in self.items(source) if not isinstance(one, Rejected) for row in one.to_pylist()]

    def items(self, source):
        for part in source.plan(SourceContext(self.root, 1 << 20, str, snapshot=self.snapshot)):
            yield from source.read_from(self.store, part)


@pytest.fixture
def at(tmp_path, web):
    return Fetching(tmp_path, web)


def ids(documents):
    return [int(one["id"]) for one in documents]


def page(asked, name="offset", size=10):
    start = int(asked.query.get(name, 0))
    return RECORDS[start : start + size]


# ---- paging


def test_an_answer_without_pages(at):
    at.web.answer = lambda asked: RECORDS
    rows = at.fetch()
    assert ids(rows) == list(range(25))
    assert rows[3]["source_uri"] == f"{at.web.url}/items#3"
    assert (rows[3]["text"], json.loads(rows[3]["more"])) == ("record 3", {"deep": 3})
    assert at.snapshot.facts == {"address": f"{at.web.url}/items", "pages": 1, "again": 0}


def test_pages_by_a_header(at):
    def answer(asked):
        start = int(asked.query.get("offset", 0))
        links = f'<{at.web.url}/items?offset=0>; rel="first"'
        links += f', </items?offset={start + 10}>; title="a, b"; rel="next"' if start < 20 else ""
        return 200, {"Link": links}, json.dumps(page(asked)).encode()

    at.web.answer = answer
    assert ids(at.fetch(pages={"kind": "link"})) == list(range(25))
    assert len(at.web.asked) == 3


def test_pages_by_an_address_in_the_answer(at):
    def answer(asked):
        start = int(asked.query.get("offset", 0))
        following = f"items?offset={start + 10}" if start < 20 else None
        return {"data": {"items": page(asked)}, "meta": {"next": following}}

    at.web.answer = answer
    assert ids(at.fetch(records="data.items", pages={"kind": "next_url", "path": "meta.next"})) == list(range(25))


def test_a_place_of_the_next_page_that_is_not_there_is_told_and_one_that_is_empty_is_not(at):
    at.web.answer = lambda asked: {"items": page(asked), "meta": {"next": None}}
    assert len(at.fetch(records="items", pages={"kind": "next_url", "path": "meta.next"})) == 10
    assert at.said == []
    at.fetch(records="items", pages={"kind": "next_url", "path": "next"}, agent="another")
    said = "the first page has no `next`, so it is taken for the only one; it has `items`, `meta`"
    assert said in at.said


def test_pages_by_a_cursor_whose_name_looks_like_a_credential(at):
    def answer(asked):
        start = int(asked.query.get("page_token", "t0")[1:])
        return {"items": RECORDS[start : start + 10], "cursor": f"t{start + 10}" if start < 20 else ""}

    at.web.answer = answer
    pages = {"kind": "cursor", "path": "cursor", "parameter": "page_token"}
    assert ids(at.fetch(records="items", pages=pages, parameters={"sort": "id"})) == list(range(25))
    assert {one.query["sort"] for one in at.web.asked} == {"id"}


def test_pages_by_an_offset(at):
    at.web.answer = lambda asked: page(asked, size=int(asked.query["limit"]))
    assert ids(at.fetch(pages={"kind": "offset", "size": 7})) == list(range(25))
    assert [one.query["offset"] for one in at.web.asked] == ["0", "7", "14", "21", "25"]


def test_a_server_that_gives_less_than_it_was_asked_for_loses_no_record(at):
    at.web.answer = lambda asked: page(asked, size=4)
    assert ids(at.fetch(pages={"kind": "offset", "size": 10})) == list(range(25))


@pytest.mark.parametrize("end", [[], 404])
def test_pages_by_number(at, end):
    def answer(asked):
        number = int(asked.query["page"])
        found = RECORDS[(number - 1) * 10 : number * 10]
        return found if found or end == [] else (404, {}, b"no such page")

    at.web.answer = answer
    assert ids(at.fetch(pages={"kind": "number"})) == list(range(25))
    assert [one.query["page"] for one in at.web.asked] == ["1", "2", "3", "4"]


# ---- servers that do not keep to their word


def round_and_round(asked):
    return f"/items?offset={(int(asked.query.get('offset', 0)) + 10) % 30}"


def test_a_server_that_repeats_a_page_for_ever_is_stopped_with_a_message(at):
    at.web.answer = lambda asked: RECORDS[:10]
    assert ids(at.fetch(pages={"kind": "number"})) == list(range(10))
    assert len(at.web.asked) == 2
    assert "stopped: page 2 has no record that did not come before; what came is kept" in at.said
    assert at.snapshot.facts["stopped"] == "page 2 has no record that did not come before"


def test_addresses_that_lead_in_a_circle_are_stopped(at):
    at.web.answer = lambda asked: {
        "items": page(asked),
        "next": round_and_round(asked),
    }
    assert ids(at.fetch(records="items", pages={"kind": "next_url"})) == list(range(25))
    assert len(at.web.asked) == 4


def test_a_page_that_names_itself_and_pages_without_end_that_are_empty_are_stopped(at):
    at.web.answer = lambda asked: {"items": [], "next": "/items"}
    at.fetch(records="items", pages={"kind": "next_url"})
    assert at.snapshot.facts["stopped"] == "page 1 names itself as the next one"
    at.web.answer = lambda asked: {"items": [], "next": f"/items?number={asked.number}"}
    at.fetch(records="items", pages={"kind": "next_url"})
    assert at.snapshot.facts["stopped"] == "10 pages without a record, one after the other"


def test_an_order_that_changes_between_pages_is_told_and_no_record_is_kept_twice(at):
    shuffled = [*RECORDS[:9], RECORDS[12], *RECORDS[9:12], *RECORDS[13:]]
    at.web.answer = lambda asked: (RECORDS if asked.number % 2 else shuffled)[int(asked.query["offset"]) :][:10]
    rows = at.fetch(pages={"kind": "offset", "size": 10})
    assert len(ids(rows)) == len(set(ids(rows))) == 24
    assert any("1 records came again and were kept once: the order changed between pages" in one for one in at.said)


def test_a_total_that_is_not_the_number_of_records_is_told(at):
    at.web.answer = lambda asked: {"items": page(asked), "total": 1000}
    at.fetch(records="items", total="total", pages={"kind": "offset", "size": 10})
    assert "the server speaks of 1,000 records, and 25 came" in at.said
    assert at.snapshot.facts["total"] == 1000


def test_an_address_on_another_server_is_refused_and_gets_nothing(at):
    with serving() as other:
        at.web.answer = lambda asked: {"items": page(asked), "next": f"{other.url}/items?offset=10"}
        with pytest.raises(CurateError, match="the next page is said to be on another server") as caught:
            at.fetch(records="items", pages={"kind": "next_url"}, allow=[at.web.host, other.host])
        assert not other.asked
        assert "a source of its own" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, {}, b"{}"), "is answered with 401"),
        ((404, {}, b"{}"), "is answered with 404"),
        ({"data": 1, "more": 2}, "has no list at `records: items`"),
        ({"items": ["word"]}, "a record of .* is no object, but str"),
        ((200, {}, b"<html>"), "is no JSON, or cut short"),
        ((200, {}, b'{"items": [{"id": 1}, {"i'), "is no JSON, or cut short"),
        ((200, {}, b""), "is no JSON, or cut short"),
    ],
)
def test_what_is_no_page_is_an_error_that_names_it(at, answer, words):
    at.web.answer = lambda asked: answer
    with pytest.raises(CurateError, match=words) as caught:
        at.fetch(records="items")
    assert "/items" in caught.value.problem


def test_more_pages_than_are_allowed_are_an_error(at):
    at.web.answer = lambda asked: page(asked)
    with pytest.raises(CurateError, match="there are more than 2 pages"):
        at.fetch(pages={"kind": "offset", "size": 10}, max_pages=2)


# ---- again, and on


def test_a_fetch_goes_on_behind_the_page_that_failed(at, monkeypatch):
    def answer(asked):
        return (500, {}, b"") if asked.query["offset"] == "20" and asked.number == 2 else page(asked)

    at.web.answer = answer
    settings = {"pages": {"kind": "offset", "size": 10}}
    with pytest.raises(ResumableError, match=r"offset=20.* failed 1 times: the server says 500"):
        at.fetch(**settings)
    assert ids(at.fetch(**settings)) == list(range(25))
    assert [one.query["offset"] for one in at.web.asked] == ["0", "10", "20", "20", "25"]


def test_the_same_records_are_the_same_pieces_whatever_the_pages(at):
    found = set()
    for size in (3, 10, 100):
        at.web.answer = lambda asked: page(asked, size=int(asked.query["limit"]))
        at.fetch(pages={"kind": "offset", "size": size})
        found.add(at.snapshot.pieces)
    assert len(found) == 1


def test_a_retry_after_and_a_garbled_answer_are_gone_through(at, monkeypatch):
    import curate.collect.fetch.client as client

    waits = []
    monkeypatch.setattr(
        client.Client.__init__, "__kwdefaults__", {**client.Client.__init__.__kwdefaults__, "sleep": waits.append}
    )
    told = [(429, {"Retry-After": "3"}, b""), (200, {}, b"[{"), (200, {}, b"")]
    at.web.answer = lambda asked: told[asked.number] if asked.number < 3 else RECORDS
    assert len(at.fetch(retries=4)) == 25
    assert waits[:3] == [3, 2, 4]


PIPELINE = """\
dataset: items
sources:
  - {{stage: api, id: items, url: "{url}/items", allow: ["{host}"], rate: 1000000, pages: {{kind: offset, size: 1}},
     headers_from: {{Authorization: TEST_TOKEN}}, parameters_from: {{api_key: TEST_KEY}}}}
stages: []
"""


@pytest.mark.slow
def test_kills_ask_for_no_page_twice_but_the_one_under_way(tmp_path, web):
    (tmp_path / "pipeline.yaml").write_text(PIPELINE.format(url=web.url, host=web.host))
    process, kills = [], []

    def answer(asked):
        number = int(asked.query["offset"])
        if number % 5 == 1 and number not in kills:
            kills.append(number)
            process[-1].send_signal(signal.SIGKILL)
            return None
        return page(asked, size=1)

    web.answer = answer
    environment = {**os.environ, "TEST_TOKEN": "Bearer s3cr3t-word", "TEST_KEY": "s3cr3t-key"}
    command = [sys.executable, "-m", "curate", "collect", "pipeline.yaml"]
    for _ in range(6):
        process.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True))
        said = process[-1].communicate()[1]
    assert (process[-1].returncode, len(kills)) == (0, 5), said
    asked = [int(one.query["offset"]) for one in web.asked]
    assert [asked.count(number) for number in range(26)] == [2 if number % 5 == 1 else 1 for number in range(25)] + [1]
    assert all(one.headers["authorization"] == "Bearer s3cr3t-word" for one in web.asked)


# ---- credentials


def test_credentials_are_in_no_store_log_or_error(at, monkeypatch):
    monkeypatch.setenv("TEST_TOKEN", "Bearer s3cr3t-word")
    monkeypatch.setenv("TEST_KEY", "s3cr3t-key")

    def answer(asked):
        assert asked.query["key_of_mine"] == "s3cr3t-key"
        start = int(asked.query.get("offset", 0))
        items = [{**one, "asked_by": asked.headers["authorization"]} for one in page(asked)]
        following = f"/items?key_of_mine=s3cr3t-key&offset={start + 10}" if start < 20 else None
        return (500, {}, b"") if start == 20 and asked.number == 2 else {"items": items, "next": following}

    at.web.answer = answer
    settings = {
        "records": "items", "pages": {"kind": "next_url"}, "headers_from": {"Authorization": "TEST_TOKEN"},
        "parameters_from": {"key_of_mine": "TEST_KEY"},
    }  # fmt: skip
    with pytest.raises(ResumableError) as caught:
        at.fetch(**settings)
    held = b"".join(path.read_bytes() for path in (at.root / "store").rglob("*") if path.is_file())
    rows = at.fetch(**settings)
    assert rows[0]["asked_by"] == "***"
    held += b"".join(path.read_bytes() for path in (at.root / "store").rglob("*") if path.is_file())
    assert b"s3cr3t" not in held + str(caught.value).encode() + "".join(at.said).encode()
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(CurateError, match="the environment variable TEST_KEY is not set"):
        at.fetch(**settings)


def test_a_host_that_is_not_public_is_refused_unless_it_is_allowed(at):
    with pytest.raises(CurateError, match="is no public address") as caught:
        at.fetch(allow=[])
    assert f"allow: [{at.web.host}]" in (caught.value.hint or "")
    assert not at.web.asked


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "https://host/items?api_key=s3cr3t"},
        {"headers": {"Authorization": "Bearer s3cr3t"}},
        {"headers": {"X-Api-Key": "s3cr3t"}},
        {"parameters": {"token": "s3cr3t"}},
    ],
)
def test_a_credential_among_the_settings_is_refused_with_where_it_belongs(settings):
    with pytest.raises(ValidationError, match="let an environment variable hold it, and name that in `") as caught:
        Api(**{"url": "https://host/items", **settings})
    assert "s3cr3t" not in caught.value.errors()[0]["msg"]
    assert Api(url="https://host/items?page_token=a", parameters={"sort_key": "date"})


@pytest.mark.parametrize("secret", ["geheim-\u00fc-w\u00f6rd", 'ab"c/d+e==', "back\\slash"])
def test_a_credential_that_is_echoed_is_hidden_however_it_is_written(at, monkeypatch, secret):
    monkeypatch.setenv("TEST_TOKEN", secret)
    half = "" if secret.isascii() else "\ud83d"
    records = [{"id": 1, "text": f"you sent {secret}, {quote_plus(secret)}"}, {"id": 2, "text": f"{half}{secret}"}]
    at.web.answer = lambda asked: records
    at.fetch(parameters_from={"q": "TEST_TOKEN"})
    (piece,) = at.snapshot.pieces
    kept = at.store.read_table(piece.object).column("record").to_pylist()
    assert json.loads(kept[0])["text"] == "you sent ***, ***"
    assert json.loads(kept[1])["text"] == f"{half}***"


# ---- records as documents


def test_an_id_and_a_text_that_only_stand_within_a_record_are_none_of_its_own(at):
    at.web.answer = lambda asked: [
        {"title": "a", "author": {"id": 5, "text": "x"}},
        {"title": "b", "author": {"id": 6}},
    ]
    rows = at.fetch()
    assert [row["title"] for row in rows] == ["a", "b"]
    assert len({row["id"] for row in rows}) == 2
    at.web.answer = lambda asked: [{"title": "none"}, {"id": 2, "text": "some"}]
    assert [row["id"] for row in at.fetch()] == ["2"]
    assert [one.reason for one in at.items(at.source()) if isinstance(one, Rejected)] == ["no_text"]


def test_half_an_emoji_is_quarantined_and_no_crash(at):
    at.web.answer = lambda asked: [
        {"id": 1, "text": "cut \ud83d"},
        {"id": "\ud83d", "text": "x"},
        {"id": 3, "text": "whole"},
    ]
    assert [row["id"] for row in at.fetch()] == ["3"]
    assert [one.reason for one in at.items(at.source()) if isinstance(one, Rejected)] == ["bad_json"] * 2


@pytest.mark.parametrize("following", ["http://[x", "/items?a=\ud83d"])
def test_a_next_page_that_is_no_address_is_an_error(at, following):
    at.web.answer = lambda asked: {"items": [{"id": 1, "text": "a"}], "next": following}
    with pytest.raises(CurateError, match="says of the next page is no address"):
        at.fetch(records="items", pages={"kind": "next_url"})


def test_another_record_with_the_id_of_one_is_told_and_counted(at):
    at.web.answer = lambda asked: [{"id": 1, "text": "a"}, {"id": "1", "text": "b"}, {"id": 1, "text": "a"}]
    assert [row["text"] for row in at.fetch()] == ["a"]
    assert (at.snapshot.facts["again"], at.snapshot.facts["differing"]) == (1, 1)
    assert any("1 records have the `id` of another record and say something else" in one for one in at.said)


def test_records_without_an_id_without_a_text_or_with_another_shape(at):
    records = [{"body": "a"}, {"body": "b", "meta": {"uuid": "u-1"}}, {"body": None}, {"body": "a"}]
    at.web.answer = lambda asked: records
    rows = at.fetch(text="body", key="meta.uuid")
    assert [row["text"] for row in rows] == ["a", "b"]
    assert rows[1]["id"] == "u-1"
    (rejected,) = [one for one in at.items(at.source(text="body", key="meta.uuid")) if isinstance(one, Rejected)]
    assert (rejected.offset, rejected.reason) == (2, "no_text")
    at.web.answer = lambda asked: [{"title": "x"}]
    assert set(at.fetch()[0]) == {"id", "source_uri", "title"}
