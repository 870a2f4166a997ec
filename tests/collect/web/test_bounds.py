"""What ends: lists of lists, hosts that nothing is to be asked of, and hosts that fail."""

from __future__ import annotations

import pytest

from curate.collect.web.feed import Feed
from curate.collect.web.sitemap import Sitemap
from curate.collect.web.walk import Walk
from curate.errors import ResumableError
from tests.collect.web.site import page
from tests.collect.web_server import serving


def sitemap(kind, *addresses):
    inner = "".join(f"<{kind}><loc>{one}</loc></{kind}>" for one in addresses)
    return 200, {"Content-Type": "application/xml"}, f"<all>{inner}</all>".encode()


def test_lists_have_the_limits_of_pages_each_for_itself(site):
    url = site.web.url
    lists = {f"/{number}.xml": sitemap("url", f"{url}/{number}") for number in range(9)}
    site.pages = {"/i.xml": sitemap("sitemap", *(url + path for path in lists)), **lists, "*": page()}
    assert len(site.fetch(Sitemap, urls=[f"{url}/i.xml"], max_pages=3)) == 2
    assert list(site.reasons().values()).count("max_pages") == 7
    assert len(site.asked) == 5
    site.fetch(Sitemap, urls=[f"{url}/i.xml"], host_pages=4)
    assert list(site.reasons().values()).count("host_pages") == 6


def test_bytes_of_lists_are_among_those_of_a_host(site):
    url = site.web.url
    lists = {f"/{number}.xml": sitemap("url", f"{url}/{number}") for number in range(9)}
    site.pages = {**lists, "*": page()}
    with pytest.raises(ResumableError, match="no page could be had"):
        site.fetch(Sitemap, urls=[url + path for path in lists], host_bytes=1)
    assert site.asked == ["/0.xml"]


def test_hosts_for_which_there_is_no_room_are_not_asked_for_their_rules(site):
    with serving() as second, serving() as third:
        others = [second, third]
        for one in others:
            one.answer = lambda asked: (200, {"Content-Type": "text/html"}, page().encode())
        items = "".join(f"<item><guid>{one.url}</guid><link>{one.url}/</link></item>" for one in others)
        site.pages = {"/feed": (200, {}, f"<rss version='2.0'><channel>{items}</channel></rss>".encode())}
        hosts = [site.web.host, *(one.host for one in others)]
        site.fetch(Feed, urls=[f"{site.web.url}/feed"], follow=True, max_pages=1, allow=hosts)
        assert sorted(bool(one.asked) for one in others) == [False, True]
        assert list(site.reasons().values()).count("max_pages") == 1


def test_a_host_that_fails_again_and_again_is_not_waited_for_and_at_last_not_asked(site, monkeypatch):
    import curate.collect.web.hosts as module

    monkeypatch.setattr(module, "PATIENCE", 2)
    monkeypatch.setattr(module, "FAILURES", 4)
    waited = list[float]()
    monkeypatch.setattr(module.Host, "_sleep", lambda host, seconds: waited.append(seconds))
    busy = 503, {"Retry-After": "600"}, b""
    site.pages = {"/": page("/well", *(f"/a{number}" for number in range(9))), "*": busy, "/well": page()}
    assert set(site.fetch(retries=1)) == {"/"}
    assert waited == [600.0, 600.0]
    assert [site.asked.count(f"/a{number}") for number in range(5)] == [2, 2, 1, 1, 0]
    assert site.rows()["/well"]["reason"] == "unreachable"
    assert "4 addresses of this host in a row" in site.rows()["/well"]["detail"]


def test_a_host_that_answers_again_is_asked_again(site, monkeypatch):
    import curate.collect.web.hosts as module

    monkeypatch.setattr(module, "PATIENCE", 1)
    monkeypatch.setattr(module, "FAILURES", 3)
    bad = {f"/{number}": (500, {}, b"") for number in range(9) if number % 3}
    site.pages = {"/": page(*(f"/{number}" for number in range(9))), "*": page(), **bad}
    assert set(site.fetch()) == {"/", "/0", "/3", "/6"}


def test_links_of_pages_are_in_the_store_and_not_in_memory(site, monkeypatch):
    walks, run = list[Walk](), Walk.run
    monkeypatch.setattr(Walk, "run", lambda walk: walks.append(walk) or run(walk))
    site.pages = {"/": page("/a", *(f"http://elsewhere.example/{number}" for number in range(100))), "/a": page()}
    assert set(site.fetch()) == {"/", "/a"}
    assert "elsewhere.example" not in str(walks[0].kept)
