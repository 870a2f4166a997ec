"""A language model suggests what it is asked for, and nothing else comes of what it says."""

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from curate import endpoint
from curate.errors import CurateError, ResumableError
from curate.labeling.documents import Shown
from curate.labeling.endpoint import understood
from curate.labeling.log import suggestions
from curate.labeling.task import Task, load_task
from tests.labeling.test_functions import functions


@pytest.fixture
def language_model(monkeypatch):
    """An endpoint that answers what a test has it answer: a text, or the status of an error."""
    asked, said = [], []
    monkeypatch.setattr(endpoint, "time", type("", (), {"sleep": staticmethod(lambda seconds: None)}))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append((dict(self.headers), json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            answer = said[min(len(asked), len(said)) - 1]
            status, body = (
                (answer, {}) if isinstance(answer, int) else (200, {"choices": [{"message": {"content": answer}}]})
            )
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1", asked, said
        server.shutdown()
        thread.join()


def test_documents_are_asked_about_with_labels_and_instructions_and_the_token(messages, language_model, monkeypatch):
    url, asked, said = language_model
    monkeypatch.setenv("CURATE_LLM_TOKEN", "secret-token")
    file = messages.task(instructions="Who sent it?", labels=["ham", {"name": "spam", "description": "advertising"}])
    messages.json("next", "-n", 3)
    said.append('Sure: {"answer": "spam"}')
    told = messages.json("preannotate", "--endpoint", url, "--model", "large")
    assert (told["model"], told["suggested"], told["abstained"]) == ("large", 3, 0)
    assert {one.value for one in suggestions(messages.project.store, load_task(file))} == {'"spam"'}
    headers, body = asked[0]
    assert headers["Authorization"] == "Bearer secret-token"
    assert all(words in body["messages"][0]["content"] for words in ("Who sent it?", "spam: advertising"))
    assert "secret-token" not in messages.cli("preannotate", "--endpoint", url, "--model", "large").out


@pytest.mark.parametrize("answer", ["eggs", '{"answer": "eggs"}', '{"label": "spam"}', "{", '{"answer": ["spam"]}', ""])
def test_what_is_no_answer_is_no_suggestion(messages, language_model, answer):
    url, _, said = language_model
    messages.task()
    messages.json("next", "-n", 2)
    said.append(answer)
    told = messages.json("preannotate", "--endpoint", url, "--model", "large")
    assert (told["suggested"], told["abstained"]) == (0, 2)


@pytest.mark.parametrize(
    ("said_first", "code", "message"),
    [(500, 0, ""), (401, 2, "CURATE_LLM_TOKEN"), (404, 2, "refuses the question (404)")],
)
def test_a_broken_endpoint_is_asked_again_and_a_refusal_is_told(messages, language_model, said_first, code, message):
    url, _, said = language_model
    messages.task()
    messages.json("next", "-n", 1)
    said += [said_first, '{"answer": "ham"}']
    outcome = messages.cli("preannotate", "--endpoint", url, "--model", "large")
    assert (outcome.code, message in outcome.err) == (code, True), outcome.err


def test_an_endpoint_that_is_not_there_is_told_and_the_options_go_together(messages, monkeypatch):
    monkeypatch.setattr(endpoint, "time", type("", (), {"sleep": staticmethod(lambda seconds: None)}))
    messages.task()
    messages.json("next", "-n", 1)
    outcome = messages.cli("preannotate", "--endpoint", "http://127.0.0.1:1/v1", "--model", "large")
    assert (outcome.code, "does not answer" in outcome.err) == (4, True)
    for words in (("--endpoint", "http://127.0.0.1:1"), ("--model", "x")):
        assert messages.cli("preannotate", *words).code == 2
    assert "is no endpoint" in messages.cli("preannotate", "--endpoint", "http://u:p@h/v1", "--model", "x").err


@pytest.fixture
def speaks(monkeypatch):
    """A server that says the bytes it is given, and keeps what it was asked."""
    monkeypatch.setattr(endpoint, "time", type("", (), {"sleep": staticmethod(lambda seconds: None)}))
    asked, said = [], []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            asked.append(self.connection.recv(1 << 16).decode())
            self.wfile.write(said[min(len(asked), len(said)) - 1])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked, said
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_token_goes_to_no_other_place_than_the_endpoint(speaks, monkeypatch, status):
    url, asked, said = speaks
    monkeypatch.setenv("CURATE_LLM_TOKEN", "secret-token")
    said.append(f"HTTP/1.1 {status} Elsewhere\r\nLocation: {url.replace('127.0.0.1', 'localhost')}/x\r\n\r\n".encode())
    with pytest.raises(CurateError) as error:
        endpoint.answer(url, "large", [])
    assert error.value.problem == f"the endpoint sends elsewhere ({status})"
    assert error.value.hint == "name the address where it answers; token and question go to no other"
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("broken", "name"),
    [(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "IncompleteRead"), (b"no http\r\n\r\n", "BadStatusLine")],
)
def test_an_answer_that_breaks_off_is_asked_for_again(speaks, broken, name):
    url, _, said = speaks
    body = b'{"choices": [{"message": {"content": "yes"}}]}'
    said += [broken, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)]
    assert endpoint.answer(url, "large", []) == "yes"
    said[:] = [broken]
    with pytest.raises(ResumableError, match=rf"the endpoint does not answer: it breaks off \({name}\)"):
        endpoint.answer(url, "large", [])


def test_spans_are_found_in_the_text_and_sides_are_put_back():
    labels = {"labels": ["ham", "spam"]}
    spans = Task.model_validate({"task": "t1", "dataset": "d", "kind": "spans", **labels})
    one = Shown("a", "01", {"text": "some words"})
    said = '{"answer": [{"text": "words", "label": "spam"}]}'
    assert understood(spans, one, said) == [{"start": 5, "end": 10, "label": "spam"}]
    assert understood(spans, one, said.replace("words", "nowhere")) is None
    pair = Task.model_validate({"task": "t1", "dataset": "d", "kind": "preference"})
    data = {"first": "A", "second": "B"}
    assert understood(pair, Shown("a", "00", data), '{"answer": "first"}') == "first"
    assert understood(pair, Shown("a", "01", data), '{"answer": "first"}') == "second"


def test_labeling_functions_suggest_too(messages):
    file = messages.task()
    functions(messages, {"name": "long", "label": "spam", "regex": "^.{20}"}, {"name": "odd", "label": "ham", "column": "half",
                                                                            "above": 1})  # fmt: skip
    messages.json("next", "-n", 10)
    told = messages.json("preannotate", "--functions")
    assert told["suggested"] + told["abstained"] == 10
    assert {one.value for one in suggestions(messages.project.store, load_task(file))} == {'"spam"'}
