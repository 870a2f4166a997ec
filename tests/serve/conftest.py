"""Servers in threads of this process, with models that are made once."""

from __future__ import annotations

import copy
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import httpx
import openai
import pytest

from curate.serve.server import ModelServer
from curate.serve.service import Limits, Service
from tests.browse.conftest import _no_signals
from tests.evaluation.conftest import project, trained  # noqa: F401 - fixtures
from tests.evaluation.language_model import small_model

KEY = "a key that nobody guesses".replace(" ", "-")


@contextmanager
def serving(model, template=None, *, key=None, name="small", buffer=None, drain=5, **limits) -> Iterator[ModelServer]:
    """A server of a model on a free port; `buffer` is how many bytes wait for a client in the kernel."""
    from curate.listening import listen

    service = Service(name, model, template, Limits(**limits))
    listening = listen("127.0.0.1", 0, hint="")
    if buffer:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    server = ModelServer(service, listening, "127.0.0.1", key)
    running = server.running = server.made(drain=drain)
    running.capture_signals = _no_signals
    server.connections = running.server_state.connections
    thread = Thread(target=running.run, kwargs={"sockets": [server._socket]})
    thread.start()
    try:
        yield server
    finally:
        running.should_exit = True
        thread.join()


def asking(server, **options) -> openai.OpenAI:
    """OpenAI's client for a server; it does not ask again."""
    return openai.OpenAI(base_url=server.url, api_key=options.pop("api_key", "none"), max_retries=0, **options)


def held(model, gate: Event):
    """The model, which begins no text before the gate is open."""

    def respond():
        gate.wait()
        return model.respond()

    made = copy.copy(model)
    made.respond = respond
    return made


def until(true: Callable[[], bool]) -> None:
    """Wait for something that a thread does."""
    while not true():
        time.sleep(0.005)


def post(server, path, body, **headers):
    """An answer as it came."""
    return httpx.post(f"{server.url}/{path}", json=body, headers=headers, timeout=60)


@pytest.fixture(scope="session")
def model():
    """A model that knows nothing, and reads 256 tokens."""
    return small_model(length=256)


@pytest.fixture(scope="session")
def server(model):
    """Its server."""
    with serving(model) as found:
        yield found


@pytest.fixture(scope="session")
def client(server):
    """OpenAI's client for it."""
    with asking(server) as found:
        yield found
