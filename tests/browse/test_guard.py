"""Who is let in: requests that a browser of this machine makes, and those that others make it make."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from curate.errors import CurateError
from curate.workbench.serve import open_server
from tests.browse.conftest import client, made, version_of


@pytest.fixture(scope="module")
def server(books_once):
    return made(books_once.store)[0]


@pytest.fixture
def stranger(server):
    return TestClient(server.app, base_url=f"http://127.0.0.1:{server.port}")


@pytest.fixture(scope="module")
def guest(server, books_once):
    found = TestClient(server.app, base_url=f"http://127.0.0.1:{server.port}")
    found.get(f"/?token={server.app.token}")
    return found


HOST = "127.0.0.1:{port}"
REVEAL = "/v/{version}/d/0-0/reveal"
OWN = {"origin": "http://127.0.0.1:{port}", "x-curate": "1", "sec-fetch-site": "same-origin"}
WITHOUT_A_COOKIE = [
    ("GET", "/", {}, 401),
    ("GET", "/index.json", {}, 401),
    ("GET", "/static/workbench.js", {}, 401),
    ("GET", "/?token=", {}, 401),
    ("GET", "/?token=guess", {}, 401),
    ("GET", "/", {"cookie": "curate_{port}=guess"}, 401),
    ("GET", "/", {"authorization": "Bearer x"}, 401),
    ("POST", REVEAL, OWN, 401),
    ("GET", "/", {"host": "evil.example"}, 400),
    ("GET", "/", {"host": "evil.example:{port}"}, 400),
    ("GET", "/", {"host": "127.0.0.1"}, 400),
    ("GET", "/", {"host": "127.0.0.1:{port}.evil.example"}, 400),
    ("GET", "/", {"host": ""}, 400),
]
WITH_A_COOKIE = [
    ("GET", "/", {}, 200),
    ("HEAD", "/", {}, 200),
    ("GET", "/", {"host": "localhost:{port}"}, 200),
    ("GET", "/", {"host": "evil.example:{port}"}, 400),
    ("PUT", "/", OWN, 405),
    ("OPTIONS", "/", OWN, 405),
    ("GET", REVEAL, {}, 405),
    ("POST", REVEAL, OWN, 200),
    ("POST", REVEAL, {"origin": "http://localhost:{port}", "x-curate": "1"}, 200),
    ("POST", REVEAL, {**OWN, "origin": "http://evil.example"}, 403),
    ("POST", REVEAL, {**OWN, "origin": "null"}, 403),
    ("POST", REVEAL, {**OWN, "origin": "http://127.0.0.1:1"}, 403),
    ("POST", REVEAL, {key: value for key, value in OWN.items() if key != "origin"}, 403),
    ("POST", REVEAL, {key: value for key, value in OWN.items() if key != "x-curate"}, 403),
    ("POST", REVEAL, {**OWN, "sec-fetch-site": "cross-site"}, 403),
    ("POST", REVEAL, {**OWN, "sec-fetch-site": "none"}, 403),
    ("POST", REVEAL, {**OWN, "host": "evil.example:{port}"}, 400),
]


def ask(browser, server, method, path, headers):
    filled = {key: value.format(port=server.port) for key, value in headers.items()}
    return browser.request(method, path, headers=filled, follow_redirects=False)


@pytest.mark.parametrize(("method", "path", "headers", "status"), WITHOUT_A_COOKIE)
def test_a_stranger_is_told_nothing(server, stranger, books_once, method, path, headers, status):
    path = path.format(version=version_of(books_once.store))
    answer = ask(stranger, server, method, path, headers)
    assert answer.status_code == status
    assert "books" not in answer.text and "set-cookie" not in answer.headers


@pytest.mark.parametrize(("method", "path", "headers", "status"), WITH_A_COOKIE)
def test_a_guest_may_read_and_write_from_these_pages_alone(server, guest, books_once, method, path, headers, status):
    path = path.format(version=version_of(books_once.store))
    assert ask(guest, server, method, path, headers).status_code == status


def test_the_token_is_good_once_and_leaves_the_address(books_once):
    server, first = made(books_once.store)
    token, second = server.app.token, TestClient(server.app, base_url=first.base_url)
    answer = first.get(f"/runs?id=&token={token}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs?id=")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"curate_{server.port}=")
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict") and token not in cookie
    assert second.get(f"/?token={token}").status_code == 401
    assert first.get(f"/?token={token}").status_code == 200  # who was let in may go back


def test_who_is_not_let_in_is_told_what_to_do(stranger):
    answer = stranger.get("/v/books/documents")
    assert answer.status_code == 401 and answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>Closed: curate browse</title>" in answer.text and "Started again it prints a new one" in answer.text


def test_the_way_in_leads_nowhere_else(books_once):
    server, browser = made(books_once.store)
    answer = browser.get(
        f"http://127.0.0.1:{server.port}//evil.example/?token={server.app.token}", follow_redirects=False
    )
    assert answer.headers["location"] == "/evil.example/"


@pytest.mark.parametrize("path", ["/", "/nothing", "/static/workbench.js", "/v/none/documents", "/?token=guess"])
def test_every_answer_forbids_foreign_scripts_requests_and_frames(server, guest, path):
    headers = guest.get(path).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers


def test_read_only_refuses_what_writes_and_does_not_offer_it(books_once):
    browser = client(books_once.store, read_only=True)
    port = browser.base_url.port
    version = version_of(books_once.store)
    headers = {key: value.format(port=port) for key, value in OWN.items()}
    answer = browser.post(f"/v/{version}/d/0-0/reveal", headers=headers)
    assert (answer.status_code, answer.text) == (403, "This server was started with --read-only.")
    assert "unmasked" not in browser.get(f"/v/{version}/d/0-0").text


def test_it_listens_on_this_machine_alone_and_a_port_that_is_taken_is_told(books_once):
    server = open_server(books_once.store)
    assert server._socket.getsockname()[0] == "127.0.0.1"
    with pytest.raises(CurateError, match=f"port {server.port} cannot be used: Address already in use"):
        open_server(books_once.store, port=server.port)
    server.close()
