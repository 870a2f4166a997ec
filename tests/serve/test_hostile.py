"""Requests that are wrong, too large, too many, or of somebody who may not ask; clients that leave and that do not read."""

from __future__ import annotations

import copy
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from time import monotonic, process_time, sleep

import httpx
import openai
import pytest

from curate.listening import own_hosts
from curate.serve.guard import KeyGuard
from tests.serve.conftest import KEY, asking, held, post, serving, until

JSON = {"content-type": "application/json"}
SECRET = "do not repeat me"


def refused(answer, status, words):
    told = answer.json()["error"]
    assert (answer.status_code, set(told)) == (status, {"message", "type", "param", "code"}), answer.text
    assert words in told["message"], told["message"]
    return told


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no JSON"),
        (b"not JSON", "no JSON (line 1, column 1)"),
        (b'{"prompt": "x", "temperature": NaN}', "no JSON"),
        (b'{"prompt": "x", "temperature": 1e999}', ""),
        (b"[" * 100_000, "no JSON"),
        (b'{"prompt": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001, "no JSON"),
        (b'{"prompt": "\xff\xfe"}', "no JSON"),
        (b'{"prompt": "\\ud800"}', "no JSON"),
        (b'["prompt"]', "no JSON object"),
        (b"null", "no JSON object"),
    ],
)
def test_a_body_that_is_no_request_is_refused(server, content, words):
    answer = httpx.post(f"{server.url}/completions", content=content, headers=JSON)
    refused(answer, 400, words)


@pytest.mark.parametrize(
    ("more", "param", "words"),
    [
        ({"prompt": 5}, "prompt", "valid string"),
        ({"prompt": []}, "prompt", "has no text"),
        ({"prompt": [-1]}, "prompt", "token numbers are from 0 to 256"),
        ({"prompt": [257]}, "prompt", "token numbers are from 0 to 256"),
        ({"prompt": [10**30]}, None, ""),
        ({"max_tokens": -1}, "max_tokens", "greater than or equal to 0"),
        ({"max_tokens": 0}, "max_tokens", "asks for nothing"),
        ({"max_tokens": "5"}, "max_tokens", "valid integer"),
        ({"max_tokens": True}, "max_tokens", "valid integer"),
        ({"max_tokens": 5000}, "max_tokens", "at most 4,096 new tokens"),
        ({"max_tokens": 250}, "prompt", "reads 256 tokens at once: 16 of the prompt and 250 new ones"),
        ({"temperature": -1}, "temperature", "greater than or equal to 0"),
        ({"top_p": 0}, "top_p", "greater than 0"),
        ({"n": 129}, "n", "less than or equal to 128"),
        ({"n": 100, "prompt": ["a", "b"]}, "prompt", "at most 128 texts"),
        ({"logprobs": 21}, "logprobs", "less than or equal to 20"),
        ({"stop": ""}, "stop", "empty string"),
        ({"stop": ["a"] * 17}, "stop", "at most 16 strings"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "for `stream: true`"),
        ({"presence_penalty": 0.5}, "presence_penalty", "not done by this server"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "not done by this server"),
        ({"temprature": 1}, "temprature", "did you mean `temperature`"),
    ],
)
def test_a_parameter_that_is_wrong_is_named_and_nothing_that_was_sent_is_repeated(server, more, param, words):
    told = refused(post(server, "completions", {"prompt": SECRET, **more}), 400, words)
    assert told["param"] == param or param is None
    assert told["type"] == "invalid_request_error" and SECRET not in json.dumps(told)


def test_parameters_that_ask_for_nothing_or_change_nothing_are_taken(server):
    neutral = {"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": None, "best_of": 1, "suffix": None}
    unused = {"user": "me", "metadata": {"a": "b"}}
    answer = post(server, "completions", {"prompt": "x", "max_tokens": 1, **neutral, **unused})
    assert answer.status_code == 200


def test_a_request_of_10_megabytes_is_refused_before_it_is_read(server):
    big = {"prompt": "x" * 10_000_000}
    refused(post(server, "completions", big), 413, "at most 4,000,000 bytes")
    parts = (b'{"prompt": "' if not number else b"x" * 100_000 for number in range(60))
    refused(httpx.post(f"{server.url}/completions", content=parts, headers=JSON), 413, "at most 4,000,000 bytes")


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (["abcdefgh"] * 200_000, "at most 128 texts"),
        ("x" * 3_000_000, "reads 256 tokens at once"),
        ([5] * 1_000_000, "reads 256 tokens at once"),
        ([1.5] * 500_000, "valid string"),
        (["a", 1] * 200_000, "valid string"),
        ([[1.5]] * 200_000, "valid string"),
    ],
)
def test_what_is_too_much_is_refused_before_it_is_read_one_by_one(server, monkeypatch, prompt, words):
    monkeypatch.setattr(type(server.service.model), "encode", None)
    began = process_time()
    refused(post(server, "completions", {"prompt": prompt}), 400, words)
    assert process_time() - began < 2  # 10 s and more where each mistake is noted


def test_a_prompt_longer_than_the_model_reads_is_refused_as_openai_does(client):
    with pytest.raises(openai.BadRequestError, match="reads 256 tokens at once") as error:
        client.completions.create(model="small", prompt="x" * 300)
    assert error.value.code == "context_length_exceeded"


def test_what_is_not_there_is_told_in_the_same_form(server):
    base = server.url.removesuffix("/v1")
    refused(httpx.get(f"{base}/v2/models"), 404, "there is no GET /v2/models")
    refused(httpx.get(f"{server.url}/completions"), 405, "there is no GET /v1/completions")
    refused(httpx.put(f"{server.url}/completions"), 405, "GET, HEAD or POST")
    refused(post(server, "completions", {"prompt": "x", "model": "gpt"}), 404, "it is called small")
    form = httpx.post(f"{server.url}/completions", data={"prompt": "x"})
    refused(form, 415, "the body has to be JSON")


# ---- who may ask


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:{port}"}, 200),
        ({"origin": "http://127.0.0.1:{port}"}, 200),
        ({"host": "evil.example"}, 400),
        ({"host": "evil.example:{port}"}, 400),
        ({"host": "127.0.0.1"}, 400),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_without_a_key_pages_of_others_are_not_answered(server, headers, status):
    filled = {name: value.format(port=server.port) for name, value in headers.items()}
    answer = httpx.get(f"{server.url}/models", headers=filled)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers
    assert ("small" in answer.text) == (status == 200)


def test_with_a_key_nothing_but_probes_is_answered_without_it(model):
    with serving(model, key=KEY) as server:
        base = server.url.removesuffix("/v1")
        for path in ("/v1/models", "/metrics", "/version", "/nothing"):
            answer = httpx.get(base + path)
            assert refused(answer, 401, "asks for its key")["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
        for wrong in ("Bearer x", f"Basic {KEY}", KEY, "Bearer", f"Bearer {KEY}x"):
            assert httpx.get(f"{base}/v1/models", headers={"authorization": wrong}).status_code == 401
        assert httpx.get(f"{base}/health").json() == {"status": "ok"}
        assert httpx.get(f"{base}/ready").json() == {"status": "ready"}
        elsewhere = {"authorization": f"bearer {KEY}", "host": "proxy.example"}
        assert httpx.get(f"{base}/v1/models", headers=elsewhere).status_code == 200
        with asking(server, api_key=KEY) as client, asking(server) as stranger:
            assert client.models.list().data[0].id == "small"
            with pytest.raises(openai.AuthenticationError):
                stranger.models.list()


# ---- too many, and clients that leave


def test_a_full_queue_answers_429_and_when_to_ask_again(model):
    gate = Event()
    body = {"prompt": "x", "max_tokens": 2}
    with serving(held(model, gate), slots=1, queue=1) as server, ThreadPoolExecutor(2) as pool:
        work = server.service.work
        try:
            first = pool.submit(post, server, "completions", body)
            until(lambda: work.active == 1)
            second = pool.submit(post, server, "completions", body)
            until(lambda: work.waiting == 1)
            assert httpx.get(f"{server.url[:-3]}/ready").json() == {"status": "full"}
            answer = post(server, "completions", body)
            told = refused(answer, 429, "too many requests are waiting")
            assert told["type"] == "rate_limit_error" and int(answer.headers["retry-after"]) >= 1
            with asking(server) as client, pytest.raises(openai.RateLimitError):
                client.completions.create(model="small", prompt="x")
        finally:
            gate.set()
        assert first.result().status_code == second.result().status_code == 200
        metrics = httpx.get(f"{server.url[:-3]}/metrics").text
        assert 'curate_requests_total{path="/v1/completions",status="429"} 2' in metrics


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_leaves_its_slot(model, stream):
    gate = Event()
    with serving(held(model, gate), slots=1, queue=4) as server:
        work = server.service.work
        body = json.dumps({"prompt": "x", "max_tokens": 200, "stream": stream, "ignore_eos": True}).encode()
        with socket.create_connection(("127.0.0.1", server.port)) as gone:
            gone.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (server.port, len(body), body)
            )
            until(lambda: work.active == 1)
        until(lambda: not server.connections)
        gate.set()
        until(lambda: work.active == 0)
        assert work.counts["given_up"] == 1 and work.counts["generated_tokens"] <= 2
        assert post(server, "completions", {"prompt": "x", "max_tokens": 2}).status_code == 200


def test_a_client_that_never_reads_is_cut_and_holds_nobody_up(model, monkeypatch):
    monkeypatch.setattr("curate.serve.server.UNREAD_SECONDS", 0.2)
    body = json.dumps({"prompt": ["x" * 200] * 30, "max_tokens": 20, "logprobs": 20, "echo": True}).encode()
    with serving(model, buffer=4096) as server, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", server.port))
        deaf.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (server.port, len(body), body)
        )
        until(lambda: server.connections)
        assert post(server, "completions", {"prompt": "x", "max_tokens": 2}).status_code == 200
        until(lambda: not server.connections)
        assert server.service.work.active == 0


@pytest.mark.parametrize("said", [b"", b"POST /v1/completions HTTP/1.1\r\nHost: 127"])
def test_a_client_that_does_not_ask_is_cut(model, monkeypatch, said):
    monkeypatch.setattr("curate.serve.server.UNREAD_SECONDS", 0.1)
    with serving(model) as server, socket.create_connection(("127.0.0.1", server.port)) as silent:
        silent.sendall(said)
        with suppress(ConnectionResetError):
            assert silent.recv(100) == b""


@pytest.mark.parametrize(
    ("asked", "trickle"),
    [
        (b"GET /health HTTP/1.1\r\n\r\n", b"G"),
        (b"POST /v1/completions HTTP/1.1\r\nContent-Length: 3000000000\r\n\r\n", b"x"),
        (b"POST /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
)
def test_a_client_that_was_answered_and_never_ends_what_it_sends_is_cut(model, monkeypatch, asked, trickle):
    monkeypatch.setattr("curate.serve.server.UNREAD_SECONDS", 0.3)
    with serving(model, key=KEY) as server, socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(asked.replace(b"\r\n", b"\r\nHost: x\r\n", 1))
        assert client.recv(1000).startswith(b"HTTP/1.1 ")
        began = monotonic()
        with suppress(ConnectionError):
            while server.connections and monotonic() - began < 3:
                client.sendall(trickle)
                sleep(0.05)
        until(lambda: not server.connections or monotonic() - began > 3)
        assert monotonic() - began < 2


def test_a_client_that_asks_again_is_not_cut_while_it_is_answered(model, monkeypatch):
    monkeypatch.setattr("curate.serve.server.UNREAD_SECONDS", 0.1)
    gate = Event()
    with serving(held(model, gate)) as server, httpx.Client() as client, ThreadPoolExecutor(1) as pool:
        assert client.get(f"{server.url}/models").status_code == 200
        slow = pool.submit(client.post, f"{server.url}/completions", json={"prompt": "x", "max_tokens": 1})
        until(lambda: server.service.work.active == 1)
        sleep(0.2)
        gate.set()
        assert slow.result().status_code == 200


def test_clients_that_give_up_leave_the_queue_to_others_at_once(model):
    gate, body = Event(), {"prompt": "x", "max_tokens": 2}
    with serving(held(model, gate), slots=1, queue=2) as server, ThreadPoolExecutor(2) as pool:
        work = server.service.work
        try:
            first = pool.submit(post, server, "completions", body)
            until(lambda: work.active == 1)
            for stream in (True, False):
                with pytest.raises(httpx.TimeoutException):
                    httpx.post(f"{server.url}/completions", json={**body, "stream": stream}, timeout=0.1)
            until(lambda: work.waiting == 0)
            assert work.counts["given_up"] == 2
            second = pool.submit(post, server, "completions", {**body, "prompt": ["x", "y"]})
            until(lambda: work.waiting == 2)
        finally:
            gate.set()
        assert first.result().status_code == second.result().status_code == 200


def test_what_breaks_inside_is_told_without_the_prompt(model, capfd):
    def fails():
        raise RuntimeError(SECRET)

    broken = copy.copy(model)
    broken.respond = fails
    with serving(broken) as server:
        told = refused(post(server, "completions", {"prompt": SECRET}), 500, "internal error: RuntimeError")
        streamed = post(server, "completions", {"prompt": SECRET, "stream": True}).text
    out, err = capfd.readouterr()
    assert told["type"] == "server_error"
    assert '"internal error: RuntimeError"' in streamed and "[DONE]" not in streamed
    assert SECRET not in out + err + streamed + json.dumps(told)


def test_metrics_count_tokens_and_times_and_say_nothing_of_prompts(model):
    with serving(model) as server:
        body = {"prompt": SECRET, "max_tokens": 3, "ignore_eos": True, "stream": True}
        assert post(server, "completions", body).status_code == 200
        text = httpx.get(f"{server.url[:-3]}/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values["curate_generated_tokens_total"] == "3"
    assert values["curate_prompt_tokens_total"] == str(len(SECRET))
    assert values["curate_request_seconds_count"] == values["curate_first_token_seconds_count"] == "1"
    assert SECRET not in text


def test_metrics_count_every_answer_also_refusals_and_what_broke_off(model):
    with serving(copy.copy(model), key=KEY) as server:
        own = {"authorization": f"Bearer {KEY}"}
        base = server.url[:-3]
        for path in ("/health", "/version"):
            httpx.get(base + path)
        for path in ("/zzz", "/v1/models/other", "/v1/completions"):
            httpx.get(base + path, headers=own)
        server.service.model.respond = None
        post(server, "completions", {"prompt": "x", "stream": True}, **own)
        text = httpx.get(f"{base}/metrics", headers=own).text
    counted = {line.split("{")[1] for line in text.splitlines() if line.startswith("curate_requests_total{")}
    assert counted == {
        'path="/health",status="200"} 1', 'path="other",status="404"} 2', 'path="/version",status="401"} 1',
        'path="/v1/completions",status="405"} 1', 'path="/v1/completions",status="500"} 1',
    }  # fmt: skip


@pytest.mark.parametrize("port", [80, 8000])
def test_hosts_are_those_of_the_port_in_any_case_and_without_the_port_where_clients_leave_it_out(port):
    guard = KeyGuard(None, own_hosts("127.0.0.1", port), None, print)

    def status(host):
        found = guard._refusal({"headers": [(b"host", host.encode())], "method": "GET", "path": "/metrics"})
        return found and found.status

    assert status(f"LocalHost:{port}") is status(f"127.0.0.1:{port}") is None
    assert status("localhost") == status("127.0.0.1") == (None if port == 80 else 400)
    assert status("evil.example:80") == 400
