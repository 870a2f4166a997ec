"""A real HTTP server on this machine that answers as a test says, and writes down what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


class Asked:
    """A request: its path, parameters and headers, and how many there were before it."""

    def __init__(self, handler: BaseHTTPRequestHandler, number: int) -> None:
        parts = urlsplit(handler.path)
        self.path, self.query, self.target = parts.path, dict(parse_qsl(parts.query)), handler.path
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.number, self.handler = number, handler


class WebServer:
    """What a test has of a server: its address, what it was asked, and what it answers."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], object] = lambda asked: (404, {}, b"")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                one = Asked(self, len(outer.asked))
                outer.asked.append(one)
                told = outer.answer(one)
                if told is None:  # it has written itself
                    self.close_connection = True
                    return
                status, headers, body = told if isinstance(told, tuple) else (200, {}, told)
                body = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(ConnectionError):  # it was not read to its end
                    self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"


@contextmanager
def serving() -> Iterator[WebServer]:
    one = WebServer()
    thread = threading.Thread(target=one.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield one
    finally:
        one.server.shutdown()
        one.server.server_close()
        thread.join()
