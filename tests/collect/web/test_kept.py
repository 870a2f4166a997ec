"""What is kept of an answer: bytes that an erasure can look into."""

from __future__ import annotations

import gzip

import pytest

from curate.collect.charsets import decode_page
from curate.collect.web.sitemap import Sitemap
from tests.collect.web.site import page

PERSON = "jane.doe@person.example"


@pytest.mark.parametrize(
    ("header", "encoding"),
    [("text/html; charset=utf-16le", "utf-16-le"), ("text/html", "utf-16"), ("text/html", "cp1252")],
)
def test_a_page_in_another_encoding_is_kept_as_utf_8(site, header, encoding):
    text = page(text=f"caf\u00e9 {PERSON}", head='<meta charset="windows-1252">')
    site.pages = {"/": (200, {"Content-Type": header}, text.encode(encoding))}
    (document,) = site.fetch().values()
    assert PERSON.encode() in site.rows()["/"]["body"]
    assert decode_page(document["content"]) == text


def test_pages_with_one_title_and_one_address_of_their_own_are_documents_where_their_texts_differ(site):
    head = '<link rel="canonical" href="/">'
    long = " ".join(f"word{number}" for number in range(50))
    site.pages = {
        "/": page("/a", "/b", "/c", title="App", head=head, text=long),
        "/a": page(title="App", head=head, text="Of apples, and of nothing else."),
        "/b": page(title="App", head=head, text="Of pears."),
        "/c": page("/a", title="App", head=head, text=f"{long} printed"),
    }  # fmt: skip
    assert set(site.fetch()) == {"/", "/a", "/b"}
    assert site.reasons() == {"/c": "duplicate"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_list_is_kept_unpacked_and_as_utf_8(site, encoding):
    text = f"<urlset><url><loc>{site.web.url}/a</loc></url><!-- {PERSON} --></urlset>"
    tagged = {"Content-Type": "application/gzip", "ETag": '"1"'}
    site.pages = {"/m.xml.gz": (200, tagged, gzip.compress(text.encode(encoding))), "/a": page()}
    first = site.fetch(Sitemap, urls=[f"{site.web.url}/m.xml.gz"])
    assert PERSON.encode() in site.rows()["/m.xml.gz"]["body"]
    site.pages["/m.xml.gz"] = (304, {}, b"")
    assert site.fetch(Sitemap, refresh=True, urls=[f"{site.web.url}/m.xml.gz"]) == first
    assert set(first) == {"/a"}
