"""What a crawl asks for, what it keeps, and what it says of everything else."""

from __future__ import annotations

import gzip
import time
from itertools import pairwise

import pytest
from pydantic import ValidationError
from resiliparse.parse.html import HTMLTree

from curate.collect.web.addresses import canonical
from curate.collect.web.crawl import Crawl
from curate.collect.web.page import parse_page
from curate.errors import ResumableError
from tests.collect.web.site import AGENT, page
from tests.collect.web_server import serving

HTML = {"Content-Type": "text/html"}
LINKED = '<script type="application/ld+json">WHAT</script>'
BY = "https://creativecommons.org/licenses/by/4.0/"


def robots(text, **headers):
    return 200, {"Content-Type": "text/plain", **headers}, text.encode()


# ---- how far


def test_links_are_followed_on_the_host_and_every_other_address_is_accounted_for(site):
    site.pages = {
        "/": page("/a", "/gone", "//elsewhere.example/x", "/a#part", "/A/../a?utm_source=x", "mailto:a@b.example"),
        "/a": page("/", "/b", "/file.png"),
        "/b": page("c", head='<meta name="robots" content="noindex">'),
        "/c": page(head='<base href="http://[x">'),
        "/file.png": (200, {"Content-Type": "image/png"}, b"\x89PNG\r\n\x1a\n"),
    }
    assert set(site.fetch()) == {"/", "/a", "/c"}
    assert site.reasons() == {
        "/b": "noindex", "/gone": "status_404", "http://elsewhere.example/x": "scope", "/file.png": "media_type",
    }  # fmt: skip
    assert sorted(site.asked) == ["/", "/a", "/b", "/c", "/file.png", "/gone"]
    assert site.rows()["http://elsewhere.example/x"]["found_on"] == f"{site.web.url}/"
    counts = site.snapshot.facts["addresses"]
    assert counts == {
        "documents": 3,
        "media_type": 1,
        "noindex": 1,
        "robots_txt": 1,
        "scope": 1,
        "status_404": 1,
        "tdmrep": 1,
    }


def test_a_document_has_its_address_time_status_type_and_bytes_as_they_came(site):
    site.pages = {"/": page(title="Home")}
    (row,) = site.fetch().values()
    assert row["id"] == row["url"] == f"{site.web.url}/"
    assert row["source_uri"] == f"{site.web.url}/#{site.web.url}/"
    assert (row["status"], row["media_type"], row["content"]) == (200, "text/html", page(title="Home").encode())
    assert row["fetched_at"].endswith("Z")
    assert [one.headers["user-agent"] for one in site.web.asked] == [AGENT] * 3


def test_a_prefix_holds_a_crawl_below_a_folder(site):
    site.pages = {"/docs/": page("/docs/a", "/docsets", "/"), "/docs/a": page("../b")}
    assert set(site.fetch(seeds=[f"{site.web.url}/docs/"], scope="prefix")) == {"/docs/", "/docs/a"}
    assert site.reasons() == {"/docsets": "scope", "/": "scope", "/b": "scope"}


def test_depth_pages_and_bytes_have_limits(site):
    site.pages = {"/": page("/1", "/2", "/3"), "/1": page("/deep"), "/2": page(), "/3": page(), "/deep": page()}
    assert set(site.fetch(depth=1)) == {"/", "/1", "/2", "/3"}
    assert site.reasons() == {"/deep": "depth"}
    assert set(site.fetch(max_pages=2)) == {"/", "/1"}
    assert site.reasons() == {"/2": "max_pages", "/3": "max_pages", "/deep": "max_pages"}
    assert set(site.fetch(host_pages=3)) == {"/", "/1", "/2"}
    assert site.reasons() == {"/3": "host_pages", "/deep": "host_pages"}
    assert set(site.fetch(host_bytes=len(page("/1", "/2", "/3")) + 1)) == {"/", "/1"}
    assert site.reasons() == {"/2": "host_bytes", "/3": "host_bytes", "/deep": "host_bytes"}


def test_a_page_that_is_too_large_as_it_comes_or_unpacked_costs_itself(site):
    bomb = (200, {**HTML, "Content-Encoding": "gzip"}, gzip.compress(b"a" * 3_000_000))
    site.pages = {"/": page("/bomb", "/long"), "/bomb": bomb, "/long": page(text="a" * 200_000)}
    assert set(site.fetch(page_bytes=100_000)) == {"/"}
    assert site.reasons() == {"/bomb": "too_large", "/long": "too_large"}


def test_a_drip_and_a_server_that_fails_cost_themselves_and_are_told(site):
    def drip(asked):
        asked.handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            try:
                asked.handler.wfile.write(b"a")
            except OSError:
                return
            time.sleep(0.05)

    site.pages = {"/": page("/drip", "/broken"), "/drip": drip, "/broken": (500, {}, b"")}
    assert set(site.fetch(seconds=0.3)) == {"/"}
    assert site.reasons() == {"/drip": "unreachable", "/broken": "unreachable"}
    assert "the server says 500" in site.rows()["/broken"]["detail"]


def test_a_busy_server_is_asked_again(site):
    told = [(429, {"Retry-After": "0"}, b""), (503, {"Retry-After": "0"}, b""), page()]
    site.pages = {"/": page("/busy"), "/busy": lambda asked: told.pop(0)}
    assert set(site.fetch(retries=2)) == {"/", "/busy"}


# ---- redirections, canonical addresses, traps


def test_a_redirection_is_an_address_of_its_own_within_scope_and_ends(site):
    away = (302, {"Location": "http://elsewhere.example/"}, b"")
    site.pages = {
        "/": page("/old", "/round", "/away", "/1"), "/old": (301, {"Location": "/new"}, b""), "/new": page(),
        "/round": (302, {"Location": "/round2"}, b""), "/round2": (302, {"Location": "/round"}, b""), "/away": away,
        "*": lambda asked: (302, {"Location": f"/{int(asked.path[1:]) + 1}"}, b""),
    }  # fmt: skip
    assert set(site.fetch(alike=100)) == {"/", "/new"}
    reasons = site.reasons()
    assert {reasons[one] for one in ("/old", "/round", "/round2", "/away")} == {"redirect"}
    assert reasons["http://elsewhere.example/"] == "scope"
    assert (reasons["/11"], reasons["/12"]) == ("redirect", "redirects")
    assert "/12" not in site.asked


def test_a_page_that_names_another_as_its_own_address_is_that_one_once_more(site):
    own = '<link rel="canonical" href="/page">'
    home = '<link rel="canonical" href="/">'
    site.pages = {
        "/": page("/page", "/page?print=1", "/other", title="Home"), "/page": page(title="P", head=own),
        "/page?print=1": page(title="P", head=own), "/other": page(title="Other", head=home),
    }  # fmt: skip
    assert set(site.fetch()) == {"/", "/page", "/other"}  # a site that calls all its pages `/` loses none
    assert site.reasons() == {"/page?print=1": "duplicate"}


def test_a_calendar_without_end_a_path_that_repeats_and_session_ids_end(site):
    def month(asked):
        number = int(asked.query["month"])
        return page(f"/calendar?month={number + 1}", f"/calendar?month={number - 1}")

    site.pages = {
        "/": page("/calendar?month=100", "/x/", "/s?PHPSESSID=1"), "/calendar": month,
        "/x/": page("x/"), "*": lambda asked: page("x/"), "/s": lambda asked: page(f"/s?PHPSESSID={asked.number}"),
    }  # fmt: skip
    found = set(site.fetch(depth=None, alike=5))
    assert found == {"/", "/s", "/x/", "/x/x/", "/x/x/x/", *(f"/calendar?month={number}" for number in range(95, 106))}
    assert site.reasons() == {"/x/x/x/x/": "trap", "/calendar?month=94": "trap", "/calendar?month=106": "trap"}


def test_an_address_with_a_credential_in_it_is_not_asked_for_and_not_kept(site):
    site.pages = {"/": page("/reset?token=s3cr3t&user=1")}
    site.fetch()
    assert site.reasons() == {"/reset?token=***&user=1": "credential"}
    assert site.asked == ["/"]


# ---- who may


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("User-agent: *\nDisallow: /a", {"/b", "/b.pdf?x=1"}),
        ("User-agent: *\nDisallow: /\nAllow: /b", {"/b", "/b.pdf?x=1"}),
        ("User-agent: *\nDisallow: /*.pdf", {"/a", "/b"}),
        ("User-agent: *\nDisallow: /b$", {"/a", "/b.pdf?x=1"}),
        ("\ufeffUser-agent: *\nDisallow: /a", {"/b", "/b.pdf?x=1"}),
        ("User-agent: test-reader\nDisallow: /b\n\nUser-agent: *\nDisallow: /", {"/a"}),
        ("User-agent: other\nDisallow: /\n", {"/a", "/b", "/b.pdf?x=1"}),
        ("User-agent: *\nContent-Signal: search=yes, ai-train=no\nAllow: /", set()),
        ("User-agent: other\nContent-Signal: ai-train=no\n\nUser-agent: *\nDisallow: /b", {"/a"}),
        ("User-agent: *\nContent-Signal: /b ai-train=no\nDisallow:", {"/a"}),
    ],
)
def test_robots_txt_decides(site, text, allowed):
    links = ("/a", "/b", "/b.pdf?x=1")
    site.pages = {"/robots.txt": robots(text), **dict.fromkeys(links, page())}
    seeds = [f"{site.web.url}{link}" for link in links]
    if not allowed:
        with pytest.raises(ResumableError, match=r"is opt_out \(robots.txt: Content-Signal: ai-train=no\)"):
            site.fetch(seeds=seeds)
        assert not site.asked
        return
    assert set(site.fetch(seeds=seeds)) == allowed
    assert set(site.asked) == allowed
    assert set(site.reasons().values()) <= {"robots", "opt_out"}


def test_a_page_as_robots_txt_and_none_at_all_allow_everything(site):
    site.pages = {"/": page("/a"), "/a": page(), "/robots.txt": "<html>User-agent: *\nDisallow: /</html>"}
    assert set(site.fetch()) == {"/", "/a"}
    site.pages["/robots.txt"] = (403, {}, b"User-agent: *\nDisallow: /")
    assert set(site.fetch()) == {"/", "/a"}


def test_a_robots_txt_that_cannot_be_had_forbids_everything_until_it_can(site):
    site.pages = {"/": page(), "/robots.txt": (503, {}, b"")}
    with pytest.raises(ResumableError, match=r"no page could be had: .* is no_robots_txt \(unreachable: ") as caught:
        site.fetch()
    assert not site.asked
    assert caught.value.hint == "what became of the addresses: no_robots_txt 1"
    del site.pages["/robots.txt"]
    assert set(site.fetch()) == {"/"}  # the failure was not kept as the answer


def test_a_robots_txt_elsewhere_counts_and_one_that_leads_to_this_machine_is_not_asked_for(site):
    with serving() as forbidden:
        site.pages = {
            "/": page("/a"),
            "/a": page(),
            "/robots.txt": (301, {"Location": "/r"}, b""),
            "/r": robots("User-agent: *\nDisallow: /a"),
        }
        assert set(site.fetch()) == {"/"}
        site.pages["/robots.txt"] = (301, {"Location": forbidden.url}, b"")
        with pytest.raises(ResumableError, match="is no_robots_txt"):
            site.fetch()
        assert not forbidden.asked


@pytest.mark.parametrize(
    ("headers", "head", "evidence"),
    [
        ({"X-Robots-Tag": "noai, noimageai"}, "", "X-Robots-Tag: noai; X-Robots-Tag: noimageai"),
        ({"X-Robots-Tag": "test-reader: noai"}, "", "X-Robots-Tag: noai"),
        ({"X-Robots-Tag": "otherbot: noai"}, "", None),
        ({"tdm-reservation": "1"}, "", "tdm-reservation: 1"),
        ({"tdm-reservation": "1"}, '<meta name="tdm-reservation" content="0">', None),
        ({"Content-Signal": "ai-train=no"}, "", "Content-Signal: ai-train=no"),
        ({"Content-Signal": "ai-train=yes"}, "", None),
        ({}, '<META NAME=robots CONTENT="index,NoAI">', "meta robots: noai"),
        ({}, '<meta name="tdm-reservation" content="1">', "meta tdm-reservation: 1"),
        ({}, '<!-- <meta name="robots" content="noai"> -->', None),
    ],
)
def test_an_opt_out_is_obeyed_and_recorded_and_its_links_are_followed(site, headers, head, evidence):
    body = page("/behind", head=head).encode()
    site.pages = {"/": page("/a"), "/a": (200, {**HTML, **headers}, body), "/behind": page()}
    found = site.fetch()
    assert set(found) == {"/", "/behind"} | (set() if evidence else {"/a"})
    row = site.rows()["/a"]
    assert (row["opt_out"], row["reason"]) == (evidence, "opt_out" if evidence else None)
    assert evidence is None or row["body"] is None
    kept = site.fetch(obey=["robots"])
    assert kept["/a"]["opt_out"] == evidence  # the override is a setting, and the column says so


def test_a_reservation_of_a_site_is_obeyed_before_anything_is_asked_for(site):
    rules = b'[{"location": "/free/*", "tdm-reservation": 0}, {"location": "/", "tdm-reservation": 1, "tdm-policy": "https://p.example"}]'
    site.pages = {
        "/free/a": page("/b"), "/b": page(), "/.well-known/tdmrep.json": (200, {"Content-Type": "application/json"}, rules),
    }  # fmt: skip
    seeds = [f"{site.web.url}/free/a"]
    assert set(site.fetch(seeds=seeds)) == {"/free/a"}
    said = "tdmrep.json: tdm-reservation: 1, policy https://p.example"
    assert site.rows()["/b"]["opt_out"] == said
    assert site.asked == ["/free/a"]
    assert site.fetch(seeds=seeds, obey=["robots", "noai"])["/b"]["opt_out"] == said


def test_nofollow_and_noindex_are_obeyed_with_robots_alone(site):
    site.pages = {
        "/": page("/index") + '<a rel="nofollow ugc" href="/ad">', "/ad": page(),
        "/index": page("/x", head='<meta name="robots" content="noindex, nofollow">'), "/x": page(),
    }  # fmt: skip
    assert set(site.fetch()) == {"/"}
    assert site.reasons() == {"/ad": "nofollow", "/index": "noindex", "/x": "nofollow"}
    assert set(site.fetch(obey=[])) == {"/", "/ad", "/index", "/x"}


# ---- how gently


def test_the_pace_is_that_of_robots_txt_or_of_the_setting(site):
    times = []

    def timed(asked):
        times.append(time.monotonic())
        return page(f"/{len(times)}") if len(times) < 3 else page()

    site.pages = {"/robots.txt": robots("User-agent: *\nCrawl-delay: 0.2"), "*": timed}
    site.fetch(delay=0.01)
    assert len(times) == 3
    assert all(later - sooner >= 0.2 for sooner, later in pairwise(times))
    times.clear()
    site.pages["/robots.txt"] = robots("User-agent: *\nCrawl-delay: 0")
    site.fetch(delay=0.15)
    assert all(later - sooner >= 0.15 for sooner, later in pairwise(times))


def test_a_host_is_asked_over_one_connection_and_several_hosts_at_once(site):
    at_once, together = [0], []

    def counted(asked):
        at_once[0] += 1
        together.append(at_once[0])
        time.sleep(0.03)
        at_once[0] -= 1
        return page()

    site.pages = {"/": page(*(f"/{number}" for number in range(5))), "*": counted}
    site.fetch()
    assert set(together) == {1}
    assert len({one.handler.client_address for one in site.web.asked if one.path in ("/1", "/2", "/3")}) == 1


def test_a_crawl_delay_that_nobody_can_keep_is_a_reason(site):
    site.pages = {"/": page(), "/robots.txt": robots("User-agent: *\nCrawl-delay: 86400")}
    with pytest.raises(ResumableError, match=r"is crawl_delay \(Crawl-delay: 86400\)"):
        site.fetch()


# ---- what it may not reach


@pytest.mark.parametrize("host", ["localhost", "0x7f000001", "2130706433", "127.1", "0", "[::ffff:127.0.0.1]", "[::1]"])
def test_no_link_reaches_this_machine(site, host):
    with serving() as forbidden:
        target = f"http://{host}:{forbidden.port}/"
        site.pages = {"/": page(target, "/away"), "/away": (302, {"Location": target}, b"")}
        assert set(site.fetch(seeds=[site.web.url, target])) == {"/"}
        assert [row["reason"] for url, row in site.rows().items() if url.endswith(f":{forbidden.port}/")] == [
            "no_robots_txt"
        ]
        assert set(site.fetch(seeds=[site.web.url, target], obey=[])) == {"/"}
        assert [row["reason"] for url, row in site.rows().items() if url.endswith(f":{forbidden.port}/")] == [
            "not_public"
        ]
        assert not forbidden.asked


def test_credentials_stay_with_the_origin_of_the_seeds_and_are_in_no_store(site, monkeypatch):
    monkeypatch.setenv("WIKI_TOKEN", "Bearer s3cr3t-word")
    with serving() as other:
        other.answer = lambda asked: (200, HTML, page().encode())
        site.pages = {"/": lambda asked: page(f"{other.url}/", text=asked.headers["authorization"])}
        site.fetch(
            scope="domain", allow=[site.web.host, other.host], headers_from={"Authorization": "WIKI_TOKEN"}
        )  # fmt: skip
        assert other.asked
        assert not any("authorization" in one.headers for one in other.asked)
    assert all("authorization" in one.headers for one in site.web.asked)
    held = b"".join(piece.read_bytes() for piece in site.root.rglob("*") if piece.is_file())
    bodies = b"".join(row["body"] or b"" for row in site.rows().values())
    assert b"s3cr3t" not in held + bodies
    assert b"***" in bodies


# ---- settings


@pytest.mark.parametrize(
    "agent", ["reader", "curate/1.0", "123 (+https://a.example)", "reader\r\nX: (+https://a.example)"]
)
def test_an_agent_says_who_asks_and_where_to_reach_them(agent):
    with pytest.raises(ValidationError, match="does not say who asks"):
        Crawl(seeds=["https://a.example"], agent=agent)
    with pytest.raises(ValidationError, match="agent"):
        Crawl(seeds=["https://a.example"])


def test_a_seed_is_an_address_of_the_web():
    with pytest.raises(ValidationError, match=r"`a\.example` is no address of the web: it begins with http"):
        Crawl(seeds=["a.example"], agent=AGENT)


def test_an_address_has_one_spelling():
    base = "http://base.example/d/e"
    for written, meant in {
        "HTTP://Ex.COM:80/a/../b/./c?b=2&a=1#x": "http://ex.com/b/c?a=1&b=2",
        "//x/%7euser/%e4?utm_source=x&PHPSESSID=1": "http://x/~user/%E4",
        "http://b\u00fccher.example/\u00fc ?q=a b": "http://xn--bcher-kva.example/%C3%BC%20?q=a%20b",
        "../\n x;jsessionid=1A?sid=42": "http://base.example/%20x?sid=42",
        "http://me:pw@x.example:8080": "http://x.example:8080/",
        "http://[::1]:80": "http://[::1]/",
    }.items():
        assert canonical(written, base) == meant
        assert canonical(meant) == meant
    assert [canonical(one, base) for one in ("mailto:a@b", "javascript:x()", "http://x:99999/", "http://[x")] == [
        None
    ] * 4


# ---- licences


@pytest.mark.parametrize(
    ("head", "license", "evidence"),
    [
        ('<link rel="license" href="https://creativecommons.org/licenses/by-sa/4.0/deed.de">', "CC-BY-SA-4.0", "link: "),
        ('<a rel="license" href="//creativecommons.org/publicdomain/zero/1.0/">', "CC0-1.0", "a: "),
        ('<footer><a href="http://creativecommons.org/licenses/by/3.0/us/">', "CC-BY-3.0-US", "a: "),
        ('<a href="http://creativecommons.org/licenses/by/4.0/">a licence that the text is about</a>', None, None),
        ('<meta name="DC.rights" content="CC BY-NC 4.0">', "CC-BY-NC-4.0", "meta: CC BY-NC 4.0"),
        ('<meta name="license" content="All rights reserved">', None, "meta: All rights reserved"),
        ('<link rel="license" href="https://creativecommons.org/licenses/by/3.0/xx/">', None, "link: "),
        (LINKED.replace("WHAT", '{"@graph": [{"license": {"@id": "https://opensource.org/licenses/MIT"}}]}'), "MIT", "json-ld"),
        (LINKED.replace("WHAT", '{"@type": "ImageObject", "license": "https://opensource.org/licenses/MIT"}'), None, None),
        (f'<link rel="license" href="{BY}"><meta name="license" content="CC BY-ND 4.0">', "CC-BY-ND-4.0", "differ: "),
    ],
)  # fmt: skip
def test_a_licence_is_an_spdx_id_with_evidence(site, head, license, evidence):
    site.pages = {"/": page(head=head)}
    (row,) = site.fetch().values()
    assert row["license"] == license
    assert row["license_evidence"].startswith(evidence) if evidence else row["license_evidence"] is None


def test_an_encoding_that_only_the_server_tells_reaches_the_text(site):
    text = page(text="\u043f\u0440\u0438\u0432\u0435\u0442")
    site.pages = {"/": (200, {"Content-Type": "text/html; charset=windows-1251"}, text.encode("cp1251"))}
    (row,) = site.fetch().values()
    assert row["content"] == b"\xef\xbb\xbf" + text.encode()
    assert site.rows()["/"]["body"] == row["content"]


def test_hostile_markup_takes_no_time_that_grows_with_its_square(site):
    for text in (
        "<a href=x>" * 100_000,
        '<a href="' * 100_000,
        "<!--" * 100_000,
        "<script>" * 200_000,
        '<a "<' * 100_000,
    ):
        parse_page(text, "http://a.example/", "me")


def test_links_of_real_pages_are_those_of_a_tree(shared_data):
    for path in sorted((shared_data / "zyte_article_extraction" / "html").iterdir())[:4]:
        text = gzip.decompress(path.read_bytes()).decode(errors="replace")
        document = HTMLTree.parse(text).document
        bases = [one.getattr("href") for one in document.get_elements_by_tag_name("base")]
        home = canonical((bases or [""])[0] or "", "http://a.example/")
        anchors = [one for tag in ("a", "area") for one in document.get_elements_by_tag_name(tag)]
        found = parse_page(text, "http://a.example/", "me")
        links = {canonical(one.getattr("href"), home) for one in anchors if one.getattr("href")} - {None}
        assert links <= {*found.links, *found.unfollowed}
