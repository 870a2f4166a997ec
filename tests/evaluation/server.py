"""A small server of OpenAI's completions with echo and logprobs, in front of a model of ours or of what a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch


@contextmanager
def serving(answer: Callable[[dict, dict], tuple[int, object]], models: list[dict] | None = None) -> Iterator[str]:
    """The URL of a server that gives (status, JSON) for the headers and the body of each question."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.say(*((200, {"data": models}) if models is not None else (404, {})))

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.say(*answer(dict(self.headers), body))

        def say(self, status, body):
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads, block_on_close = True, False

        def handle_error(self, request, client_address):
            pass  # somebody waited no longer

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


def completions(model) -> Callable[[dict, dict], tuple[int, object]]:
    """What a server with a model of ours answers."""
    lock = threading.Lock()

    def echoed(tokens: list[int], number: int) -> dict:
        with torch.inference_mode():
            logs = model.logits(model.states(torch.tensor([tokens]))[0]).double().log_softmax(-1)
        given = [None] + [float(logs[place, token]) for place, token in enumerate(tokens[1:])]
        tops = [None] + [{str(int(row.argmax())): float(row.max())} for row in logs[:-1]]
        told = {"token_logprobs": [*given, -1.0], "top_logprobs": [*tops, {"x": -1.0}]}  # and the new token
        return {"index": number, "text": "", "logprobs": told}

    def answer(headers: dict, body: dict) -> tuple[int, object]:
        with lock:
            if body.get("echo"):
                return 200, {"choices": [echoed(tokens, number) for number, tokens in enumerate(body["prompt"])][::-1]}
            text = model.tokenizer.decode(body["prompt"], skip_special_tokens=False)
            [made] = model.complete([text], most=body["max_tokens"], stop=body.get("stop", ()))
        choice = {"index": 0, "text": made.text, "finish_reason": made.finish}
        return 200, {"choices": [choice], "usage": {"completion_tokens": made.tokens}}

    return answer
