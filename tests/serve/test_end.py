"""What clients are told when the server ends, or its worker has."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import sleep

import httpx

from curate.serve.texts import Closed
from tests.serve.conftest import held, post, serving, until
from tests.serve.test_hostile import refused


def test_at_the_end_who_waits_is_told_so_and_what_is_written_ends_in_time_with_what_there_is(model):
    def respond():
        inner = model.respond()
        own = type(inner)

        class Slow(own):
            def __call__(self, *given):
                sleep(0.02)
                return super().__call__(*given)

        inner.__class__ = Slow
        return inner

    slow = copy.copy(model)
    slow.respond = respond
    body = {"prompt": "x", "max_tokens": 200, "ignore_eos": True}
    with ThreadPoolExecutor(4) as pool:
        with serving(slow, slots=2, queue=4, drain=0.3) as server:
            running = [pool.submit(post, server, "completions", {**body, "stream": stream}) for stream in (True, False)]
            until(lambda: server.service.work.active == 2)
            waiting = [pool.submit(post, server, "completions", {**body, "stream": stream}) for stream in (True, False)]
            until(lambda: server.service.work.waiting == 2)
        streamed, whole = (one.result() for one in running)
        assert streamed.text.endswith("data: [DONE]\n\n") and '"finish_reason":"length"' in streamed.text
        assert whole.json()["choices"][0]["finish_reason"] == "length"
        assert whole.json()["usage"]["completion_tokens"] < 200
        streamed, whole = (one.result() for one in waiting)
        assert '"the server is ending; ' in streamed.text
        assert int(whole.headers["retry-after"]) and refused(whole, 503, "the server is ending")
    counted = {(path, status): count for (path, status), count in server.service.requests.items()}
    assert counted == {("/v1/completions", 200): 2, ("/v1/completions", 503): 2}


def test_at_the_end_a_step_that_takes_too_long_is_told_in_the_same_form(model, monkeypatch):
    monkeypatch.setattr("curate.serve.server.SENDING", 0.1)
    gate = Event()
    with ThreadPoolExecutor(1) as pool:
        with serving(held(model, gate), drain=0) as server:
            asked = pool.submit(post, server, "completions", {"prompt": "x"})
            until(lambda: server.service.work.active == 1)
            asked.add_done_callback(lambda _: gate.set())
        refused(asked.result(), 503, "the server is ending")


def test_a_worker_that_has_ended_is_told_as_what_it_is(model):
    with serving(model) as server:
        server.service.work.stop()
        server.service.work._closed = Closed.broken  # as when the thread breaks
        answer = post(server, "completions", {"prompt": "x"})
        refused(answer, 503, "the worker of this server has ended; start the server again")
        assert "retry-after" not in answer.headers
        assert httpx.get(f"{server.url[:-3]}/health").status_code == 503
