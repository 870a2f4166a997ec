"""What whoever publishes can write to end a crawl, to slip past a rule, or to be lost: each costs itself, and is told."""

from __future__ import annotations

import pytest

from curate.collect.web.addresses import canonical, in_scope
from curate.collect.web.feed import Feed
from curate.collect.web.robots import Rules
from curate.collect.web.sitemap import Sitemap
from curate.errors import ResumableError
from tests.collect.web.site import page

HTML = {"Content-Type": "text/html"}
XML = {"Content-Type": "application/xml"}
JSON = {"Content-Type": "application/json"}
ROBOTS = "/robots.txt"
TDM = "/.well-known/tdmrep.json"


def rss(*items):
    inner = "".join(f"<item>{item}</item>" for item in items)
    return 200, XML, f"<rss version='2.0'><channel>{inner}</channel></rss>".encode()


def feeds(site, *paths, **settings):
    return site.fetch(Feed, urls=[f"{site.web.url}{path}" for path in paths], **settings)


# ---- what ended a crawl


def test_half_a_character_in_linked_data_or_in_a_policy_ends_no_crawl(site):
    linked = '<script type="application/ld+json">{"license": "x \\ud800 y"}</script>'
    site.pages = {
        "/": page("/a", "/no"), "/a": page(head=linked), "/no": page(),
        TDM: (200, JSON, b'[{"location": "/no", "tdm-reservation": 1, "tdm-policy": "\\ud800"}]'),
    }  # fmt: skip
    assert set(site.fetch()) == {"/", "/a"}
    assert site.reasons() == {"/no": "opt_out"}


@pytest.mark.parametrize("title", ["&#99999999999999;", "&#xD800;", "fine"])
@pytest.mark.parametrize("encoding", ["utf-8", "unicode_escape", "idna"])
def test_a_feed_that_its_reader_fails_at_costs_itself(site, title, encoding):
    item = (
        f"<item><title>{title} & more</title><guid>\\ud800 {title}</guid><description>{title} text</description></item>"
    )
    told = f"<?xml version='1.0' encoding='{encoding}'?><rss version='2.0'><channel>{item}</channel></rss>"
    site.pages = {"/bad": (200, XML, told.encode()), "/good": rss("<link>/a</link><description>text</description>")}
    assert "/a" in feeds(site, "/bad", "/good")
    row = site.rows()["/bad"]
    assert row["reason"] in ("feed", "damaged")
    assert row["reason"] == "feed" or row["detail"].startswith("it cannot be read: ")


def test_what_fails_while_an_answer_is_read_costs_that_answer(site, monkeypatch):
    def fails(*_):
        raise OverflowError("cannot convert")

    site.pages = {"/": page("/a"), "/a": (200, {**HTML, "X-Robots-Tag": "all"}, b"a")}
    monkeypatch.setattr(
        "curate.collect.web.answers.opt_out", lambda headers, *_: fails() if "x-robots-tag" in headers else []
    )
    assert set(site.fetch()) == {"/"}
    assert site.rows()["/a"]["reason"] == "damaged"
    assert site.rows()["/a"]["detail"] == "it cannot be read: OverflowError"


def test_an_address_with_port_0_is_none(site):
    site.pages = {
        "/": page("http://x.example:0/", "/a"), "/a": page(),
        "/feed": rss("<link>http://x.example:0/</link>", f"<link>{site.web.url}/a</link>"),
    }  # fmt: skip
    assert canonical("http://x.example:0/") is None
    assert set(site.fetch(scope="domain")) == {"/", "/a"}
    assert set(feeds(site, "/feed", follow=True)) == {"/a"}


# ---- what slipped past a rule


def test_dots_that_are_written_as_codes_are_dots(site):
    for written, meant in {
        "/a/%2e%2e/b": "/b", "/a/%2E./%2e/b/%2e%2e": "/", "/a/..;jsessionid=1/b": "/b", "/a/%252e%252e/b": "/a/%252e%252e/b",
        "/a/.%2e;j%73essionid=1/c": "/c", "/%%341/%4%31": "/%2541/%2541",
    }.items():  # fmt: skip
        found = canonical(f"http://x.example{written}")
        assert found == f"http://x.example{meant}"
        assert canonical(found) == found
    site.pages = {
        "/": page("/open/%2e%2e/closed/x"), "/closed/x": page(),
        ROBOTS: (200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /closed"),
    }  # fmt: skip
    assert set(site.fetch()) == {"/"}
    assert site.reasons() == {"/closed/x": "robots"}


def test_a_robots_txt_that_is_sent_as_a_web_page_counts(site):
    site.pages = {"/": page("/a"), "/a": page(), ROBOTS: (200, HTML, b"# rules\n user-agent : *\nDisallow: /a")}
    assert set(site.fetch()) == {"/"}
    assert site.reasons() == {"/a": "robots"}


def test_a_word_for_all_robots_in_a_header_of_its_own_counts(site):
    def several(asked):
        told = b"X-Robots-Tag: otherbot: noindex\r\nX-Robots-Tag: noai\r\nContent-Type: text/html"
        asked.handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + told + b"\r\nContent-Length: 4\r\n\r\ntext")

    site.pages = {"/": page("/a"), "/a": several}
    assert set(site.fetch()) == {"/"}
    assert site.rows()["/a"]["detail"] == "X-Robots-Tag: noai"


RESERVED = (200, JSON, b'\xef\xbb\xbf[{"location": "/b\xc3\xbccher/*", "tdm-reservation": 1}]')
LONG = (200, JSON, RESERVED[2] + b" " * 600_000)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (RESERVED, "opt_out"),
        (LONG, "opt_out"),
        ((301, {"Location": "/t.json"}, b""), "opt_out"),
        ((503, {}, b""), "no_tdmrep"),
        ((501, {}, b""), "no_tdmrep"),
        ((200, JSON, b'[{"location": "/", "tdm-reser'), "no_tdmrep"),
        ((404, {}, b""), None),
        (page(text="nothing here"), None),
    ],
)
def test_reservations_that_are_elsewhere_long_or_cannot_be_had_count(site, told, reason):
    site.pages = {"/": page(), "/b%C3%BCcher/a": page(), TDM: told, "/t.json": RESERVED}
    seeds = [f"{site.web.url}/b\u00fccher/a", f"{site.web.url}/"]
    if reason == "no_tdmrep":
        with pytest.raises(ResumableError, match="is no_tdmrep"):
            site.fetch(seeds=seeds)
        assert not site.asked
        assert len(site.fetch(seeds=seeds, obey=["robots"])) == 2
        return
    assert len(site.fetch(seeds=seeds)) == (1 if reason else 2)
    assert set(site.reasons().values()) == ({reason} if reason else set())


def test_reservations_count_where_robots_txt_cannot_be_had_and_is_not_obeyed(site):
    site.pages = {"/": page("/b%c3%bccher/a"), "/b%C3%BCcher/a": page(), TDM: RESERVED, ROBOTS: (503, {}, b"")}
    assert set(site.fetch(obey=["tdm"])) == {"/"}
    assert site.reasons() == {"/b%C3%BCcher/a": "opt_out"}


def test_a_signal_before_the_first_group_is_for_everyone():
    for told, forbidden in {"ai-train=no": True, "ai-train=yes": False, "search=yes": False}.items():
        text = f"# ours\nContent-Signal: {told}\nUser-agent: reader\nAllow: /\n"
        assert bool(Rules("reader/1.0", 200, text.encode()).signal("http://a.example/x")) is forbidden


def test_hosts_of_those_who_only_share_a_provider_are_not_one_domain():
    seeds = ["https://alice.github.io/", "https://www.a.co.uk/"]
    inside = ("https://blog.alice.github.io/", "https://b.a.co.uk/")
    assert all(in_scope(url, seeds, "domain") for url in inside)
    assert not any(
        in_scope(url, seeds, "domain") for url in ("https://bob.github.io/", "https://github.io/", "https://b.co.uk/")
    )


# ---- what was lost


def entry(text, guid="", link="", title="t"):
    return f"<title>{title}</title><description>{text}</description><guid isPermaLink='false'>{guid}</guid><link>{link}</link>"


def test_every_entry_of_a_feed_is_accounted_for_whatever_it_is_called(site):
    long = "x" * 500
    site.pages = {"/feed": rss(
        entry("one", "same"), entry("two", "same"), entry("two", "same"), entry("three", long + "3"), entry("four", long + "4"),
        entry("five"), entry("six"), entry("seven &#xD8;", "half"), entry("", "none"),
    )}  # fmt: skip
    feeds(site, "/feed")
    rows = [row for url, row in site.rows().items() if url.startswith("/feed#")]
    assert len(rows) == 9
    texts = {row["body"].partition(b"<body>")[2].partition(b"<")[0].decode() for row in rows if row["body"]}
    assert texts == {"one", "two", "three", "four", "five", "six", "seven \u00d8"}
    assert sorted(row["reason"] for row in rows if row["reason"]) == ["duplicate", "empty"]
    first = site.rows()
    feeds(site, "/feed", refresh=True)
    assert site.rows().keys() == first.keys()


def test_an_entry_that_leads_nowhere_is_accounted_for(site):
    site.pages = {"/a": page(), "/feed": rss(entry("", "a", "/a"), entry("b"), entry("c", link="mailto:a@b.example"))}
    assert set(feeds(site, "/feed", follow=True)) == {"/a"}
    assert sorted(site.reasons().values()) == ["feed", "no_link", "no_link"]


def test_links_and_tags_beyond_the_limits_of_a_page_are_told(site, monkeypatch):
    monkeypatch.setattr("curate.collect.web.page.LINKS", 2)
    monkeypatch.setattr("curate.collect.web.page.TAGS", 6)
    site.pages = {"/": page("/a", "/b", "/c"), "/a": page("/a") * 9, "/b": page()}
    assert set(site.fetch()) == {"/", "/a", "/b"}
    assert [site.rows()[path]["detail"] for path in ("/", "/a", "/b")] == [
        "not followed: 1 links beyond 2", "not followed: what stands behind 6 tags", None,
    ]  # fmt: skip
    assert site.said == ["2 pages have more links than are followed; `detail` of their addresses says how many"]


def test_lists_and_rules_have_a_limit_of_their_own_and_not_that_of_pages(site):
    rules = b"User-agent: *\nDisallow: /b\n" + b"#" * 600_000
    locations = "".join(f"<url><loc>{site.web.url}{path}</loc></url>" for path in ("/a", "/b"))
    site.pages = {
        ROBOTS: (200, {"Content-Type": "text/plain"}, rules), "/a": page(), "/b": page(),
        "/s.xml": (200, XML, f"<urlset>{locations}{' ' * 3000}</urlset>".encode()),
        "/feed": rss(f"<link>{site.web.url}/a</link>", " " * 3000),
    }  # fmt: skip
    assert set(site.fetch(Sitemap, urls=[f"{site.web.url}/s.xml"], page_bytes=1000)) == {"/a"}
    assert site.reasons() == {"/s.xml": "sitemap", "/b": "robots"}
    assert set(feeds(site, "/feed", follow=True, page_bytes=1000)) == {"/a"}


def test_addresses_beyond_the_limit_of_a_sitemap_cost_nothing_and_what_is_none_is_counted(site, monkeypatch):
    spelled = []
    monkeypatch.setattr("curate.collect.web.sitemap.ADDRESSES", 3)
    monkeypatch.setattr("curate.collect.web.sitemap.canonical", lambda *one: spelled.append(one) or canonical(*one))
    site.pages = {
        "/s.txt": (200, XML, "\n".join(["/a", "mailto:x", "/b", *"cdefg"]).encode()),
        "/a": page(),
        "/b": page(),
    }
    assert set(site.fetch(Sitemap, urls=[f"{site.web.url}/s.txt"])) == {"/a", "/b"}
    assert site.rows()["/s.txt"]["detail"] == "1 are no addresses; 5 addresses beyond 3 are not asked for"
    assert len(spelled) == 3


def test_entries_of_a_feed_are_settled_with_one_reading_of_their_piece(site, monkeypatch):
    read, name = [], type(site.store).read_table
    monkeypatch.setattr(type(site.store), "read_table", lambda self, *one: read.append(one) or name(self, *one))
    site.pages = {"/feed": rss(*(entry(f"text {number}", f"{number}") for number in range(200)))}
    feeds(site, "/feed")
    assert len(site.rows()) == 203
    assert len(read) < 20


def test_a_redirection_that_is_written_as_utf_8_leads_where_it_says(site):
    def moved(asked):
        asked.handler.wfile.write("HTTP/1.1 301 Moved\r\nLocation: /caf\u00e9\r\nContent-Length: 0\r\n\r\n".encode())

    site.pages = {"/": page("/old", "/caf%E9"), "/old": moved, "/caf%C3%A9": page(), "/caf%E9": page()}
    assert set(site.fetch()) == {"/", "/caf%C3%A9", "/caf%E9"}
    site.pages |= {ROBOTS: moved, "/caf%C3%A9": (200, {}, b"User-agent: *\nDisallow: /old")}
    site.fetch()
    assert site.reasons()["/old"] == "robots"
