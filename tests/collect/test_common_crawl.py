"""Pages of Common Crawl, from files on disk and from a server that knows ranges and is busy at times."""

from __future__ import annotations

import gzip
import json

import pytest
from pydantic import ValidationError

import curate.collect.fetch.common_crawl as crawl
from curate.collect.fetch.common_crawl import CommonCrawl
from curate.collect.fetch.crawled import members, parse_entry, put_together, taken_apart
from curate.collect.files import Files
from curate.dataset.snapshots import Fetch
from curate.errors import CurateError, ResumableError
from curate.stages.parts import SourceContext
from tests.collect.crawling import FILE, NAME, Crawling, numbers, record, serving_crawl


@pytest.fixture
def at(tmp_path):
    return Crawling(tmp_path)


@pytest.fixture
def web(at, monkeypatch):
    with serving_crawl(at, monkeypatch) as server:
        yield server


# ---- files


def test_the_pages_of_a_file_are_documents_and_its_other_records_are_counted(at):
    rows = at.fetch(snapshot=NAME)
    assert numbers(rows) == list(range(10))
    assert at.snapshot.facts == {
        "address": "crawl", "listed": 1, "records": {"kept": 10, "metadata": 10, "request": 10, "warcinfo": 1},
    }  # fmt: skip
    assert [row["truncated"] for row in rows] == [None] * 9 + ["length"]
    one = rows[3]
    assert (one["url"], one["status"], one["date"][:19]) == ("https://www.example.org/3", 200, "2024-02-21T05:06:07")
    assert one["source_uri"] == f"crawl#{FILE}:{at.whole.index(at.records[3])}"


def test_a_busy_server_is_waited_for_and_gives_what_the_disk_gives(at, web):
    from_disk = at.fetch(snapshot=NAME)
    rows = at.fetch(snapshot=NAME, base=web.url, allow=[web.host])
    assert [row["text"] for row in rows] == [row["text"] for row in from_disk]
    assert rows[0]["source_uri"].startswith(f"{web.url}#{FILE}:")
    assert web.waits[0] == 7 and set(web.waits[1:]) == {1.0}


def test_a_server_that_stays_busy_is_an_error_that_goes_on(at, web):
    web.answer = lambda asked: (503, {}, b"")
    with pytest.raises(ResumableError, match="failed 4 times: the server says 503"):
        at.fetch(snapshot=NAME, base=web.url, allow=[web.host], retries=3)
    assert web.waits == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("by_index", [False, True])
def test_a_fetch_that_was_killed_goes_on_behind_what_it_kept(at, web, monkeypatch, by_index):
    monkeypatch.setattr(crawl, "PIECE_BYTES", 200)
    settings = {"base": web.url, "allow": [web.host], **(at.index() if by_index else {"snapshot": NAME})}
    whole = at.fetch(**settings)
    pieces, keep, kept = at.snapshot.pieces, Fetch.keep, []

    def killed(self, table, state):
        if len(kept) == 2:
            raise KeyboardInterrupt
        kept.append(keep(self, table, state))

    monkeypatch.setattr(Fetch, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        at.fetch(**settings)
    monkeypatch.setattr(Fetch, "keep", keep)
    before = len(web.asked)
    assert at.fetch(**settings) == whole
    assert at.snapshot.pieces == pieces
    starts = [one.headers["range"] for one in web.asked[before:] if "range" in one.headers]
    assert starts and not any(one.startswith("bytes=0-") for one in starts)


def test_a_damaged_record_costs_itself_alone_and_a_cut_file_is_told(at):
    broken = bytearray(at.data)
    place = at.data.index(at.records[4])
    broken[place + 30 : place + 40] = b"\xff" * 10
    at.write(bytes(broken) + at.records[0][:50])
    assert numbers(at.fetch(snapshot=NAME)) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert [reason for reason, _ in at.rejected] == ["corrupt", "corrupt"]
    assert at.rejected[0][1].startswith(f"{FILE}:{place}: gzip: ")
    assert at.rejected[1][1] == f"{FILE}:{len(at.data)}: the file ends in the middle of a record"


def test_members_are_the_same_however_a_file_comes():
    data = b"".join(record(number) for number in range(20)) + b"garbage" * 50 + record(7)
    found = {
        tuple(members(lambda start, size: data[start : start + size], 0, chunk)) for chunk in (1, 7, 100, 10_000, 1 << 20)
    }  # fmt: skip
    assert len(found) == 1
    assert sum(member is None for _, member, _ in found.pop()) == 1


def test_a_member_that_unpacks_to_much_is_passed_without_being_held():
    bomb = gzip.compress(bytes(64 << 20))
    ((_, member, head),) = members(lambda start, size: bomb[start : start + size], 0, 1 << 20)
    assert member == bomb and len(head or b"") == 1 << 16


def test_a_record_that_an_erasure_made_shorter_is_read_as_one_and_one_of_another_length_than_it_says_is_none():
    head, content = taken_apart(record(1))
    assert gzip.decompress(record(1)) == put_together(head, content)
    shorter = put_together(head, content.replace(b"page 1", b"p"))
    assert taken_apart(gzip.compress(shorter))[1] == content.replace(b"page 1", b"p")
    problem = "its content is not as long as it says"
    assert taken_apart(record(1, Content_Length="9999")) == taken_apart(record(1, Content_Length="3")) == problem


@pytest.mark.parametrize("name", ["example.warc.gz", "iana.warc.gz", "example-wpull.warc.gz", "dupes.warc.gz"])
def test_real_files_give_what_reading_them_as_files_gives(at, shared_data, name):
    place = shared_data / "warc_samples" / name
    at.write(place.read_bytes())
    stage = Files(paths=str(place))
    parts = stage.plan(SourceContext(at.root, 1 << 30, str))
    expected = [
        row for part in parts for item in stage.read(part) if hasattr(item, "to_pylist") for row in item.to_pylist()
    ]
    rows = at.fetch(snapshot=NAME)
    assert [(row["url"], row["text"]) for row in rows] == [(row["url"], row["text"]) for row in expected]
    assert [int(row["source_uri"].rpartition(":")[2]) for row in rows] == [
        int(row["source_uri"].rpartition("#")[2]) for row in expected
    ]  # fmt: skip


def test_some_files_are_spread_over_the_list(at):
    names = [FILE.replace("a.warc", f"{number}.warc") for number in range(10)]
    for number, name in enumerate(names):
        (at.root / "crawl" / name).write_bytes(record(number))
    (at.root / "some.paths").write_text("\n".join(names))
    assert numbers(at.fetch(paths="some.paths", files=3)) == [0, 3, 6]


def test_filters_hold_addresses_types_and_languages_and_what_they_leave_is_counted(at):
    at.write(
        record(1) + record(2, mime="application/pdf") + record(3, WARC_Identified_Payload_Type="application/xhtml+xml")
    )
    assert numbers(at.fetch(snapshot=NAME, mime="text/html")) == [1]
    assert at.snapshot.facts["records"] == {"kept": 1, "not asked for": 2}
    assert numbers(at.fetch(snapshot=NAME, urls=["*/3", "https://www.example.org/1"])) == [1, 3]
    wet = [
        record(number, "conversion", WARC_Identified_Content_Language=code)
        for number, code in enumerate(("eng", "deu,eng"))
    ]
    at.write(b"".join(wet))
    (at.root / "wet.paths").write_text(FILE)
    (row,) = at.fetch(paths="wet.paths", form="wet", languages="deu")
    assert (row["text"], row["languages"]) == ("<p>page 1</p>", "deu,eng")


# ---- an index


def test_records_that_an_index_names_come_by_ranges_and_by_nothing_else(at, web):
    rows = at.fetch(**at.index(), base=web.url, allow=[web.host], languages="deu")
    assert numbers(rows) == [1, 3, 5, 7, 9]
    assert {row["languages"] for row in rows} == {"eng,deu"}
    assert len({one.headers["range"] for one in web.asked}) == 5


def test_lines_of_cdxj_and_gzip_are_read_and_a_record_that_is_named_twice_comes_once(at):
    at.index()
    lines = [f"org,example)/ 20240221050607 {json.dumps(line)}" for line in (*at.lines, at.lines[0])]
    (at.root / "index.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    assert numbers(at.fetch(index="index.gz")) == list(range(10))


def test_lines_that_name_no_record_are_quarantined_by_what_is_wrong_with_them(at):
    good = at.lines[0]
    bad = [
        good | {"length": "-1"}, good | {"offset": "x"}, {"url": "u"}, good | {"filename": "../../etc/passwd"},
        good | {"url": "https://other.example/"}, good | {"length": str(int(good["length"]) - 1)}, good | {"offset": "7"},
    ]  # fmt: skip
    rows = at.fetch(**at.index([*bad[:4], bad[4]]))
    assert rows == [] and len(at.rejected) == 5
    at.index(bad[5:])
    at.fetch(index="index.jsonl")
    assert [reason for reason, _ in at.rejected] == ["corrupt"] * 2
    assert parse_entry("[1]") == parse_entry('{"a": 1e') == "it is no JSON object, or its numbers are none"


# ---- names


def test_a_wrong_name_of_a_crawl_is_told_before_anything_is_fetched(at, web):
    for name in ("CC-MAIN-2024", "2024-10", "CC-MAIN-2024-10/../x"):
        with pytest.raises(ValidationError, match="no crawl is called"):
            CommonCrawl(snapshot=name)
    with pytest.raises(CurateError, match=r"CC-MAIN-2031-99/warc.paths.gz` is not there \(404\)") as caught:
        at.fetch(snapshot="CC-MAIN-2031-99", base=web.url, allow=[web.host])
    assert (len(web.asked), caught.value.hint) == (1, "is the name of the crawl right?")
    with pytest.raises(CurateError, match="names a file of another crawl than CC-MAIN-2023-06"):
        at.fetch(**at.index(), snapshot="CC-MAIN-2023-06")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "it needs a `snapshot`, `paths`, or an `index`"),
        ({"index": "a", "files": 3}, "have no use beside it"),
        ({"snapshot": NAME, "languages": "eng"}, "WARC files do not say languages"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        CommonCrawl(**settings)


def test_a_server_without_ranges_and_a_damaged_list_are_told(at, web):
    data = at.whole
    web.answer = lambda asked: data if asked.path.endswith("a.warc.gz") else gzip.compress(FILE.encode())
    with pytest.raises(CurateError, match="its server knows no ranges"):
        at.fetch(snapshot=NAME, base=web.url, allow=[web.host])
    web.answer = lambda asked: bytes(65 << 20) if asked.path.endswith("a.warc.gz") else gzip.compress(FILE.encode())
    with pytest.raises(CurateError, match="its server knows no ranges"):
        at.fetch(snapshot=NAME, base=web.url, allow=[web.host])
    (at.root / "cut.gz").write_bytes(gzip.compress(FILE.encode() * 99)[:-9])
    with pytest.raises(CurateError, match=r"`cut\.gz` is damaged"):
        at.fetch(paths="cut.gz")
