"""Sitemaps and feeds: what they list, within which limits, and what a refresh asks for."""

from __future__ import annotations

import gzip
from collections import Counter

import pytest

from curate.collect.web.feed import Feed
from curate.collect.web.sitemap import Sitemap, entries
from curate.errors import ResumableError
from tests.collect.web.site import page

XML = {"Content-Type": "application/xml"}
NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def listing(*items, kind="url"):
    root = "urlset" if kind == "url" else "sitemapindex"
    inner = "".join(
        f"<{kind}><loc>{loc}</loc>{f'<lastmod>{date}</lastmod>' if date else ''}</{kind}>" for loc, date in items
    )
    return (200, XML, f"<?xml version='1.0'?><{root} {NAMESPACE}>{inner}</{root}>".encode())


def sitemap(site, **settings):
    return site.fetch(Sitemap, urls=[f"{site.web.url}/sitemap.xml"], **settings)


# ---- sitemaps


def test_pages_of_a_sitemap_and_of_those_in_an_index_are_asked_for_and_their_links_are_not(site):
    url = site.web.url
    packed = (
        200,
        {"Content-Type": "application/gzip"},
        gzip.compress(listing((f"{url}/b", None), ("http://elsewhere.example/", None))[2]),
    )
    site.pages = {
        "/sitemap.xml": listing(*((f"{url}/{name}", None) for name in ("one.xml", "two.xml.gz", "gone.xml")), kind="sitemap"),
        "/one.xml": listing((f"{url}/a?x=1&amp;y=2", None), (f"{url}/secret", None)), "/two.xml.gz": packed,
        "/a?x=1&y=2": page("/never"), "/b": page(), "/secret": page(),
        "/robots.txt": (200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /secret"),
    }  # fmt: skip
    assert set(sitemap(site)) == {"/a?x=1&y=2", "/b"}
    assert site.reasons() == {
        "/sitemap.xml": "sitemap", "/one.xml": "sitemap", "/two.xml.gz": "sitemap", "/gone.xml": "status_404",
        "/secret": "robots", "http://elsewhere.example/": "scope",
    }  # fmt: skip
    assert "/never" not in site.asked


def test_indexes_within_indexes_end_and_a_list_has_its_limits(site, monkeypatch):
    import curate.collect.web.sitemap as module

    monkeypatch.setattr(module, "ADDRESSES", 2)
    monkeypatch.setattr(module, "LIST_BYTES", 5000)
    url = site.web.url
    nested = {f"/{number}.xml": listing((f"{url}/{number + 1}.xml", None), kind="sitemap") for number in range(5)}
    site.pages = nested | {
        "/sitemap.xml": listing((f"{url}/0.xml", None), (f"{url}/bomb.xml.gz", None), kind="sitemap"),
        "/bomb.xml.gz": (200, XML, gzip.compress(b" " * 100_000)),
        "/many.xml": listing(*((f"{url}/p{number}", None) for number in range(4))), "/p0": page(), "/p1": page(),
    }  # fmt: skip
    urls = [f"{url}/sitemap.xml", f"{url}/many.xml"]
    assert set(site.fetch(Sitemap, urls=urls)) == {"/p0", "/p1"}
    assert site.reasons()["/bomb.xml.gz"] == "too_large"
    assert site.reasons()["/2.xml"] == "depth"
    assert site.rows()["/many.xml"]["detail"] == "2 addresses beyond 2 are not asked for"


def test_a_refresh_asks_for_pages_whose_date_is_another(site):
    url = site.web.url
    site.pages = {"/sitemap.xml": listing((f"{url}/a", "2024-01-01"), (f"{url}/b", "2024-01-01"), (f"{url}/c", None))}
    site.pages |= {"/a": page(text="a"), "/b": page(text="b"), "/c": page()}
    first = sitemap(site)
    site.web.asked.clear()
    site.pages["/sitemap.xml"] = listing(
        (f"{url}/a", "2024-01-01"), (f"{url}/b", "2024-02-02"), (f"{url}/d", "2024-02-02")
    )
    site.pages |= {"/b": page(text="changed"), "/d": page()}
    later = sitemap(site, refresh=True)
    assert Counter(site.asked) == {"/sitemap.xml": 1, "/b": 1, "/d": 1}
    assert set(later) == {"/a", "/b", "/d"}
    assert later["/a"] == first["/a"]
    assert b"changed" in later["/b"]["content"]


def test_sitemaps_are_read_whatever_they_look_like():
    assert list(entries("http://a.example/1\n\n http://a.example/2 \n")) == [
        ("url", "http://a.example/1", None), ("url", "http://a.example/2", None),
    ]  # fmt: skip
    text = (
        "<s:urlset><s:url><s:loc><![CDATA[http://a.example/?a=1&b=2]]></s:loc></s:url><URL><LOC> "
        "http://a.example/&amp; </LOC"
    )
    assert [one[1] for one in entries(text)] == ["http://a.example/?a=1&b=2", "http://a.example/&"]
    assert not list(entries("<html>none</html>"))
    for hostile in ("<url>" * 300_000, "<url><loc>" * 200_000, "<loc>" * 300_000, "<url" * 300_000):
        list(entries(hostile))


def test_a_sitemap_that_lists_nothing_is_an_error(site):
    site.pages = {"/sitemap.xml": page()}
    with pytest.raises(ResumableError, match=r"sitemap\.xml` is sitemap \(it lists no address\)"):
        sitemap(site)


# ---- feeds


def feed(*items, head=""):
    inner = "".join(
        f"<item><title>{name} &amp; more</title><link>/{name}</link><guid isPermaLink='false'>id-{name}</guid>"
        f"<pubDate>{date}</pubDate><description>{text}</description></item>"
        for name, date, text in items
    )
    return (
        200,
        {"Content-Type": "application/rss+xml"},
        f"<rss version='2.0'><channel>{head}{inner}</channel></rss>".encode(),
    )


def fetch_feed(site, **settings):
    found = site.fetch(Feed, urls=[f"{site.web.url}/feed"], **settings)
    return found


def test_entries_are_documents_known_by_their_ids_and_those_that_a_feed_lists_no_more_stay(site):
    site.pages = {
        "/feed": feed(("a", "1 Jan 2024", "&lt;p&gt;Text of a.&lt;/p&gt;"), ("b", "2 Jan 2024", "Text of b."))
    }
    first = fetch_feed(site)
    assert set(first) == {"/a", "/b"}
    assert first["/a"]["id"] == f"{site.web.url}/feed#id-a"
    assert b"<title>a &amp; more</title>" in first["/a"]["content"]
    assert b"<p>Text of a.</p>" in first["/a"]["content"]
    site.pages["/feed"] = feed(("b", "2 Jan 2024", "Text of b."), ("c", "3 Jan 2024", "Text of c."))
    later = fetch_feed(site, refresh=True)
    assert set(later) == {"/a", "/b", "/c"}
    assert (later["/a"], later["/b"]) == (first["/a"], first["/b"])
    assert set(site.asked) == {"/feed"}


def test_pages_of_entries_are_asked_for_once(site):
    site.pages = {"/feed": feed(("a", "1 Jan 2024", ""), ("b", "2 Jan 2024", "")), "/a": page(), "/b": page("/x")}
    first = fetch_feed(site, follow=True)
    assert set(first) == {"/a", "/b"}
    site.pages["/feed"] = feed(("b", "2 Jan 2024", ""), ("c", "3 Jan 2024", ""))
    site.pages["/c"] = page()
    site.web.asked.clear()
    later = fetch_feed(site, follow=True, refresh=True)
    assert set(later) == {"/a", "/b", "/c"}
    assert site.asked == ["/feed", "/c"]
    assert site.reasons() == {"/feed": "feed"}


def test_a_feed_has_a_licence_and_opt_outs(site):
    space = "http://backend.userland.com/creativeCommonsRssModule"
    head = f"<license xmlns='{space}'>https://creativecommons.org/licenses/by/4.0/</license>"
    told = feed(("a", "1 Jan 2024", "Text."), head=head)
    site.pages = {"/feed": told}
    assert fetch_feed(site)["/a"]["license"] == "CC-BY-4.0"
    site.pages = {"/feed": (200, {**told[1], "X-Robots-Tag": "noai"}, told[2])}
    with pytest.raises(ResumableError, match=r"feed` is opt_out \(X-Robots-Tag: noai\)"):
        fetch_feed(site)
    assert fetch_feed(site, obey=["robots"])["/a"]["opt_out"] == "X-Robots-Tag: noai"


@pytest.mark.parametrize("body", [b"", b"http://elsewhere.example/", b"/etc/passwd", b"<html>no feed</html>"])
def test_what_is_no_feed_is_an_error_and_nothing_else_is_opened(site, body):
    site.pages = {"/feed": (200, XML, body)}
    with pytest.raises(ResumableError, match=r"feed` is feed \(it has no entries, or is no feed\)"):
        fetch_feed(site)


def test_a_feed_of_more_than_ten_megabytes_and_a_bomb_of_entities_cost_little(site):
    site.pages = {"/feed": (200, XML, b"<rss>" + b" " * (10 << 20))}
    with pytest.raises(ResumableError, match=r"feed` is too_large"):
        fetch_feed(site)
    bomb = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10 if n else 'x'}'>" for n in range(9))
    text = f"<!DOCTYPE r [{bomb}<!ENTITY f SYSTEM 'file:///etc/passwd'>]><rss version='2.0'><channel><item>"
    text += "<title>&e8;&f;</title>"
    site.pages = {"/feed": (200, XML, f"{text}<description>t</description></item></channel></rss>".encode())}
    (row,) = fetch_feed(site).values()
    assert len(row["content"]) < 1000
    assert b"root:" not in row["content"]
