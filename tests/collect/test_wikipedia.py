"""Dumps of Wikipedia: every page has its place, and hostile or damaged files cost what is damaged."""

from __future__ import annotations

import bz2
from collections import Counter

import pytest

from curate.collect.dumps.pages import split_pages
from curate.collect.dumps.wikipedia import Wikipedia
from curate.errors import CurateError
from curate.stages.parts import Passed, Rejected, SourceContext
from tests.collect.wiki_dump import ARTICLE, HEAD, dump, multistream, page

PAGES = [
    page(1, ARTICLE, "Elbe"), page(2, "#REDIRECT [[Elbe]]", redirect="Elbe"), page(3, "doc", namespace=10), page(4, ""),
    page(5, "gone", attributes=' deleted="deleted"'),
    page(6, "Text <b>& more</b>", "A/B & C\u00e4"), page(7, "talk", namespace=1),
]  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def of(content, name="dump.xml", **settings):
        (tmp_path / name).write_bytes(content)
        stage = Wikipedia(paths=name, **settings)
        rows, rejected, passed = [], [], Counter()
        (part,) = stage.plan(SourceContext(tmp_path, 1 << 20, str))
        for item in stage.read(part):
            if isinstance(item, Rejected):
                rejected.append((item.offset, item.reason))
            elif isinstance(item, Passed):
                passed[item.kind] += item.count
            else:
                rows += item.to_pylist()
        return rows, rejected, passed

    return of


def test_pages_are_documents_redirections_other_namespaces_and_deleted_ones_exactly(read):
    rows, rejected, passed = read(dump(PAGES))
    assert [row["title"] for row in rows] == ["Elbe", "Page 4", "A/B & C\u00e4"]
    assert (rejected, passed) == ([], {"redirect": 1, "other namespace": 2, "text deleted": 1})
    assert len(rows) + passed.total() == len(PAGES)
    one = rows[2]
    assert one["text"] == "Text <b>& more</b>"
    assert [one[name] for name in ("page_id", "revision", "timestamp", "license", "media_namespaces")] == [
        "6", "1006", "2024-01-07T00:00:00Z", "CC-BY-SA-4.0", "Datei|Kategorie",
    ]  # fmt: skip
    assert one["url"] == "https://de.wikipedia.org/wiki/A/B_%26_C%C3%A4"
    assert rows[0]["source_uri"] == f"dump.xml#{dump(PAGES).index(b'<page>')}"


def test_a_multistream_dump_is_what_the_plain_one_is(read):
    plain = read(dump(PAGES))
    packed = read(multistream(PAGES), "dump.xml.bz2")
    assert [[row["text"], row["source_uri"].partition("#")[2]] for row in packed[0]] == [
        [row["text"], row["source_uri"].partition("#")[2]] for row in plain[0]
    ]
    assert packed[1:] == plain[1:]


def test_other_namespaces_are_read_on_request_and_columns_are_chosen(read):
    rows, _, passed = read(dump(PAGES), namespaces=[10], columns=["title"])
    assert [(row["text"], sorted(row)) for row in rows] == [("doc", ["id", "source_uri", "text", "title"])]
    assert passed["other namespace"] == 6


def test_a_broken_page_costs_itself_alone(read):
    pages = [
        page(1, "one"),
        page(2, "two").replace("</text>", "</txet>"),
        page(3, "three").replace("</page>", ""),
        page(4, "four"),
    ]
    rows, rejected, _ = read(dump(pages))
    assert [row["text"] for row in rows] == ["one", "four"]
    assert [reason for _, reason in rejected] == ["corrupt", "corrupt"]


def test_a_dump_that_is_cut_short_is_read_to_there_and_says_so(read):
    data = dump(PAGES)
    rows, rejected, _ = read(data[: data.index(b"A/B") + 50])
    assert (len(rows), [reason for _, reason in rejected]) == (2, ["truncated"])
    packed = multistream(PAGES)
    rows, rejected, _ = read(packed[: len(packed) * 2 // 3], "cut.xml.bz2")
    assert rows and {reason for _, reason in rejected} == {"truncated"}


def test_entities_that_a_file_declares_are_not_expanded_and_files_are_not_read(read):
    bomb = '<!DOCTYPE m [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;"><!ENTITY f SYSTEM "file:///etc/passwd">]>\n'
    bad = [page(1, "one").replace("one", "&b;"), page(2, "two").replace("two", "&f;"), page(3, "three")]
    rows, rejected, _ = read(dump(bad, head=bomb + HEAD))
    assert [row["text"] for row in rows] == ["three"]
    assert [reason for _, reason in rejected] == ["corrupt", "corrupt"]


def test_long_pages_and_files_without_pages_are_quarantined_without_being_held(read):
    long = page(1, "x" * 5000)
    rows, rejected, _ = read(dump([long, page(2, "two")]), max_document_bytes=1000)
    assert ([row["text"] for row in rows], [reason for _, reason in rejected]) == (["two"], ["too_long"])
    assert read(b"<html>no dump</html>")[1] == read(b"")[1] == [(0, "corrupt")]


def test_pages_are_the_same_however_the_bytes_come():
    data = dump([page(1, "one"), page(2, "y" * 900), page(3, "three").replace("</page>", ""), page(4, "four")])[:-200]

    def split(size):
        return list(split_pages([data[at : at + size] for at in range(0, len(data), size)], 1000))

    assert split(1) == split(13) == split(1000) == split(len(data))
    assert [one.reason for one in split(7) if isinstance(one, Rejected)] == ["too_long", "corrupt", "truncated"]


def test_a_packing_that_is_not_undone_is_told(read):
    with pytest.raises(CurateError, match="compressed in a way that is not undone"):
        read(b"7z", "dump.xml.7z")


def test_damage_in_a_stream_of_bz2_costs_that_stream_alone(read):
    streams = [bz2.compress(HEAD.encode())]
    streams += [bz2.compress("".join(page(n, f"words {n}") for n in range(k, k + 50)).encode()) for k in (1, 51, 101)]
    streams += [bz2.compress(b"</mediawiki>")]
    for at in (0, 2, 60):
        broken = bytearray(streams[2])
        broken[at] ^= 1
        rows, rejected, _ = read(b"".join([*streams[:2], bytes(broken), *streams[3:]]), "dump.xml.bz2")
        ids = [int(row["page_id"]) for row in rows]
        assert (ids[:50], ids[-50:]) == ([*range(1, 51)], [*range(101, 151)])
        assert {reason for _, reason in rejected} == {"corrupt"}


def test_halves_of_two_pages_that_damage_brought_together_are_no_page(read):
    first, second = page(1, "good " * 9 + "cut"), page(2, "cut here " * 9)
    here, there = first.index("cut"), second.index("cut")
    packed = [HEAD + page(3, "three") + first[:here], "lost " * 99, second[there:] + page(4, "four") + "</mediawiki>"]
    streams = [bytearray(bz2.compress(one.encode())) for one in packed]
    streams[1][30] ^= 1
    rows, rejected, _ = read(b"".join(streams), "dump.xml.bz2")
    assert [row["text"] for row in rows] == ["three", "four"]
    assert [reason for _, reason in rejected] == ["corrupt", "corrupt"]


def test_a_dump_that_is_cut_between_pages_or_streams_is_truncated(read):
    data = dump(PAGES)
    assert [reason for _, reason in read(data[: data.rindex(b"</page>") + 8])[1]] == ["truncated"]
    packed = bz2.compress(HEAD.encode()) + bz2.compress(page(1, "one").encode())
    rows, rejected, _ = read(packed, "dump.xml.bz2")
    assert ([row["text"] for row in rows], [reason for _, reason in rejected]) == (["one"], ["truncated"])
    assert read(data + b"\n" * (9 << 20))[1] == []
