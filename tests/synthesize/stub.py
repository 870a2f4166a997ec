"""A real HTTP server that speaks chat completions badly: counts what was asked, fails, rambles, breaks off, asks to wait."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Stub:
    """Answers with `say(body)`; `faults` says by the number of the request how it misbehaves.

    Attributes:
        paid: How often each prompt got a whole answer.
        seen: Headers and bodies.
    """

    def __init__(self, say: Callable[[dict], Any], faults: Callable[[int], str | None] = lambda number: None) -> None:
        self.say, self.faults = say, faults
        self.paid: Counter[str] = Counter()
        self.seen: list[tuple[dict, dict]] = []
        self.lock = threading.Lock()
        self.gate = threading.Event()
        self.gate.set()

    def __enter__(self) -> Stub:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with stub.lock:
                    stub.seen.append((dict(self.headers), body))
                    fault = stub.faults(len(stub.seen))
                stub.gate.wait()
                if fault == "half":
                    self.reply(200, b'{"choices": [{"mess', length=9999)
                elif fault == "garbage":
                    self.reply(200, b'{"hello": ["<html>"]}')
                elif fault == "busy":
                    self.reply(429, b"{}", more={"Retry-After": "0"})
                elif fault:
                    self.reply(int(fault), b"{}")
                else:
                    self.good(body)

            def good(self, body):
                said = stub.say(body)
                text, finish = said if isinstance(said, tuple) else (said, "stop")
                with stub.lock:
                    stub.paid[json.dumps([body["messages"], body.get("seed")])] += 1
                usage = {"prompt_tokens": 100, "completion_tokens": 20}
                choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
                self.reply(200, json.dumps({"model": "stub-1", "choices": [choice], "usage": usage}).encode())

            def reply(self, status, content, *, length=None, more=None):
                self.send_response(status)
                for name, value in {"Content-Length": str(length or len(content)), **(more or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *words):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads, block_on_close = True, False

            def handle_error(self, request, client_address):
                pass  # somebody waited no longer

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()
