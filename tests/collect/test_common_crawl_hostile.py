"""Hostile servers, indexes and pages of a crawl, and erasures in what is kept of it."""

from __future__ import annotations

import gzip
import json
import re

import pytest

import curate.collect.fetch.common_crawl as crawl
from curate.collect.fetch.common_crawl import CommonCrawl
from curate.collect.fetch.crawled import as_utf8, put_together, taken_apart
from curate.dataset.snapshots import Fetch
from curate.errors import CurateError, ResumableError
from curate.stages.parts import Passed, SourceContext
from tests.collect.crawling import FILE, NAME, Crawling, numbers, record, serving_crawl


@pytest.fixture
def at(tmp_path):
    return Crawling(tmp_path)


@pytest.fixture
def web(at, monkeypatch):
    with serving_crawl(at, monkeypatch) as server:
        yield server


def ranged(data, *, most=1 << 30, total=None):
    """A server that gives ranges of a file, at most so many bytes at a time; and the list that names it."""

    def answer(asked):
        if not asked.path.endswith("a.warc.gz"):
            return gzip.compress(FILE.encode())
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers["range"]).groups())
        piece = data[first : min(last + 1, first + most)]
        if not piece:
            return 416, {}, b""
        return 206, {"Content-Range": f"bytes {first}-{first + len(piece) - 1}/{total or len(data)}"}, piece

    return answer


@pytest.mark.parametrize(
    ("status", "headers"),
    [(204, {}), (202, {}), (304, {}), (302, {}), (416, {}), (206, {"Content-Range": "bytes {0}-{1}/{2}"})]
)  # fmt: skip
def test_no_odd_answer_is_taken_for_the_end_of_a_file(at, web, status, headers):
    usual, cut = ranged(at.whole, most=1000), len(at.whole) // 2

    def answer(asked):
        first = int(re.search(r"\d+", asked.headers.get("range", "0"))[0])
        said = {name: value.format(first, first - 1, len(at.whole)) for name, value in headers.items()}
        return (status, said, b"") if first >= cut else usual(asked)

    web.answer = answer
    with pytest.raises(ResumableError) as caught:
        at.fetch(snapshot=NAME, base=web.url, allow=[web.host], retries=0)
    assert caught.value.hint == "what was fetched before is kept; the same command goes on from there"
    web.answer = usual
    assert numbers(at.fetch(snapshot=NAME, base=web.url, allow=[web.host], retries=0)) == list(range(10))


def test_a_file_that_ends_before_its_length_or_changes_it_is_an_error_that_goes_on(at, web):
    web.answer = ranged(at.whole, total=len(at.whole) + 1)
    with pytest.raises(ResumableError, match=r"has [\d,]+ bytes, and none is given from"):
        at.fetch(snapshot=NAME, base=web.url, allow=[web.host], retries=0)
    totals = iter(range(5000, 9999))
    web.answer = lambda asked: ranged(at.whole, total=next(totals))(asked)
    with pytest.raises(ResumableError, match="of another length than before"):
        at.fetch(snapshot=NAME, base=web.url, allow=[web.host], retries=0)


def test_records_come_whole_from_a_server_that_gives_less_than_was_asked_for(at, web):
    settings = at.index()
    web.answer = ranged(at.data, most=150)
    rows = at.fetch(**settings, base=web.url, allow=[web.host])
    assert (numbers(rows), at.rejected) == (list(range(10)), [])
    beyond = at.lines[0] | {"offset": str(len(at.data) + 9)}
    assert at.fetch(**at.index([beyond]), base=web.url, allow=[web.host]) == []
    assert [reason for reason, _ in at.rejected] == ["corrupt"]


def test_a_fetch_that_was_killed_behind_damage_keeps_everything_once(at, monkeypatch):
    monkeypatch.setattr(crawl, "PIECE_ROWS", 1)
    at.write(at.records[0] + b"garbage" * 9 + at.records[1] + at.records[2])
    whole, keep = at.fetch(snapshot=NAME), Fetch.keep
    pieces, facts = at.snapshot.pieces, at.snapshot.facts
    for last in range(1, len(pieces) + 1):
        kept = []

        def killed(self, table, state, kept=kept, last=last):
            kept.append(keep(self, table, state))
            if len(kept) == last:
                raise KeyboardInterrupt

        monkeypatch.setattr(Fetch, "keep", killed)
        with pytest.raises(KeyboardInterrupt):
            at.fetch(snapshot=NAME)
        monkeypatch.setattr(Fetch, "keep", keep)
        assert at.fetch(snapshot=NAME) == whole
        assert (at.snapshot.pieces, at.snapshot.facts) == (pieces, facts)


def coded(text, charset, **headers):
    """A page in a charset as a server packed it, as its gzip member."""
    said = {"Content-Type": f"text/html; charset={charset}"} | {k.replace("_", "-"): v for k, v in headers.items()}
    body = text.encode(charset)
    body = gzip.compress(body) if "Content_Encoding" in headers else body
    http = "HTTP/1.1 200 OK\r\n" + "".join(f"{name}: {value}\r\n" for name, value in said.items()) + "\r\n"
    _, _, rest = (plain := gzip.decompress(record(1))).partition(b"\r\n\r\n")
    head = plain[: -len(rest) - 4]
    return gzip.compress(put_together(head, http.encode() + body), mtime=0)


@pytest.mark.parametrize(
    ("charset", "headers"),
    [
        ("iso-8859-1", {}),
        ("utf-16", {}),
        ("utf-8", {"Content_Encoding": "gzip"}),
        ("utf-16", {"Content_Encoding": "gzip"}),
    ],
)
def test_pages_are_kept_as_utf8_so_that_an_erasure_finds_who_is_in_them(at, charset, headers):
    at.write(coded("<p>M\u00fcller was here</p>", charset, **headers) + at.records[2])
    rows = at.fetch(snapshot=NAME)
    assert [row["text"] for row in rows] == ["<p>M\u00fcller was here</p>", "<p>page 2</p>"]
    (content, plain) = at.store.read_table(at.snapshot.pieces[0].object).column("content").to_pylist()
    assert "M\u00fcller" in content.decode()
    assert plain == taken_apart(at.records[2])[1]


def test_a_text_of_a_record_without_http_is_kept_as_utf8_too():
    head = b"WARC/1.0\r\nWARC-Type: resource\r\nContent-Type: text/plain; charset=latin1\r\nContent-Length: 1"
    new, content = as_utf8(head, b"\xfc")
    assert (content, b"charset=utf-8" in new) == ("\u00fc".encode(), True)
    assert as_utf8(head, b"u") == (head, b"u")


def test_a_record_that_an_erasure_emptied_is_counted_and_ends_nothing(at):
    at.fetch(snapshot=NAME)
    (part,) = CommonCrawl(snapshot=NAME).plan(SourceContext(at.root, 1 << 20, str, snapshot=at.snapshot))
    table = at.store.read_table(at.snapshot.pieces[0].object)
    emptied = table.column("content").to_pylist()
    emptied[3] = None
    table = table.set_column(table.schema.names.index("content"), "content", [emptied])

    class Emptied:
        def read_table(self, name):
            return table

    items = list(CommonCrawl(snapshot=NAME).read_from(Emptied(), part))
    assert Passed("emptied by an erasure", 1) in items
    assert sum(one.num_rows for one in items if hasattr(one, "num_rows")) == 9


def test_a_file_that_a_list_names_again_is_read_once_and_lines_of_an_index_that_are_left_out_are_counted(at):
    (at.root / "twice").write_text(f"{FILE}\n{FILE}\n")
    assert numbers(at.fetch(paths="twice")) == list(range(10))
    assert at.snapshot.facts["records"]["file named again"] == 1
    at.fetch(**at.index([*at.lines, at.lines[1]]), languages="deu")
    assert at.snapshot.facts["records"] == {"kept": 5, "named again": 1, "not asked for": 5}


def test_a_file_that_is_missing_is_told_with_what_can_be_done(at):
    (at.root / "gone").write_text("gone.warc.gz")
    with pytest.raises(CurateError, match=r"`gone\.warc\.gz` cannot be read in `crawl`") as caught:
        at.fetch(paths="gone")
    assert caught.value.hint == "bring it there, or take it out of the list"


@pytest.mark.parametrize(
    "bad", ['"offset": 1e999', '"offset": Infinity', '"offset": true', '"offset": 1' + "0" * 30, '"offset": 1.5',
            '"length": "' + "9" * 5000 + '"', '"languages": ["deu"]', '"languages": 5', '"languages": "\\ud800"']
)  # fmt: skip
def test_no_line_of_an_index_ends_a_run(at, bad):
    at.index()
    good = json.dumps(at.lines[1])
    (at.root / "index.jsonl").write_text(good + "\n" + good[:-1] + f", {bad}}}\n")
    assert numbers(at.fetch(index="index.jsonl", languages="deu")) == [1]
    assert [reason for reason, _ in at.rejected] == ["corrupt"]
