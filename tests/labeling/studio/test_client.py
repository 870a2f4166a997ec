"""What a connection says when it does not work; against a real Label Studio, and a server that answers as told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from curate.errors import CurateError, ResumableError
from curate.labeling.studio.client import TOKEN, connect
from tests.oracles import library

library("label_studio_sdk")


class Told(BaseHTTPRequestHandler):
    """Answers what the server was told."""

    def do_GET(self) -> None:
        if self.server.answer is None:
            self.server.ended.wait(60)
            return
        status, kind, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *given) -> None:
        pass


@pytest.fixture
def told() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Told) as server:
        server.ended, server.url = threading.Event(), f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.ended.set()
        server.shutdown()
        thread.join()


JSON = "application/json"


@pytest.mark.parametrize(
    ("answer", "kind", "problem", "hint"),
    [
        ((401, JSON, b'{"detail": "Invalid token."}'), CurateError, "does not know the token", TOKEN),
        ((401, JSON, b'{"detail": "Authentication token no longer valid: legacy token authentication has been disabled '
          b'for this organization"}'), CurateError, "does not take legacy tokens", "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN"),
        ((403, JSON, b'{"detail": "no"}'), CurateError, "does not let this account let us in: no", None),
        ((403, JSON, b'{"detail": "URL resolves to a reserved network address (block: 127.0.0.0/8)"}'), CurateError,
         "does not call addresses of its own network", "SSRF_PROTECTION_ENABLED"),
        ((404, "text/html", b"<html>"), CurateError, "is not there any more", None),
        ((400, JSON, b'{"validation_errors": {"title": ["too long"]}}'), CurateError, "too long", None),
        ((500, "text/html", b"<html>secret"), ResumableError, "failed \\(500\\)", "goes on"),
        ((503, JSON, b"[]"), ResumableError, "failed \\(503\\)", "goes on"),
        ((200, "text/html", b"<html>"), CurateError, "is not a Label Studio", None),
        ((200, JSON, b"{}"), CurateError, "is not a Label Studio", None),
    ],
)  # fmt: skip
def test_what_an_answer_means(told, answer, kind, problem, hint):
    told.answer = answer
    with pytest.raises(kind, match=problem) as caught:
        connect(told.url, "a" * 40)
    assert hint is None or hint in caught.value.hint
    assert "secret" not in str(caught.value) and "aaaa" not in str(caught.value)


def test_a_slow_server_can_be_asked_again(told):
    told.answer = None
    with pytest.raises(ResumableError, match=r"could not let us in within 0\.2 seconds"):
        connect(told.url, "a" * 40, seconds=0.2)


def test_no_server_names_the_command_that_starts_one():
    with pytest.raises(CurateError, match="no Label Studio answers") as caught:
        connect("http://127.0.0.1:9", "a" * 40)
    assert "curate label serve" in caught.value.hint


def test_no_token_names_the_variable(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    with pytest.raises(CurateError, match=f"{TOKEN} is not set"):
        connect("http://127.0.0.1:9")


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://host", "http://", "http://me:secret@host"])
def test_what_is_no_url_is_refused_without_its_password(url):
    with pytest.raises(CurateError, match="is not the URL of a Label Studio") as caught:
        connect(url, "a" * 40)
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_a_wrong_token_is_refused_by_a_real_server(studio):
    with pytest.raises(CurateError, match="does not know the token"):
        connect(studio.url, "b" * 40)


@pytest.mark.slow
def test_the_token_of_the_environment_is_taken(studio, monkeypatch):
    monkeypatch.setenv(TOKEN, studio.token)
    with connect(studio.url + "/") as client:
        assert client.url == studio.url
