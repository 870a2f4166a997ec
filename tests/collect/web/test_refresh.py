"""What a refresh keeps, and what it lets go: what cannot be had now, and what is not allowed any more."""

from __future__ import annotations

import pytest

from curate.collect.web.feed import Feed
from curate.collect.web.records import table_of
from curate.collect.web.sitemap import Sitemap
from curate.dataset.snapshots import Fetch
from tests.collect.web.site import page

HTML = {"Content-Type": "text/html"}
TEXT = {"Content-Type": "text/plain"}


def feed(*items):
    inner = "".join(f"<item><guid>{name}</guid>{rest}</item>" for name, rest in items)
    return f"<rss version='2.0'><channel>{inner}</channel></rss>".encode()


def sitemap(kind, *addresses):
    inner = "".join(f"<{kind}><loc>{one}</loc></{kind}>" for one in addresses)
    return 200, {"Content-Type": "application/xml"}, f"<all>{inner}</all>".encode()


@pytest.mark.parametrize("word", ["noindex", "noai"])
def test_a_page_that_is_not_kept_is_asked_for_without_conditions_and_what_is_behind_it_stays(site, word):
    def hub(asked):
        if "if-none-match" in asked.headers:
            return 304, {}, b""
        return 200, {**HTML, "ETag": '"1"'}, page("/a", head=f'<meta name="robots" content="{word}">').encode()

    site.pages = {"/": page("/hub"), "/hub": hub, "/a": page()}
    first = site.fetch()
    assert set(first) == {"/", "/a"}
    assert site.fetch(refresh=True) == first


def test_a_page_whose_content_was_erased_is_asked_for_without_conditions(site):
    site.pages = {"/": (200, {**HTML, "ETag": '"1"'}, page("/a").encode()), "/a": page()}
    site.fetch()
    before = site.snapshot
    rows = [{**row, "body": None if row["@key"].endswith("/") else row["body"]} for row in site.rows().values()]
    desk = Fetch(site.store, "e" * 64, site.root, None, site.said.append)
    desk.keep(table_of(rows), {})
    site.snapshot = desk.finish("crawl", {}, dict(before.facts))
    desk.forget()
    assert set(site.fetch(refresh=True)) == {"/", "/a"}
    assert all("if-none-match" not in one.headers for one in site.web.asked)


def test_a_redirection_that_cannot_be_had_now_stays_and_so_does_what_is_behind_it(site):
    site.pages = {"/": page("/old"), "/old": (301, {"Location": "/new"}, b""), "/new": page("/deep"), "/deep": page()}
    first = site.fetch()
    site.pages["/old"] = (503, {}, b"")
    assert site.fetch(refresh=True) == first
    assert set(first) == {"/", "/new", "/deep"}


def test_a_list_that_cannot_be_had_now_stays_and_so_do_its_pages(site):
    url = site.web.url
    site.pages = {
        "/i.xml": sitemap("sitemap", f"{url}/1.xml", f"{url}/2.xml"), "/1.xml": sitemap("url", f"{url}/a"),
        "/2.xml": sitemap("url", f"{url}/b"), "/a": page(), "/b": page(),
    }  # fmt: skip
    first = site.fetch(Sitemap, urls=[f"{url}/i.xml"])
    site.pages["/2.xml"] = (503, {}, b"")
    assert site.fetch(Sitemap, refresh=True, urls=[f"{url}/i.xml"]) == first
    assert set(first) == {"/a", "/b"}


def test_pages_of_a_host_whose_rules_cannot_be_had_now_stay_and_are_not_asked_for(site):
    site.pages = {"/": page("/a"), "/a": page()}
    first, asked = site.fetch(), list(site.asked)
    site.pages["/robots.txt"] = (500, {}, b"")
    assert site.fetch(refresh=True) == first
    assert site.asked == asked
    assert any("what was fetched of it before stays as it was" in one for one in site.said)


@pytest.mark.parametrize(
    ("file", "told", "reason"),
    [
        ("/robots.txt", b"User-agent: *\nDisallow: /p", "robots"),
        ("/.well-known/tdmrep.json", b'[{"location": "/p", "tdm-reservation": 1}]', "opt_out"),
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_a_page_of_a_feed_that_is_not_allowed_any_more_is_no_document_and_one_row(site, file, told, reason, listed):
    url = site.web.url
    date = "<pubDate>Mon, 01 Jan 2024 00:00:00 GMT</pubDate>"
    items = [(one, f"<link>{url}/{one}</link>{date}") for one in ("p", "q")]
    site.pages = {"/feed": (200, {}, feed(*items)), "/p": page(), "/q": page()}
    assert set(site.fetch(Feed, urls=[f"{url}/feed"], follow=True)) == {"/p", "/q"}
    site.pages |= {file: (200, TEXT, told), "/feed": (200, {}, feed(*items[0 if listed else 1 :]))}
    assert set(site.fetch(Feed, refresh=True, urls=[f"{url}/feed"], follow=True)) == {"/q"}
    assert site.reasons() == {"/feed": "feed", "/p": reason}
    assert site.snapshot.rows == len(site.rows())
    assert site.rows()["/p"]["body"] is None


def test_pages_of_a_feed_for_which_there_is_no_room_now_stay(site):
    url = site.web.url
    items = [(one, f"<link>{url}/{one}</link>") for one in ("p", "q")]
    site.pages = {"/feed": (200, {}, feed(*items)), "/p": page(), "/q": page()}
    first = site.fetch(Feed, urls=[f"{url}/feed"], follow=True)
    assert site.fetch(Feed, refresh=True, urls=[f"{url}/feed"], follow=True, max_pages=1) == first
    assert site.snapshot.rows == len(site.rows())


def test_entries_of_a_feed_that_is_opted_out_of_now_are_no_documents(site):
    url = site.web.url
    names = {"/feed": "1", "/other": "2"}
    site.pages = {path: (200, {}, feed((name, "<description>text</description>"))) for path, name in names.items()}
    urls = [url + path for path in names]
    assert len(site.fetch(Feed, urls=urls)) == 2
    site.pages["/feed"] = (200, {"X-Robots-Tag": "noai"}, b"")
    site.fetch(Feed, refresh=True, urls=urls)
    assert site.reasons() == {"/feed": "opt_out", "/feed#1": "opt_out", "/other": "feed"}
    assert (site.rows()["/feed#1"]["opt_out"], site.rows()["/feed#1"]["body"]) == ("X-Robots-Tag: noai", None)


def test_an_encoding_that_the_server_puts_right_is_taken(site):
    body = "<html><body>caf\u00e9 \u0142</body></html>".encode("iso-8859-2")
    site.pages = {"/": (200, {"Content-Type": "text/html; charset=iso-8859-1"}, body)}
    site.fetch()
    site.pages = {"/": (200, {"Content-Type": "text/html; charset=iso-8859-2"}, body)}
    assert "\u0142" in site.fetch(refresh=True)["/"]["content"].decode()


def test_a_refresh_asks_with_the_tag_that_the_last_one_got(site):
    site.pages = {"/": (200, {**HTML, "ETag": '"1"'}, page().encode())}
    first = site.fetch()
    site.pages = {"/": (200, {**HTML, "ETag": '"2"'}, page().encode())}
    assert site.fetch(refresh=True) == first
    site.fetch(refresh=True)
    assert site.web.asked[-1].headers["if-none-match"] == '"2"'
