"""The HTTP client of sources that fetch: where it goes, when it asks again, and what servers may do to it."""

from __future__ import annotations

import gzip
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpcore
import pytest

from curate.collect.fetch.client import Client, Limits, public_url
from curate.collect.fetch.guard import Guarded, is_public, look_up
from curate.errors import CurateError, ResumableError
from tests.collect.web_server import serving


@pytest.fixture
def web():
    with serving() as server:
        server.answer = lambda asked: b"served"
        yield server


@pytest.fixture
def forbidden():
    """A server that nothing may reach."""
    with serving() as server:
        server.answer = lambda asked: b"secret"
        yield server
        assert not server.asked


def client(web, **options):
    slept = []
    made = Client(allow=[web.host], sleep=slept.append, **{"limits": Limits(retries=2), **options})
    return made, slept


# ---- where it goes


@pytest.mark.parametrize(
    "host", ["localhost", "0x7f000001", "2130706433", "127.1", "0", "[::ffff:127.0.0.1]", "[::1]", "127.0.0.1"]
)
def test_no_way_to_write_this_machine_reaches_it(web, forbidden, host):
    one, _ = client(web)
    with one, pytest.raises(CurateError, match="is no public address, and nothing was sent to it"):
        one.get(f"http://{host}:{forbidden.port}/")


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{port}/",
        "//localhost:{port}/",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
    ],
)
def test_a_redirection_to_where_nothing_may_go_is_refused(web, forbidden, target):
    web.answer = lambda asked: (302, {"Location": target.format(port=forbidden.port)}, b"")
    one, _ = client(web)
    with one, pytest.raises(CurateError, match=r"no public address|no address of a web server"):
        one.get(web.url)


def test_the_address_that_was_checked_is_the_one_that_is_connected_to():
    answers, connected = [["93.184.216.34"], ["127.0.0.1"]], []

    class Recorded(httpcore.NetworkBackend):
        def connect_tcp(self, host, *arguments, **options):
            connected.append(host)
            raise httpcore.ConnectError("not here")

    guard = Guarded(resolve=lambda host, port: answers.pop(0), inner=Recorded())
    refused = pytest.raises(CurateError, match=r"`changing\.example` is no public address")
    with Client(guard=guard, limits=Limits(retries=1), sleep=lambda seconds: None) as one, refused:
        one.get("http://changing.example/")
    assert connected == ["93.184.216.34"]  # asked once for it; what the name said then was not connected to


def test_a_name_with_one_address_that_is_not_public_is_refused():
    guard = Guarded(resolve=lambda host, port: ["93.184.216.34", "10.0.0.1"])
    with Client(guard=guard) as one, pytest.raises(CurateError, match="no public address"):
        one.get("http://mixed.example/")


def test_addresses_that_are_not_of_the_open_internet_are_known():
    for address in (
        "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "::", "::1", "fe80::1%eth0", "fc00::1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1",
        "ff02::1", "fec0::1",
    ):  # fmt: skip
        assert not is_public(address), address
    for address in ("93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::5db8:d822"):
        assert is_public(address), address
    assert look_up("127.1", 80) == ["127.0.0.1"]


def test_proxies_of_the_environment_lead_nowhere(web, forbidden, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", forbidden.url)
    monkeypatch.setenv("ALL_PROXY", forbidden.url)
    one, _ = client(web)
    with one:
        assert one.get(web.url).body == b"served"


@pytest.mark.parametrize(
    "url", ["ftp://host/", "file:///etc/passwd", "http://", "host/path", "http://me:pw@host/", "http://host:99999/"]
)
def test_what_is_no_plain_address_is_refused_without_its_password(url):
    with Client() as one, pytest.raises(CurateError) as caught:
        one.get(url)
    assert "pw" not in str(caught.value)


def test_credentials_stay_with_their_origin(web):
    with serving() as other:
        other.answer = lambda asked: b"other"
        web.answer = lambda asked: (307, {"Location": other.url}, b"") if asked.path == "/away" else b"here"
        made = Client(allow=[web.host, other.host])
        with made:
            assert (
                made.get(f"{web.url}/away", {"X-Plain": "1"}, credentials={"Authorization": "Bearer secret"}).body
                == b"other"
            )
        assert "authorization" in web.asked[0].headers
        assert "authorization" not in other.asked[0].headers
        assert other.asked[0].headers["x-plain"] == "1"


def test_an_address_is_told_without_credentials():
    url = "https://me:pw@host/a?api_key=1&page=2&access_token=3&q=word&x=hidden#part"
    assert public_url(url, ["hidden"]) == "https://host/a?page=2&q=word"


# ---- when it asks again


def test_a_server_that_is_busy_is_asked_again_when_it_says(web):
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    told = [(429, {"Retry-After": "7"}, b""), (503, {"Retry-After": when}, b""), (200, {}, b"at last")]
    web.answer = lambda asked: told[asked.number]
    one, slept = client(web)
    with one:
        assert one.get(web.url).body == b"at last"
    assert slept[0] == 7
    assert 20 < slept[1] <= 30


def test_a_page_that_fails_to_the_end_is_named_with_how_often(web):
    web.answer = lambda asked: (500, {}, b"")
    one, slept = client(web)
    with one, pytest.raises(ResumableError, match=r"/page\?n=3` failed 3 times: the server says 500"):
        one.get(f"{web.url}/page?n=3&token=secret")
    assert (len(web.asked), slept) == (3, [1, 2])


def test_a_body_that_is_cut_short_is_asked_for_again(web):
    web.answer = lambda asked: (
        (200, {"Content-Length": "100", "Connection": "close"}, b"half") if asked.number == 0 else b"whole"
    )

    def cut(asked):
        if asked.number:
            return b"whole"
        asked.handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        return None

    web.answer = cut
    one, _ = client(web)
    with one:
        assert one.get(web.url).body == b"whole"


def test_a_circle_of_redirections_ends(web):
    web.answer = lambda asked: (302, {"Location": "/b" if asked.path == "/a" else "/a"}, b"")
    one, _ = client(web)
    with one, pytest.raises(CurateError, match="is redirected in a circle"):
        one.get(f"{web.url}/a")
    assert len(web.asked) == 2
    web.answer = lambda asked: (302, {"Location": f"/{asked.number}"}, b"")
    with one, pytest.raises(CurateError, match="or more than 10 times"):
        one.get(f"{web.url}/a")


# ---- what servers may do


def test_codings_are_undone(web):
    web.answer = lambda asked: (200, {"Content-Encoding": "gzip"}, gzip.compress(b"unpacked"))
    one, _ = client(web)
    with one:
        assert one.get(web.url).body == b"unpacked"


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_that_is_too_large_as_it_comes_or_unpacked_is_refused(web, packed):
    body = gzip.compress(b"a" * 3_000_000) if packed else b"a" * 3_000_000
    web.answer = lambda asked: (200, {"Content-Encoding": "gzip"} if packed else {}, body)
    one, _ = client(web, limits=Limits(bytes=1_000_000))
    with one, pytest.raises(CurateError, match="is larger than 1,000,000 bytes"):
        one.get(web.url)


def test_a_drip_of_headers_resets_no_clock(web):
    def drip(asked):
        asked.handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(100):
            try:
                asked.handler.wfile.write(b"X-%d: a\r\n" % number)
            except OSError:
                return
            time.sleep(0.05)

    web.answer = drip
    one, _ = client(web, limits=Limits(seconds=0.3, retries=0))
    with one, pytest.raises(ResumableError, match=r"took longer than 0\.3 seconds"):
        one.get(web.url)


@pytest.mark.parametrize("url", ["http://[x", "http://host:99999/", "http:///nothing"])
def test_an_address_that_is_none_is_an_error_and_no_crash(web, url):
    one, _ = client(web)
    with one, pytest.raises(CurateError, match="is no address of a web server"):
        one.get(url)
    web.answer = lambda asked: (302, {"location": "http://[x"}, b"")
    one, _ = client(web)
    with one, pytest.raises(CurateError, match="leads to what is no address"):
        one.get(web.url)


def test_a_drip_of_bytes_resets_no_clock(web):
    def drip(asked):
        asked.handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            try:
                asked.handler.wfile.write(b"a")
            except OSError:
                return
            time.sleep(0.05)

    web.answer = drip
    one, _ = client(web, limits=Limits(seconds=0.3, retries=0))
    with one, pytest.raises(ResumableError, match=r"took longer than 0\.3 seconds"):
        one.get(web.url)


def test_the_pace_is_kept_host_by_host(web):
    one, slept = client(web, limits=Limits(pause=5.0))
    with one:
        for _ in range(3):
            one.get(web.url)
    assert len(slept) == 2
    assert all(4 < seconds <= 5 for seconds in slept)


def test_a_server_that_is_not_there_is_an_error_that_names_it(web):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    failed = pytest.raises(ResumableError, match=rf"`http://127.0.0.1:{port}/` failed 1 times")
    with Client(allow=[f"127.0.0.1:{port}"], limits=Limits(retries=0)) as one, failed:
        one.get(f"http://127.0.0.1:{port}/")
